/* SPDX-License-Identifier: MIT */
/*
 * r24.c: R24. After MADV_FREE a page is there until memory is short, and then it goes without another call, so without
 * another event for those who hear of calls only. Who looks it up in between, and holds no reference, must make it dirty to
 * keep it.
 */
#include "lab/scenarios/caches.h"

static struct uhmm_a32 *used;

/* A use from before the call may be under way when the page goes: the first is over by then, the second begins after it. */
static void use(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
	lab_fetch_add(used, 1);
	process_await_returned(1);
	caches_use(0, LAB_READ);
}

static void give_up(uint32_t index)
{
	int err;

	(void)index;
	caches_must(process_madv_free(0, 1), "madvise");
	lab_await(used, 1);
	err = lab_cpu_drop(0); /* the kernel, some time later */
	if (err && err != -EAGAIN)
		caches_must(err, "the kernel");
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.unpinned = true};

	caches_begin(s, &options, 1);
	used = lab_alloc_zeroed(sizeof(*used));
	caches_attach();
	caches_thread("user", use);
	caches_thread("cpu", give_up);
}

const struct lab_scenario lab_scenario_r24 = {
	.id = "R24",
	.title = "MADV_FREE, then a look-up; the page goes later, without another call",
	.expected = "interval_populate",
	.losers = "announce_before",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};
