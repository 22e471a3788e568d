/* SPDX-License-Identifier: MIT */
/*
 * r17.c: R17. A page must move, because its memory is to be unplugged or is part of a contiguous block. Devices may make it
 * wait while they work; when they have nothing to do any more it moves. It is tried once beside them, and thrice after them.
 */
#include "lab/engine.h"
#include "lab/scenarios/common.h"

#define TRIES 3u

static struct uhmm_a32 *done; /* devices that have finished, with their registrations as they like */

static void use_and_tell(void *user)
{
	scenario_use(user);
	lab_fetch_add(done, 1);
}

static int move(uint32_t index)
{
	int err = lab_cpu_migrate(0);

	(void)index;
	if (!err)
		return 0;
	lab_await(done, scenario_run->users);
	for (uint32_t i = 0; i < TRIES; i++) {
		err = lab_cpu_migrate(0);
		if (!err)
			return 0;
	}
	lab_lost(5, "page 0 cannot be moved, tried %u times after all devices had finished: it is held for good",
		 TRIES);
	return err;
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	done = lab_alloc_zeroed(sizeof(*done));
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_READ, 1, use_and_tell);
	scenario_cpus(s, move);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, SCENARIO_OLD);
}

const struct lab_scenario lab_scenario_r17 = {
	.id = "R17",
	.title = "a long-term pin where memory must stay movable",
	.expected = "revocable",
	.losers = "pin_movable",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
};
