/* SPDX-License-Identifier: MIT */
/*
 * r34.c: R34. An event that comes after the change, as userfaultfd's UNMAP: by then mmap has given the address out again, and
 * whoever is handed the new memory registers it.
 */
#include "lab/scenarios/caches.h"

#define CALLS 2u

static void use(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
	process_await_returned(CALLS); /* handed the new memory */
	caches_use(0, LAB_READ);
}

static void reuse(uint32_t index)
{
	(void)index;
	caches_must(process_inline_munmap(0, 1), "munmap");
	caches_must(process_mmap(0, 1), "mmap");
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.untold = true};

	caches_begin(s, &options, 1);
	caches_attach();
	caches_thread("user", use);
	caches_thread("cpu", reuse);
}

const struct lab_scenario lab_scenario_r34 = {
	.id = "R34",
	.title = "the event comes after the address has been given out again",
	.expected = "witness witness_hooks",
	.losers = "event_after_reuse",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};
