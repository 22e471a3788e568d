/* SPDX-License-Identifier: MIT */
/*
 * lock_only: one lock around the tear-down in `start` and around look-up and programming; no sequence.
 *
 * The lock keeps a look-up from straddling `start`. It says nothing about the time between `start` and `end`, when nobody holds
 * it and the page is still the old one (R9):
 *
 *   device                                         CPU
 *                                                  start: lock, unmap, unlock
 *   lock
 *   look the page up: old frame
 *   program it
 *   unlock
 *                                                  page table: old frame -> none
 *                                                  end
 */
#include "lab/models/models.h"

struct state {
	struct lab_listener listener;
	struct lab_device *d;
	struct lab_lock lock;
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct state *s = (struct state *)l;

	if (!model_lock_for(&s->lock, event))
		return -EAGAIN;
	lab_unmap(s->d, event->start, event->end);
	lab_unlock(&s->lock);
	return 0;
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);

	(void)range_start;
	(void)range_end;
	s->d = d;
	s->listener.start = start;
	lab_listen(&s->listener);
}

/* A look-up that breaks copy-on-write would wait for this lock in its own `start`; so this scheme is for reading only. */
static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	struct state *s = lab_device_state(d);
	lab_frame frame;
	int err;

	lab_lock(&s->lock);
	err = lab_grab(s->d, page, access, &frame);
	if (!err) {
		lab_map(s->d, page, frame, access);
		lab_put(s->d, frame);
	}
	lab_unlock(&s->lock);
	return err;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return model_use(d, page, access, value, fault);
}

const struct lab_model lab_model_lock_only = {
	.name = "lock_only",
	.about = "one lock around tear-down and around look-up and programming, no sequence",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
