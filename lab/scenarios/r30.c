/* SPDX-License-Identifier: MIT */
/*
 * r30.c: R30. put beside invalidate: the region's last user puts it while the range changes, and the next user gets it
 * meanwhile. Each registration is deregistered once, and never under a user. r30_*.c take the shipped cache through what else
 * happens to regions.
 */
#include "lab/scenarios/caches.h"

static void use(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
	caches_use(0, LAB_READ);
}

static void change(uint32_t index)
{
	(void)index;
	caches_must(process_dontneed(0, 1), "madvise");
}

static void setup(const struct lab_setup *s)
{
	caches_begin(s, NULL, 1);
	caches_attach();
	caches_thread("user", use);
	caches_thread("cpu", change);
}

const struct lab_scenario lab_scenario_r30 = {
	.id = "R30",
	.title = "put beside invalidate: dereg once, and not under a user",
	.expected = "regcache hooks",
	.losers = "refcount_naive",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};
