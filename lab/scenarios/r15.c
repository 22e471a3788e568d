/* SPDX-License-Identifier: MIT */
/*
 * r15.c: R15. free() gives a page of the heap back to the kernel, and holds the heap's lock meanwhile: so the callback runs
 * with that lock held. Nobody may ask for it there, nor wait there for somebody who does.
 */
#include "lab/models/heap.h"
#include "lab/scenarios/common.h"

static int free_page(uint32_t index)
{
	return heap_free(index);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	heap_begin();
	scenario_must(lab_cpu_mmap(0, 2, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 2);
	scenario_devices(s, 0, LAB_READ, 1, NULL);
	scenario_cpus(s, free_page);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
}

const struct lab_scenario lab_scenario_r15 = {
	.id = "R15",
	.title = "an allocation in the callback, or under a lock that it takes",
	.expected = "deferred",
	.losers = "alloc_in_callback lock_around_alloc",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
