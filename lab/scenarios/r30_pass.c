/* SPDX-License-Identifier: MIT */
/*
 * r30_pass.c: R30. References move between seats while a put looks for one:
 *
 *	P, puts what A got                       B                        A
 *	looks at B's seat: nothing
 *	                                         hit: B's ticket
 *	                                         passes it on to A        puts it: A's ticket goes
 *	looks at A's seat: nothing
 *
 * Required: P's put is not taken for one too many, and the region is in nobody's use afterwards.
 */
#include "lab/scenarios/caches.h"

static struct uhmm_reg *first, *second;
static struct uhmm_a32 first_there, second_there;

static void get_then_put_other(uint32_t index)
{
	struct registrant_get get;

	(void)index;
	caches_must(lab_cache_get(caches->cache, 0, LAB_READ, &first, &get), "get");
	lab_store_release(&first_there, 1);
	lab_await(&second_there, 1);
	lab_cache_put(caches->cache, second);
}

static void get_and_pass_on(uint32_t index)
{
	struct registrant_get get;

	(void)index;
	lab_await(&first_there, 1);
	caches_must(lab_cache_get(caches->cache, 0, LAB_READ, &second, &get), "get");
	lab_store_release(&second_there, 1);
}

static void put_first(uint32_t index)
{
	(void)index;
	lab_await(&first_there, 1);
	lab_cache_put(caches->cache, first);
}

static void setup(const struct lab_setup *s)
{
	caches_begin(s, NULL, 1);
	caches_own();
	caches->destroys = true;
	caches_thread("A", get_then_put_other);
	caches_thread("B", get_and_pass_on);
	caches_thread("P", put_first);
}

const struct lab_scenario lab_scenario_r30_pass = {
	.id = "R30i",
	.title = "references move between threads while one is put",
	.expected = "",
	.losers = "",
	.setup = setup,
	.core_only = true,
};
