/* SPDX-License-Identifier: MIT */
/*
 * reap.c: regions leave: deregistration, on the cache's own thread, and eviction, in a get that needs room.
 *
 * A dropped region waits in `dropped` until one heavy barrier has made every ticket visible and every later get unable to find
 * it; found in use it moves to `busy`, and the put that might be the last one asks for another look:
 *
 *	put                                     reaper
 *	take the ticket away                    state = DROPPED, pending++      (under the lock)
 *	fence_light()                           sync_heavy_barrier()
 *	pending? state DROPPED? kick            count the tickets
 *
 * Either the reaper does not find the ticket, or the put sees the region dropped and kicks. From then on tickets only go away,
 * so a region in `busy` needs no further barrier.
 *
 * One thread at a time is the reaper, so flush need only become it once to know that what was dropped before is gone.
 */
#include <errno.h>

#include "port/clock.h"
#include "regcache/cache.h"

/* ---- progress: something that a waiter may be interested in has happened ---- */

int reap_wait_progress(struct uhmm_regcache *c, uint64_t deadline_ns)
{
	uint32_t seen = a32_load_relaxed(&c->progress);
	int err;

	c->waiters++;
	cache_unlock(c);
	err = sync_await32(&c->progress, sync_differs32, &seen, deadline_ns);
	cache_lock(c);
	c->waiters--;
	return err;
}

void reap_signal_progress(struct uhmm_regcache *c)
{
	a32_store_release(&c->progress, a32_load_relaxed(&c->progress) + 1);
	if (c->waiters)
		sync_wake32(&c->progress);
}

/* ---- deregistration ---- */

/*
 * Inside munmap(): only the region itself is written, not its neighbours in the LRU list, which would be cold. It leaves the
 * list when the reaper comes.
 */
void reap_drop(struct uhmm_regcache *c, struct region *r, bool entered)
{
	assert(region_state(r) != REGION_FREE && region_state(r) != REGION_DROPPED);
	if (entered)
		index_leave(c, r);
	a32_store_release(&r->state, REGION_DROPPED);
	a32_store_release(&c->pending, a32_load_relaxed(&c->pending) + 1);
	r->stamp = c->dropped;
	c->dropped = r->number;
}

/* After a drop. A burst of unmaps needs no more than this load: the service thread clears the bit before it takes the lock. */
void reap_kick_dropped(struct uhmm_regcache *c)
{
	if (!(a32_load_relaxed(&c->work) & SERVICE_REAP))
		reap_kick(c);
}

/* After a put, which was made without the lock: the read-modify-write also makes it visible before the next scan. */
void reap_kick(struct uhmm_regcache *c)
{
	a32_fetch_or_full(&c->work, SERVICE_REAP);
	/* Pairs with the full exchange in service_main(): it sees the work, or we see it idle. */
	if (a32_load_acquire(&c->idle) && a32_cas_full(&c->idle, 1, 0))
		sync_wake32(&c->work);
}

int reap_enter(struct uhmm_regcache *c, uint64_t deadline_ns)
{
	int err = 0;

	while (!err && c->reaper) {
		if (c->reaper == core_thread())
			return -EDEADLK;
		err = reap_wait_progress(c, deadline_ns);
	}
	if (!err)
		c->reaper = core_thread();
	return err;
}

void reap_leave(struct uhmm_regcache *c)
{
	c->reaper = NULL;
	reap_signal_progress(c);
}

/* A region that was never VALID, or an uncached one, is in no list. */
static bool is_listed(const struct uhmm_regcache *c, const struct region *r)
{
	return r->next || r->prev || c->lru.first == r->number;
}

/* Of a queue of dropped regions, all to `busy`. */
static void take_in(struct uhmm_regcache *c, uint32_t number)
{
	while (number) {
		struct region *r = region_at(c, number);

		number = r->stamp;
		if (is_listed(c, r))
			list_remove(c, &c->lru, r);
		list_push(c, &c->busy, r);
	}
}

/* Under the lock, which is dropped for the whole list: munmap() in another thread may be waiting for it. */
static void bury(struct uhmm_regcache *c, const struct region_list *dead)
{
	uint32_t number;

	cache_unlock(c);
	for (number = dead->first; number; number = region_at(c, number)->next) {
		uhmm_notifier_remove(&region_at(c, number)->notifier);
		c->ops.dereg(c->ctx, &region_at(c, number)->reg);
	}
	cache_lock(c);
	for (number = dead->first; number;) {
		struct region *r = region_at(c, number);

		number = r->next;
		c->bytes -= r->reg.len;
		region_free(c, r);
	}
	c->regions -= dead->count;
	a32_store_release(&c->pending, a32_load_relaxed(&c->pending) - dead->count);
}

static void bury_unused(struct uhmm_regcache *c)
{
	struct region_list dead = {0};
	uint32_t number;

	for (number = c->busy.first; number;) {
		struct region *r = region_at(c, number);

		number = r->next;
		if (seats_count_uses(c, r) > 0)
			continue;
		list_remove(c, &c->busy, r);
		list_push(c, &dead, r);
	}
	if (dead.first)
		bury(c, &dead);
}

