/* SPDX-License-Identifier: MIT */
/*
 * r08.c: R8, "for nothing". A migration tears the device's entry down, the device looks the page up again and holds a
 * reference, the migration counts the references and gives up. One such collision is bad luck, and the migration tries
 * again. It must succeed at the latest when the devices have nothing to do any more; a driver that comes back by itself
 * after each `start` keeps the page where it is for ever.
 */
#include "lab/scenarios/common.h"

static struct uhmm_a32 *done; /* devices that have finished */

static void use_and_tell(void *user)
{
	scenario_use(user);
	lab_fetch_add(done, 1);
}

static int migrate(uint32_t index)
{
	uint32_t devices = scenario_run->users;
	int err;

	if (index)
		return lab_cpu_dontneed(1, 1); /* beside the migration, so that two invalidations of the range overlap */
	if (lab_cpu_migrate(0) == 0)
		return 0;
	scenario_run->second_tries++;
	lab_await(done, devices);
	err = lab_cpu_migrate(0);
	if (err == -EAGAIN)
		lab_fail("page 0 cannot be migrated although no device has anything to do");
	return err;
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	done = lab_alloc_zeroed(sizeof(*done));
	scenario_must(lab_cpu_mmap(0, 2, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 2);
	scenario_devices(s, 0, LAB_READ, 1, use_and_tell);
	scenario_cpus(s, migrate);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, SCENARIO_OLD);
}

const struct lab_scenario lab_scenario_r08 = {
	.id = "R8",
	.title = "a migration and a device keep each other from getting anywhere",
	.expected = "interval kvm",
	.losers = "start_then_grab",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
	.invalidators_max = SCENARIO_SIDES,
};
