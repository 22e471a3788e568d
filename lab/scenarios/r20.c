/* SPDX-License-Identifier: MIT */
/*
 * r20.c: R20. The process forks while the device has a page for writing, and then writes the page: the parent must keep the
 * very page that the device has, and the child gets the copy.
 */
#include "lab/scenarios/common.h"

#define CPU_VALUE 50u

static int fork_and_write(uint32_t index)
{
	int err = lab_cpu_fork();

	(void)index;
	return err ? err : lab_cpu_write(0, CPU_VALUE);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_WRITE, 2, NULL); /* once before the fork, perhaps, and once after it */
	scenario_cpus(s, fork_and_write);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
}

const struct lab_scenario lab_scenario_r20 = {
	.id = "R20",
	.title = "fork while a device has a page for writing",
	.expected = "pin",
	.losers = "pin_no_unshare",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
};
