/* SPDX-License-Identifier: MIT */
/*
 * r09.c: R9. A device begins to read inside an invalidation: start, read_begin, look-up, driver lock, and only then the
 * change. The lock alone does not help, since nobody holds it between start and end. The pages go (MADV_DONTNEED), the
 * mapping stays, so a later look-up finds a new page.
 */
#include "lab/scenarios/common.h"

static void setup(const struct lab_setup *s)
{
	scenario_discarded(s, LAB_READ, 1);
}

static void check(const struct lab_setup *s)
{
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
	for (uint32_t i = 0; i < s->devices; i++)
		if (scenario_run->user[i].value[0] != SCENARIO_OLD && scenario_run->user[i].value[0] != 0)
			lab_fail("device %u read %u, which was never there", i, scenario_run->user[i].value[0]);
}

const struct lab_scenario lab_scenario_r09 = {
	.id = "R9",
	.title = "a read begins inside an invalidation",
	.expected = "interval kvm",
	.losers = "lock_only",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
