/* SPDX-License-Identifier: MIT */
/*
 * miss.c: a get that is not a hit: waiting for another thread's registration, reviving, registering, widening.
 *
 *	this thread                                     an invalidation of the range
 *	lock: enter the region, REGISTERING; unlock     (a second thread that misses here waits for this one)
 *	insert its notifier                             from here on nothing is missed (R33)
 *	seq = read_begin                                waits for what is active (R9)
 *	reg()                                           start: seq = new; callback: not VALID, nothing to do
 *	lock                                            the pages change
 *	read_retry(seq): dereg(), again
 *	VALID; unlock                                   start, later: the callback finds it VALID: SUSPENDED
 *
 * The bounds (G10, R8, R27): CACHE_RETRIES times with a range that was widened, as many with the pages asked for, and then the
 * registration that has just been made is handed out without being kept: it was made after the get began, so it is not older
 * than any mapping call that had returned by then.
 */
#include <errno.h>
#include <sys/mman.h>

#include "port/clock.h"
#include "port/inject.h"
#include "regcache/cache.h"

#define AGAIN 1 /* begin from the look-up */

struct request {
	struct seat *seat;
	uintptr_t start, end;  /* whole pages */
	uint32_t access;
	uint32_t life;         /* of the cache, when the get began */
	bool exact;            /* do not widen */
	bool uncached;         /* do not keep */
	uint64_t deadline_ns;  /* 0: nobody has had to know it yet */
};

/* The clock is read only by those who wait or try again. */
static uint64_t deadline(struct request *q)
{
	if (!q->deadline_ns)
		q->deadline_ns = clock_now_ns() + CACHE_WAIT_NS;
	return q->deadline_ns;
}

static void count(struct uhmm_a64 *counter)
{
	a64_store_relaxed(counter, a64_load_relaxed(counter) + 1);
}

/* The ops of the cache, called by this get, may call the cache, and may even fork: then a child comes back as well. */
static bool is_child(const struct uhmm_regcache *c, const struct request *q)
{
	return c->life != q->life;
}

/* Before and after a call of reg() or dereg(). In a child the seat is nobody's. */
static void count_call(const struct uhmm_regcache *c, struct request *q, uint32_t what)
{
	if (!is_child(c, q))
		a32_store_relaxed(&q->seat->calls, a32_load_relaxed(&q->seat->calls) + what);
}

static void undo(struct uhmm_regcache *c, struct request *q, struct uhmm_reg *reg)
{
	count_call(c, q, SEAT_IN_DEREG);
	c->ops.dereg(c->ctx, reg);
	count_call(c, q, -SEAT_IN_DEREG);
}

/* A reference that seat_hold() took. Without the lock. */
static void let_go(struct uhmm_regcache *c, struct region *r)
{
	uhmm_regcache_put(c, &r->reg);
}

/* read_begin, without reading the clock unless it must wait. */
static int begin(struct region *r, struct request *q, uint64_t *seq)
{
	int err = core_read_begin(&r->notifier, 0, seq);

	return err == -ETIMEDOUT ? core_read_begin(&r->notifier, deadline(q), seq) : err;
}

/* ---- making a registration ---- */

/*
 * A read-only pin on an old kernel (R7): make the pages the process's own first. Where that cannot be done, let the driver do
 * it by asking for writing; where that is refused the mapping is read-only, and what its pages are they stay until its
 * protection changes, which is an event.
 */
static int reg_on_old_kernel(struct uhmm_regcache *c, struct request *q, struct uhmm_reg *reg)
{
	int populated = mm_populate_write(reg->addr, reg->len), err = -EFAULT;
	struct uhmm_reg wider = *reg;

	if (populated == -EOPNOTSUPP || populated == -EFAULT) {
		wider.access |= PROT_WRITE;
		err = c->ops.reg(c->ctx, &wider);
		reg->handle = wider.handle;
		populated = 0;
	}
	if (err && !is_child(c, q))
		err = c->ops.reg(c->ctx, reg); /* which finds out whether there is a hole */
	if (!err && populated && !is_child(c, q)) {
		undo(c, q, reg);
		return populated;
	}
	return err;
}

