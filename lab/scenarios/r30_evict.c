/* SPDX-License-Identifier: MIT */
/*
 * r30_evict.c: R30. A cache with room for one region: whoever misses must evict what another may be about to hit, or holds. A
 * get of a full cache may say so; nothing is deregistered under a user.
 */
#include "lab/scenarios/caches.h"

static void use(uint32_t index)
{
	caches_use(index, LAB_READ);
	caches_use(index, LAB_READ);
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.max_regions = 1};

	caches_begin(s, &options, 2);
	caches_own();
	caches_thread("user0", use);
	caches_thread("user1", use);
}

const struct lab_scenario lab_scenario_r30_evict = {
	.id = "R30b",
	.title = "a hit and an eviction of the same region",
	.expected = "",
	.losers = "",
	.setup = setup,
	.core_only = true,
};
