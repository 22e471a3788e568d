/* SPDX-License-Identifier: MIT */
/* mm.c: an address space's life, its lock, its counters. */
#include "core/mm.h"

#include <errno.h>
#include <string.h>

/* Entries are written under no lock but by compare-and-swap; CORE_MMS of them, so that fork handlers need no allocation. */
static struct uhmm_aptr mms[CORE_MMS];
static struct uhmm_a32 places; /* bit i: place i of every thread's line is taken */

struct uhmm_mm *core_mm_at(uint32_t i)
{
	return aptr_load_acquire(&mms[i]);
}

/* ---- the lock ---- */

void core_lock(struct uhmm_mm *mm)
{
	core_count_up(&core_thread()->core_held);
	sync_lock_acquire(&mm->lock);
	lockcheck_acquire(&mm->lock, "address space");
}

void core_lock_spin(struct uhmm_mm *mm)
{
	core_count_up(&core_thread()->core_held);
	sync_lock_acquire_spin(&mm->lock);
	lockcheck_acquire(&mm->lock, "address space");
}

void core_unlock(struct uhmm_mm *mm)
{
	lockcheck_release(&mm->lock);
	sync_lock_release(&mm->lock);
	core_count_down(&core_thread()->core_held);
}

/* ---- life ---- */

static bool enlist(struct uhmm_mm *mm)
{
	for (uint32_t i = 0; i < CORE_MMS; i++)
		if (!core_mm_at(i) && aptr_cas_full(&mms[i], NULL, mm))
			return true;
	return false;
}

void core_mm_delist(struct uhmm_mm *mm)
{
	for (uint32_t i = 0; i < CORE_MMS; i++)
		aptr_cas_full(&mms[i], mm, NULL);
}

static uint32_t take_place(void)
{
	for (uint32_t place = 0; place < CORE_FAST_MMS; place++)
		if (!(a32_fetch_or_full(&places, 1u << place) & 1u << place))
			return place;
	return CORE_FAST_MMS;
}

static void zero_count(struct core_slot *slot, void *mm)
{
	a64_store_relaxed(&slot->invalidations[((struct uhmm_mm *)mm)->place], 0);
}

int core_mm_create(struct uhmm_mm **out)
{
	struct uhmm_mm *mm;
	void *at;
	int err = core_service_start();

	if (!err)
		err = mm_map(sizeof(*mm), &at);
	if (err)
		return err;
	mm = at; /* zeroed */
	sync_lock_init(&mm->lock);
	itree_init(&mm->tree);
	occupancy_init(&mm->occupied);
	a32_store_relaxed(&mm->life, 1);
	mm->place = take_place();
	if (mm->place < CORE_FAST_MMS)
		core_slots_each(zero_count, mm);
	if (!enlist(mm)) {
		core_mm_destroy(mm);
		return -ENOMEM;
	}
	*out = mm;
	return 0;
}

void core_mm_destroy(struct uhmm_mm *mm)
{
	core_service_quiesce(mm);
	assert(itree_count(&mm->tree) == 0);
	assert(!mm->active);
	if (mm->place < CORE_FAST_MMS)
		a32_fetch_and_full(&places, ~(1u << mm->place));
	itree_destroy(&mm->tree);
	occupancy_destroy(&mm->occupied);
	mm_unmap(mm, sizeof(*mm));
}

void core_mm_set_monitors(struct uhmm_mm *mm, uint32_t bits)
{
	mm->monitors = bits;
}

uint32_t core_mm_get_monitors(const struct uhmm_mm *mm)
{
	return mm->monitors;
}

uint32_t core_mm_life(const struct uhmm_mm *mm)
{
	return a32_load_relaxed(&mm->life);
}

void core_mm_set_unsettled(struct uhmm_mm *mm, bool unsettled)
{
	a32_store_release(&mm->unsettled, unsettled);
}

bool core_mm_is_settled(const struct uhmm_mm *mm)
{
	return !a32_load_acquire(&mm->unsettled);
}

const struct uhmm_a32 *core_mm_queued(const struct uhmm_mm *mm)
{
	return &mm->queued;
}

bool core_in_callback(void)
{
	return a32_load_relaxed(&core_thread()->callbacks) != 0;
}

void uhmm_lock_acquired(const void *lock, const char *name)
{
	core_hold();
	lockcheck_acquire(lock, name);
}

void uhmm_lock_released(const void *lock)
{
	lockcheck_release(lock);
	core_unhold();
}

/* ---- counters ---- */

void core_stat_add(struct uhmm_mm *mm, enum core_stat which, uint64_t n)
{
	a64_fetch_add_relaxed(&mm->stats[which], n);
}

void core_stat_source_add(struct uhmm_mm *mm, struct core_stat_source *s)
{
	core_lock(mm);
	s->next = mm->sources;
	mm->sources = s;
	core_unlock(mm);
}

void core_stat_source_remove(struct uhmm_mm *mm, struct core_stat_source *s)
{
	core_lock(mm);
	for (struct core_stat_source **p = &mm->sources; *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			break;
		}
	}
	core_unlock(mm);
}

void core_fork_hook_add(struct uhmm_mm *mm, struct core_fork_hook *h)
{
	core_lock(mm);
	h->next = mm->fork_hooks;
	mm->fork_hooks = h;
	core_unlock(mm);
}

void core_fork_hook_remove(struct uhmm_mm *mm, struct core_fork_hook *h)
{
	core_lock(mm);
	for (struct core_fork_hook **p = &mm->fork_hooks; *p; p = &(*p)->next) {
		if (*p == h) {
			*p = h->next;
			break;
		}
	}
	core_unlock(mm);
}

struct fast_count {
	uint32_t place;
	uint64_t sum;
};

static void add_fast(struct core_slot *slot, void *arg)
{
	struct fast_count *c = arg;

	c->sum += a64_load_relaxed(&slot->invalidations[c->place]);
}

static void gather(struct uhmm_mm *mm, struct uhmm_stats *s)
{
	struct fast_count fast = {.place = mm->place};

	if (mm->place < CORE_FAST_MMS)
		core_slots_each(add_fast, &fast);
	s->retries = a64_load_relaxed(&mm->stats[CORE_STAT_RETRIES]);
	s->cache_hits = a64_load_relaxed(&mm->stats[CORE_STAT_CACHE_HITS]);
	s->cache_misses = a64_load_relaxed(&mm->stats[CORE_STAT_CACHE_MISSES]);
	s->cache_evictions = a64_load_relaxed(&mm->stats[CORE_STAT_CACHE_EVICTIONS]);
	s->deferred = a64_load_relaxed(&mm->stats[CORE_STAT_DEFERRED]);
	core_lock(mm);
	s->invalidations = mm->invalidations + fast.sum;
	s->callbacks = mm->callbacks;
	for (struct core_stat_source *src = mm->sources; src; src = src->next)
		src->add(src, s);
	core_unlock(mm);
}

int uhmm_mm_stats(const struct uhmm_mm *mm, struct uhmm_stats *out)
{
	struct uhmm_stats s = {.size = sizeof(s)};
	size_t n;

	/* All fields are of the first release. */
	if (!mm || !out || out->size < sizeof(s))
		return -EINVAL;
	gather((struct uhmm_mm *)mm, &s);
	n = out->size < sizeof(s) ? out->size : sizeof(s);
	s.size = out->size;
	memcpy(out, &s, n);
	return 0;
}
