/* SPDX-License-Identifier: MIT */
/*
 * exclusive_no_end: takes pages for the device alone, and sees no reason why it should give one up (R23).
 *
 * While a page is the device's alone the CPU has no access, so the driver passes over it in its callback: it takes any event
 * for the echo of its own. But the mapping itself is the process's:
 *
 *   device: atomic add                             CPU
 *   lock; page 0 -> frame 1, exclusive; unlock
 *   loads frame 1
 *                                                  munmap: start: exclusive, passed over
 *                                                  page table: frame 1 -> none; frame 1 is free
 *   stores to frame 1: somebody else's
 *
 * Required: an unmap ends exclusivity, waits for the operation that is under way, and the next one faults.
 */
#include "lab/models/small_driver.h"

struct state {
	struct small_driver driver; /* first */
	bool exclusive[LAB_PAGES];  /* under the lock */
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct state *s = (struct state *)l;

	if (!model_lock_for(&s->driver.lock, event))
		return -EAGAIN;
	small_driver_count(&s->driver);
	for (uint32_t page = 0; page < LAB_PAGES; page++) {
		if (model_overlaps(event, LAB_ADDR(page), LAB_ADDR(page + 1)) && !s->exclusive[page]) /* the mistake */
			lab_unmap(s->driver.d, LAB_ADDR(page), LAB_ADDR(page + 1));
	}
	lab_unlock(&s->driver.lock);
	return 0;
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	(void)range_start;
	(void)range_end;
	small_driver_attach(lab_device_state(d), d, start);
}

/* The device has the page for itself when this returns 0. -EAGAIN: overtaken by a change. */
static int make_exclusive(struct state *s, uint32_t page)
{
	struct small_driver *v = &s->driver;
	uint32_t seen = small_driver_begin(v);
	lab_frame frame;
	int err = lab_grab(v->d, page, LAB_READ | LAB_WRITE, &frame);

	if (err)
		return err;
	lab_lock(&v->lock);
	if (small_driver_overtaken(v, seen)) {
		err = -EAGAIN;
	} else {
		lab_map(v->d, page, frame, LAB_READ | LAB_WRITE);
		s->exclusive[page] = true;
	}
	lab_unlock(&v->lock);
	lab_put(v->d, frame);
	return err;
}

static void give_back(struct state *s, uint32_t page)
{
	lab_lock(&s->driver.lock);
	s->exclusive[page] = false;
	lab_unmap(s->driver.d, LAB_ADDR(page), LAB_ADDR(page + 1));
	lab_unlock(&s->driver.lock);
}

static int atomic_add(struct lab_device *d, uint32_t page, uint32_t delta, uint32_t *old)
{
	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		int err = make_exclusive(lab_device_state(d), page);

		if (err == -EAGAIN)
			continue;
		if (err)
			return err;
		err = lab_load(d, page, old);
		if (!err)
			err = lab_store(d, page, *old + delta);
		give_back(lab_device_state(d), page);
		return err;
	}
	return -EBUSY;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return access & LAB_WRITE ? -EINVAL : atomic_add(d, page, 0, value);
}

const struct lab_model lab_model_exclusive_no_end = {
	.name = "exclusive_no_end",
	.about = "pages that the device has for itself are passed over in the callback",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.atomic_add = atomic_add,
};