static int try_reg(struct uhmm_regcache *c, struct request *q, struct region *r)
{
	bool populate = (c->flags & UHMM_REGCACHE_PINS) && !(r->reg.access & PROT_WRITE) && kernel_needs_populate();
	int err;

	count_call(c, q, SEAT_IN_REG);
	err = populate ? reg_on_old_kernel(c, q, &r->reg) : c->ops.reg(c->ctx, &r->reg);
	count_call(c, q, -SEAT_IN_REG);
	if (is_child(c, q))
		return -EAGAIN; /* what was made is the parent's */
	return err > 0 ? -EINVAL : err;
}

/* Under the lock: nobody finds it any more, and it is not registered. */
static void forget(struct uhmm_regcache *c, struct region *r, bool entered)
{
	if (entered)
		index_leave(c, r);
	a32_store_release(&r->state, REGION_DROPPED);
	c->registering--;
	c->regions--;
	c->bytes -= r->reg.len;
	reap_signal_progress(c);
}

static int give_up(struct uhmm_regcache *c, struct request *q, struct region *r, int err)
{
	cache_lock(c);
	forget(c, r, !q->uncached);
	cache_unlock(c);
	uhmm_notifier_remove(&r->notifier);
	cache_lock(c);
	region_free(c, r);
	cache_unlock(c);
	return err;
}

/* Under the lock. */
static void publish(struct uhmm_regcache *c, struct request *q, struct region *r)
{
	seat_hold(c, q->seat, r);
	/*
	 * Hits before it left the clock as it was, hits after it leave the next value, and its own is between: who was used
	 * last is seen from the stamps, but for hits between the same two misses. In a large cache the clock stays behind for a
	 * few misses. What was hit in these goes before what was registered in them, both long before their turn comes.
	 */
	r->stamp = c->ticks + 1;
	c->ticks += 2;
	if (c->lru.count < CACHE_LARGE || c->ticks - a32_load_relaxed(&c->clock) >= 2 * CACHE_SPARE)
		a32_store_relaxed(&c->clock, c->ticks);
	list_push(c, &c->lru, r);
	a32_store_relaxed(&r->state, REGION_VALID);
	index_publish(c, r, r->stamp);
}

/* Under the lock: handed out, but never found again. */
static void hand_out(struct uhmm_regcache *c, struct request *q, struct region *r)
{
	seat_hold(c, q->seat, r);
	reap_drop(c, r, !q->uncached);
}

/* One attempt. 0: r is the caller's; AGAIN: undone; else an error, nothing registered. */
static int attempt(struct uhmm_regcache *c, struct request *q, struct region *r, bool last)
{
	uint64_t seq = UHMM_SEQ_DEAD;
	bool quiet;
	int err;

	if (!q->uncached) {
		err = begin(r, q, &seq);
		if (err && err != -EOWNERDEAD)
			return -EBUSY;
		/* This thread itself is changing the range, or the monitor cannot vouch for it yet (R25). */
		last |= err == -EOWNERDEAD;
	}
	err = try_reg(c, q, r);
	if (err)
		return err;
	cache_lock(c);
	quiet = !q->uncached && !uhmm_read_retry(&r->notifier, seq);
	if (quiet)
		publish(c, q, r);
	else if (q->uncached || last)
		hand_out(c, q, r);
	else
		goto again;
	c->registering--;
	reap_signal_progress(c);
	cache_unlock(c);
	return 0;
again:
	cache_unlock(c);
	undo(c, q, &r->reg);
	return is_child(c, q) ? -EAGAIN : AGAIN;
}

static int watch(struct uhmm_regcache *c, struct request *q, struct region *r)
{
	return q->uncached ? 0 : uhmm_notifier_insert(c->mm, &r->notifier, r->reg.addr, r->reg.len, &c->notifier_ops);
}

