/* SPDX-License-Identifier: MIT */
/*
 * r30_close.c: R30. An address space is closed while another thread is on its way through a hook that announces to it. Closing
 * takes it out of the hooks' table and waits for those who may have read the table before:
 *
 *	cpu: munmap()                            close
 *	record: inside, since epoch 1
 *	fence_light()
 *	the table: mm                            takes mm out of the table; epoch 2
 *	start                                    sync_heavy_barrier()
 *	... the call ...                         who is inside since before epoch 2? waits
 *	end
 *	record: outside
 *	fence_light(); somebody waits: wake      frees mm
 *
 * Required: nobody touches it then, and the closing ends.
 */
#include "core/mm.h"
#include "lab/scenarios/caches.h"
#include "monitors/hooks.h"

static struct uhmm_mm *mm;
static struct uhmm_a32 called; /* how many calls have returned */

static void attach(void *arg)
{
	(void)arg;
	caches_must(hooks_attach(mm), "no hooks");
}

static void change(uint32_t index)
{
	(void)index;
	caches_must(process_munmap(0, 1), "munmap");
}

/* A thread's second call takes the short way through the hook. */
static void change_twice(uint32_t index)
{
	change(index);
	lab_store_release(&called, 1);
	caches_must(process_munmap(1, 1), "munmap");
}

static void close_it(void)
{
	hooks_detach(mm);
	core_mm_destroy(mm);
	/* It is no more: a read that this does not come after is a data race. */
	mm->place = CORE_FAST_MMS;
}

static void closes(uint32_t index)
{
	(void)index;
	close_it();
}

static void closes_later(uint32_t index)
{
	(void)index;
	lab_await(&called, 1);
	close_it();
}

static void setup(const struct lab_setup *s)
{
	bool twice = s->invalidators > 1;

	caches_begin(s, NULL, 2);
	lab_silence(true);
	called = (struct uhmm_a32){0};
	caches_must(core_mm_create(&mm), "no address space");
	process_open_with(attach, NULL);
	caches_thread("cpu", twice ? change_twice : change);
	caches_thread("close", twice ? closes_later : closes);
}

const struct lab_scenario lab_scenario_r30_close = {
	.id = "R30k",
	.title = "an address space is closed in the middle of a mapping call",
	.expected = "",
	.losers = "",
	.setup = setup,
	.invalidators_max = 2, /* 2: of a thread's second call, which takes the short way */
	.core_only = true,
};
