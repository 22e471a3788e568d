/* SPDX-License-Identifier: MIT */
/*
 * end_only: drops its mapping in `end` instead of `start`, and has a sequence so that no look-up straddles an end.
 *
 * The argument for it is that at `end` the page table has changed, so whatever is looked up from then on is new. True; but
 * between the change and `end` the device still has the old page, and what it writes there is lost (R3):
 *
 *   device                                         CPU
 *   seq; looks the page up
 *   lock; seq is the same; programs it; unlock
 *                                                  start: nobody listens
 *                                                  page table: old frame -> none
 *   writes to the old frame
 *                                                  end: lock; seq++; unmap; unlock
 *                                                  reads a new page: the write is not there
 */
#include "lab/models/models.h"

struct state {
	struct lab_listener listener;
	struct lab_device *d;
	struct lab_lock lock;
	struct uhmm_a32 seq; /* stored under the lock */
};

static void end(struct lab_listener *l, const struct uhmm_event *event, bool changed)
{
	struct state *s = (struct state *)l;

	(void)changed;
	lab_lock(&s->lock);
	lab_store_release(&s->seq, lab_load_relaxed(&s->seq) + 1);
	lab_unmap(s->d, event->start, event->end);
	lab_unlock(&s->lock);
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);

	(void)range_start;
	(void)range_end;
	s->d = d;
	s->listener.end = end;
	lab_listen(&s->listener);
}

/* -EAGAIN: overtaken by an end. */
static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	struct state *s = lab_device_state(d);
	uint32_t seq = lab_load_acquire(&s->seq);
	lab_frame frame;
	int err = lab_grab(s->d, page, access, &frame);

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

const struct lab_model lab_model_end_only = {
	.name = "end_only",
	.about = "drops its mapping in end instead of start",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
