/* SPDX-License-Identifier: MIT */
/*
 * r30_alone.c: R30. The last put of a region that the change has dropped, beside the thread that deregisters: one of the two
 * must see the other, or the registration stays until somebody happens to ask. Nobody does here; all that is registered goes
 * by itself.
 */
#include "lab/scenarios/caches.h"

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
	caches_thread("user", use);
	caches_thread("cpu", change);
}

const struct lab_scenario lab_scenario_r30_alone = {
	.id = "R30g",
	.title = "what was dropped is deregistered by itself",
	.expected = "",
	.losers = "",
	.setup = setup,
	.core_only = true,
};
