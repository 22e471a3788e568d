/* SPDX-License-Identifier: MIT */
/*
 * r31.c: R31. A page is unmapped by an inline system call, which no hook sees; then mmap() through libc is given its address.
 * A get after that yields the new page.
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
	caches_must(process_raw_munmap(0, 1), "munmap");
	caches_must(process_mmap(0, 1), "mmap");
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.untold = true};

	caches_begin(s, &options, 1);
	caches_attach();
	caches_thread("user", use);
	caches_thread("cpu", change);
}

const struct lab_scenario lab_scenario_r31 = {
	.id = "R31",
	.title = "an unmap that nobody saw, then mmap gives the address out",
	.expected = "regcache hooks",
	.losers = "trust_unmap_only",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};
