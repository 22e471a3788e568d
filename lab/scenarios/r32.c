/* SPDX-License-Identifier: MIT */
/*
 * r32.c: R32. A second thread registers the page between the event and the call that it announces. Each kind of call in turn.
 */
#include "lab/scenarios/caches.h"

static void use(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
	caches_use(0, LAB_READ);
}

static int change_somehow(uint32_t how)
{
	switch (how) {
	case 0:
		return process_dontneed(0, 1);
	case 1:
		return process_mmap_fixed(0, 1);
	case 2:
		return process_mremap(1, 1, 0);
	default:
		return process_munmap(0, 1);
	}
}

static void change(uint32_t index)
{
	(void)index;
	caches_must(change_somehow(lab_pick(4)), "the call");
}

static void setup(const struct lab_setup *s)
{
	caches_begin(s, NULL, 2);
	caches_attach();
	caches_thread("cpu", change);
	caches_thread("user", use);
}

const struct lab_scenario lab_scenario_r32 = {
	.id = "R32",
	.title = "a page is registered between the event and the call",
	.expected = "regcache hooks",
	.losers = "announce_before",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};
