/* SPDX-License-Identifier: MIT */
/*
 * seat.c: who uses which region.
 *
 * A get leaves a ticket in the seat that its thread has at the cache; a put takes it away again. Both are plain stores to the
 * thread's own lines. Everything else goes through region->held, under the cache lock:
 *
 *   - a get whose ticket set is full adds one to held;
 *   - a put whose thread has no ticket of the region (another did the get) takes one from held, which may become negative.
 *     It cannot clear the other thread's ticket: that thread may at the same moment be clearing the same one, with
 *     a plain store, for another reference, and one of two puts would be lost.
 *
 * A region is in use while (its tickets in all seats) + held > 0. Tickets that others gave back stay in their owner's seat
 * until the set is full, or the owner puts the region; then the owner settles them against held, so that a put too many is not
 * taken for one of theirs. They may even outlive the region: held is never reset, so the two still cancel when the object has
 * become another region.
 *
 * Seats are mapped for the life of the process and found through a list that only grows. Whether an owner is still there is
 * asked of the kernel by thread id, when many new threads have come: no callback at thread exit is needed, none is missed, and
 * a thread that still uses the cache after its exit handlers ran is no special case. References of a thread that has exited
 * stay where they are, and count.
 */

#include "regcache/cache.h"

static struct uhmm_aptr all_seats;
/*
 * From "its owner is gone" to "it is mine": thread ids are used again, and a new thread with the old owner's id could otherwise
 * claim the seat in between, after which the compare-and-swap would take it from a living thread.
 */
static struct sync_lock claim_lock = SYNC_LOCK_INIT;

static void claim_lock_acquire(void)
{
	core_hold();
	sync_lock_acquire(&claim_lock);
}

static void claim_lock_release(void)
{
	sync_lock_release(&claim_lock);
	core_unhold();
}

void seats_fork_child(void)
{
	sync_lock_init(&claim_lock);
}

/* ---- finding one ---- */

static void take_seat(struct seat *s)
{
	struct core_thread *t = core_thread();

	a32_store_relaxed(&s->calls, 0);
	aptr_store_relaxed(&s->table, NULL);
	aptr_store_relaxed(&s->thread_next, t->regcache);
	fence_signal();
	t->regcache = s;
}

/* Under the claim lock. `any`: one that is nobody's may be taken too. */
static bool claim(struct seat *s, uint32_t me, bool any)
{
	uint32_t owner = a32_load_acquire(&s->owner);

	/* One with our own id is not ours, or it would be in our list: the id was used before. */
	return ((any && owner == 0) || owner == me || thread_is_gone(owner)) && a32_cas_full(&s->owner, owner, me);
}

/* Under the claim lock. From an owner that has exited, whose references go on counting. */
static struct seat *inherit(struct uhmm_regcache *c, uint32_t me)
{
	uint32_t count = a32_load_relaxed(&c->seats_count);

	if (count < a32_load_relaxed(&c->seats_recheck))
		return NULL;
	for (struct seat *s = aptr_load_acquire(&c->seats); s; s = aptr_load_acquire(&s->cache_next)) {
		if (claim(s, me, false)) {
			take_seat(s);
			return s;
		}
	}
	a32_store_relaxed(&c->seats_recheck, 2 * count);
	return NULL;
}

static bool is_in_list(const struct seat *s)
{
	for (const struct seat *mine = core_thread()->regcache; mine; mine = aptr_load_relaxed(&mine->thread_next))
		if (mine == s)
			return true;
	return false;
}

/* Under the claim lock. One whose cache was destroyed: our own, or that of a thread which is gone. */
static struct seat *unbound(uint32_t me)
{
	for (struct seat *s = aptr_load_acquire(&all_seats); s; s = aptr_load_acquire(&s->all_next)) {
		if (aptr_load_acquire(&s->cache))
			continue;
		if (a32_load_relaxed(&s->owner) == me && is_in_list(s))
			return s;
		if (claim(s, me, true)) {
			take_seat(s);
			return s;
		}
	}
	return NULL;
}

#define SEATS_BYTES ((size_t)16384)

/* All but the first are left for others. */
static struct seat *map_seats(uint32_t me)
{
	struct seat *fresh, *head;
	void *at;

	if (mm_map(SEATS_BYTES, &at) != 0)
		return NULL;
	fresh = at;
	a32_store_relaxed(&fresh->owner, me);
	for (uint32_t i = 0; i + 1 < SEATS_BYTES / sizeof(struct seat); i++)
		aptr_store_relaxed(&fresh[i].all_next, &fresh[i + 1]);
	do {
		head = aptr_load_relaxed(&all_seats);
		aptr_store_relaxed(&fresh[SEATS_BYTES / sizeof(struct seat) - 1].all_next, head);
	} while (!aptr_cas_full(&all_seats, head, fresh));
	take_seat(fresh);
	return fresh;
}

struct seat *seat_bind(struct uhmm_regcache *c)
{
	struct core_thread *t = core_thread();
	uint32_t me = thread_id();
	struct seat *s = t->regcache;
	bool inherited;

