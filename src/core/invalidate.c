/* SPDX-License-Identifier: MIT */
/*
 * invalidate.c: the writer's half of the protocol.
 *
 * Fast path (G8), for an invalidation that overlaps no notifier:
 *
 *   invalidator                                    inserter, under mm->lock
 *   publish the range in the thread's line         set the occupancy of its range
 *   full barrier (the exchange)                    full barrier
 *   look at the occupancy: nothing? go             scan the lines: an overlap? claim it: link it, count it
 *   ... the change ...
 *   exchange the line to empty: claimed? slow end
 *
 * One of the two sees the other. The end is an exchange, because a plain store would overwrite a claim.
 *
 * Slow path: see uhmm_invalidate_start() in docs/protocol.md. Each pass over the notifiers is driven by a cursor and drops the
 * lock around every callback; `busy` keeps the notifier in place meanwhile, and a resize that moves one from behind the cursor
 * to before it asks for another round (private_rescan).
 */
#include <errno.h>

#include "core/fast.h"

static bool event_valid(const struct uhmm_event *event)
{
	return event->start < event->end && event->end <= MM_ADDR_END && event->kind <= UHMM_EVENT_RELEASE &&
	       (event->flags & ~(uint32_t)UHMM_EVENT_NONBLOCK) == 0;
}

/* Field by field: the caller has just written the event, and a wide load over narrow stores waits for the store buffer. */
static inline void copy_event(struct uhmm_event *to, const struct uhmm_event *from)
{
	to->start = from->start;
	to->end = from->end;
	to->kind = from->kind;
	to->flags = from->flags;
	to->owner = from->owner;
}

static bool is_nonblock(const struct uhmm_invalidation *inv)
{
	return inv->private_event.flags & UHMM_EVENT_NONBLOCK;
}

static void lock_for(struct uhmm_mm *mm, const struct uhmm_invalidation *inv)
{
	if (is_nonblock(inv))
		core_lock_spin(mm);
	else
		core_lock(mm);
}

/* ---- the published line ---- */

struct claim {
	struct uhmm_mm *mm;
	uintptr_t start, end;
};

static void count_in_tree(struct uhmm_mm *mm, const struct uhmm_event *event)
{
	struct itree_cursor c;

	for (struct uhmm_notifier *n = itree_first(&mm->tree, event->start, event->end, &c); n; n = itree_next(&mm->tree, &c))
		core_activate(n, 1);
}

static void claim_line(struct core_slot *slot, void *arg)
{
	const struct claim *claim = arg;
	struct uhmm_a64 *range = &slot->range[claim->mm->place];
	uint64_t word = a64_load_acquire(range);
	struct uhmm_invalidation *inv;

	if ((word & SLOT_CLAIMED) || !core_slot_overlaps(word, claim->start, claim->end) ||
	    !a64_cas_full(range, word, word | SLOT_CLAIMED))
		return;
	/* The owner cannot leave now without the lock, so the object stays. */
	inv = aptr_load_relaxed(&slot->inv[claim->mm->place]);
	core_link(claim->mm, inv);
	count_in_tree(claim->mm, &inv->private_event);
}

void core_claim(struct uhmm_mm *mm, uintptr_t start, uintptr_t end)
{
	struct claim claim = {.mm = mm, .start = start, .end = end};

	if (mm->place < CORE_FAST_MMS)
		core_slots_each(claim_line, &claim);
}

/* ---- passes ---- */

enum pass { PASS_INVALIDATE, PASS_FINISH, PASS_END };

struct round {
	struct uhmm_mm *mm;
	struct uhmm_invalidation *inv;
	struct itree_cursor at, first_at;    /* where the walk is, and where it began */
	struct uhmm_notifier *first;
	bool only;                           /* nothing follows it, as long as the tree does not change */
	enum pass pass;
	bool changed;
	uint64_t from_seq;                   /* only notifiers with a seq as new as this: those resized in the round before */
	struct uhmm_notifier *refuser;       /* PASS_INVALIDATE stopped here; the end pass of a refused start stops here too */
	bool moved;                          /* some notifier was resized during the pass */
	bool wants_finish;
	bool uncancellable;                  /* cancellation is off since the first callback */
	int cancel_state;
};

static bool has_op(const struct uhmm_notifier *n, enum pass pass)
{
	const struct uhmm_notifier_ops *ops = n->private_ops;

	return pass == PASS_INVALIDATE || (pass == PASS_FINISH ? ops->finish != NULL : ops->end != NULL);
}