/* r is REGISTERING, and this thread's. `wide`: its range is not just what was asked for. */
static int register_region(struct uhmm_regcache *c, struct request *q, struct region *r, bool wide)
{
	int err = watch(c, q, r);

	for (uint32_t tries = 1; !err; tries++) {
		bool late = tries > 1 && clock_now_ns() >= deadline(q);

		err = attempt(c, q, r, !wide && (tries >= CACHE_RETRIES || late));
		if (!err)
			return 0;
		if (err != AGAIN)
			break;
		err = 0;
		if (wide && (tries >= CACHE_RETRIES || late)) {
			q->exact = true;
			err = AGAIN;
		}
	}
	if (is_child(c, q))
		return err; /* the region and its notifier were the parent's */
	if (wide && err != AGAIN && !q->exact) {
		/* The rest of the old range may not allow what is asked for here. */
		q->exact = true;
		err = AGAIN;
	}
	return give_up(c, q, r, err);
}

/* ---- a region to register ---- */

static bool has_room(const struct uhmm_regcache *c, uint64_t bytes)
{
	return c->regions < c->max_regions && (!c->max_bytes || c->bytes + bytes <= c->max_bytes);
}

/* Under the lock. 0 and *r, entered and REGISTERING; or what is missing, as an error that make_ready() understands. */
static int new_region(struct uhmm_regcache *c, const struct request *q, const struct region *old, struct region **out)
{
	uintptr_t start = old ? region_start(old) : q->start, end = old ? region_end(old) : q->end;
	struct region *r;

	if (!has_room(c, end - start))
		return -ENOSPC;
	if (!q->uncached && !index_has_room(c))
		return -EXFULL;
	if (PORT_INJECT(INJECT_ALLOC))
		return -ENOMEM;
	r = region_alloc(c);
	if (!r)
		return -ENOSR;
	r->notifier = (struct uhmm_notifier){0};
	r->reg = (struct uhmm_reg){.addr = (void *)start, .len = end - start};
	r->reg.access = q->access | (old ? old->reg.access : 0);
	a32_store_relaxed(&r->state, REGION_REGISTERING);
	if (!q->uncached)
		index_enter(c, r);
	c->registering++;
	c->regions++;
	c->bytes += r->reg.len;
	*out = r;
	return 0;
}

/* Without the lock: what new_region() lacked. AGAIN, or the get's error. */
static int make_ready(struct uhmm_regcache *c, struct request *q, int lack, uint64_t bytes)
{
	int err = lack;

	if (lack == -ENOSPC)
		err = reap_make_room(c, bytes, deadline(q));
	else if (lack == -EXFULL)
		err = index_grow(c, q->seat);
	else if (lack == -ENOSR)
		err = arena_extend(c);
	return err ? err : AGAIN;
}

/* The wider region is there: the one it widens goes. */
static void retire_old(struct uhmm_regcache *c, struct region *old)
{
	enum region_state state;

	cache_lock(c);
	state = region_state(old);
	if (state == REGION_VALID || state == REGION_SUSPENDED || state == REGION_EVICTING)
		reap_drop(c, old, true);
	cache_unlock(c);
	let_go(c, old);
	reap_kick_dropped(c);
}

/* Entered with the lock held, leaves without it. `old` covers the range, but allows less. */
static int miss(struct uhmm_regcache *c, struct request *q, struct region *old, struct uhmm_reg **reg)
{
	struct region *r = NULL;
	uint64_t bytes;
	int err;

	if (q->exact || q->uncached)
		old = NULL;
	bytes = old ? old->reg.len : q->end - q->start;
	err = new_region(c, q, old, &r);
	if (!err && old)
		seat_hold(c, q->seat, old); /* so that it is still this region when it is to go */
	cache_unlock(c);
	if (err) {
		err = make_ready(c, q, err, bytes);
		if (err == -ENOSPC && old) {
			q->exact = true;
			err = AGAIN;
		}
		return err;
	}
	err = register_region(c, q, r, old != NULL);
	if (is_child(c, q))
		return err;
	if (!err) {
		count(&q->seat->misses);
		*reg = &r->reg;
	}
	if (old && !err)
		retire_old(c, old);
	else if (old)
		let_go(c, old);
	return err;
}

/* ---- what is there already ---- */

/*
 * Entered with the lock held, leaves without it. A suspended region comes back as a new registration would be published (G11):
 * read_begin, lock, read_retry; the pages it was registered for are then still the pages of the range.
 */
