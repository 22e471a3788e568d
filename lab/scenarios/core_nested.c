/* SPDX-License-Identifier: MIT */
/*
 * core_nested.c: C6. One thread has two changes open at once: the outer one runs on the fast path and occupies the thread's
 * line, so that the inner one is linked; both are seen by who first watches the ranges in the middle. They end in either
 * order.
 */
#include "lab/scenarios/cores.h"

static void inserts(void *arg)
{
	(void)arg;
	core_race_insert(0, 0, 4, 1);
	core_race_map(0);
}

static void two_at_once(bool outer_last)
{
	struct uhmm_event event[2] = {core_race_event(0, 1, 0), core_race_event(1, 1, 0)};
	struct uhmm_invalidation inv[2];

	for (uint32_t i = 0; i < 2; i++) {
		core_race_must(uhmm_invalidate_start(core_race->mm, &inv[i], &event[i]), "start");
		lab_store_relaxed(&core_race->word[i], 2);
	}
	/* The other one is open still: its page may change until then. */
	uhmm_invalidate_end(&inv[outer_last ? 1 : 0]);
	lab_store_relaxed(&core_race->word[outer_last ? 0 : 1], 3);
	uhmm_invalidate_end(&inv[outer_last ? 0 : 1]);
}

static void changes_outer_last(void *arg)
{
	(void)arg;
	two_at_once(true);
}

static void changes_outer_first(void *arg)
{
	(void)arg;
	two_at_once(false);
}

static void setup(const struct lab_setup *s)
{
	core_race_begin();
	lab_spawn("reader", inserts, NULL);
	lab_spawn("cpu0", s->invalidators > 1 ? changes_outer_first : changes_outer_last, NULL);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	core_race_check(0);
	core_race_leave(0);
}

const struct lab_scenario lab_scenario_core_nested = {
	.id = "C6",
	.title = "two changes of one thread, and who comes in between",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.invalidators_max = 2, /* which of the two ends first */
	.core_only = true,
};
