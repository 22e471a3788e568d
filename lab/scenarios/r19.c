/* SPDX-License-Identifier: MIT */
/*
 * r19.c: R19. A page of the process lives in device memory, and that memory's manager moves it. Nothing changes in the CPU's
 * page table, so the process's notifications have nothing to say; a device that reads the page must learn of it all the same.
 */
#include "lab/models/vram.h"
#include "lab/scenarios/common.h"

static int move(uint32_t index)
{
	(void)index;
	vram_move(0);
	return 0;
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	vram_begin(0, SCENARIO_OLD);
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 2, NULL);
	scenario_cpus(s, move);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, SCENARIO_OLD);
}

const struct lab_scenario lab_scenario_r19 = {
	.id = "R19",
	.title = "a page in device memory moves, and the process is told nothing",
	.expected = "owner_callback",
	.losers = "notifier_only",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
};
