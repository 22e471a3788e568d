/* SPDX-License-Identifier: MIT */
/*
 * r05.c: R5. A page goes although others hold references to it: the file is truncated, or the page replaced. Pinning keeps
 * the frame, not the frame at its address.
 */
#include "lab/scenarios/common.h"

static int change(uint32_t index)
{
	return index == 0 ? lab_cpu_truncate(0, 1) : lab_cpu_replace(0);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_FILE_PRIVATE, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_must(lab_cpu_mprotect(0, 1, LAB_READ), "mprotect");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 1, NULL);
	scenario_cpus(s, change);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(true); /* nothing to replace when the truncation was first */
	scenario_check_users(true, SCENARIO_OLD);
}

const struct lab_scenario lab_scenario_r05 = {
	.id = "R5",
	.title = "a page goes although it is referenced",
	.expected = "interval kvm",
	.losers = "pin_and_forget",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