/* False: the notifier refuses. */
static bool call(const struct round *r, struct uhmm_notifier *n)
{
	const struct uhmm_event *event = &r->inv->private_event;

	/* Who may sleep has no excuse: what a callback of a blocking event answers is not asked. */
	if (r->pass == PASS_INVALIDATE)
		return n->private_ops->invalidate(n, event) == 0 || !is_nonblock(r->inv);
	if (r->pass == PASS_FINISH)
		n->private_ops->finish(n, event);
	else
		n->private_ops->end(n, event, r->changed);
	return true;
}

/* Under the lock, which is dropped around the callback. False: the notifier refused. */
static bool visit(struct round *r, struct uhmm_notifier *n)
{
	void (*done)(struct uhmm_notifier *);
	bool agreed;

	r->wants_finish |= n->private_ops->finish != NULL;
	r->mm->callbacks += r->pass == PASS_INVALIDATE;
	core_busy(n);
	core_unlock(r->mm);
	if (!r->uncancellable)
		r->cancel_state = thread_cancel_disable();
	r->uncancellable = true;
	agreed = call(r, n);
	lock_for(r->mm, r->inv);
	done = core_unbusy(n);
	if (done) {
		core_unlock(r->mm);
		done(n);
		lock_for(r->mm, r->inv);
	}
	if (!agreed)
		r->refuser = n;
	return agreed;
}

/* Walks over the notifiers that overlap, in key order, under the lock. Walks of one start or end share their first descent. */
static struct uhmm_notifier *walk_first(struct round *r)
{
	const struct uhmm_event *event = &r->inv->private_event;

	if (!r->first || r->first_at.version != r->mm->tree.version) {
		r->first = itree_first(&r->mm->tree, event->start, event->end, &r->at);
		r->first_at = r->at;
		r->only = false;
	}
	r->at = r->first_at;
	return r->first;
}

static struct uhmm_notifier *walk_next(struct round *r)
{
	bool same = r->first_at.version == r->mm->tree.version;
	struct uhmm_notifier *n;

	if (r->only && same)
		return NULL;
	n = itree_next(&r->mm->tree, &r->at);
	r->only = !n && same && r->at.key_id == r->first_at.key_id;
	return n;
}

/* Under the lock: where the start's walks began those of the end shall begin, without another descent. */
static void remember_first(struct round *r)
{
	r->inv->private_place = (void *)(uintptr_t)r->first_at.leaf;
	r->inv->private_rescan = r->first ? itree_mark(&r->first_at) : 0;
}

static void recall_first(struct round *r)
{
	const struct uhmm_invalidation *inv = r->inv;

	r->first = itree_recall(&r->mm->tree, inv->private_place, inv->private_rescan, inv->private_event.start,
				inv->private_event.end, &r->first_at);
}

/* The lock is dropped around callbacks. */
static bool run_round(struct round *r)
{
	for (struct uhmm_notifier *n = walk_first(r); n; n = walk_next(r)) {
		if (r->pass == PASS_END && n == r->refuser) {
			if (!r->moved)
				return true;
			continue; /* those told may be anywhere by now, and an end without a start is nobody's surprise */
		}
		if (has_op(n, r->pass) && a64_load_relaxed(&n->private_seq) >= r->from_seq && !visit(r, n))
			return false;
	}
	return true;
}

static bool run_pass(struct round *r)
{
	bool all;

	core_count_up(&core_thread()->callbacks);
	r->from_seq = 0;
	do {
		r->inv->private_rescan = 0;
		all = run_round(r);
		r->from_seq = r->inv->private_rescan;
		r->moved |= r->from_seq != 0;
	} while (all && r->from_seq);
	core_count_down(&core_thread()->callbacks);
	return all;
}

/* Once the lock is free: cancellation may act at once. */
static void unlock_after(struct round *r)
{
	core_unlock(r->mm);
	if (r->uncancellable)
		thread_cancel_restore(r->cancel_state);
}

/* ---- start ---- */

/*
 * Under the lock: take the range back from the line, link and count. A claim's counts stand: every notifier inserted since has
 * counted the linked invalidation. Whoever overlaps gets a new seq, after it was counted and before any callback.
 */
static bool begin(struct round *r, struct uhmm_a64 *range)
{
	bool claimed = range && (a64_xchg_full(range, 0) & SLOT_CLAIMED);

	r->inv->private_place = NULL;
	r->inv->private_state = INV_LINKED;
	if (!range)
		r->mm->invalidations++;
	if (!claimed)
		core_link(r->mm, r->inv);
	for (struct uhmm_notifier *n = walk_first(r); n; n = walk_next(r)) {
		if (!claimed)
			core_activate(n, 1);
		/* Release; pairs with the acquire in core_read_begin(): who sees it sees the count. */
		a64_store_release(&n->private_seq, core_new_seq(r->mm));
	}
	return walk_first(r) != NULL;
}

