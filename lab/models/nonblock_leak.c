/* SPDX-License-Identifier: MIT */
/*
 * nonblock_leak: right until an invalidation that must not sleep meets a lock that is held.
 *
 * One listener serves all devices. It counts a device as invalidated, then tries its lock; if that is held, it answers "try
 * again" and leaves. Nobody ends an invalidation that was refused, so the counts of this device and of those before it
 * stay, and they wait for an end that does not come (R13):
 *
 *   device 0                    device 1                  reclaim
 *                               lock
 *                                                         start, must not sleep:
 *                                                           device 0: active 1, unmapped
 *                                                           device 1: active 1, trylock: held
 *                                                           -> try again later
 *                               program; unlock
 *   no entry; active? 1: waits
 *   for ever
 */
#include "lab/models/models.h"

#define DEVICES 4u

struct state {
	struct lab_lock lock;
	struct uhmm_a32 seq, active; /* read-modify-writes */
};

struct driver {
	struct lab_listener listener;
	uint32_t devices;            /* set-up only */
	struct lab_device *device[DEVICES];
};

static struct driver *driver;        /* set by the first attach of a set-up */

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct driver *v = (struct driver *)l;

	for (uint32_t i = 0; i < v->devices; i++) {
		struct state *s = lab_device_state(v->device[i]);

		lab_fetch_add(&s->active, 1);
		lab_fetch_add(&s->seq, 1);
		if (!model_lock_for(&s->lock, event))
			return -EAGAIN; /* with the counts raised */
		lab_unmap(v->device[i], event->start, event->end);
		lab_unlock(&s->lock);
	}
	return 0;
}

static void end(struct lab_listener *l, const struct uhmm_event *event, bool changed)
{
	struct driver *v = (struct driver *)l;

	(void)event;
	(void)changed;
	for (uint32_t i = 0; i < v->devices; i++) {
		struct state *s = lab_device_state(v->device[i]);

		lab_fetch_add(&s->active, (uint32_t)-1);
	}
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	(void)range_start;
	(void)range_end;
	if (lab_device_index(d) == 0) {
		driver = lab_alloc_zeroed(sizeof(*driver));
		driver->listener.start = start;
		driver->listener.end = end;
		lab_listen(&driver->listener);
	}
	driver->device[driver->devices++] = d;
}

/* -EAGAIN: overtaken by a change. */
static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	struct state *s = lab_device_state(d);
	uint32_t seq = lab_load_acquire(&s->seq);
	lab_frame frame;
	int err;

	lab_await(&s->active, 0);
	err = lab_grab(d, page, access, &frame);
	if (err)
		return err;
	lab_lock(&s->lock);
	if (lab_load_relaxed(&s->seq) != seq)
		err = -EAGAIN;
	else
		lab_map(d, page, frame, access);
	lab_unlock(&s->lock);
	lab_put(d, frame);
	return err;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return model_use(d, page, access, value, fault);
}

const struct lab_model lab_model_nonblock_leak = {
	.name = "nonblock_leak",
	.about = "a refused non-blocking invalidation leaves its counts behind",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
