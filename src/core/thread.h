/* SPDX-License-Identifier: MIT */
/*
 * thread.h: what the core keeps for each thread: the counts by which it refuses to wait on itself, and a published line in
 * which the fast path announces an invalidation (G8).
 */
#ifndef CORE_THREAD_H
#define CORE_THREAD_H

#include <assert.h>

#include "port/sync.h"
#include "port/thread.h"

/* Address-space objects that have a place in every thread's line; later ones always take the slow path. */
#define CORE_FAST_MMS 2u

/*
 * One thread's published state: written by its owner, claimed by inserters under the address-space lock. range[i] is one of
 *
 *   0                 nothing is published for address space i
 *   RESERVED          the owner is about to publish; a nested invalidation finds it and takes the slow path
 *   pages|PRESENT     an invalidation of those pages runs; inv[i] is it
 *   ...|CLAIMED       an inserter has linked and counted it: the owner must end it the slow way
 *
 * The line has one owner at a time, but "the thread" may be two at once: a child made by a bare clone() shares the thread-local
 * storage of its parent. Hence the compare-and-swap to RESERVED before inv[i] is touched.
 */
struct core_slot {
	_Alignas(64) struct uhmm_a64 range[CORE_FAST_MMS];
	struct uhmm_aptr inv[CORE_FAST_MMS];
	struct uhmm_a64 invalidations[CORE_FAST_MMS]; /* fast ones, for uhmm_mm_stats(); only the owner writes */
	struct uhmm_a32 owned;
};

/* The fast path runs right after the kernel has emptied the first-level cache: lines are what it costs. */
static_assert(sizeof(struct core_slot) == 64, "one line for each thread");

#define SLOT_RESERVED UINT64_C(1)
#define SLOT_PRESENT (UINT64_C(1) << 62)
#define SLOT_CLAIMED (UINT64_C(1) << 63)

/* Lives in thread_area(): zero in a new thread. Signal handlers of the same thread look at it, hence the atomics. */
struct core_thread {
	struct core_slot *slot;
	struct uhmm_a32 holds;     /* driver locks held, or being taken and dropped */
	struct uhmm_a32 core_held; /* the same of address-space locks */
	struct uhmm_a32 callbacks; /* depth of protocol callbacks */
	uint32_t slow_only;        /* the line is being taken, cannot be given back, or the thread is exiting */
	void *fork;                /* src/core/fork.c, between prepare and parent or child */
	void *lockcheck;           /* the lock checker's, in checking builds */
	void *regcache;            /* the registration cache's own per-thread state */
	void *hooks[2];            /* the hooks' own per-thread state */
};

static_assert(sizeof(struct core_thread) <= THREAD_AREA_SIZE, "thread area too small");

static inline struct core_thread *core_thread(void)
{
	return thread_area();
}

static inline void core_count_up(struct uhmm_a32 *count)
{
	a32_store_relaxed(count, a32_load_relaxed(count) + 1);
	fence_signal();
}

static inline void core_count_down(struct uhmm_a32 *count)
{
	fence_signal();
	a32_store_relaxed(count, a32_load_relaxed(count) - 1);
}

/* Around every lock that a callback takes: the first before acquiring it, the second after releasing it (G12). */
static inline void core_hold(void)
{
	core_count_up(&core_thread()->holds);
}

static inline void core_unhold(void)
{
	core_count_down(&core_thread()->holds);
}

/* The calling thread's line, taken on first use; NULL: it has none (yet). Never allocates. */
struct core_slot *core_slot_first(struct core_thread *t);
static inline struct core_slot *core_slot(struct core_thread *t)
{
	return __builtin_expect(t->slot != NULL, 1) ? t->slot : core_slot_first(t);
}
/* More lines for new threads: before the first address space, and by the service thread when they are wanted. -ENOMEM. */
int core_lines_add(void);
bool core_lines_wanted(void);
bool core_lines_exist(void);
/* Calls fn(slot, arg) for every line that ever had an owner. */
void core_slots_each(void (*fn)(struct core_slot *slot, void *arg), void *arg);
/* In a forked child: every line but the calling thread's is empty and free. */
void core_slots_fork_child(void);
/* fn(area's core_thread) runs at the exit of every thread that got a line; one registration, before any thread has one. */
void core_at_thread_exit(void (*fn)(struct core_thread *t));

#endif
