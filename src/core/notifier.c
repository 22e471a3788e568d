/* SPDX-License-Identifier: MIT */
/*
 * notifier.c: a notifier's life: insert, resize, remove, and the two counts in it.
 *
 * What holds whenever the address-space lock is free: `active` of an inserted notifier is twice the number of linked
 * invalidations that overlap it (plus the waiter bit), its range is in the occupancy and its entry in the tree.
 */
#include <errno.h>

#include "core/mm.h"

/* ---- the two counts, under the lock ---- */

void core_activate(struct uhmm_notifier *n, uint32_t count)
{
	a32_store_relaxed(&n->private_active, a32_load_relaxed(&n->private_active) + count * COUNT_ONE);
}

/* Takes `count` off and wakes who sleeps on the word when that leaves zero. The object may be gone once zero is seen. */
static uint32_t count_down(struct uhmm_a32 *word, uint32_t count)
{
	uint32_t old = a32_load_relaxed(word);

	assert(old >= count * COUNT_ONE);
	if (old != count * COUNT_ONE + COUNT_WAITER) {
		a32_store_release(word, old - count * COUNT_ONE);
		return old - count * COUNT_ONE;
	}
	a32_store_release(word, 0);
	sync_wake32(word);
	return 0;
}

void core_deactivate(struct uhmm_notifier *n, uint32_t count)
{
	/* The release pairs with the acquire in core_read_begin(): a reader that sees zero sees the change. */
	count_down(&n->private_active, count);
}

void core_busy(struct uhmm_notifier *n)
{
	a32_store_relaxed(&n->private_busy, a32_load_relaxed(&n->private_busy) + COUNT_ONE);
}

void (*core_unbusy(struct uhmm_notifier *n))(struct uhmm_notifier *n)
{
	/* Not core_is_inserted(): that word may lie in a second line, which nobody has brought and hardly anybody needs. */
	bool removed = a64_load_relaxed(&n->private_seq) == UHMM_SEQ_DEAD;
	void (*done)(struct uhmm_notifier *) = removed ? n->private_done : NULL;

	return count_down(&n->private_busy, 1) == 0 ? done : NULL;
}

bool core_sleep_on(struct uhmm_a32 *word)
{
	uint32_t now = a32_load_relaxed(word);

	if (!count_is_zero(now))
		a32_store_relaxed(word, now | COUNT_WAITER);
	return !count_is_zero(now);
}

void core_link(struct uhmm_mm *mm, struct uhmm_invalidation *inv)
{
	inv->private_next = mm->active;
	inv->private_prev = &mm->active;
	if (inv->private_next)
		inv->private_next->private_prev = &inv->private_next;
	mm->active = inv;
}

void core_unlink(struct uhmm_invalidation *inv)
{
	*inv->private_prev = inv->private_next;
	if (inv->private_next)
		inv->private_next->private_prev = inv->private_prev;
}

/* How many linked invalidations overlap the range. */
static uint32_t covering(const struct uhmm_mm *mm, uintptr_t start, uintptr_t end)
{
	uint32_t count = 0;

	for (const struct uhmm_invalidation *inv = mm->active; inv; inv = inv->private_next)
		count += inv_overlaps(inv, start, end);
	return count;
}

/* ---- what is allocated before the lock is taken ---- */

struct provisions {
	struct spare tree;
	struct occupancy_spare occupied;
};

static void give_back(struct uhmm_mm *mm, struct provisions *p)
{
	itree_release(&mm->tree, &p->tree);
	occupancy_release(&mm->occupied, &p->occupied);
}

/* Returns with the lock held and an insertion of the range certain to succeed; or -ENOMEM, without the lock. */
static int lock_provisioned(struct uhmm_mm *mm, struct provisions *p, uintptr_t start, uintptr_t end)
{
	int err = occupancy_refill(&mm->occupied, &p->occupied, start, end);

	core_lock(mm);
	while (!err && !itree_ready(&mm->tree, &p->tree)) {
		core_unlock(mm);
		err = itree_refill(&mm->tree, &p->tree);
		core_lock(mm);
	}
	if (!err)
		return 0;
	core_unlock(mm);
	give_back(mm, p);
	return err;
}

/* Publish the range for the fast path, and link every invalidation that did not see it (G3). Under the lock. */
static void watch(struct uhmm_mm *mm, struct provisions *p, uintptr_t start, uintptr_t end)
{
	occupancy_set(&mm->occupied, &p->occupied, start, end);
	fence_full(); /* pairs with the exchange in publish(), src/core/invalidate.c */
	core_claim(mm, start, end);
}

void core_watch_hook_add(struct uhmm_mm *mm, struct core_watch_hook *h)
{
	h->next = mm->watch_hooks;
	mm->watch_hooks = h;
}

/* Without the lock, before the range can be found: see core.h. */
static void tell_monitors(const struct uhmm_mm *mm, uintptr_t start, uintptr_t end)
{
	for (struct core_watch_hook *h = mm->watch_hooks; h; h = h->next)
		h->watch(h, start, end);
}

/* ---- insert ---- */

