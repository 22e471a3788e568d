/* SPDX-License-Identifier: MIT */
/*
 * r02.c: R2. The same as R1 under munmap() and a mapping in its place, which hold mmap_lock for writing all the time: only a
 * look-up that takes no lock comes in between. So no lock of the kernel's, and no sleeping lock in the driver, closes the gap.
 */
#include "lab/scenarios/common.h"

static int unmap(uint32_t index)
{
	return index == 0 ? lab_cpu_munmap(0, 1) : lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 1, NULL);
	scenario_cpus(s, unmap);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(true, 0);
	for (uint32_t i = 0; i < scenario_run->users; i++) {
		const struct scenario_user *u = &scenario_run->user[i];

		/* The old page, none, or the new one, which is all zeroes. */
		if (!u->err[0] && u->value[0] != SCENARIO_OLD && (u->value[0] != 0 || s->invalidators < 2))
			lab_fail("a device read %u, which was never there", u->value[0]);
	}
}

const struct lab_scenario lab_scenario_r02 = {
	.id = "R2",
	.title = "a lockless look-up right after start has returned",
	.expected = "interval kvm",
	.losers = "start_only",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
