/* SPDX-License-Identifier: MIT */
/*
 * core_order.c: C1. A look-up without a lock beside changes, ordered by nothing but the protocol. The second change is of
 * another page of the range, so that two invalidations overlap and the first end must not let the reader go.
 */
#include "lab/scenarios/cores.h"

static void reads(void *arg)
{
	(void)arg;
	core_race_map(0);
}

static void changes(void *arg)
{
	(void)arg;
	core_race_change(0, 1, 2);
}

static void changes_all(void *arg)
{
	(void)arg;
	core_race_change(1, 1, 2);
}

static void setup(const struct lab_setup *s)
{
	core_race_begin();
	core_race_insert(0, 0, 2, 0);
	lab_spawn("reader", reads, NULL);
	lab_spawn("cpu0", changes, NULL);
	if (s->invalidators > 1)
		lab_spawn("cpu1", changes_all, NULL);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	core_race_check(0);
	if (!core_race->driver[0].mapping && !core_race->driver[0].starts)
		lab_fail("nobody was told");
}

const struct lab_scenario lab_scenario_core_order = {
	.id = "C1",
	.title = "a look-up without a lock, beside changes",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.invalidators_max = 2,
	.core_only = true,
};
