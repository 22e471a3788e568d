/* SPDX-License-Identifier: MIT */
/*
 * no_lock_pass: everything right, but the callback looks whether there is anything to tear down before it takes the driver
 * lock.
 *
 * The lock looks needless when the device has nothing programmed. But passing through it is what makes the new sequence
 * visible to a reader that takes it afterwards: the unlock carries the store, the lock receives it (R11). Without that the
 * reader and the callback each store one word and load the other's, and store buffers let both loads come first:
 *
 *   device (holds the lock)                        callback
 *   busy = 1        (waits in the store buffer)
 *                                                  seq = 2      (waits in the store buffer)
 *                                                  busy? still 0: nothing to do, return
 *   seq? still 1: same as before
 *   program the page
 *                                                  page table: old frame -> none
 *
 * With sequential consistency it cannot lose: one of the two loads comes last.
 */
#include "lab/models/models.h"

struct state {
	struct lab_listener listener;
	struct lab_device *d;
	struct lab_lock lock;
	struct uhmm_a32 active; /* read-modify-writes */
	struct uhmm_a32 seq;    /* a new one in each start; stored by one callback at a time, see `serial` */
	struct uhmm_a32 busy;   /* 1: something is programmed or about to be; stored under the lock */
	struct lab_lock serial; /* of callbacks among themselves */
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct state *s = (struct state *)l;

	if (!model_lock_for(&s->serial, event))
		return -EAGAIN;
	lab_fetch_add(&s->active, 1);
	lab_store_release(&s->seq, lab_load_relaxed(&s->seq) + 1);
	if (lab_load_acquire(&s->busy)) { /* the peek; a full fence before it would repair the scheme */
		lab_lock(&s->lock);
		lab_unmap(s->d, event->start, event->end);
		lab_unlock(&s->lock);
	}
	lab_unlock(&s->serial);
	return 0;
}

static void end(struct lab_listener *l, const struct uhmm_event *event, bool changed)
{
	struct state *s = (struct state *)l;

	(void)event;
	(void)changed;
	lab_fetch_add(&s->active, (uint32_t)-1);
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

	lab_await(&s->active, 0);
	err = lab_grab(s->d, page, access, &frame);
	if (err)
		return err;
	lab_lock(&s->lock);
	lab_store_release(&s->busy, 1);
	if (lab_load_acquire(&s->seq) != seq)
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

const struct lab_model lab_model_no_lock_pass = {
	.name = "no_lock_pass",
	.about = "the callback peeks whether there is anything to tear down instead of taking the driver lock",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.weak = true,
};
