/* SPDX-License-Identifier: MIT */
/*
 * core_late.c: C2. The range is first watched while a change that nobody watches runs on the fast path: either the inserter
 * finds it published, and claims it, or the invalidator finds the range watched. A second driver that comes as late must
 * neither count the same change twice nor leave the first one uncounted:
 *
 *	reader0                     reader1                     cpu0
 *	                                                        looks: nobody watches
 *	inserts: nothing published
 *	                                                        publishes; looks: watched; waits for the lock
 *	                            inserts: claims, and has
 *	                            to count it in both
 *
 * The second change covers more, and the claim of one says nothing about the other.
 */
#include "lab/scenarios/cores.h"

#define ELSEWHERE 1024u /* in another block of 2 MiB */

static void inserts(void *arg)
{
	uint32_t i = *(const uint32_t *)arg;

	core_race_insert(i, 0, 1, 0);
	core_race_map(i);
}

static void changes(void *arg)
{
	(void)arg;
	core_race_change(0, 1, 2);
}

static void changes_more(void *arg)
{
	(void)arg;
	core_race_change(0, 4, 2);
}

static void setup(const struct lab_setup *s)
{
	static uint32_t numbers[] = {0, 1};
	static const char *const names[] = {"reader0", "reader1"};

	core_race_begin();
	if (s->devices == 1)
		core_race_insert(1, ELSEWHERE, 1, 0); /* the occupancy has some of its nodes already, and not others */
	for (uint32_t i = 0; i < s->devices; i++)
		lab_spawn(names[i], inserts, &numbers[i]);
	lab_spawn("cpu0", changes, NULL);
	if (s->invalidators > 1)
		lab_spawn("cpu1", changes_more, NULL);
}

static void check(const struct lab_setup *s)
{
	for (uint32_t i = 0; i < s->devices; i++) {
		core_race_check(i);
		core_race_leave(i);
	}
}

const struct lab_scenario lab_scenario_core_late = {
	.id = "C2",
	.title = "first watched beside a change on the fast path",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.devices_max = 2,
	.invalidators_max = 2,
	.core_only = true,
};
