/* SPDX-License-Identifier: MIT */
/*
 * per_range_naive: sequence and count of active invalidations for each range, counted from when the range was added.
 *
 * Better than one count for everything, until a range is added in the middle of an invalidation that covers it: nobody counts
 * that one, so the range looks quiet (R6). Its end finds nothing to count down, or counts down another's:
 *
 *   device                                         CPU
 *                                                  start: no range covers it, nothing is counted
 *   adds the range: active = 0
 *   active? no; seq 0
 *   look the page up: old frame
 *   lock; seq still 0; program; unlock
 *                                                  page table: old frame -> new frame
 *                                                  end
 */
#include "lab/models/models.h"

#define RANGES 2u

struct range {
	uintptr_t start, end;        /* under the lock */
	struct uhmm_a32 seq, active; /* stored under the lock */
};

struct state {
	struct lab_listener listener;
	struct lab_device *d;
	struct lab_lock lock;
	uint32_t ranges;             /* under the lock */
	struct range range[RANGES];
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct state *s = (struct state *)l;

	if (!model_lock_for(&s->lock, event))
		return -EAGAIN;
	for (uint32_t i = 0; i < s->ranges; i++) {
		struct range *r = &s->range[i];

		if (!model_overlaps(event, r->start, r->end))
			continue;
		lab_store_relaxed(&r->active, lab_load_relaxed(&r->active) + 1);
		lab_store_release(&r->seq, lab_load_relaxed(&r->seq) + 1);
		lab_unmap(s->d, event->start, event->end);
	}
	lab_unlock(&s->lock);
	return 0;
}

static void end(struct lab_listener *l, const struct uhmm_event *event, bool changed)
{
	struct state *s = (struct state *)l;

	(void)changed;
	lab_lock(&s->lock);
	for (uint32_t i = 0; i < s->ranges; i++) {
		struct range *r = &s->range[i];

		/* It may have begun before the range was here. */
		if (model_overlaps(event, r->start, r->end) && lab_load_relaxed(&r->active))
			lab_store_release(&r->active, lab_load_relaxed(&r->active) - 1);
	}
	lab_unlock(&s->lock);
}

static void add_range(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);

	lab_lock(&s->lock);
	s->range[s->ranges].start = range_start;
	s->range[s->ranges].end = range_end;
	s->ranges++;
	lab_unlock(&s->lock);
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);

	s->d = d;
	s->listener.start = start;
	s->listener.end = end;
	lab_listen(&s->listener);
	add_range(d, range_start, range_end);
}

static struct range *range_of(struct state *s, uint32_t page)
{
	struct range *r = NULL;

	lab_lock(&s->lock);
	for (uint32_t i = 0; i < s->ranges; i++)
		if (s->range[i].start <= LAB_ADDR(page) && LAB_ADDR(page) < s->range[i].end)
			r = &s->range[i];
	lab_unlock(&s->lock);
	return r;
}

/* -EAGAIN: overtaken by a change. */
static int fault(struct state *s, struct range *r, uint32_t page, uint32_t access)
{
	lab_frame frame;
	uint32_t seq;
	int err;

	seq = lab_load_acquire(&r->seq); /* before the count: in the other order a whole start may hide between the two */
	lab_await(&r->active, 0);
	err = lab_grab(s->d, page, access, &frame);
	if (err)
		return err;
	lab_lock(&s->lock);
	if (lab_load_relaxed(&r->active) || lab_load_relaxed(&r->seq) != seq)
		err = -EAGAIN;
	else
		lab_map(s->d, page, frame, access);
	lab_unlock(&s->lock);
	lab_put(s->d, frame);
	return err;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct state *s = lab_device_state(d);
	struct range *r = range_of(s, page);

	if (!r)
		return -EFAULT;
	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		int err = model_touch(d, page, access, value);

		if (err != -EFAULT)
			return err;
		err = fault(s, r, page, access);
		if (err && err != -EAGAIN)
			return err;
	}
	return -EBUSY;
}

const struct lab_model lab_model_per_range_naive = {
	.name = "per_range_naive",
	.about = "sequence and count for each range, counted only from when the range was added",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.attach_late = add_range,
};
