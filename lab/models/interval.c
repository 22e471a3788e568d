/* SPDX-License-Identifier: MIT */
/*
 * interval: this project's core, the shipped code; a notifier for each range, used as <uhmm/notifier.h> says.
 *
 *   device                                         CPU
 *   s = uhmm_read_begin(): waits while the
 *   range is being invalidated
 *   look the page up
 *                                                  uhmm_invalidate_start():
 *                                                    counted, new sequence
 *                                                    invalidate(): lock; unmap; unlock
 *   lock
 *   uhmm_read_retry(s): put, begin again
 *   program it
 *   unlock
 *                                                  ... the change ...
 *                                                  uhmm_invalidate_end()
 *
 * docs/protocol.md says why each step is where it is. The driver lock is announced, as drivers should in a program whose signal
 * handlers may change mappings; here it puts the counting of held locks under the search too.
 */
#include "lab/models/models.h"

#define RANGES 2u

struct state;

struct watch {
	struct uhmm_notifier notifier; /* first */
	struct state *s;
	uintptr_t start, end;
};

struct state {
	struct lab_device *d;
	struct lab_lock lock;
	uint32_t ranges;               /* used by the device's own fiber */
	struct watch watch[RANGES];
};

static void driver_lock(struct state *s)
{
	lab_lock(&s->lock);
	uhmm_lock_acquired(&s->lock, "lab driver lock");
}

static void driver_unlock(struct state *s)
{
	uhmm_lock_released(&s->lock);
	lab_unlock(&s->lock);
}

static int invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct watch *w = (struct watch *)n;
	struct state *s = w->s;

	if (!model_lock_for(&s->lock, event))
		return -EAGAIN;
	uhmm_lock_acquired(&s->lock, "lab driver lock");
	lab_unmap(s->d, event->start > w->start ? event->start : w->start, event->end < w->end ? event->end : w->end);
	driver_unlock(s);
	return 0;
}

static const struct uhmm_notifier_ops ops = {.invalidate = invalidate};

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);
	struct watch *w = &s->watch[s->ranges];
	int err;

	if (!s->d)
		s->d = d; /* not again by a late attach: callbacks of the first range may be reading it */
	w->s = s;
	w->start = range_start;
	w->end = range_end;
	err = uhmm_notifier_insert(lab_mm(), &w->notifier, (const void *)range_start, range_end - range_start, &ops);
	if (err)
		lab_fail("insert: %d", err);
	s->ranges++;
}

static void detach(struct lab_device *d)
{
	struct state *s = lab_device_state(d);

	/* The order of docs/protocol.md, rule 6: programming has stopped, what there is goes, and then the notifier. */
	driver_lock(s);
	lab_unmap(d, LAB_ADDR(0), LAB_ADDR(LAB_PAGES));
	driver_unlock(s);
	while (s->ranges) {
		int err = uhmm_notifier_remove(&s->watch[--s->ranges].notifier);

		if (err)
			lab_fail("remove: %d", err);
	}
}

static struct watch *watch_of(struct state *s, uint32_t page)
{
	for (uint32_t i = 0; i < s->ranges; i++)
		if (s->watch[i].start <= LAB_ADDR(page) && LAB_ADDR(page) < s->watch[i].end)
			return &s->watch[i];
	return NULL;
}

/* -EAGAIN: overtaken by a change. */
static int fault(struct watch *w, uint32_t page, uint32_t access)
{
	uint64_t seq = uhmm_read_begin(&w->notifier);
	struct state *s = w->s;
	lab_frame frame;
	int err;

	if (seq == UHMM_SEQ_DEAD)
		return -EFAULT;
	err = lab_grab(s->d, page, access, &frame);
	if (err)
		return err;
	driver_lock(s);
	if (uhmm_read_retry(&w->notifier, seq))
		err = -EAGAIN;
	else
		lab_map(s->d, page, frame, access);
	driver_unlock(s);
	lab_put(s->d, frame);
	return err;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct watch *w = watch_of(lab_device_state(d), page);

	if (!w)
		return -EFAULT;
	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		int err = model_touch(d, page, access, value);

		if (err != -EFAULT)
			return err;
		err = fault(w, page, access);
		if (err && err != -EAGAIN)
			return err;
	}
	return -EBUSY;
}

const struct lab_model lab_model_interval = {
	.name = "interval",
	.about = "the shipped core: interval notifiers with read_begin and read_retry",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.attach_late = attach,
	.detach = detach,
};
