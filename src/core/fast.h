/* SPDX-License-Identifier: MIT */
/*
 * fast.h: start and end of an invalidation that overlaps no notifier (G8), inline: they run right before and right after a
 * system call, which leaves neither code nor returns where the processor finds them at once. What they rely on is in
 * invalidate.c.
 */
#ifndef CORE_FAST_H
#define CORE_FAST_H

#include "core/mm.h"

/* The word of a range, or 0 if it does not fit. */
static inline uint64_t fast_word(uintptr_t start, uintptr_t end)
{
	uint64_t page = start >> MM_PAGE_SHIFT;
	uint64_t pages = ((end + MM_PAGE_SIZE - 1) >> MM_PAGE_SHIFT) - page;

	if (page + pages > SLOT_START_MASK || pages > SLOT_PAGES_MAX)
		return 0;
	return SLOT_PRESENT | pages << SLOT_START_BITS | page;
}

/* The word where inv is published now, or NULL: it has to be linked. */
static inline struct uhmm_a64 *fast_publish(struct uhmm_mm *mm, struct uhmm_invalidation *inv, struct core_thread *t,
					    uint64_t word)
{
	const uint32_t place = mm->place;
	struct core_slot *slot;
	struct uhmm_a64 *range;

	if (__builtin_expect(place >= CORE_FAST_MMS || !word, 0))
		return NULL;
	slot = core_slot(t);
	if (__builtin_expect(!slot, 0))
		return NULL;
	range = &slot->range[place];
	/* Fails for a nested invalidation, also one of a signal handler at any point from here. */
	if (__builtin_expect(!a64_cas_full(range, 0, SLOT_RESERVED), 0))
		return NULL;
	aptr_store_relaxed(&slot->inv[place], inv);
	/* Full barrier; pairs with the one in core_claim()'s callers, between their store to the occupancy and their scan. */
	a64_xchg_full(range, word);
	a64_store_relaxed(&slot->invalidations[place], a64_load_relaxed(&slot->invalidations[place]) + 1);
	return range;
}

/*
 * inv->private_event is filled in and valid, of [start, end). As uhmm_invalidate_start().
 *
 * The occupancy is looked at twice. What is watched already is not published first, which would only be taken back; and the
 * look brings the lines that the one after the barrier, which counts, would have to wait for.
 */
static inline __attribute__((always_inline)) int core_start(struct uhmm_mm *mm, struct uhmm_invalidation *inv, uintptr_t start,
							    uintptr_t end)
{
	struct core_thread *t = core_thread();
	struct uhmm_a64 *range;

	lockcheck_invalidating();
	inv->private_mm = mm;
	inv->private_thread = t;
	inv->private_life = a32_load_relaxed(&mm->life);
	inv->private_rescan = 0;
	inv->private_state = INV_FAST;
	if (__builtin_expect(a32_load_relaxed(&t->core_held) != 0, 0))
		return core_start_queued(mm, inv);
	if (__builtin_expect(occupancy_any(&mm->occupied, start, end), 0))
		return core_start_slow(mm, inv, NULL);
	range = fast_publish(mm, inv, t, fast_word(start, end));
	inv->private_place = range;
	if (__builtin_expect(!range || occupancy_any(&mm->occupied, start, end), 0))
		return core_start_slow(mm, inv, range);
	lockcheck_opened();
	return 0;
}

/* As uhmm_invalidate_end() or, where nothing changed, uhmm_invalidate_abort(). */
static inline __attribute__((always_inline)) void core_end(struct uhmm_invalidation *inv, bool changed)
{
	/* An exchange, because a plain store would lose a claim. */
	if (__builtin_expect(inv->private_state != INV_FAST || (a64_xchg_full(inv->private_place, 0) & SLOT_CLAIMED), 0))
		core_end_slow(inv, changed);
	lockcheck_closed();
}

#endif