void reap_pass(struct uhmm_regcache *c)
{
	uint32_t fresh = c->dropped;

	c->dropped = 0;
	if (fresh) {
		cache_unlock(c);
		sync_heavy_barrier(); /* pairs with fence_light() in uhmm_regcache_get() and in uhmm_regcache_put() */
		cache_lock(c);
		take_in(c, fresh);
	}
	bury_unused(c);
}

/* ---- eviction ---- */

#define VICTIMS_MAX 64u
/* In one go: the lock is held, and free() may be waiting for it. */
#define STEPS_MAX 256u

struct search {
	uint64_t budget; /* regions to look at */
	bool any_age;    /* everybody else is in use: also one that is hit all the time */
};

struct victims {
	struct region *region[VICTIMS_MAX];
	bool suspended[VICTIMS_MAX];
	uint32_t count;
	uint64_t bytes;
};

static bool is_met(const struct uhmm_regcache *c, struct reap_goal goal, uint64_t leaving, uint64_t leaving_bytes)
{
	return c->regions - leaving <= goal.regions && c->bytes - leaving_bytes <= goal.bytes;
}

static bool is_newer(const struct region *r, uint32_t stamp)
{
	return (int32_t)(r->stamp - stamp) > 0;
}

/* To where it belongs by its last hit, from the end: behind the last one that is not newer. At most *steps are looked at. */
static void relist(struct uhmm_regcache *c, struct region *r, uint32_t stamp, uint32_t *steps)
{
	uint32_t behind;

	list_remove(c, &c->lru, r);
	r->stamp = stamp;
	for (behind = c->lru.last; behind && *steps; (*steps)--) {
		const struct region *other = region_at(c, behind);

		/* The stamp of a dropped one is something else. */
		if (region_state(other) != REGION_DROPPED && !is_newer(other, stamp))
			break;
		behind = other->prev;
	}
	list_insert(c, &c->lru, behind, r);
}

/* One that is in use, or chosen, or no longer of interest. */
static void to_the_end(struct uhmm_regcache *c, struct region *r)
{
	list_remove(c, &c->lru, r);
	if (region_state(r) != REGION_DROPPED)
		r->stamp = c->ticks;
	list_push(c, &c->lru, r);
}

/* Not one that was chosen already, or has been dropped and only not yet taken out of the list. */
static bool is_evictable(const struct region *r)
{
	return region_state(r) == REGION_VALID || region_state(r) == REGION_SUSPENDED;
}

static void take_victim(struct uhmm_regcache *c, struct victims *v, struct region *r)
{
	bool suspended = region_state(r) == REGION_SUSPENDED;

	if (!suspended)
		index_suspend(c, r);
	a32_store_relaxed(&r->state, REGION_EVICTING);
	v->region[v->count] = r;
	v->suspended[v->count++] = suspended;
	v->bytes += r->reg.len;
}

/*
 * The list is put in order only here: a region that was hit since it was listed goes where its last hit says, one in use goes
 * to the end. A large cache gives up a few more than it must, so that the barrier is paid for once in that many.
 */
static void choose(struct uhmm_regcache *c, struct victims *v, struct reap_goal goal, struct search *search)
{
	uint32_t wanted = 1 + (c->lru.count < CACHE_LARGE ? 0 : CACHE_SPARE), steps = STEPS_MAX, compared = STEPS_MAX;

	while (c->lru.first && v->count < VICTIMS_MAX && (v->count < wanted || !is_met(c, goal, v->count, v->bytes))) {
		struct region *r = region_at(c, c->lru.first);
		uint32_t stamp = is_evictable(r) ? index_stamp(c, r) : r->stamp;

		if (search->budget == 0 || steps-- == 0)
			break;
		search->budget--;
		if (stamp != r->stamp && !search->any_age) {
			relist(c, r, stamp, &compared);
			continue;
		}
		to_the_end(c, r);
		if (is_evictable(r) && seats_count_uses(c, r) <= 0)
			take_victim(c, v, r);
	}
}

static void drop_to_busy(struct uhmm_regcache *c, struct region *r)
{
	const uint32_t others = c->dropped;

	c->dropped = 0;
	reap_drop(c, r, true);
	take_in(c, c->dropped);
	c->dropped = others;
}

/* After the barrier: who took a ticket in time keeps the region, as it was. */
static uint32_t decide(struct uhmm_regcache *c, const struct victims *v)
{
	uint32_t evicted = 0;

	for (uint32_t i = 0; i < v->count; i++) {
		struct region *r = v->region[i];

		/* If not: it may have been revived meanwhile, and hit by somebody for whom our barrier came too early. */
		if (region_state(r) != REGION_EVICTING)
			continue;
		if (seats_count_uses(c, r) <= 0) {
			drop_to_busy(c, r); /* one has just been */
			evicted++;
		} else {
			a32_store_relaxed(&r->state, v->suspended[i] ? REGION_SUSPENDED : REGION_VALID);
			if (!v->suspended[i])
				index_publish(c, r, index_stamp(c, r));
		}
	}
	return evicted;
}

