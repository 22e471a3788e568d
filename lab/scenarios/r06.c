/* SPDX-License-Identifier: MIT */
/*
 * r06.c: R6. A range is first watched after `start` of a change that covers it, and used before the change. It must count as
 * changing until that end, although nobody knew of it at the start.
 */
#include "lab/scenarios/common.h"

#define ELSEWHERE 4u

static void attach_and_use(void *user)
{
	struct scenario_user *u = user;

	u->model->attach_late(u->device, LAB_ADDR(0), LAB_ADDR(1));
	scenario_use(u);
}

static int change(uint32_t index)
{
	(void)index;
	return lab_cpu_dontneed(0, 1);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, ELSEWHERE, 1);
	scenario_devices(s, 0, LAB_READ, 1, attach_and_use);
	scenario_cpus(s, change);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
}

const struct lab_scenario lab_scenario_r06 = {
	.id = "R6",
	.title = "a range is first watched in the middle of a change",
	.expected = "interval kvm",
	.losers = "per_range_naive",
	.needs = LAB_NEEDS_LATE,
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
