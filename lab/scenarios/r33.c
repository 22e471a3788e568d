/* SPDX-License-Identifier: MIT */
/*
 * r33.c: R33. The page changes while it is being registered: after its pages were looked up, before the cache has the region.
 * That event must not be lost. R33a: nor when two threads miss at once, one for more than the other.
 */
#include "lab/scenarios/caches.h"

static void use_twice(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
	caches_use(0, LAB_READ);
}

static void write_once(uint32_t index)
{
	(void)index;
	caches_use(0, RW);
}

static void change(uint32_t index)
{
	(void)index;
	caches_must(process_mmap_fixed(0, 1), "mmap");
}

static void setup(const struct lab_setup *s)
{
	caches_begin(s, NULL, 1);
	caches_attach();
	caches_thread("user", use_twice);
	caches_thread("cpu", change);
}

static void setup_two(const struct lab_setup *s)
{
	caches_begin(s, NULL, 1);
	caches_attach();
	caches_thread("user0", use_twice);
	caches_thread("user1", write_once);
	caches_thread("cpu", change);
}

const struct lab_scenario lab_scenario_r33 = {
	.id = "R33",
	.title = "the page changes between registering it and inserting the region",
	.expected = "regcache hooks",
	.losers = "insert_after_register",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};

const struct lab_scenario lab_scenario_r33_two = {
	.id = "R33a",
	.title = "two threads register a page that changes",
	.expected = "regcache hooks",
	.losers = "insert_after_register",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup_two,
};
