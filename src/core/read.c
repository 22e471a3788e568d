/* SPDX-License-Identifier: MIT */
/*
 * read.c: the reader's half of the protocol. What it relies on (docs/protocol.md has the proof obligations):
 *
 *   reader                                         invalidation
 *   seq = n->seq        (acquire)                  active++
 *   active = n->active  (acquire)                  n->seq = new      (release)
 *   active? wait, begin again                      callback: lock(driver) tear down unlock(driver)
 *   look the pages up                              ... the change ...
 *   lock(driver)                                   active--          (release)
 *   n->seq != seq? again
 *
 * A reader that sees the new seq sees it active, or ended together with the change. A reader that saw the old seq either takes
 * the driver lock after the callback did, and then sees the new seq because the unlock carried it (R11); or before, and then
 * the callback tears down what it programmed.
 */
#include <errno.h>

#include "core/mm.h"

/* The floor is a seq that a signal handler raised for all notifiers at once (G12); whichever is newer counts. */
static inline uint64_t newer(uint64_t seq, uint64_t floor)
{
	return seq > floor ? seq : floor;
}

/* An end has taken the mark: nobody wakes us any more, whatever has become of the count. Mark it again, or go on. */
static bool mark_is_gone(uint32_t word, const void *arg)
{
	(void)arg;
	return !(word & COUNT_WAITER);
}

struct hindrance {
	bool dead, active, queued;
	uint32_t drains;
};

/* Under the lock: is the calling thread itself what the reader would wait for? */
static bool thread_covers(struct uhmm_mm *mm, uintptr_t start, uintptr_t end)
{
	const void *me = core_thread();

	for (struct uhmm_invalidation *inv = mm->active; inv; inv = inv->private_next)
		if (inv->private_thread == me && inv_overlaps(inv, start, end))
			return true;
	return core_queue_overlaps(mm, start, end, me);
}

static struct hindrance look(struct uhmm_mm *mm, struct uhmm_notifier *n)
{
	/* Before the queue is looked at, so that a drain in between is not slept through. */
	struct hindrance h = {.drains = a32_load_acquire(&mm->drains)};

	if (!core_is_inserted(n) || thread_covers(mm, n->private_start, n->private_end)) {
		h.dead = true;
		return h;
	}
	h.active = core_sleep_on(&n->private_active);
	h.queued = a32_load_acquire(&mm->queued) && core_queue_overlaps(mm, n->private_start, n->private_end, NULL);
	return h;
}

/* Without the lock. */
static int await_quiet(struct uhmm_mm *mm, struct uhmm_notifier *n, struct hindrance h, uint64_t deadline_ns)
{
	int err;

	if (!h.active) {
		/* Full, before the word is looked at again; pairs with wake_sleepers(), src/core/queue.c. */
		a32_fetch_add_full(&mm->drain_sleepers, 1);
		core_service_wake(); /* perhaps nobody has thought it urgent */
		err = sync_await32(&mm->drains, sync_differs32, &h.drains, deadline_ns);
		a32_fetch_sub_full(&mm->drain_sleepers, 1);
		return err;
	}
	return sync_await32(&n->private_active, mark_is_gone, NULL, deadline_ns);
}

/*
 * The monitors' word on the range, asked for after the seq was taken: what happens to the range from their answer on makes the
 * seq stale, what happened to it before was before the look-up.
 */
static __attribute__((noinline)) bool vouched_for(const struct uhmm_notifier *n)
{
	for (struct core_watch_hook *h = n->private_mm->watch_hooks; h; h = h->next)
		if (h->vouches && !h->vouches(h, n->private_start, n->private_end))
			return false;
	return true;
}

static inline bool is_doubtful(const struct uhmm_notifier *n)
{
	return __builtin_expect(n->private_mm->watch_hooks != NULL, 0) && !vouched_for(n);
}

static bool doubt_passes(const struct uhmm_notifier *n)
{
	for (struct core_watch_hook *h = n->private_mm->watch_hooks; h; h = h->next)
		if (h->passes && h->passes(h, n->private_start, n->private_end))
			return true;
	return false;
}

/* How often a doubt is waited for: some tenths of a second, and a removal waits no longer than one of them. */
#define PATIENCE 100u

enum word { VOUCHED, DOUBTFUL, ASK_AGAIN };

/*
 * The same under the lock, which is dropped meanwhile, by a reader that may have slept: then a removal waits for it, and frees
 * the notifier afterwards. So it counts as busy until it has its answer.
 */
static enum word ask_monitors(struct uhmm_mm *mm, struct uhmm_notifier *n, bool patient, void (**done)(struct uhmm_notifier *))
{
	enum word word;

	core_busy(n);
	core_unlock(mm);
	word = vouched_for(n) ? VOUCHED : patient && doubt_passes(n) ? ASK_AGAIN : DOUBTFUL;
	core_lock(mm);
	if (!core_is_inserted(n))
		word = DOUBTFUL;
	*done = core_unbusy(n);
	return word;
}

