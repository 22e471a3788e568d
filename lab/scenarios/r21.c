/* SPDX-License-Identifier: MIT */
/*
 * r21.c: R21. Small pages are put together into a huge one, which needs every one of them to be movable at once; devices use
 * one of them. As in R17 it may be late, and must come off when the devices have nothing to do any more.
 *
 * The simulated huge page has LAB_HUGE pages. With 512, and one page in 256 pinned, a block comes off with (255/256)^512, 13
 * %.
 */
#include "lab/engine.h"
#include "lab/scenarios/common.h"

#define TRIES 3u
#define USED 2u

static struct uhmm_a32 *done; /* devices that have finished, with their registrations as they like */

static void use_and_tell(void *user)
{
	scenario_use(user);
	lab_fetch_add(done, 1);
}

static int collapse(uint32_t index)
{
	int err = lab_cpu_collapse(0);

	(void)index;
	if (!err)
		return 0;
	lab_await(done, scenario_run->users);
	for (uint32_t i = 0; i < TRIES; i++) {
		err = lab_cpu_collapse(0);
		if (!err)
			return 0;
	}
	lab_lost(5, "pages 0 to %u do not become a huge page, tried %u times after all devices had finished: one is pinned",
		 LAB_HUGE - 1, TRIES);
	return err;
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	done = lab_alloc_zeroed(sizeof(*done));
	scenario_must(lab_cpu_mmap(0, LAB_HUGE, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	for (uint32_t page = 0; page < LAB_HUGE; page++)
		scenario_must(lab_cpu_write(page, SCENARIO_OLD), "write");
	scenario_attach(s, 0, LAB_HUGE);
	scenario_devices(s, USED, LAB_READ, 1, use_and_tell);
	scenario_cpus(s, collapse);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, SCENARIO_OLD);
}

const struct lab_scenario lab_scenario_r21 = {
	.id = "R21",
	.title = "one pin keeps small pages from becoming a huge one",
	.expected = "revocable",
	.losers = "pin_movable",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
};