/* Under the lock: take back what begin() or a claim counted. */
static void retire(struct round *r)
{
	core_unlink(r->inv);
	for (struct uhmm_notifier *n = walk_first(r); n; n = walk_next(r))
		core_deactivate(n, 1);
}

static void queue_instead(struct uhmm_mm *mm, struct uhmm_invalidation *inv)
{
	inv->private_state = INV_QUEUED;
	inv->private_place = core_queue_push(mm, inv->private_event.start, inv->private_event.end);
}

/* G6: tell those that were told, drop the counts. Under the lock. */
static void refuse(struct round *r)
{
	r->pass = PASS_END;
	r->changed = false;
	run_pass(r);
	retire(r);
}

static int start_linked(struct uhmm_mm *mm, struct uhmm_invalidation *inv, struct uhmm_a64 *range)
{
	struct round r = {.mm = mm, .inv = inv, .pass = PASS_INVALIDATE};
	bool any;

	lock_for(mm, inv);
	any = begin(&r, range);
	if (any && a32_load_relaxed(&core_thread()->holds)) {
		/* This thread, or what a signal handler on top of it interrupted, holds a lock that the callbacks may take. */
		retire(&r);
		core_unlock(mm);
		queue_instead(mm, inv);
		return 0;
	}
	if (any && !run_pass(&r)) {
		refuse(&r);
	} else if (r.wants_finish) {
		r.pass = PASS_FINISH;
		run_pass(&r);
	}
	remember_first(&r);
	unlock_after(&r);
	return r.refuser ? -EAGAIN : 0;
}

/* The cold ones are out of line, so that the fast path saves no registers for them. */
__attribute__((noinline)) int core_start_slow(struct uhmm_mm *mm, struct uhmm_invalidation *inv, struct uhmm_a64 *range)
{
	int err;

	lockcheck_enter_notifier();
	err = start_linked(mm, inv, range);
	lockcheck_leave_notifier();
	if (!err)
		lockcheck_opened();
	return err;
}

__attribute__((noinline, cold)) int core_start_queued(struct uhmm_mm *mm, struct uhmm_invalidation *inv)
{
	queue_instead(mm, inv);
	lockcheck_opened();
	return 0;
}

int uhmm_invalidate_start(struct uhmm_mm *mm, struct uhmm_invalidation *inv, const struct uhmm_event *event)
{
	if (!mm || !inv || !event || !event_valid(event))
		return -EINVAL;
	copy_event(&inv->private_event, event);
	return core_start(mm, inv, event->start, event->end);
}

/* ---- end ---- */

static void end_linked(struct uhmm_invalidation *inv, bool changed)
{
	struct round r = {.mm = inv->private_mm, .inv = inv, .pass = PASS_END, .changed = changed};

	lockcheck_enter_notifier();
	lock_for(r.mm, inv);
	recall_first(&r);
	run_pass(&r);
	retire(&r);
	unlock_after(&r);
	lockcheck_leave_notifier();
}

/*
 * A fast invalidation on top of a lock holder, claimed meanwhile: whoever was inserted may want the lock that is held below, so
 * no callback can run here. Queued before the counts drop, so that no reader slips through between the two.
 */
static void end_claimed_on_holder(struct uhmm_invalidation *inv, bool changed)
{
	struct uhmm_mm *mm = inv->private_mm;
	struct core_queue_entry *entry = core_queue_push(mm, inv->private_event.start, inv->private_event.end);
	struct round r = {.mm = mm, .inv = inv};

	lock_for(mm, inv);
	retire(&r);
	core_unlock(mm);
	core_queue_ended(mm, entry, changed);
}

__attribute__((noinline)) void core_end_slow(struct uhmm_invalidation *inv, bool changed)
{
	/* Begun before a fork and ended in the child, where nothing of it is left. */
	if (inv->private_life != core_mm_life(inv->private_mm))
		return;
	if (inv->private_state == INV_QUEUED)
		core_queue_ended(inv->private_mm, inv->private_place, changed);
	else if (a32_load_relaxed(&core_thread()->holds))
		end_claimed_on_holder(inv, changed);
	else
		end_linked(inv, changed);
}

void uhmm_invalidate_end(struct uhmm_invalidation *inv)
{
	assert(inv->private_mm);
	core_end(inv, true);
}

void uhmm_invalidate_abort(struct uhmm_invalidation *inv)
{
	assert(inv->private_mm);
	core_end(inv, false);
}
