/* SPDX-License-Identifier: MIT */
/*
 * r26.c: R26. An event that has no end, as userfaultfd's REMOVE: a page is looked up after the event has been processed and
 * before the page goes.
 */
#include "lab/scenarios/caches.h"

static void use(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
	caches_use(0, LAB_READ);
}

static void discard(uint32_t index)
{
	(void)index;
	caches_must(process_inline_dontneed(0, 1), "madvise");
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.untold = true, .looked_at = true};

	caches_begin(s, &options, 1);
	caches_attach();
	caches_thread("user", use);
	caches_thread("cpu", discard);
}

const struct lab_scenario lab_scenario_r26 = {
	.id = "R26",
	.title = "a look-up between an event without end and the change",
	.expected = "witness witness_hooks",
	.losers = "drop_before_zap",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};
