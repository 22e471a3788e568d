/* SPDX-License-Identifier: MIT */
/*
 * r30_flush.c: R30. flush returns when every pending dereg has been done: what was dropped before it and is in nobody's use is
 * gone then, whichever thread is deregistering.
 */
#include "lab/scenarios/caches.h"

static void use(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
}

/* A registration of before the change would be stale, and can only be the other thread's, in use. */
static void change_and_flush(uint32_t index)
{
	(void)index;
	caches_use(1, LAB_READ);
	caches_must(process_dontneed(1, 1), "madvise");
	caches_must(uhmm_regcache_flush(caches->cache), "flush");
	if (registrant_live_at(1))
		lab_fail("page 1 is registered after the flush");
}

static void setup(const struct lab_setup *s)
{
	caches_begin(s, NULL, 2);
	caches_own();
	caches->destroys = true;
	caches_thread("flush", change_and_flush);
	caches_thread("user", use);
}

const struct lab_scenario lab_scenario_r30_flush = {
	.id = "R30e",
	.title = "flush beside the thread that deregisters",
	.expected = "",
	.losers = "",
	.setup = setup,
	.core_only = true,
};
