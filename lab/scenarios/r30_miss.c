/* SPDX-License-Identifier: MIT */
/*
 * r30_miss.c: R30. Two threads miss on the same page: it is registered once. A third changes another page, which is nobody's
 * business.
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
	caches_must(process_dontneed(1, 1), "madvise");
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.cold = true};

	caches_begin(s, &options, 2);
	caches_own();
	caches_thread("user0", use);
	caches_thread("user1", use);
	caches_thread("cpu", change);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	/* Who waits for the other's registration for too long makes one of its own. */
	if (registrant_calls() != 1 && !process_has_deadlines())
		lab_fail("registered %u times", registrant_calls());
}

const struct lab_scenario lab_scenario_r30_miss = {
	.id = "R30a",
	.title = "two misses on one page register once",
	.expected = "",
	.losers = "",
	.setup = setup,
	.core_only = true,
	.check = check,
};
