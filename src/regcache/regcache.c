/* SPDX-License-Identifier: MIT */
/* regcache.c: create, flush, destroy, fork, counters. How the cache works is in cache.h. */
#include <errno.h>
#include <string.h>

#include "regcache/cache.h"

#define CACHE_BYTES ((size_t)mm_page_ceil(sizeof(struct uhmm_regcache)))
#define KNOWN_FLAGS ((uint32_t)UHMM_REGCACHE_PINS)
#define REGIONS_MAX ((uint64_t)ARENA_CHUNKS * ARENA_CHUNK_REGIONS - 1)

/* ---- options ---- */

static int read_options(const struct uhmm_regcache_options *in, struct uhmm_regcache_options *out)
{
	const unsigned char *beyond;

	*out = (struct uhmm_regcache_options){.size = sizeof(*out)};
	if (!in)
		return 0;
	beyond = (const unsigned char *)in + sizeof(*out);
	if (in->size < sizeof(*out))
		return -EINVAL;
	for (size_t i = sizeof(*out); i < in->size; i++)
		if (*beyond++ != 0)
			return -E2BIG;
	*out = *in;
	return out->flags & ~KNOWN_FLAGS ? -EINVAL : 0;
}

/* ---- counters ---- */

static void add_stats(struct core_stat_source *source, struct uhmm_stats *out)
{
	struct uhmm_regcache *c = (struct uhmm_regcache *)((uintptr_t)source - offsetof(struct uhmm_regcache, stats));

	/* No lock: the list only grows, and the address-space lock under which this runs nests inside the cache's. */
	for (struct seat *s = aptr_load_acquire(&c->seats); s; s = aptr_load_acquire(&s->cache_next)) {
		out->cache_hits += a64_load_relaxed(&s->hits);
		out->cache_misses += a64_load_relaxed(&s->misses);
	}
}

/* What the seats counted stays counted. */
static void remove_stats(struct uhmm_regcache *c)
{
	struct uhmm_stats sum = {.size = sizeof(sum)};

	core_stat_source_remove(c->mm, &c->stats);
	add_stats(&c->stats, &sum);
	core_stat_add(c->mm, CORE_STAT_CACHE_HITS, sum.cache_hits);
	core_stat_add(c->mm, CORE_STAT_CACHE_MISSES, sum.cache_misses);
}

/* ---- fork ---- */

static void begin_empty(struct uhmm_regcache *c)
{
	c->empty = (struct table){.size = 1, .used = 1, .slots = &c->empty_slot};
	aptr_store_release(&c->table, &c->empty);
	c->regions = c->bytes = c->registering = 0;
	c->lru = c->busy = (struct region_list){0};
	c->dropped = 0;
	c->retired = NULL;
	c->waiters = 0;
	c->reaper = NULL;
	a32_store_relaxed(&c->pending, 0);
	a32_store_relaxed(&c->debts, 0);
	a32_store_relaxed(&c->work, 0);
	a32_store_relaxed(&c->idle, 0);
	a32_store_relaxed(&c->serviced, 0);
}

/*
 * In the child, which has one thread, no lock taken, nothing allocated. The parent's regions are left where they are, so that a
 * put of one can be told from a mistake; its tables are forgotten, for one may have been half replaced.
 */
static void on_fork_child(struct core_fork_hook *h)
{
	struct uhmm_regcache *c = (struct uhmm_regcache *)((uintptr_t)h - offsetof(struct uhmm_regcache, fork));
	struct arena *a = aptr_load_relaxed(&c->arena);

	sync_lock_init(&c->lock);
	seats_fork_child();
	begin_empty(c);
	if (a)
		c->parents = a; /* whose own parent is what c->parents was when it was made */
	aptr_store_release(&c->arena, NULL);
	seats_unbind_all(c); /* the child's own puts must not find the parent's tickets */
	a32_store_relaxed(&c->seats_recheck, 0);
	core_thread()->regcache = NULL;
	c->life++;
}

/* ---- create and destroy ---- */

static void set_up(struct uhmm_regcache *c, struct uhmm_mm *mm, const struct uhmm_regcache_ops *ops, void *ctx,
		   const struct uhmm_regcache_options *o)
{
	sync_lock_init(&c->lock);
	c->mm = mm;
	c->queued = core_mm_queued(mm);
	c->ops = *ops;
	c->ctx = ctx;
	c->notifier_ops = (struct uhmm_notifier_ops){.invalidate = notify_invalidate, .end = notify_end};
	c->max_regions = o->max_regions && o->max_regions < REGIONS_MAX ? o->max_regions : REGIONS_MAX;
	c->max_bytes = o->max_bytes;
	c->bounded = o->max_regions || o->max_bytes;
	c->flags = o->flags;
	a32_store_relaxed(&c->seats_recheck, 16);
	c->stats.add = add_stats;
	c->fork.child = on_fork_child;
	begin_empty(c);
}

