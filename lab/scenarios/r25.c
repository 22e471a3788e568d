/* SPDX-License-Identifier: MIT */
/*
 * r25.c: R25. Watching begins while a thread is already past the entry of munmap(), or inside: its change has no start. What
 * is looked up from then on must not be kept, until every thread has been seen outside.
 */
#include "lab/scenarios/caches.h"

static void late(uint32_t index)
{
	(void)index;
	caches->model->attach_late(caches->device, LAB_ADDR(0), LAB_ADDR(LAB_PAGES));
	caches_use(0, LAB_READ);
	process_await_returned(1);
	caches_use(0, LAB_READ);
}

static void change(uint32_t index)
{
	(void)index;
	caches_must(process_mmap_fixed(0, 1), "mmap");
}

static void setup(const struct lab_setup *s)
{
	static const struct process_options options = {.untold = true, .late = true};

	caches_begin(s, &options, 1);
	caches_attach();
	caches_thread("changer", change);
	caches_thread("opener", late);
}

const struct lab_scenario lab_scenario_r25 = {
	.id = "R25",
	.title = "a thread is inside munmap when watching begins",
	.expected = "hooks",
	.losers = "open_no_wait",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup,
};
