/* SPDX-License-Identifier: MIT */
/*
 * r29.c: R29. fork() takes malloc's lock after all prepare handlers; free(), in another thread, holds it while it makes a
 * mapping call, which the hook announces. Nobody may wait for anybody in a circle; a third thread uses the cache meanwhile.
 */
#include "lab/scenarios/caches.h"

static void forks(uint32_t index)
{
	(void)index;
	process_fork();
}

static void frees(uint32_t index)
{
	(void)index;
	caches_must(process_free(0, 1), "madvise");
}

static void uses(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
}

static void setup(const struct lab_setup *s)
{
	caches_begin(s, NULL, 1);
	caches_attach();
	caches_thread("fork", forks);
	caches_thread("free", frees);
	caches_thread("user", uses);
}

const struct lab_scenario lab_scenario_r29 = {
	.id = "R29",
	.title = "fork, a hook inside free(), and malloc's lock",
	.expected = "regcache hooks",
	.losers = "prepare_holds_lock",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};
