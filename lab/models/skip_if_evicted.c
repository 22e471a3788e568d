/* SPDX-License-Identifier: MIT */
/*
 * skip_if_evicted: an invalidation that finds the page tables evicted has nothing to do, it thinks (R14).
 *
 * "There is no entry to clear" is true and beside the point: the entries are kept aside and come back.
 *
 *   device memory                                  CPU
 *   evict: lock; page 0 -> frame 1 is kept aside;
 *     evicted = 1; unlock
 *                                                  start: lock; evicted: nothing to clear; unlock
 *                                                  page table: frame 1 -> frame 2
 *                                                  end
 *   restore: page 0 -> frame 1, as it was;
 *     the device runs
 *   uses frame 1 for ever
 *
 * Required: what arrives while they are out is recorded and replayed before the device runs again.
 */
#include "lab/models/evictable.h"

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct evictable *e = (struct evictable *)l;

	if (!model_lock_for(&e->driver.lock, event))
		return -EAGAIN;
	small_driver_count(&e->driver);
	if (!lab_load_relaxed(&e->evicted)) /* the mistake: else evictable_forget() */
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

const struct lab_model lab_model_skip_if_evicted = {
	.name = "skip_if_evicted",
	.about = "ignores invalidations while its page tables are evicted, and puts them back as they were",
	.state_size = sizeof(struct evictable),
	.attach = attach,
	.use = evictable_use,
	.evict = evictable_evict,
	.restore = evictable_restore,
};
