/* SPDX-License-Identifier: MIT */
/*
 * r14.c: R14. The device's page tables live in device memory, and are evicted when others need the room. An invalidation that
 * comes while they are out, or while they are on their way, must have been carried out when the device runs again.
 */
#include "lab/scenarios/common.h"

static const struct lab_setup *now;

static void evict_and_restore(void *arg)
{
	(void)arg;
	now->model->evict(now->device[0]);
	now->model->restore(now->device[0]);
}

static int discard(uint32_t index)
{
	(void)index;
	return lab_cpu_dontneed(0, 1);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	now = s;
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 1, NULL);
	lab_spawn("vram", evict_and_restore, NULL);
	scenario_cpus(s, discard);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
}

const struct lab_scenario lab_scenario_r14 = {
	.id = "R14",
	.title = "an invalidation finds the device's page tables evicted",
	.expected = "deferred",
	.losers = "skip_if_evicted evict_unlocked",
	.needs = LAB_NEEDS_EVICT,
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
