/* SPDX-License-Identifier: MIT */
/*
 * r30_other.c: R30. One thread has got a region, another puts it, while a third uses it and the range is unmapped: the
 * reference is in no ticket of who puts it, and must be neither lost nor taken from somebody else. At the end everything has
 * been deregistered, without being asked for.
 */
#include "lab/scenarios/caches.h"

static struct uhmm_reg *handed_over;

/* In the prologue, by a thread that has gone when the race begins. */
static void get(void *arg)
{
	struct registrant_get get;

	(void)arg;
	caches_must(lab_cache_get(caches->cache, 0, LAB_READ, &handed_over, &get), "get");
}

static void puts_it(uint32_t index)
{
	(void)index;
	lab_cache_put(caches->cache, handed_over);
}

static void use(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
}

static void change(uint32_t index)
{
	(void)index;
	caches_must(process_munmap(0, 1), "munmap");
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.awaits_dereg = true};

	caches_begin(s, &options, 1);
	caches_own();
	caches->alone = true;
	process_open_with(get, NULL);
	caches_thread("puts", puts_it);
	caches_thread("user", use);
	caches_thread("cpu", change);
}

const struct lab_scenario lab_scenario_r30_other = {
	.id = "R30d",
	.title = "another thread puts what this one got",
	.expected = "",
	.losers = "",
	.setup = setup,
	.core_only = true,
};