int uhmm_regcache_create(struct uhmm_mm *mm, const struct uhmm_regcache_ops *ops, void *ctx,
			 const struct uhmm_regcache_options *options, struct uhmm_regcache **cache)
{
	struct uhmm_regcache_options o;
	struct uhmm_regcache *c;
	void *at;
	int err;

	if (!mm || !ops || !ops->reg || !ops->dereg || !cache)
		return -EINVAL;
	err = read_options(options, &o);
	if (err)
		return err;
	err = mm_map(CACHE_BYTES, &at);
	if (err)
		return err;
	c = at;
	set_up(c, mm, ops, ctx, &o);
	err = reap_start_service(c);
	if (err) {
		mm_unmap(c, CACHE_BYTES);
		return err;
	}
	core_stat_source_add(mm, &c->stats);
	core_fork_hook_add(mm, &c->fork);
	*cache = c;
	return 0;
}

/* SEAT_IN_*: whether the calling thread is inside an op that one of its own gets called. */
static uint32_t own_calls(const struct uhmm_regcache *c)
{
	const struct seat *seat = seat_of_thread(c);

	return seat ? a32_load_relaxed(&seat->calls) : 0;
}

int uhmm_regcache_flush(struct uhmm_regcache *cache)
{
	int err, state;

	if (!cache)
		return -EINVAL;
	if (core_in_callback() || own_calls(cache) >= SEAT_IN_DEREG)
		return -EDEADLK;
	/* A thread cancelled inside dereg() would be the reaper for ever. */
	state = thread_cancel_disable();
	cache_lock(cache);
	err = reap_enter(cache, SYNC_FOREVER);
	if (!err) {
		reap_pass(cache);
		reap_leave(cache);
	}
	cache_unlock(cache);
	thread_cancel_restore(state);
	return err;
}

/* Under the lock, after a heavy barrier: fn(region) for all that are there; true: some fn said so. */
static bool any_region(struct uhmm_regcache *c, bool (*fn)(struct uhmm_regcache *c, struct region *r))
{
	struct arena *a = aptr_load_relaxed(&c->arena);
	bool any = false;

	for (uint32_t number = 1; a && number < a->fresh; number++) {
		struct region *r = region_in(a, number);

		any |= region_state(r) != REGION_FREE && fn(c, r);
	}
	return any;
}

static bool is_used(struct uhmm_regcache *c, struct region *r)
{
	return seats_count_uses(c, r) > 0;
}

static bool drop(struct uhmm_regcache *c, struct region *r)
{
	if (region_state(r) != REGION_DROPPED)
		reap_drop(c, r, true);
	return false;
}

#define EMPTY_TRIES 8u

/* Under the lock; the caller is the reaper. Again, because dereg() may have got and put something. */
static int empty_out(struct uhmm_regcache *c)
{
	for (uint32_t tries = 0; tries < EMPTY_TRIES; tries++) {
		cache_unlock(c);
		sync_heavy_barrier(); /* pairs with fence_light() in gets by threads that are done with the cache */
		cache_lock(c);
		if (c->registering || any_region(c, is_used))
			return -EBUSY;
		any_region(c, drop);
		reap_pass(c);
		if (!c->regions)
			return 0;
	}
	return -EBUSY;
}

/* Nothing is registered, and nobody uses the cache. */
static void end(struct uhmm_regcache *c)
{
	reap_stop_service(c);
	core_fork_hook_remove(c->mm, &c->fork);
	remove_stats(c);
	seats_unbind_all(c);
	index_unmap(c);
	arenas_unmap(aptr_load_relaxed(&c->arena));
	if (!aptr_load_relaxed(&c->arena))
		arenas_unmap(c->parents);
	mm_unmap(c, CACHE_BYTES);
}

int uhmm_regcache_destroy(struct uhmm_regcache *cache)
{
	struct uhmm_regcache *c = cache;
	int err, state;

	if (!c)
		return 0;
	if (core_in_callback() || own_calls(c))
		return -EDEADLK;
	state = thread_cancel_disable();
	cache_lock(c);
	err = reap_enter(c, SYNC_FOREVER);
	if (!err) {
		err = empty_out(c);
		reap_leave(c);
	}
	cache_unlock(c);
	if (!err)
		end(c);
	thread_cancel_restore(state);
	return err;
}