/* Lets those in who wait for the lock. -ENOSPC: the whole list has been looked at, twice, and all of it is in use. */
static int look_further(struct uhmm_regcache *c, uint64_t budget)
{
	cache_unlock(c);
	cache_lock(c);
	return budget ? 0 : -ENOSPC;
}

static int evict(struct uhmm_regcache *c, struct reap_goal goal, struct search *search)
{
	struct victims v = {.count = 0};
	uint32_t evicted;

	choose(c, &v, goal, search);
	if (!v.count)
		return look_further(c, c->lru.first ? search->budget : 0);
	cache_unlock(c);
	sync_heavy_barrier(); /* as in reap_pass() */
	cache_lock(c);
	evicted = decide(c, &v);
	bury_unused(c);
	if (evicted)
		core_stat_add(c->mm, CORE_STAT_CACHE_EVICTIONS, evicted);
	return 0;
}

/* Through the whole list, twice. */
static int evict_until(struct uhmm_regcache *c, struct reap_goal goal, bool any_age)
{
	struct search search = {.budget = 2 * (uint64_t)c->lru.count, .any_age = any_age};
	int err = 0;

	while (!err && !is_met(c, goal, 0, 0))
		err = evict(c, goal, &search);
	return err;
}

/* The caller is the reaper. What was dropped or put while the list was looked at must not make it seem full. */
static int reap_and_evict(struct uhmm_regcache *c, struct reap_goal goal, uint64_t deadline_ns)
{
	uint64_t regions, bytes;
	bool any_age = false;
	int err;

	reap_pass(c);
	for (;;) {
		err = evict_until(c, goal, any_age);
		if (err != -ENOSPC)
			return err;
		regions = c->regions;
		bytes = c->bytes;
		reap_pass(c);
		if (is_met(c, goal, 0, 0))
			return 0;
		if (any_age && ((c->regions >= regions && c->bytes >= bytes) || clock_now_ns() >= deadline_ns))
			return -ENOSPC;
		any_age = true;
	}
}

int reap_until(struct uhmm_regcache *c, struct reap_goal goal, uint64_t deadline_ns)
{
	int err;

	if (core_in_callback())
		return -EBUSY; /* dereg() may not run here */
	cache_lock(c);
	err = reap_enter(c, deadline_ns);
	if (err) {
		cache_unlock(c);
		return -EBUSY;
	}
	err = reap_and_evict(c, goal, deadline_ns);
	reap_leave(c);
	cache_unlock(c);
	return err;
}

int reap_make_room(struct uhmm_regcache *c, uint64_t bytes, uint64_t deadline_ns)
{
	struct reap_goal goal = {.regions = c->max_regions - 1, .bytes = UINT64_MAX};

	if (c->max_bytes && bytes > c->max_bytes)
		return -ENOSPC;
	if (c->max_bytes)
		goal.bytes = c->max_bytes - bytes;
	return reap_until(c, goal, deadline_ns);
}

/* ---- the service thread ---- */

static bool is_set(uint32_t work, const void *bits)
{
	return (work & *(const uint32_t *)bits) != 0;
}

static void service_main(void *arg)
{
	const uint32_t any = SERVICE_REAP | SERVICE_STOP, stop = SERVICE_STOP;
	struct uhmm_regcache *c = arg;

	for (;;) {
		a32_xchg_full(&c->idle, 1); /* full: pairs with the read-modify-write in reap_kick() */
		sync_await32(&c->work, is_set, &any, SYNC_FOREVER);
		a32_store_release(&c->idle, 0);
		if (a32_fetch_and_full(&c->work, ~(uint32_t)SERVICE_REAP) & SERVICE_STOP)
			return;
		cache_lock(c);
		reap_enter(c, SYNC_FOREVER);
		reap_pass(c);
		reap_leave(c);
		cache_unlock(c);
		/* The first of a burst of unmaps is seen to at once, the rest together. */
		sync_await32(&c->work, is_set, &stop, clock_now_ns() + CACHE_LINGER_NS);
	}
}

int reap_start_service(struct uhmm_regcache *c)
{
	int err;

	if (a32_load_acquire(&c->serviced) || !a32_cas_full(&c->serviced, 0, 1))
		return 0;
	err = thread_service_start(&c->service, service_main, c, "uhmm-regcache");
	if (err)
		a32_store_release(&c->serviced, 0);
	return err;
}

void reap_stop_service(struct uhmm_regcache *c)
{
	if (!a32_load_acquire(&c->serviced))
		return;
	a32_fetch_or_full(&c->work, SERVICE_STOP);
	sync_wake32(&c->work);
	thread_service_join(&c->service);
}
