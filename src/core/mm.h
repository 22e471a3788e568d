/* SPDX-License-Identifier: MIT */
/*
 * mm.h: struct uhmm_mm, for the core's own files.
 *
 * One lock, mm->lock, guards the tree, the list of active invalidations, and every write to a notifier's `active`, `seq` and
 * `busy`. It is held for a few dozen instructions, never around a callback, an allocation or a wait.
 */
#ifndef CORE_MM_H
#define CORE_MM_H

#include "core/core.h"
#include "core/itree.h"
#include "core/lockcheck.h"
#include "core/occupancy.h"
#include "core/queue.h"
#include "port/mm.h"

/*
 * `active` and `busy` of a notifier count by twos; the low bit says that somebody sleeps on the word. Both are written under
 * the lock alone, so no read-modify-write is needed; `active` is read without it.
 */
#define COUNT_ONE 2u
#define COUNT_WAITER 1u

static inline bool count_is_zero(uint32_t word)
{
	return word < COUNT_ONE;
}

enum invalidation_state {
	INV_FAST,   /* published in the thread's line, linked only if an inserter claims it */
	INV_LINKED, /* in mm->active, counted in every notifier that it overlaps */
	INV_QUEUED, /* G12: in mm->queue */
};

struct uhmm_mm {
	/* Read by every look-up; written on a fork and by an invalidation from a signal handler that interrupted a holder. */
	_Alignas(64) struct uhmm_a64 floor; /* every seq below it is stale */
	struct uhmm_a32 life;               /* 1, and one more in each forked child */
	struct uhmm_a32 queued;             /* entries of `queue` that are not drained */
	struct uhmm_a32 drains;             /* bumped by each drain; readers sleep on it */
	struct uhmm_a32 drain_sleepers;     /* who might */
	uint32_t place;                     /* in every thread's line; CORE_FAST_MMS: none */
	uint32_t monitors;
	struct uhmm_a32 unsettled;          /* see core_mm_set_unsettled() */
	struct core_watch_hook *watch_hooks; /* set before the address space is handed out */
	struct occupancy occupied;

	_Alignas(64) struct sync_lock lock;
	struct uhmm_a64 next_seq;           /* atomic because a signal handler may interrupt the holder of the lock */
	struct uhmm_invalidation *active;   /* linked, in no order */
	struct itree tree;
	uint64_t invalidations, callbacks;
	struct uhmm_a64 stats[CORE_STATS];
	struct core_stat_source *sources;
	struct core_fork_hook *fork_hooks;

	struct core_queue queue;
};

/* All live address spaces. A fixed table, so that a forked child can walk it without a lock. */
#define CORE_MMS 64u
struct uhmm_mm *core_mm_at(uint32_t i);
void core_mm_delist(struct uhmm_mm *mm);

void core_lock(struct uhmm_mm *mm);
void core_lock_spin(struct uhmm_mm *mm); /* never sleeps */
void core_unlock(struct uhmm_mm *mm);

/* A seq that was never used; also for a signal handler that interrupted the holder of the lock. */
static inline uint64_t core_new_seq(struct uhmm_mm *mm)
{
	/* Full: who sees a greater one (as the floor) sees what was counted before a smaller one was taken. */
	return a64_fetch_add_full(&mm->next_seq, 1) + 1;
}

static inline bool core_overlaps(uintptr_t s1, uintptr_t e1, uintptr_t s2, uintptr_t e2)
{
	return s1 < e2 && s2 < e1;
}

static inline bool inv_overlaps(const struct uhmm_invalidation *inv, uintptr_t start, uintptr_t end)
{
	return core_overlaps(inv->private_event.start, inv->private_event.end, start, end);
}

/* False for the parent's notifiers in a forked child. */
static inline bool core_is_inserted(const struct uhmm_notifier *n)
{
	uint32_t life = a32_load_relaxed(&n->private_life);

	return life && life == a32_load_relaxed(&n->private_mm->life);
}

/* Whether it was inserted by anybody, parent included, and not removed. */
static inline bool core_was_inserted(const struct uhmm_notifier *n)
{
	return a32_load_relaxed(&n->private_life) != 0;
}

/* Under the lock: as many linked invalidations more, or one less, cover n. The latter wakes readers at zero. */
void core_activate(struct uhmm_notifier *n, uint32_t count);
void core_deactivate(struct uhmm_notifier *n, uint32_t count);
/* Under the lock: one callback or sleeping reader more or less. The latter returns what is to be called without the lock. */
void core_busy(struct uhmm_notifier *n);
void (*core_unbusy(struct uhmm_notifier *n))(struct uhmm_notifier *n);

/* Under the lock: announce a sleeper on `active` or `busy`, who unlocks and then awaits zero; false: it is zero already. */
bool core_sleep_on(struct uhmm_a32 *word);

/* Under the lock: link or unlink an invalidation. */
void core_link(struct uhmm_mm *mm, struct uhmm_invalidation *inv);
void core_unlink(struct uhmm_invalidation *inv);

/* invalidate.c: what fast.h leaves: with what is published, if anything is; on top of a lock holder (G12); after a claim. */
int core_start_slow(struct uhmm_mm *mm, struct uhmm_invalidation *inv, struct uhmm_a64 *range);
int core_start_queued(struct uhmm_mm *mm, struct uhmm_invalidation *inv);
void core_end_slow(struct uhmm_invalidation *inv, bool changed);

/*
 * Under the lock, after the occupancy of [start, end) was set and a full barrier: link every published invalidation that
 * overlaps, counting it in all notifiers of the tree (G3, G8).
 */
void core_claim(struct uhmm_mm *mm, uintptr_t start, uintptr_t end);

/* A slot's word, and whether the pages in it touch a range of bytes. */
#define SLOT_START_BITS (MM_ADDR_BITS - MM_PAGE_SHIFT) /* addresses beyond take the slow path */
#define SLOT_START_MASK ((UINT64_C(1) << SLOT_START_BITS) - 1)
#define SLOT_PAGES_MAX ((UINT64_C(1) << (62 - SLOT_START_BITS)) - 1)

static inline bool core_slot_overlaps(uint64_t word, uintptr_t start, uintptr_t end)
{
	uint64_t page = word & SLOT_START_MASK;
	uint64_t pages = (word & (SLOT_PRESENT - 1)) >> SLOT_START_BITS;

	return (word & SLOT_PRESENT) && core_overlaps(page << MM_PAGE_SHIFT, (page + pages) << MM_PAGE_SHIFT, start, end);
}

/* fork.c: ends what a fork of this thread holds open on mm, and waits for those of other threads. mm is off the list. */
void core_fork_forget(struct uhmm_mm *mm);

/* Validation shared by the public calls. */
static inline bool core_range_valid(uintptr_t start, size_t len)
{
	return len != 0 && start < MM_ADDR_END && len <= MM_ADDR_END - start;
}

#endif
