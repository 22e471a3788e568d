/* SPDX-License-Identifier: MIT */
/*
 * start_only: drops its mapping in `start`, looks the page up again whenever the device needs it.
 *
 * What most drivers with a range_start callback and nothing else were. `start` returns before the change, and nothing keeps the
 * device from coming back in between (R1; with a lockless look-up in R2; for writing, under write-back, in R4):
 *
 *   device                                         CPU
 *                                                  start: the driver unmaps, returns
 *   no entry: look the page up: old frame
 *   program it, put the reference
 *                                                  page table: old frame -> new frame
 *                                                  end: nobody listens
 *   uses the old frame for ever
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

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct state *s = lab_device_state(d);
	lab_frame frame;

	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		int err = model_touch(d, page, access, value);

		if (err != -EFAULT)
			return err;
		err = lab_grab(d, page, access, &frame);
		if (err)
			return err;
		lab_lock(&s->lock);
		lab_map(d, page, frame, access); /* whatever has happened since the look-up */
		lab_unlock(&s->lock);
		lab_put(d, frame);
	}
	return -EBUSY;
}

const struct lab_model lab_model_start_only = {
	.name = "start_only",
	.about = "drops its mapping in start, looks up again when the device needs the page",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
