/* SPDX-License-Identifier: MIT */
/*
 * r10.c: R10. Two invalidations overlap in time and in range, [0,2) and [0,1); one ends while the other is active. The
 * range must not look quiet until both have ended.
 */
#include "lab/scenarios/common.h"

static int change(uint32_t index)
{
	return index == 0 ? lab_cpu_dontneed(0, 2) : lab_cpu_replace(0);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 2, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_must(lab_cpu_mprotect(0, 1, LAB_READ), "mprotect");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 1, NULL);
	scenario_cpus(s, change);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(true); /* nothing to replace when the page had gone */
	scenario_check_users(false, 0);
}

const struct lab_scenario lab_scenario_r10 = {
	.id = "R10",
	.title = "one of two overlapping invalidations ends",
	.expected = "interval kvm",
	.losers = "email_end bool_active",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
