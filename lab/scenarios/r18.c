/* SPDX-License-Identifier: MIT */
/*
 * r18.c: R18. Devices add 1 to a word in system memory, each by an atomic operation of its own; the CPU writes the word.
 * Whatever the order, the word is in the end what the CPU wrote plus the additions that came after it.
 */
#include "lab/scenarios/common.h"
#include "lab/simmm/simmm.h"

#define CPU_VALUE(i) (50u + 10u * (i))

static void add(void *user)
{
	struct scenario_user *u = user;

	u->err[0] = u->model->atomic_add(u->device, u->page, 1, &u->value[0]);
}

static int write_page(uint32_t index)
{
	return lab_cpu_write(0, CPU_VALUE(index));
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 1, add);
	scenario_cpus(s, write_page);
}

static void check(const struct lab_setup *s)
{
	uint32_t value;

	scenario_check_cpus(false);
	scenario_check_users(false, 0); /* all have got on */
	value = lab_sim_value(0);
	for (uint32_t i = 0; i < s->invalidators; i++) {
		if (value >= CPU_VALUE(i) && value <= CPU_VALUE(i) + s->devices)
			return;
	}
	lab_lost(3, "page 0 is %u in the end: the CPU's %u was overwritten by an addition to what was there before it",
		 value, CPU_VALUE(0));
}

const struct lab_scenario lab_scenario_r18 = {
	.id = "R18",
	.title = "the CPU writes in the middle of a device's atomic operation",
	.expected = "exclusive",
	.losers = "shared_atomics",
	.needs = LAB_NEEDS_ATOMIC,
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
