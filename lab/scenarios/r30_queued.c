/* SPDX-License-Identifier: MIT */
/*
 * r30_queued.c: R30. A signal handler changes a registered range on top of a thread that holds a driver's lock (G12). No
 * callback may run there, so the cache is told later, by the core's service thread; until then what it holds is stale without
 * its knowing, and neither a hit nor the slow path may hand it out.
 *
 *	user                                     cpu, holding a lock        uhmm-core
 *	                                         start: queued
 *	                                         frame 1 -> frame 2
 *	                                         end; the call returns
 *	get: valid in the table; but something
 *	is queued: read_begin waits                                         callback: suspended; end: dropped
 *	registers frame 2
 */
#include "core/core.h"
#include "lab/scenarios/caches.h"

static struct lab_lock other; /* of another driver, announced */

static struct uhmm_a32 registered;

static void use(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
	lab_store_release(&registered, 1);
	caches_use(0, LAB_READ);
}

static void change_on_holder(uint32_t index)
{
	(void)index;
	lab_await(&registered, 1);
	lab_lock(&other);
	uhmm_lock_acquired(&other, "lab driver lock");
	caches_must(process_dontneed(0, 1), "madvise");
	uhmm_lock_released(&other);
	lab_unlock(&other);
	/* What is counted at the end must not be on its way out. */
	lab_await((struct uhmm_a32 *)core_mm_queued(lab_mm()), 0);
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.untold = true};

	caches_begin(s, &options, 1);
	caches_own();
	other = (struct lab_lock){{NULL}};
	registered = (struct uhmm_a32){0};
	caches_thread("user", use);
	caches_thread("cpu", change_on_holder);
}

const struct lab_scenario lab_scenario_r30_queued = {
	.id = "R30j",
	.title = "a registered range changes on top of a lock holder",
	.expected = "",
	.losers = "",
	.setup = setup,
	.core_only = true,
};
