/* SPDX-License-Identifier: MIT */
/*
 * core_two_mm.c: C8. Two address-space objects of one process, the same range watched in both: a change is announced to each,
 * and the line of a thread has a place for each. Who watches late in the second is told by the second.
 */
#include "lab/scenarios/cores.h"

static struct uhmm_mm *second;

static void inserts(void *arg)
{
	(void)arg;
	core_race_insert(0, 0, 1, 0);
	core_race_map(0);
}

static void changes(void *arg)
{
	struct uhmm_event event = core_race_event(0, 1, 0);
	struct uhmm_invalidation inv[2];

	(void)arg;
	core_race_must(uhmm_invalidate_start(lab_mm(), &inv[0], &event), "start");
	core_race_must(uhmm_invalidate_start(second, &inv[1], &event), "start");
	lab_store_relaxed(&core_race->word[0], 2);
	uhmm_invalidate_end(&inv[1]);
	uhmm_invalidate_end(&inv[0]);
}

static void setup(const struct lab_setup *s)
{
	const struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_EXPLICIT};

	core_race_begin();
	core_race_must(uhmm_mm_open(&second, &options), "uhmm_mm_open");
	if (s->devices > 1)
		core_race_insert(1, 0, 1, 0);
	core_race->mm = second;
	lab_spawn("reader", inserts, NULL);
	lab_spawn("cpu0", changes, NULL);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	core_race_check(0);
	core_race_leave(0);
	if (s->devices > 1 && core_race->driver[1].starts != 1)
		lab_fail("the first was told %u times", core_race->driver[1].starts);
}

const struct lab_scenario lab_scenario_core_two_mm = {
	.id = "C8",
	.title = "a change announced to two address-space objects",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.devices_max = 2, /* watched in the second; in both */
	.core_only = true,
};
