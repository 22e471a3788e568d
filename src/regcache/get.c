/* SPDX-License-Identifier: MIT */
/* get.c: hits and puts, the only parts that are run millions of times a second. What they rely on is in cache.h and seat.c. */
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

#include "regcache/cache.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct request {
	uintptr_t addr, last; /* bytes, both included */
	uint32_t need;        /* the bits that a slot's value must have */
};

/* A ticket that came too late, or on a region that does not reach far enough. */
static void give_back(struct uhmm_regcache *c, struct seat *seat, struct region *r)
{
	ticket_drop(seat, r);
	fence_light();
	/* As in uhmm_regcache_put(): the reaper may have seen it. */
	if (unlikely(a32_load_acquire(&c->pending)) && a32_load_acquire(&r->state) == REGION_DROPPED)
		reap_kick(c);
}

/*
 * The slot said `value`. Keep the region and look again: if the slot still says so now, whoever takes the region away finds our
 * ticket, and until then its range does not change.
 */
static struct region *keep(struct uhmm_regcache *c, struct seat *seat, const struct slot *s, uint32_t value,
			   const struct request *q, bool exact)
{
	struct region *r = region_at(c, value >> SLOT_NUMBER_SHIFT);

	if (unlikely(!ticket_take(seat, r)))
		return NULL;
	fence_light(); /* pairs with sync_heavy_barrier() in reap.c */
	if (unlikely(a32_load_acquire(&s->value) != value) ||
	    (!exact && (q->addr < region_start(r) || q->last >= region_end(r)))) {
		give_back(c, seat, r);
		return NULL;
	}
	return r;
}

static inline struct region *search(struct uhmm_regcache *c, struct seat *seat, const struct table *t, uint32_t class,
				    const struct request *q, bool exact)
{
	uint64_t key = index_key(q->addr >> MM_PAGE_SHIFT, class), at;
	struct slot *s = &t->slots[index_home(key, t->size)], *end = &t->slots[t->size];

	while ((at = a64_load_acquire(&s->key)) != 0) {
		uint32_t value = a32_load_acquire(&s->value);

		if (at == key && (value & q->need) == q->need) {
			struct region *r = keep(c, seat, s, value, q, exact);

			if (likely(r != NULL)) {
				if (c->bounded && a32_load_relaxed(&s->stamp) != a32_load_relaxed(&c->clock))
					a32_store_relaxed(&s->stamp, a32_load_relaxed(&c->clock));
				return r;
			}
		}
		if (unlikely(++s == end))
			s = t->slots;
	}
	return NULL;
}

static inline struct region *hit(struct uhmm_regcache *c, struct seat *seat, const struct request *q)
{
	const struct table *t = cache_table(c);
	uintptr_t pages = (q->last >> MM_PAGE_SHIFT) - (q->addr >> MM_PAGE_SHIFT) + 1;
	uint32_t classes, class;

	/* Before the table is looked at: once this says 0 again, the regions that were queued are no longer valid there. */
	if (unlikely(a32_load_acquire(c->queued)))
		return NULL;
	/* Only a table that our seat names stays mapped; the slow path names the new one. */
	if (unlikely(aptr_load_relaxed(&seat->table) != t))
		return NULL;
	classes = a32_load_relaxed(&t->classes);
	if (likely(pages == 1 && classes == 1))
		return search(c, seat, t, 0, q, true); /* what is entered under a page contains the page */
	class = index_class(pages);
	for (classes &= ~0u << class; classes; classes &= classes - 1) {
		struct region *r;

		class = (uint32_t)__builtin_ctz(classes);
		r = search(c, seat, t, class, q, class == 0 && pages == 1);
		if (r)
			return r;
	}
	return NULL;
}

int uhmm_regcache_get(struct uhmm_regcache *cache, const void *addr, size_t len, uint32_t access, struct uhmm_reg **reg)
{
	struct request q = {.addr = (uintptr_t)addr, .last = (uintptr_t)addr + len - 1, .need = access << 1 | SLOT_VALID};
	struct seat *seat;

	/* Access is 1, 2 or 3; a range that wraps or is empty ends before it begins. The slow path names what is wrong. */
	if (likely(cache && reg && access - 1 < 3 && q.last >= q.addr)) {
		seat = seat_of_thread(cache);
		if (likely(seat != NULL)) {
			struct region *r = hit(cache, seat, &q);

			if (likely(r != NULL)) {
				a64_store_relaxed(&seat->hits, a64_load_relaxed(&seat->hits) + 1);
				*reg = &r->reg;
				return 0;
			}
		}
	}
	return miss_get(cache, q.addr, len, access, reg);
}

/* ---- put ---- */

#define REPORTS_MAX 10u

/* One clear line each for the first few; the rest is silence. */
static void report(const char *what)
{
	static struct uhmm_a32 reports;

	if (a32_fetch_add_relaxed(&reports, 1) < REPORTS_MAX)
		port_syscall(SYS_write, 2, (long)(uintptr_t)what, (long)strlen(what), 0, 0, 0);
}

/* A registration that this thread's seat knows nothing of: see seat.c. */
static __attribute__((noinline)) void put_elsewhere(struct uhmm_regcache *c, struct uhmm_reg *reg)
{
	struct arena *a = aptr_load_acquire(&c->arena);
	struct region *r;
	bool last = false, used = false;

	cache_lock(c);
	r = region_of(a, reg);
	if (r) {
		used = region_state(r) != REGION_FREE && seats_use(c, r);
		if (used)
			held_add(c, r, -1);
		last = used && region_state(r) == REGION_DROPPED;
	}
	cache_unlock(c);
	if (last)
		reap_kick(c);
	if (used)
		return;
	/* In a forked child: the parent's, and its own business. */
	for (a = a ? a->parent : c->parents; a && !r && !used; a = a->parent)
		used = region_of(a, reg) != NULL;
	if (!used)
		report(r ? "uhmm: uhmm_regcache_put: put twice, or not in use; ignored\n"
			 : "uhmm: uhmm_regcache_put: not a registration of this cache; ignored\n");
}

/* Other threads have put more of some regions than they got: perhaps what this one's ticket stands for. */
static __attribute__((noinline)) void settle(struct uhmm_regcache *c, struct seat *seat, const struct region *r)
{
	if (!ticket_exists(seat, r) || region_held(r) >= 0)
		return;
	cache_lock(c);
	seat_settle(c, seat, r);
	cache_unlock(c);
}

void uhmm_regcache_put(struct uhmm_regcache *cache, struct uhmm_reg *reg)
{
	struct region *r = (struct region *)((uintptr_t)reg - offsetof(struct region, reg));
	struct seat *seat;

	if (unlikely(!cache || !reg))
		return;
	seat = seat_of_thread(cache);
	if (unlikely(a32_load_acquire(&cache->debts)) && seat)
		settle(cache, seat, r);
	if (unlikely(!seat || !ticket_drop(seat, r))) {
		put_elsewhere(cache, reg);
		return;
	}
	fence_light(); /* pairs with sync_heavy_barrier() in reap.c */
	if (unlikely(a32_load_acquire(&cache->pending)) && a32_load_acquire(&r->state) == REGION_DROPPED)
		reap_kick(cache);
}
