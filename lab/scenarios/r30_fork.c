/* SPDX-License-Identifier: MIT */
/*
 * r30_fork.c: R30. fork() in one thread while another is anywhere in a get or a put. The parent goes on; the child, which has
 * one thread and whatever locks were held, finds an empty cache, and what it deregisters is its own.
 */
#include "lab/scenarios/caches.h"

static struct uhmm_reg *parents;

static void use(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
}

static void in_child(void)
{
	registrant_become_child();
	caches_use(0, LAB_READ);
	uhmm_regcache_put(caches->cache, parents); /* nothing happens */
	caches_use(0, LAB_READ);
	lab_cache_destroy(caches->cache);
	caches->cache = NULL; /* whoever was done before the fork is not waited for here */
}

static void forks(uint32_t index)
{
	struct registrant_get get;

	(void)index;
	caches_must(lab_cache_get(caches->cache, 1, LAB_READ, &parents, &get), "get");
	if (process_fork())
		in_child();
	else
		lab_cache_put(caches->cache, parents);
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.fork_child = true};

	caches_begin(s, &options, 2);
	caches_own();
	caches_thread("fork", forks);
	caches_thread("user", use);
}

const struct lab_scenario lab_scenario_r30_fork = {
	.id = "R30f",
	.title = "fork in the middle of a get: parent and child",
	.expected = "",
	.losers = "",
	.setup = setup,
	.core_only = true,
};
