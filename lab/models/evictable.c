/* SPDX-License-Identifier: MIT */
#include "lab/models/evictable.h"

void evictable_evict(struct lab_device *d)
{
	struct evictable *e = lab_device_state(d);

	lab_lock(&e->driver.lock);
	for (uint32_t page = 0; page < LAB_PAGES; page++)
		e->kept[page].frame = lab_mapped(d, page, &e->kept[page].access);
	lab_unmap(d, LAB_ADDR(0), LAB_ADDR(LAB_PAGES));
	lab_store_release(&e->evicted, 1);
	lab_unlock(&e->driver.lock);
}

void evictable_restore(struct lab_device *d)
{
	struct evictable *e = lab_device_state(d);

	lab_lock(&e->driver.lock);
	for (uint32_t page = 0; page < LAB_PAGES; page++) {
		if (e->kept[page].frame)
			lab_map(d, page, e->kept[page].frame, e->kept[page].access);
		e->kept[page].frame = 0;
	}
	lab_store_release(&e->evicted, 0);
	lab_unlock(&e->driver.lock);
}

void evictable_forget(struct evictable *e, const struct uhmm_event *event)
{
	for (uint32_t page = 0; page < LAB_PAGES; page++) {
		if (model_overlaps(event, LAB_ADDR(page), LAB_ADDR(page + 1)))
			e->kept[page].frame = 0;
	}
}

/* -EAGAIN: overtaken by a change, or by an eviction. */
static int fault(struct evictable *e, uint32_t page, uint32_t access)
{
	struct small_driver *s = &e->driver;
	uint32_t seen = small_driver_begin(s);
	lab_frame frame;
	int err = lab_grab(s->d, page, access, &frame);

	if (err)
		return err;
	lab_lock(&s->lock);
	if (small_driver_overtaken(s, seen) || lab_load_relaxed(&e->evicted))
		err = -EAGAIN;
	else
		lab_map(s->d, page, frame, access);
	lab_unlock(&s->lock);
	lab_put(s->d, frame);
	return err;
}

int evictable_use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct evictable *e = lab_device_state(d);

	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		int err;

		lab_await(&e->evicted, 0); /* the device is not on the run list */
		err = model_touch(d, page, access, value);
		if (err != -EFAULT)
			return err;
		err = fault(e, page, access);
		if (err && err != -EAGAIN)
			return err;
	}
	return -EBUSY;
}
