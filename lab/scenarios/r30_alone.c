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

/* The second one may find the region when it is too late, and give back what it took of it. */
static void use_twice(uint32_t index)
{
	use(index);
	use(index);
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
	caches_thread("user", s->invalidators > 1 ? use_twice : use);
	caches_thread("cpu", change);
}

const struct lab_scenario lab_scenario_r30_alone = {
	.id = "R30g",
	.title = "what was dropped is deregistered by itself",
	.expected = "",
	.losers = "",
	.setup = setup,
	.invalidators_max = 2, /* 2: of two gets, of which the second may be a hit that comes too late */
	.core_only = true,
};
