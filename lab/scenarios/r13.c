/* SPDX-License-Identifier: MIT */
/*
 * r13.c: R13. Memory is short, and reclaim may not sleep: a driver whose lock is held answers "try again". Whoever had
 * agreed before it must be told that nothing happened, or it waits for ever; and when reclaim may sleep, it succeeds.
 */
#include "lab/scenarios/common.h"

static struct uhmm_a32 *done; /* devices that have finished */

static void use_and_tell(void *user)
{
	scenario_use(user);
	lab_fetch_add(done, 1);
}

static int reclaim(uint32_t index)
{
	uint32_t devices = scenario_run->users;
	int err;

	if (index)
		return lab_cpu_dontneed(1, 1); /* beside the reclaim, so that two invalidations of the range overlap */
	if (lab_cpu_reclaim(0, true) == 0)
		return 0;
	scenario_run->second_tries++;
	/* A device may hold a reference of its own; when all have finished, nothing is in the way. */
	lab_await(done, devices);
	err = lab_cpu_reclaim(0, false);
	return err == -EFAULT ? 0 : err; /* unmapped by the first try, and nobody has asked for it since */
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	done = lab_alloc_zeroed(sizeof(*done));
	scenario_must(lab_cpu_mmap(0, 2, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 2);
	scenario_devices(s, 0, LAB_READ, 1, use_and_tell);
	scenario_cpus(s, reclaim);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, SCENARIO_OLD); /* swapped out and in again, it reads the same */
}

const struct lab_scenario lab_scenario_r13 = {
	.id = "R13",
	.title = "an invalidation that must not sleep is refused",
	.expected = "interval kvm",
	.losers = "nonblock_leak",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
