/* SPDX-License-Identifier: MIT */
/*
 * r28.c: R28. A request with a fixed buffer is prepared; before it is submitted, its range is unmapped and another buffer
 * wants a slot. The slot's number is all that the prepared request has, and it must still be that buffer.
 */
#include "lab/scenarios/caches.h"

static void submit(uint32_t index)
{
	caches_use(index, LAB_WRITE);
}

static void change(uint32_t index)
{
	(void)index;
	caches_must(process_mmap_fixed(0, 1), "mmap");
}

static void setup(const struct lab_setup *s)
{
	caches_begin(s, NULL, 2);
	caches_attach();
	caches_thread("submit0", submit);
	caches_thread("submit1", submit);
	caches_thread("cpu", change);
}

/* In the prologue: page 0's buffer is in a slot, and nobody uses it. */
static void fill(void *arg)
{
	(void)arg;
	caches_use(0, LAB_WRITE);
}

static void submit_other(uint32_t index)
{
	(void)index;
	caches_use(1, LAB_WRITE);
}

static void setup_refill(const struct lab_setup *s)
{
	caches_begin(s, NULL, 2);
	caches_attach();
	process_open_with(fill, NULL);
	caches_thread("submit", submit_other);
	caches_thread("cpu", change);
}

const struct lab_scenario lab_scenario_r28_refill = {
	.id = "R28a",
	.title = "a fixed buffer's slot is emptied and filled again",
	.expected = "uring",
	.losers = "",
	.setup = setup_refill,
};

const struct lab_scenario lab_scenario_r28 = {
	.id = "R28",
	.title = "a fixed buffer's slot is reused between prep and submission",
	.expected = "uring",
	.losers = "slot_reuse",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};
