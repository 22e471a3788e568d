/* SPDX-License-Identifier: MIT */
/*
 * r07.c: R7. A device looks a page up for reading and gets one that is shared: the zero page, or after fork the one that
 * the child has too. The CPU writes and gets a page of its own; the device must not go on reading the other.
 */
#include "lab/scenarios/common.h"

#define CPU_VALUE(i) (50u + (i))

static int write_page(uint32_t index)
{
	return lab_cpu_write(0, CPU_VALUE(index));
}

static void spawn(const struct lab_setup *s)
{
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 1, NULL);
	scenario_cpus(s, write_page);
}

static void setup_zero(const struct lab_setup *s)
{
	uint32_t value;

	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_read(0, &value), "read");
	spawn(s);
}

static void setup_cow(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_must(lab_cpu_fork(), "fork");
	spawn(s);
}

static void check_reads(const struct lab_setup *s, uint32_t before)
{
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
	for (uint32_t i = 0; i < s->devices; i++) {
		uint32_t value = scenario_run->user[i].value[0];

		if (value != before && (value < CPU_VALUE(0) || value >= CPU_VALUE(s->invalidators)))
			lab_fail("device %u read %u, which was never there", i, value);
	}
}

static void check_zero(const struct lab_setup *s)
{
	check_reads(s, 0);
}

static void check_cow(const struct lab_setup *s)
{
	check_reads(s, SCENARIO_OLD);
}

const struct lab_scenario lab_scenario_r07 = {
	.id = "R7",
	.title = "the zero page is looked up for reading, then the CPU writes",
	.expected = "interval kvm",
	.losers = "pin_and_forget start_then_grab",
	.setup = setup_zero,
	.check = check_zero,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};

const struct lab_scenario lab_scenario_r07_cow = {
	.id = "R7cow",
	.title = "a page shared after fork is looked up for reading, then the CPU writes",
	.expected = "interval kvm",
	.losers = "pin_and_forget start_then_grab",
	.setup = setup_cow,
	.check = check_cow,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
