/* SPDX-License-Identifier: MIT */
/*
 * lock_around_alloc: allocates room for an entry with the driver lock held, which its callback takes (R15).
 *
 *   device                                         CPU
 *   fault: takes the driver lock
 *                                                  free(): takes the heap's lock
 *                                                    madvise(DONTNEED): start
 *                                                      the callback: waits for the driver lock
 *   malloc(): waits for the heap's lock
 *
 * Required: no lock that a callback takes is ever held across an allocation.
 */
#include "lab/models/heap.h"
#include "lab/models/small_driver.h"
#include "lab/search.h"

struct table {
	uint64_t entry[LAB_PAGES];
};

struct state {
	struct small_driver driver; /* first */
	struct table *table;        /* made when it is needed, under the lock */
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	if (lab_telling)
		lab_note("the callback: the driver lock, please");
	return small_driver_start(l, event);
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	(void)range_start;
	(void)range_end;
	small_driver_attach(lab_device_state(d), d, start);
}

/* -EAGAIN: overtaken by a change. */
static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	struct state *s = lab_device_state(d);
	struct small_driver *v = &s->driver;
	uint32_t seen = small_driver_begin(v);
	lab_frame frame;
	int err = lab_grab(v->d, page, access, &frame);

	if (err)
		return err;
	lab_lock(&v->lock);
	if (lab_telling)
		lab_note("has the driver lock");
	if (!s->table)
		s->table = heap_alloc(sizeof(*s->table)); /* the mistake */
	if (small_driver_overtaken(v, seen)) {
		err = -EAGAIN;
	} else {
		s->table->entry[page] = frame;
		lab_map(v->d, page, frame, access);
	}
	lab_unlock(&v->lock);
	lab_put(v->d, frame);
	return err;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return model_use(d, page, access, value, fault);
}

const struct lab_model lab_model_lock_around_alloc = {
	.name = "lock_around_alloc",
	.about = "allocates with the driver lock held, which its callback takes",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
