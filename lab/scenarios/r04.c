/* SPDX-License-Identifier: MIT */
/*
 * r04.c: R4. Write-back of a shared file page: the CPU's entry is write-protected and the dirty bit taken, then the page is
 * written to storage. A device that keeps its write access writes on without anybody knowing, and the page is dropped as clean
 * later. The loss of write access must reach the device first, and its next write must ask for the page again, for writing.
 */
#include "lab/scenarios/common.h"
#include "lab/simmm/simmm.h"

static int write_back(uint32_t index)
{
	(void)index;
	return lab_cpu_writeback(0);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_FILE_SHARED, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_WRITE, 2, NULL); /* once before the write-back, perhaps, and once after it */
	scenario_cpus(s, write_back);
}

static void check(const struct lab_setup *s)
{
	uint32_t value;

	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
	scenario_must(lab_cpu_read(0, &value), "read");
	scenario_must(lab_cpu_writeback(0), "write-back");
	if (lab_sim_storage(0) != value)
		lab_fail("the page reads %u, and after one more write-back %u is on storage", value, lab_sim_storage(0));
}

const struct lab_scenario lab_scenario_r04 = {
	.id = "R4",
	.title = "a device writes during write-back",
	.expected = "interval kvm",
	.losers = "pin_and_forget start_only",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