static int revive(struct uhmm_regcache *c, struct request *q, struct region *r, struct uhmm_reg **reg)
{
	uint64_t seq;
	int err = AGAIN;

	seat_hold(c, q->seat, r);
	for (uint32_t tries = 0; err == AGAIN; tries++) {
		enum region_state state;

		cache_unlock(c);
		err = begin(r, q, &seq);
		cache_lock(c);
		state = region_state(r);
		if (state == REGION_DROPPED || err)
			break;
		err = AGAIN;
		if (state == REGION_VALID)
			err = 0;
		else if (tries >= CACHE_RETRIES)
			break;
		else if (!uhmm_read_retry(&r->notifier, seq)) {
			a32_store_relaxed(&r->state, REGION_VALID);
			index_publish(c, r, c->ticks);
			err = 0;
		}
	}
	if (region_state(r) == REGION_DROPPED)
		err = AGAIN;
	else if (err == -EOWNERDEAD || err == AGAIN)
		q->uncached = true;
	cache_unlock(c);
	if (!err) {
		count(&q->seat->hits);
		*reg = &r->reg;
		return 0;
	}
	let_go(c, r);
	return err == -ETIMEDOUT ? -EBUSY : AGAIN;
}

/* One look; AGAIN: something has changed, look again. */
static int step(struct uhmm_regcache *c, struct request *q, struct uhmm_reg **reg)
{
	struct index_found found = {0};

	cache_lock(c);
	/* Named under the lock, under which tables are replaced: from now on hits of this thread may read it. */
	aptr_store_release(&q->seat->table, cache_table(c));
	if (!q->uncached)
		found = index_find(c, q->start, q->end, q->access);
	if (!found.covering)
		return miss(c, q, found.narrower, reg);
	switch (region_state(found.covering)) {
	case REGION_VALID:
		/* A change that nobody has told us: read_begin waits until it has been, if it is one of this range. */
		if (a32_load_acquire(c->queued))
			return revive(c, q, found.covering, reg);
		seat_hold(c, q->seat, found.covering);
		cache_unlock(c);
		count(&q->seat->hits);
		*reg = &found.covering->reg;
		return 0;
	case REGION_REGISTERING:
		/* Whoever is inside reg(), or inside a change, waits for nobody's registration: it may be waiting for us. */
		if (a32_load_relaxed(&q->seat->calls) || c->reaper == core_thread() ||
		    core_thread_invalidates(c->mm, q->start, q->end))
			q->uncached = true;
		else
			q->uncached = reap_wait_progress(c, deadline(q)) == -ETIMEDOUT;
		cache_unlock(c);
		return AGAIN;
	default:
		return revive(c, q, found.covering, reg);
	}
}

/* Whether something may be found or kept at all. */
static bool may_keep(const struct uhmm_regcache *c)
{
	return core_mm_is_settled(c->mm) && !core_in_callback();
}

static int get(struct uhmm_regcache *c, struct request *q, struct uhmm_reg **reg)
{
	int err = reap_start_service(c);

	q->seat = seat_of_thread(c);
	if (!err && !q->seat) {
		q->seat = seat_bind(c);
		err = q->seat ? 0 : -ENOMEM;
	}
	if (err)
		return err;
	do {
		q->uncached |= !may_keep(c);
		err = step(c, q, reg);
	} while (err == AGAIN);
	return err;
}

int miss_get(struct uhmm_regcache *c, uintptr_t addr, size_t len, uint32_t access, struct uhmm_reg **reg)
{
	struct request q = {.access = access};
	int state, err;

	if (!c || !reg || !addr || !len || !access || (access & ~(uint32_t)(PROT_READ | PROT_WRITE)))
		return -EINVAL;
	if (addr >= MM_ADDR_END || len > MM_ADDR_END - addr)
		return -EINVAL;
	q.start = mm_page_floor(addr);
	q.end = mm_page_ceil(addr + len);
	q.life = c->life;
	/* A thread cancelled in the middle would leave others waiting for its registration. */
	state = thread_cancel_disable();
	err = get(c, &q, reg);
	thread_cancel_restore(state);
	return err;
}