/* The notifier is kept from being freed by a removal meanwhile: a sleeping reader counts as busy. */
static __attribute__((noinline)) int begin_slow(struct uhmm_notifier *n, uint64_t deadline_ns, uint64_t *seq)
{
	struct uhmm_mm *mm = n->private_mm;
	struct core_thread *t = core_thread();
	void (*done)(struct uhmm_notifier *) = NULL;
	/* In a callback what would end the doubt may be this thread's own next one. */
	uint32_t patience = deadline_ns == SYNC_FOREVER && !core_in_callback() ? PATIENCE : 0;
	enum word word = VOUCHED;
	struct hindrance h;
	uint64_t floor;
	int err = 0;

	/* Before mm is touched: it may be closed. */
	if (a64_load_acquire(&n->private_seq) == UHMM_SEQ_DEAD)
		return -EOWNERDEAD;
	/* A signal handler on top of a lock holder: what it would wait for may be waiting for that lock (G12). */
	if (a32_load_relaxed(&t->core_held) || a32_load_relaxed(&t->holds))
		return -EOWNERDEAD;

	core_lock(mm);
	for (;;) {
		floor = a64_load_acquire(&mm->floor); /* before `queued`, as everywhere */
		h = look(mm, n);
		if (err || h.dead)
			break;
		if (!(h.active || h.queued)) {
			/* The lock is dropped to ask: the seq is from before. */
			*seq = newer(a64_load_relaxed(&n->private_seq), floor);
			word = mm->watch_hooks ? ask_monitors(mm, n, patience > 0, &done) : VOUCHED;
			if (word != ASK_AGAIN)
				break;
			patience--;
			continue;
		}
		core_busy(n);
		core_unlock(mm);
		err = await_quiet(mm, n, h, deadline_ns);
		core_lock(mm);
		h.dead = !core_is_inserted(n);
		done = core_unbusy(n);
		if (h.dead)
			break; /* whoever removed it may have freed it by now */
	}
	h.dead |= word == DOUBTFUL;
	if (h.dead)
		*seq = UHMM_SEQ_DEAD; /* for who goes on all the same: it always retries */
	core_unlock(mm);
	if (done)
		done(n);
	return h.dead ? -EOWNERDEAD : err;
}

/* The usual case: a seq; or UHMM_SEQ_DEAD, and then begin_slow() knows whether that is so. */
static inline uint64_t begin_fast(struct uhmm_notifier *n)
{
	/*
	 * Pairs with the release of seq in invalidate.c: this order, and the look-up after both. The reverse returns the new
	 * seq inside an invalidation.
	 */
	uint64_t own = a64_load_acquire(&n->private_seq);
	struct uhmm_mm *mm = n->private_mm;
	uint64_t floor;

	lockcheck_may_wait();
	if (own == UHMM_SEQ_DEAD)
		return UHMM_SEQ_DEAD;
	floor = a64_load_acquire(&mm->floor);
	if (__builtin_expect(!count_is_zero(a32_load_acquire(&n->private_active)) || a32_load_acquire(&mm->queued) ||
				     !core_is_inserted(n),
			     0))
		return UHMM_SEQ_DEAD;
	return newer(own, floor);
}

int core_read_begin(struct uhmm_notifier *n, uint64_t deadline_ns, uint64_t *seq)
{
	uint64_t fast = begin_fast(n);

	if (__builtin_expect(fast == UHMM_SEQ_DEAD, 0))
		return begin_slow(n, deadline_ns, seq);
	if (is_doubtful(n)) {
		*seq = UHMM_SEQ_DEAD;
		return -EOWNERDEAD;
	}
	*seq = fast;
	return 0;
}

static __attribute__((noinline)) uint64_t begin_and_wait(struct uhmm_notifier *n)
{
	uint64_t seq;

	return begin_slow(n, SYNC_FOREVER, &seq) == 0 ? seq : UHMM_SEQ_DEAD;
}

uint64_t uhmm_read_begin(struct uhmm_notifier *n)
{
	uint64_t seq = begin_fast(n);

	if (__builtin_expect(seq == UHMM_SEQ_DEAD, 0))
		return begin_and_wait(n);
	return is_doubtful(n) ? begin_and_wait(n) : seq;
}

bool uhmm_read_retry(struct uhmm_notifier *n, uint64_t seq)
{
	/* Plain loads: the driver lock that the caller took is the barrier. */
	uint64_t own = a64_load_relaxed(&n->private_seq);
	uint64_t current;

	if (own == UHMM_SEQ_DEAD)
		return true;
	current = newer(own, a64_load_relaxed(&n->private_mm->floor));
	/* Seqs only grow, so one from the future is another notifier's (G9). */
	assert(seq <= current);
	if (__builtin_expect(seq == current, 1))
		return false;
	core_stat_add(n->private_mm, CORE_STAT_RETRIES, 1);
	return true;
}

bool core_thread_invalidates(struct uhmm_mm *mm, uintptr_t start, uintptr_t end)
{
	struct core_slot *slot = core_thread()->slot;
	bool covers;

	core_lock(mm);
	covers = thread_covers(mm, start, end);
	core_unlock(mm);
	if (!covers && slot && mm->place < CORE_FAST_MMS)
		covers = core_slot_overlaps(a64_load_relaxed(&slot->range[mm->place]), start, end);
	return covers;
}

bool core_range_is_active(struct uhmm_mm *mm, uintptr_t start, uintptr_t end)
{
	bool active = false;

	core_lock(mm);
	for (struct uhmm_invalidation *inv = mm->active; inv && !active; inv = inv->private_next)
		active = inv_overlaps(inv, start, end);
	core_unlock(mm);
	return active;
}
