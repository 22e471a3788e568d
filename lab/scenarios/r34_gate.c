/* SPDX-License-Identifier: MIT */
/*
 * r34_gate.c: R34. What else the gate stands in the way of.
 *
 *	R34a  an unmap that only userfaultfd sees, the address given out through libc, where the hooks see it, and a discard of
 *	      the same page on the way through a hook: two monitors, each with its own brackets, around one page
 *	R34b  the reader dies, anywhere on its way: whoever waits for it is let go, and nothing stale is handed out
 *	R34c  an address space is closed while the reader is on its way through it
 *	R34d  a page is moved by a call that only userfaultfd sees, onto another that is registered
 */
#include "core/mm.h"
#include "core/queue.h"
#include "lab/models/uffd.h"
#include "lab/scenarios/caches.h"
#include "monitors/witness.h"

static uint32_t calls;

static void use(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
	process_await_returned(calls);
	caches_use(0, LAB_READ);
}

static void reuse(uint32_t index)
{
	(void)index;
	caches_must(process_inline_munmap(0, 1), "munmap");
	caches_must(process_mmap(0, 1), "mmap");
}

/* There or not. */
static void discard(uint32_t index)
{
	(void)index;
	process_dontneed(0, 1);
}

static void setup_both(const struct lab_setup *s)
{
	static const struct process_options options = {.untold = true, .looked_at = true};

	caches_begin(s, &options, 1);
	caches_attach();
	calls = s->invalidators > 1 ? 3 : 2;
	caches_thread("user", use);
	caches_thread("cpu0", reuse);
	if (s->invalidators > 1)
		caches_thread("cpu1", discard);
}

/* ---- the reader dies ---- */

static void use_after(uint32_t index)
{
	(void)index;
	caches_use(0, LAB_READ);
	process_await_returned(1);
	caches_use(0, LAB_READ);
	caches_use(0, LAB_READ);
}

static void change_inline(uint32_t index)
{
	(void)index;
	caches_must(process_inline_munmap(0, 1), "munmap");
}

static void setup_dies(const struct lab_setup *s)
{
	static const struct process_options options = {.untold = true, .reader_dies = true};

	caches_begin(s, &options, 1);
	caches_attach();
	caches_thread("user", use_after);
	caches_thread("cpu", change_inline);
}

/* ---- moved ---- */

static void use_target(uint32_t index)
{
	(void)index;
	caches_use(1, LAB_READ);
	process_await_returned(1);
	caches_use(1, LAB_READ);
}

static void move(uint32_t index)
{
	(void)index;
	caches_must(process_inline_mremap(0, 1, 1), "mremap");
}

static void setup_moved(const struct lab_setup *s)
{
	static const struct process_options options = {.untold = true};

	caches_begin(s, &options, 2);
	caches_attach();
	caches_thread("user", use_target);
	caches_thread("cpu", move);
}

/* ---- closed ---- */

static struct witness witness;
static struct uhmm_mm *mm;

static void reader(void *arg)
{
	(void)arg;
	for (;;) {
		struct witness_event event = {.kind = WITNESS_UNMAP, .forgotten = true};
		struct lab_uffd_event e;

		lab_uffd_poll();
		witness_shut(&witness, &witness.reader);
		e = lab_uffd_read();
		event.start = LAB_ADDR(e.page);
		event.end = LAB_ADDR(e.page + e.count);
		if (witness_open(&witness, &witness.reader, &event, 1))
			core_service_wake();
	}
}

static void closes(uint32_t index)
{
	(void)index;
	witness_detach(&witness, mm);
	core_mm_destroy(mm);
	/* It is no more: an access that this does not come after is a data race, one after it finds what cannot be. */
	mm->queued.private_value = UINT32_MAX / 2;
}

static void setup_closed(const struct lab_setup *s)
{
	caches_begin(s, NULL, 1);
	lab_silence(true);
	caches_must(core_mm_create(&mm), "no address space");
	witness_init(&witness);
	caches_must(witness_attach(&witness, mm), "no witness");
	lab_uffd_watch(reader, NULL);
	caches_thread("cpu", change_inline);
	caches_thread("close", closes);
}

static void check_closed(const struct lab_setup *s)
{
	(void)s;
	if (mm->queued.private_value != UINT32_MAX / 2)
		lab_fail("a closed address space has been written to");
}

const struct lab_scenario lab_scenario_r34_both = {
	.id = "R34a",
	.title = "hooks, witness and reuse around one page",
	.expected = "witness_hooks",
	.losers = "",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup_both,
	.invalidators_max = 2, /* 2: beside a discard through a hook */
};

const struct lab_scenario lab_scenario_r34_dies = {
	.id = "R34b",
	.title = "the witness dies on its way",
	.expected = "witness",
	.losers = "",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup_dies,
};

const struct lab_scenario lab_scenario_r34_closed = {
	.id = "R34c",
	.title = "an address space is closed beside the witness",
	.expected = "",
	.losers = "",
	.setup = setup_closed,
	.check = check_closed,
	.core_only = true,
};

const struct lab_scenario lab_scenario_r34_moved = {
	.id = "R34d",
	.title = "a page is moved onto a registered one, unseen by the hooks",
	.expected = "witness",
	.losers = "event_after_reuse",
	.needs = LAB_NEEDS_NAMED,
	.setup = setup_moved,
};
