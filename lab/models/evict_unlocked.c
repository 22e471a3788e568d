/* SPDX-License-Identifier: MIT */
/*
 * evict_unlocked: knows that an invalidation must reach evicted page tables too, and looks whether they are before it takes the
 * lock (R14).
 *
 *   device memory                                  CPU
 *                                                  start: evicted? no
 *   evict: lock; page 0 -> frame 1 is kept aside;
 *     evicted = 1; unlock
 *                                                  lock; clear the entry: there is none; unlock
 *                                                  page table: frame 1 -> frame 2
 *                                                  end
 *   restore: page 0 -> frame 1
 *   uses frame 1 for ever
 *
 * And while they come back: the answer is yes, they are put back, and only what was kept aside is forgotten.
 *
 * Required: one lock is held over the question and what follows from its answer, and over the whole eviction.
 */
#include "lab/models/evictable.h"

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct evictable *e = (struct evictable *)l;
	bool evicted = lab_load_acquire(&e->evicted); /* the mistake: two lines too early */

	if (!model_lock_for(&e->driver.lock, event))
		return -EAGAIN;
	small_driver_count(&e->driver);
	if (evicted)
		evictable_forget(e, event);
	else
		lab_unmap(e->driver.d, event->start, event->end);
	lab_unlock(&e->driver.lock);
	return 0;
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct evictable *e = lab_device_state(d);

	(void)range_start;
	(void)range_end;
	small_driver_attach(&e->driver, d, start);
}

const struct lab_model lab_model_evict_unlocked = {
	.name = "evict_unlocked",
	.about = "an invalidation asks without the lock whether the page tables are evicted",
	.state_size = sizeof(struct evictable),
	.attach = attach,
	.use = evictable_use,
	.evict = evictable_evict,
	.restore = evictable_restore,
};
