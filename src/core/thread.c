/* SPDX-License-Identifier: MIT */
/*
 * thread.c: the table of published lines. Lines are never unmapped, so inserters scan them without asking whose they are; a
 * line is handed to a thread on its first invalidation, which may happen inside munmap(), by compare-and-swap and nothing else
 * (G7).
 */
#include "core/thread.h"

#include <errno.h>

#include "core/lockcheck.h"
#include "core/queue.h"
#include "port/mm.h"

#define LINES_PER_CHUNK 64u
#define CHUNKS 256u /* 16,384 threads at a time; those beyond take the slow path */

static struct uhmm_aptr chunks[CHUNKS];
static struct uhmm_a32 chunks_used;
static struct uhmm_a32 lines_used; /* every line that ever had an owner lies below */
static struct uhmm_aptr exit_fn;

static struct uhmm_a32 lines_wanted;

/*
 * Lines are added where mapping memory is allowed: before the first address space, and by the service thread when an
 * invalidation found none (and took the slow path). Only one thread is in here at a time: the start of the service thread comes
 * before all that it does itself.
 */
int core_lines_add(void)
{
	uint32_t count = a32_load_acquire(&chunks_used);
	void *fresh;
	int err;

	a32_store_release(&lines_wanted, 0);
	if (count == CHUNKS)
		return -ENOMEM;
	err = mm_map((size_t)mm_page_ceil(LINES_PER_CHUNK * sizeof(struct core_slot)), &fresh);
	if (err)
		return err;
	aptr_store_release(&chunks[count], fresh);
	a32_store_release(&chunks_used, count + 1);
	return 0;
}

bool core_lines_wanted(void)
{
	return a32_load_acquire(&lines_wanted) != 0;
}

bool core_lines_exist(void)
{
	return a32_load_acquire(&chunks_used) != 0;
}

/*
 * Scanners stop at lines_used. A line that a scanner did not reach is the same as one published after its scan: the publisher's
 * full barrier comes after this, and it then sees what the scanner had made visible before its own barrier.
 */
static void raise_lines_used(uint32_t count)
{
	uint32_t used;

	do {
		used = a32_load_relaxed(&lines_used);
	} while (used < count && !a32_cas_full(&lines_used, used, count));
}

static struct core_slot *take_free_line(void)
{
	uint32_t count = a32_load_acquire(&chunks_used);

	for (uint32_t i = 0; i < count; i++) {
		struct core_slot *lines = aptr_load_acquire(&chunks[i]);

		for (uint32_t j = 0; j < LINES_PER_CHUNK; j++) {
			if (!a32_load_relaxed(&lines[j].owned) && a32_cas_full(&lines[j].owned, 0, 1)) {
				raise_lines_used(i * LINES_PER_CHUNK + j + 1);
				return &lines[j];
			}
		}
	}
	if (count < CHUNKS && a32_xchg_full(&lines_wanted, 1) == 0)
		core_service_wake();
	return NULL;
}

static bool line_is_quiet(struct core_slot *slot)
{
	for (uint32_t i = 0; i < CORE_FAST_MMS; i++)
		if (a64_load_relaxed(&slot->range[i]))
			return false;
	return true;
}

/* The thread runs on after this (its stack is still to be unmapped), without a line. */
static void on_exit(void *area)
{
	struct core_thread *t = area;
	struct core_slot *slot = t->slot;
	void (*fn)(struct core_thread *) = (void (*)(struct core_thread *))aptr_load_acquire(&exit_fn);

	if (fn)
		fn(t);
	t->slow_only = 1;
	t->slot = NULL;
	fence_signal();
	/* A thread that dies inside an invalidation of its own leaves a line that nobody may have. */
	if (slot && line_is_quiet(slot))
		a32_store_release(&slot->owned, 0);
	lockcheck_thread_exit();
}

void core_at_thread_exit(void (*fn)(struct core_thread *t))
{
	aptr_store_release(&exit_fn, (void *)fn);
}

__attribute__((cold)) struct core_slot *core_slot_first(struct core_thread *t)
{
	struct core_slot *slot;

	if (t->slow_only)
		return NULL;
	t->slow_only = 1; /* for a signal handler that comes in between */
	fence_signal();
	if (thread_exit_register(on_exit) != 0)
		return NULL;
	slot = take_free_line();
	t->slot = slot;
	fence_signal();
	t->slow_only = 0; /* without a line: asks again next time */
	return slot;
}

void core_slots_each(void (*fn)(struct core_slot *slot, void *arg), void *arg)
{
	uint32_t left = a32_load_acquire(&lines_used);

	for (uint32_t i = 0; left > 0; i++) {
		struct core_slot *lines = aptr_load_acquire(&chunks[i]);
		uint32_t here = left < LINES_PER_CHUNK ? left : LINES_PER_CHUNK;

		for (uint32_t j = 0; j < here; j++)
			fn(&lines[j], arg);
		left -= here;
	}
}

static void forget_line(struct core_slot *slot, void *mine)
{
	for (uint32_t i = 0; i < CORE_FAST_MMS; i++)
		a64_store_relaxed(&slot->range[i], 0);
	if (slot != mine)
		a32_store_relaxed(&slot->owned, 0);
}

void core_slots_fork_child(void)
{
	core_slots_each(forget_line, core_thread()->slot);
}
