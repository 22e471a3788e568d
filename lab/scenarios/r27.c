/* SPDX-License-Identifier: MIT */
/*
 * r27.c: R27. reg() itself changes the range that it registers: its own free() gives memory back. Every registration is stale
 * when it is made; the get must end all the same, after a bounded number of them, and keep none of them for the next.
 */
#include "lab/scenarios/caches.h"

#define CALLS_MAX 20u

static void use(uint32_t index)
{
	(void)index;
	for (uint32_t gets = 0; gets < 2; gets++) {
		uint32_t before = registrant_calls();

		caches_use(0, LAB_READ);
		if (registrant_calls() > before + CALLS_MAX)
			lab_fail("one get made %u registrations", registrant_calls() - before);
	}
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.reg_discards = true};

	caches_begin(s, &options, 1);
	caches_attach();
	caches_thread("user", use);
}

const struct lab_scenario lab_scenario_r27 = {
	.id = "R27",
	.title = "a registration changes the very range that it registers",
	.expected = "regcache hooks",
	.losers = "retry_forever",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};
