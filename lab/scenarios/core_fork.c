/* SPDX-License-Identifier: MIT */
/*
 * core_fork.c: C9. fork() beside a change and a reader: for the parent it is a change of everything, from before the copy until
 * after it, whoever watches meanwhile.
 */
#include "core/core.h"
#include "lab/scenarios/cores.h"

static void inserts(void *arg)
{
	(void)arg;
	core_race_insert(0, 0, 1, 0);
	core_race_map(0);
}

static void reads(void *arg)
{
	(void)arg;
	core_race_map(1);
}

static void forks(void *arg)
{
	(void)arg;
	core_fork_prepare();
	/* The kernel write-protects what the child shares: the words that drivers have copied are no longer good. */
	for (uint32_t i = 0; i < CORE_DRIVERS; i++)
		lab_fetch_add(&core_race->word[i], 10);
	core_fork_parent();
}

static void changes(void *arg)
{
	struct uhmm_event event = core_race_event(0, 2, 0);
	struct uhmm_invalidation inv;

	(void)arg;
	core_race_must(uhmm_invalidate_start(core_race->mm, &inv, &event), "start");
	lab_fetch_add(&core_race->word[0], 1);
	uhmm_invalidate_end(&inv);
}

static void setup(const struct lab_setup *s)
{
	core_race_begin();
	if (s->devices > 1)
		core_race_insert(1, 1, 1, 1);
	lab_spawn("reader", s->devices > 1 ? reads : inserts, NULL);
	lab_spawn("fork", forks, NULL);
	if (s->invalidators > 1)
		lab_spawn("cpu0", changes, NULL);
}

static void check(const struct lab_setup *s)
{
	uint32_t watched = s->devices > 1 ? 1 : 0;

	core_race_check(watched);
	core_race_leave(watched);
}

const struct lab_scenario lab_scenario_core_fork = {
	.id = "C9",
	.title = "fork beside a change, and who watches meanwhile",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.devices_max = 2, /* first watched beside; watched before */
	.invalidators_max = 2,
	.core_only = true,
};
