/* SPDX-License-Identifier: MIT */
/*
 * r03.c: R3. Devices write to a page while the CPU side gives it up (MADV_DONTNEED). Once its entry is cleared, what a device
 * writes must go to the page that comes next: a driver that tears down only in `end` writes to the old one until then, and
 * nobody ever reads it.
 */
#include "lab/scenarios/common.h"

static void setup(const struct lab_setup *s)
{
	scenario_discarded(s, LAB_WRITE, 1);
}

static void check(const struct lab_setup *s)
{
	uint32_t value;

	scenario_check_cpus(false);
	scenario_check_users(false, 0);
	scenario_must(lab_cpu_read(0, &value), "read");
	/* Zero, if the last change came after the last write; never what was there before the first. */
	if (value && (value < SCENARIO_DEVICE_VALUE(0) || value >= SCENARIO_DEVICE_VALUE(s->devices)))
		lab_fail("the CPU reads %u, which had been given up", value);
}

const struct lab_scenario lab_scenario_r03 = {
	.id = "R3",
	.title = "a device writes between the change and end",
	.expected = "interval kvm",
	.losers = "end_only",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
