/* SPDX-License-Identifier: MIT */
/*
 * r11.c: R11. The sequence is stored before the driver lock is taken and loaded inside it; the callback's passing through
 * the lock is the only barrier. It needs memory that is weaker than it looks, so the row is worth reading in weak mode.
 */
#include "lab/scenarios/common.h"

static int discard(uint32_t index)
{
	(void)index;
	return lab_cpu_dontneed(0, 1);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 1, NULL);
	scenario_cpus(s, discard);
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
