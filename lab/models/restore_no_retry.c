/* SPDX-License-Identifier: MIT */
/*
 * restore_no_retry: a device without page faults. An invalidation stops its queues; a worker looks all pages up again after a
 * while and starts them, and does not ask what has happened meanwhile (R16).
 *
 *   restore worker                                 CPU
 *                                                  start, of an earlier change: the queues stop
 *   (later) looks page 0 up: frame 1
 *                                                  start: the queues are stopped already; unmap
 *   programs page 0 -> frame 1
 *   starts the queues
 *                                                  page table: frame 1 -> frame 2
 *                                                  end
 *   the queues run on frame 1
 *
 * The delay only makes it rarer: it orders nothing. Required: under the lock, before the queues start, the worker sees that
 * it was overtaken, and begins again.
 */
#include "lab/models/models.h"

struct state {
	struct lab_listener listener; /* first */
	struct lab_device *d;
	struct lab_lock lock;
	struct uhmm_a32 running;      /* 1: the queues run; stored under the lock */
	struct uhmm_a32 wanted;       /* 1: the worker has something to do */
	uint32_t first, last;         /* pages that the device uses, [first, last) */
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct state *s = (struct state *)l;

	if (!model_lock_for(&s->lock, event))
		return -EAGAIN;
	lab_store_release(&s->running, 0);
	lab_unmap(s->d, event->start, event->end);
	lab_unlock(&s->lock);
	lab_store_release(&s->wanted, 1); /* schedule_delayed_work() */
	return 0;
}

/* All pages that there are; those that the process has unmapped stay invalid. */
static void restore(struct state *s)
{
	for (uint32_t page = s->first; page < s->last; page++) {
		lab_frame frame;

		if (lab_grab(s->d, page, LAB_READ, &frame))
			continue;
		lab_lock(&s->lock);
		lab_map(s->d, page, frame, LAB_READ); /* the mistake: whatever has come since the look-up */
		lab_unlock(&s->lock);
		lab_put(s->d, frame);
	}
	lab_lock(&s->lock);
	lab_store_release(&s->running, 1);
	lab_unlock(&s->lock);
}

static void worker(void *arg)
{
	struct state *s = arg;

	for (;;) {
		lab_await(&s->wanted, 1);
		lab_store_relaxed(&s->wanted, 0);
		restore(s);
	}
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);

	s->d = d;
	s->first = LAB_PAGE_OF(range_start);
	s->last = LAB_PAGE_OF(range_end);
	s->listener.start = start;
	lab_store_relaxed(&s->wanted, 1);
	lab_listen(&s->listener);
	lab_spawn_daemon(lab_device_index(d) ? "restore1" : "restore0", worker, s);
}

/* A device like this cannot fault: where there is no entry, there is nothing, or the queues have just been stopped. */
static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct state *s = lab_device_state(d);

	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		int err;

		lab_await(&s->running, 1);
		err = model_touch(d, page, access, value);
		if (err != -EFAULT)
			return err;
		lab_relax();
	}
	return -EBUSY;
}

const struct lab_model lab_model_restore_no_retry = {
	.name = "restore_no_retry",
	.about = "stops its queues in start; a worker revalidates later and starts them, whatever has come since",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
