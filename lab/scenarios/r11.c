/* SPDX-License-Identifier: MIT */
/*
 * r11.c: R11. The sequence is stored before the driver lock is taken and loaded inside it; the callback's passing through
 * the lock is the only barrier. It needs memory that is weaker than it looks, so the row is worth reading in weak mode.
 */
#include "lab/scenarios/common.h"

static void setup(const struct lab_setup *s)
{
	scenario_discarded(s, LAB_READ, 1);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
}

const struct lab_scenario lab_scenario_r11 = {
	.id = "R11",
	.title = "the lock that only passes a store on",
	.expected = "interval kvm",
	.losers = "no_lock_pass",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
