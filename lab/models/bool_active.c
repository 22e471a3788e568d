/* SPDX-License-Identifier: MIT */
/*
 * bool_active: sequence and driver lock as they should be, but "is being invalidated" is one bit instead of a count.
 *
 * The first of two overlapping invalidations to end says that all is quiet (R10):
 *
 *   device                      CPU 0                        CPU 1
 *                               start: active = true
 *                                                            start: active = true, unmap
 *                               page table, end:
 *                               active = false, seq++
 *   seq; active? no
 *   look the page up: old
 *   lock; active? no; seq same
 *   program; unlock
 *                                                            page table: old frame -> none
 *                                                            end
 */
#include "lab/models/models.h"

struct state {
	struct lab_listener listener;
	struct lab_device *d;
	struct lab_lock lock;
	struct uhmm_a32 seq, active; /* stored under the lock */
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct state *s = (struct state *)l;

	if (!model_lock_for(&s->lock, event))
		return -EAGAIN;
	lab_store_relaxed(&s->active, true);
	lab_unmap(s->d, event->start, event->end);
	lab_unlock(&s->lock);
	return 0;
}

static void end(struct lab_listener *l, const struct uhmm_event *event, bool changed)
{
	struct state *s = (struct state *)l;

	(void)event;
	(void)changed;
	lab_lock(&s->lock);
	lab_store_release(&s->seq, lab_load_relaxed(&s->seq) + 1);
	lab_store_release(&s->active, false); /* also if somebody else's invalidation is still active */
	lab_unlock(&s->lock);
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);

	(void)range_start;
	(void)range_end;
	s->d = d;
	s->listener.start = start;
	s->listener.end = end;
	lab_listen(&s->listener);
}

/* -EAGAIN: overtaken by a change. */
static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	struct state *s = lab_device_state(d);
	lab_frame frame;
	uint32_t seq;
	int err;

	lab_await(&s->active, false);
	seq = lab_load_acquire(&s->seq);
	err = lab_grab(s->d, page, access, &frame);
	if (err)
		return err;
	lab_lock(&s->lock);
	if (lab_load_relaxed(&s->active) || lab_load_relaxed(&s->seq) != seq)
		err = -EAGAIN;
	else
		lab_map(s->d, page, frame, access);
	lab_unlock(&s->lock);
	lab_put(s->d, frame);
	return err;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return model_use(d, page, access, value, fault);
}

const struct lab_model lab_model_bool_active = {
	.name = "bool_active",
	.about = "sequence and lock, but one bit instead of a count of active invalidations",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