	/* In a forked child the list is the parent's. */
	if (s && a32_load_relaxed(&s->owner) != me)
		t->regcache = NULL;
	claim_lock_acquire();
	s = inherit(c, me);
	inherited = s != NULL;
	if (!s)
		s = unbound(me);
	claim_lock_release();
	if (inherited)
		return s;
	if (!s)
		s = map_seats(me);
	if (!s)
		return NULL;
	aptr_store_release(&s->cache, c);
	cache_lock(c);
	aptr_store_relaxed(&s->cache_next, aptr_load_relaxed(&c->seats));
	aptr_store_release(&c->seats, s);
	a32_store_relaxed(&c->seats_count, a32_load_relaxed(&c->seats_count) + 1);
	cache_unlock(c);
	return s;
}

void seats_unbind_all(struct uhmm_regcache *c)
{
	struct seat *s = aptr_load_relaxed(&c->seats), *next;

	for (; s; s = next) {
		next = aptr_load_relaxed(&s->cache_next);
		for (uint32_t i = 0; i < SEAT_SETS * SEAT_WAYS; i++)
			a64_store_relaxed(&s->tickets[i], 0);
		a64_store_relaxed(&s->hits, 0);
		a64_store_relaxed(&s->misses, 0);
		aptr_store_relaxed(&s->table, NULL);
		/* Release: whoever binds it again finds the rest done. */
		aptr_store_release(&s->cache, NULL);
	}
	aptr_store_relaxed(&c->seats, NULL);
	a32_store_relaxed(&c->seats_count, 0);
}

/* ---- references, under the cache lock ---- */

/* The only writer of held, so that `debts` is right whenever the lock is free. */
void held_add(struct uhmm_regcache *c, struct region *r, int32_t n)
{
	int32_t before = region_held(r), after = before + n;
	uint32_t debts = a32_load_relaxed(&c->debts) + (uint32_t)(after < 0) - (uint32_t)(before < 0);

	a32_store_relaxed(&r->held, (uint32_t)after);
	a32_store_release(&c->debts, debts);
}

void seat_settle(struct uhmm_regcache *c, struct seat *s, const struct region *of)
{
	struct uhmm_a64 *set = seat_set(s, of);

	for (uint32_t way = 0; way < SEAT_WAYS; way++) {
		uint64_t word = a64_load_relaxed(&set[way]), count = word & TICKET_COUNT_MAX;
		struct region *r = (struct region *)(uintptr_t)(word >> TICKET_COUNT_BITS);
		uint64_t debt;

		if (!r || region_held(r) >= 0)
			continue;
		debt = (uint64_t)-(int64_t)region_held(r);
		if (debt > count)
			debt = count;
		held_add(c, r, (int32_t)debt);
		a64_store_release(&set[way], debt == count ? 0 : word - debt);
	}
}

void seat_hold(struct uhmm_regcache *c, struct seat *s, struct region *r)
{
	if (ticket_take(s, r))
		return;
	seat_settle(c, s, r);
	if (!ticket_take(s, r))
		held_add(c, r, 1);
}

int64_t seats_count_uses(const struct uhmm_regcache *c, const struct region *r)
{
	int64_t uses = region_held(r);

	for (struct seat *s = aptr_load_acquire(&c->seats); s; s = aptr_load_acquire(&s->cache_next)) {
		const struct uhmm_a64 *set = seat_set(s, r);

		for (uint32_t way = 0; way < SEAT_WAYS; way++) {
			uint64_t word = a64_load_acquire(&set[way]);

			if (word >> TICKET_COUNT_BITS == (uintptr_t)r)
				uses += (int64_t)(word & TICKET_COUNT_MAX);
		}
	}
	return uses;
}

#define USE_TRIES 8u

/*
 * A count of 0 proves nothing while hits go on, for references move between seats:
 *
 *	this thread, about to put a reference that A got          B                      A
 *	looks at B's seat: nothing
 *	                                                          hit: its own ticket
 *	                                                          passes it on to A      puts it: A's ticket goes
 *	looks at A's seat: nothing
 *
 * So before 0 is believed, the region is made such that nobody can hit it, as an invalidation would, and the barrier makes the
 * hits before that visible: from then on tickets only go away, each with its reference, and ours is not among those.
 */
bool seats_use(struct uhmm_regcache *c, struct region *r)
{
	for (uint32_t tries = 0; seats_count_uses(c, r) <= 0; tries++) {
		uint32_t published;

		if (tries == USE_TRIES)
			return true; /* revived each time: somebody did use it */
		if (region_state(r) == REGION_VALID) {
			index_suspend(c, r);
			a32_store_relaxed(&r->state, REGION_SUSPENDED);
		}
		published = r->published;
		cache_unlock(c);
		sync_heavy_barrier(); /* pairs with fence_light() in uhmm_regcache_get() and in uhmm_regcache_put() */
		cache_lock(c);
		if (r->published == published)
			return seats_count_uses(c, r) > 0;
	}
	return true;
}

bool seats_name_table(const struct uhmm_regcache *c, const struct table *t)
{
	for (struct seat *s = aptr_load_acquire(&c->seats); s; s = aptr_load_acquire(&s->cache_next))
		if (aptr_load_acquire(&s->table) == t)
			return true;
	return false;
}
