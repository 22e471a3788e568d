/* SPDX-License-Identifier: MIT */
/*
 * notify.c: what the address space tells, inside munmap() and free(). Both callbacks take the cache lock for a few table slots
 * and nothing else: no allocation, no wait for a user of the region (G7, G10).
 */
#include <errno.h>

#include "regcache/cache.h"

#define TRIES_BEFORE_EAGAIN 200u

static struct uhmm_regcache *cache_of(const struct uhmm_notifier *n)
{
	return (struct uhmm_regcache *)((uintptr_t)n->private_ops - offsetof(struct uhmm_regcache, notifier_ops));
}

/* A registrant that really pins keeps its pages across fork. */
static bool is_ours_to_ignore(const struct uhmm_regcache *c, const struct uhmm_event *event)
{
	return event->kind == UHMM_EVENT_RELEASE && (c->flags & UHMM_REGCACHE_PINS);
}

static bool lock_for(struct uhmm_regcache *c, const struct uhmm_event *event)
{
	if (!(event->flags & UHMM_EVENT_NONBLOCK)) {
		cache_lock(c);
		return true;
	}
	core_hold();
	for (uint32_t i = 0; i < TRIES_BEFORE_EAGAIN; i++) {
		if (sync_lock_try(&c->lock)) {
			lockcheck_acquire(&c->lock, "uhmm_regcache");
			return true;
		}
		sync_relax();
	}
	core_unhold();
	return false;
}

/*
 * New gets miss it from here on. A registration or revival under way is left to its read_retry, which has a new seq to see; a
 * range of which only a part changes goes as a whole, its other pages come back at the next miss.
 */
int notify_invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct uhmm_regcache *c = cache_of(n);
	struct region *r = (struct region *)n;

	if (is_ours_to_ignore(c, event))
		return 0;
	if (!lock_for(c, event))
		return -EAGAIN;
	if (region_state(r) == REGION_VALID) {
		index_suspend(c, r);
		a32_store_relaxed(&r->state, REGION_SUSPENDED);
	} else if (region_state(r) == REGION_EVICTING) {
		a32_store_relaxed(&r->state, REGION_SUSPENDED);
	}
	cache_unlock(c);
	return 0;
}

/* G11: what the change left alone stays suspended for the next look-up to revive; nothing is revived here. */
void notify_end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	struct uhmm_regcache *c = cache_of(n);
	struct region *r = (struct region *)n;
	bool drop;

	if (!changed || is_ours_to_ignore(c, event))
		return;
	if (event->flags & UHMM_EVENT_NONBLOCK) {
		core_hold();
		sync_lock_acquire_spin(&c->lock);
		lockcheck_acquire(&c->lock, "uhmm_regcache");
	} else {
		cache_lock(c);
	}
	drop = region_state(r) == REGION_VALID || region_state(r) == REGION_SUSPENDED || region_state(r) == REGION_EVICTING;
	if (drop)
		reap_drop(c, r, true);
	cache_unlock(c);
	if (drop)
		reap_kick_dropped(c);
}
