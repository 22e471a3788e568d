/* SPDX-License-Identifier: MIT */
/*
 * r01.c: R1, the race that all the others are kin to. Between `start` and the change a device looks the page up again and keeps
 * what it got. The page is one that is only read, and is replaced by a copy, whatever its references, as a breakpoint in code
 * does it.
 */
#include "lab/scenarios/common.h"

static int change(uint32_t index)
{
	/* The second changes the range that is watched, but another page. */
	return index == 0 ? lab_cpu_replace(0) : lab_cpu_dontneed(1, 1);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 2, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_must(lab_cpu_mprotect(0, 1, LAB_READ), "mprotect");
	scenario_attach(s, 0, 2);
	scenario_devices(s, 0, LAB_READ, 1, NULL);
	scenario_cpus(s, change);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, SCENARIO_OLD); /* the copy reads the same */
}

const struct lab_scenario lab_scenario_r01 = {
	.id = "R1",
	.title = "a page is looked up between start and the change",
	.expected = "interval kvm",
	.losers = "start_only start_then_grab",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