int uhmm_notifier_insert(struct uhmm_mm *mm, struct uhmm_notifier *n, const void *start, size_t len,
			 const struct uhmm_notifier_ops *ops)
{
	uintptr_t at = (uintptr_t)start;
	struct provisions p = {0};
	int err;

	if (!mm || !n || !ops || !ops->invalidate || !core_range_valid(at, len))
		return -EINVAL;
	if (core_was_inserted(n) && core_is_inserted(n))
		return -EINVAL;
	if (core_in_callback())
		return -EDEADLK;
	err = core_service_start();
	if (err)
		return err;
	tell_monitors(mm, at, at + len);
	err = lock_provisioned(mm, &p, at, at + len);
	if (err)
		return err;

	*n = (struct uhmm_notifier){.private_start = at, .private_end = at + len, .private_mm = mm, .private_ops = ops};
	watch(mm, &p, at, at + len);
	core_activate(n, covering(mm, at, at + len));
	a32_store_relaxed(&n->private_life, a32_load_relaxed(&mm->life));
	a64_store_release(&n->private_seq, core_new_seq(mm));
	itree_insert(&mm->tree, n, &p.tree);
	core_unlock(mm);
	give_back(mm, &p);
	return 0;
}

/* ---- resize ---- */

/*
 * A pass that is on its way may have its cursor between the old key and the new one, and would step over the notifier. Ask
 * those passes for another round, over the notifiers that are as new as this.
 */
static void ask_for_another_round(struct uhmm_mm *mm, const struct uhmm_notifier *n, uintptr_t old_start, uintptr_t old_end,
				  uint64_t seq)
{
	for (struct uhmm_invalidation *inv = mm->active; inv; inv = inv->private_next) {
		bool both = inv_overlaps(inv, old_start, old_end) && inv_overlaps(inv, n->private_start, n->private_end);

		if (both && (!inv->private_rescan || inv->private_rescan > seq))
			inv->private_rescan = seq;
	}
}

int uhmm_notifier_resize(struct uhmm_notifier *n, const void *start, size_t len)
{
	uintptr_t at = (uintptr_t)start, old_start, old_end;
	struct provisions p = {0};
	struct uhmm_mm *mm;
	uint32_t before;
	uint64_t seq;
	int err;

	if (!n || !core_range_valid(at, len) || !core_was_inserted(n) || !core_is_inserted(n))
		return -EINVAL;
	if (core_in_callback())
		return -EDEADLK;
	mm = n->private_mm;
	tell_monitors(mm, at, at + len);
	err = lock_provisioned(mm, &p, at, at + len);
	if (err)
		return err;

	old_start = n->private_start;
	old_end = n->private_end;
	watch(mm, &p, at, at + len);
	/* Newly covering invalidations first, then the seq, only then those that cover it no longer: a reader that sees the new
	 * seq must never find the count too low (G5). */
	before = covering(mm, old_start, old_end);
	core_activate(n, covering(mm, at, at + len));
	seq = core_new_seq(mm);
	a64_store_release(&n->private_seq, seq);
	itree_remove(&mm->tree, n, &p.tree);
	n->private_start = at;
	n->private_end = at + len;
	itree_insert(&mm->tree, n, &p.tree);
	ask_for_another_round(mm, n, old_start, old_end, seq);
	if (before)
		core_deactivate(n, before);
	occupancy_clear(&mm->occupied, &mm->tree, old_start, old_end);
	core_unlock(mm);
	give_back(mm, &p);
	return 0;
}

/* ---- remove ---- */

/* Under the lock: nothing finds it any more, its readers wake up and find it dead. */
static void take_out(struct uhmm_mm *mm, struct uhmm_notifier *n, struct spare *spare)
{
	itree_remove(&mm->tree, n, spare);
	occupancy_clear(&mm->occupied, &mm->tree, n->private_start, n->private_end);
	a32_store_relaxed(&n->private_life, 0);
	/* Dead before the count drops: a reader that wakes up must not find it quiet. */
	a64_store_release(&n->private_seq, UHMM_SEQ_DEAD);
	if (!count_is_zero(a32_load_relaxed(&n->private_active)))
		core_deactivate(n, a32_load_relaxed(&n->private_active) / COUNT_ONE);
}

static bool no_callback(uint32_t busy, const void *arg)
{
	(void)arg;
	return count_is_zero(busy);
}

int uhmm_notifier_remove(struct uhmm_notifier *n)
{
	struct spare spare = {0};
	struct uhmm_mm *mm;
	bool wait;

	if (!n || !core_was_inserted(n))
		return -EINVAL;
	if (core_in_callback())
		return -EDEADLK;
	mm = n->private_mm;
	core_lock(mm);
	if (!core_is_inserted(n)) {
		/* The parent's, in a forked child: it went with the parent's life of the address space. */
		a32_store_relaxed(&n->private_life, 0);
		core_unlock(mm);
		return 0;
	}
	take_out(mm, n, &spare);
	wait = core_sleep_on(&n->private_busy);
	core_unlock(mm);
	itree_release(&mm->tree, &spare);
	if (wait)
		sync_await32(&n->private_busy, no_callback, NULL, SYNC_FOREVER);
	return 0;
}

int uhmm_notifier_remove_deferred(struct uhmm_notifier *n, void (*done)(struct uhmm_notifier *n))
{
	struct uhmm_mm *mm;
	bool now;

	if (!n || !done || !core_was_inserted(n))
		return -EINVAL;
	mm = n->private_mm;
	core_lock(mm);
	if (core_is_inserted(n)) {
		n->private_done = done;
		take_out(mm, n, NULL);
	} else {
		a32_store_relaxed(&n->private_life, 0);
		a32_store_relaxed(&n->private_busy, 0);
	}
	now = count_is_zero(a32_load_acquire(&n->private_busy));
	core_unlock(mm);
	if (now)
		done(n);
	return 0;
}
