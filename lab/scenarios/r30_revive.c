/* SPDX-License-Identifier: MIT */
/*
 * r30_revive.c: R30. A call that failed has suspended a region and left it (G11): the next look-up revives it, as it would
 * publish a registration. R30c: while the page changes for good. R30h: and another thread evicts it to make room.
 *
 *	user                                     cpu
 *	get: suspended; read_begin: seq
 *	                                         start: seq = new (it is suspended already)
 *	                                         frame 1 -> frame 2
 *	lock; read_retry(seq): yes: not revived
 *
 * Required: the next get does not yield frame 1 either.
 */
#include <uhmm/notifier.h>

#include "lab/scenarios/caches.h"

/* In the prologue: registered, and suspended by a call that then failed. */
static void suspend(void *arg)
{
	const struct uhmm_event event = {.start = LAB_ADDR(0), .end = LAB_ADDR(1), .kind = UHMM_EVENT_UNMAP};
	struct uhmm_invalidation inv;

	(void)arg;
	caches_use(0, LAB_READ);
	caches_must(uhmm_invalidate_start(lab_mm(), &inv, &event), "start");
	uhmm_invalidate_abort(&inv);
}

static void use_twice(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
	caches_use(0, LAB_READ);
}

static void use_other(uint32_t index)
{
	(void)index;
	caches_use(1, LAB_READ);
}

static void change(uint32_t index)
{
	(void)index;
	caches_must(process_dontneed(0, 1), "madvise");
}

static void setup(const struct lab_setup *s)
{
	caches_begin(s, NULL, 1);
	caches_own();
	process_open_with(suspend, NULL);
	caches_thread("user", use_twice);
	caches_thread("cpu", change);
}

static void setup_evict(const struct lab_setup *s)
{
	static const struct process_options options = {.max_regions = 1};

	caches_begin(s, &options, 2);
	caches_own();
	process_open_with(suspend, NULL);
	caches_thread("user0", use_twice);
	caches_thread("cpu", change);
	caches_thread("user1", use_other);
}

const struct lab_scenario lab_scenario_r30_revive = {
	.id = "R30c",
	.title = "a region is revived while its page changes",
	.expected = "",
	.losers = "",
	.setup = setup,
	.core_only = true,
};

const struct lab_scenario lab_scenario_r30_revive_evict = {
	.id = "R30h",
	.title = "a region is revived, evicted and invalidated",
	.expected = "",
	.losers = "",
	.setup = setup_evict,
	.core_only = true,
};
