/* SPDX-License-Identifier: MIT */
/*
 * r16.c: R16. A device without page faults has its queues stopped by each invalidation, and a worker makes everything valid
 * again before they start. The next invalidation comes while it is at it: the queues must not start on what was looked up
 * before.
 */
#include "lab/scenarios/common.h"

static void setup(const struct lab_setup *s)
{
	scenario_discarded(s, LAB_READ, 2);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
}

const struct lab_scenario lab_scenario_r16 = {
	.id = "R16",
	.title = "queues start again on what was looked up before the next invalidation",
	.expected = "stop_restore",
	.losers = "restore_no_retry",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
