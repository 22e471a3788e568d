/* SPDX-License-Identifier: MIT */
/*
 * r23.c: R23. A device has a page for itself and works on it; the process unmaps it. The operation that is under way may
 * finish first; after that the device has no page there.
 */
#include "lab/scenarios/common.h"

static void add(void *user)
{
	struct scenario_user *u = user;

	u->err[0] = u->model->atomic_add(u->device, u->page, 1, &u->value[0]);
}

static int unmap(uint32_t index)
{
	(void)index;
	return lab_cpu_munmap(0, 1);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 1, add);
	scenario_cpus(s, unmap);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(true, 0);
}

const struct lab_scenario lab_scenario_r23 = {
	.id = "R23",
	.title = "a page that a device has for itself is unmapped under it",
	.expected = "exclusive",
	.losers = "exclusive_no_end",
	.needs = LAB_NEEDS_ATOMIC,
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
};
