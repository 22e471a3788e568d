/* SPDX-License-Identifier: MIT */
/*
 * r12.c: R12. Ranges come and go while an invalidation walks over them. The last device uses its page, adds a second range,
 * and then gives everything back, memory included; the others only use theirs. Nobody may be forgotten by the walk, and
 * nobody called after it has left.
 */
#include "lab/scenarios/common.h"

#define LATE 1u

static size_t state_size;

/* Writes what is there, so that only somebody who still reads it notices. */
static void give_memory_back(struct lab_device *d)
{
	volatile uint64_t *word = lab_device_state(d);

	for (size_t i = 0; i < state_size / sizeof(*word); i++)
		word[i] = word[i];
}

static void use_and_leave(void *user)
{
	struct scenario_user *u = user;

	scenario_use(u);
	if (lab_device_index(u->device) + 1 < scenario_run->users)
		return;
	u->model->attach_late(u->device, LAB_ADDR(LATE), LAB_ADDR(LATE + 1));
	u->model->detach(u->device);
	give_memory_back(u->device);
}

static int discard(uint32_t index)
{
	(void)index;
	return lab_cpu_dontneed(0, 2);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	state_size = s->model->state_size;
	scenario_must(lab_cpu_mmap(0, 2, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 1, use_and_leave);
	scenario_cpus(s, discard);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
}

const struct lab_scenario lab_scenario_r12 = {
	.id = "R12",
	.title = "ranges come and go while an invalidation walks over them",
	.expected = "interval kvm",
	.losers = "unlocked_tree",
	.needs = LAB_NEEDS_LATE | LAB_NEEDS_DETACH,
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
