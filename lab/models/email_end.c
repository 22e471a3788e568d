/* SPDX-License-Identifier: MIT */
/*
 * email_end: the sequence as it was first explained in public, with the test at the end the wrong way round.
 *
 *	start:  active++; seq |= 1;                an odd sequence means: being invalidated
 *	end:    if (--active) seq++;               should read: if (--active == 0)
 *
 * With two overlapping invalidations the end of the first makes the sequence even, that is quiet, while the second is
 * active; the end of the last leaves it odd for ever, or even by luck (R10):
 *
 *   device                      CPU 0                        CPU 1
 *                               start: active 1, seq 1
 *                                                            start: active 2, seq 1, unmap
 *                               end: active 1, so seq 2
 *   seq 2: even, go on
 *   look the page up: old
 *   lock; still 2; program
 *                                                            page table: old frame -> none
 */
#include "lab/models/models.h"

struct state {
	struct lab_listener listener;
	struct lab_device *d;
	struct lab_lock lock;
	uint32_t active;     /* under the lock */
	struct uhmm_a32 seq; /* stored under the lock */
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct state *s = (struct state *)l;

	if (!model_lock_for(&s->lock, event))
		return -EAGAIN;
	s->active++;
	lab_store_release(&s->seq, lab_load_relaxed(&s->seq) | 1u);
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
	if (--s->active)
		lab_store_release(&s->seq, lab_load_relaxed(&s->seq) + 1u);
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
	uint32_t seq = lab_load_acquire(&s->seq);
	lab_frame frame;
	int err;

	if (seq & 1u) {
		lab_relax();
		return -EAGAIN;
	}
	err = lab_grab(s->d, page, access, &frame);
	if (err)
		return err;
	lab_lock(&s->lock);
	if (lab_load_relaxed(&s->seq) != seq)
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

const struct lab_model lab_model_email_end = {
	.name = "email_end",
	.about = "odd/even sequence with the decrement test at the end the wrong way round",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
