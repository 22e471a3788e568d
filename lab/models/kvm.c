/* SPDX-License-Identifier: MIT */
/*
 * kvm: one sequence and one count of active invalidations for the whole address space, as virtual machines keep them.
 *
 *   device                                         CPU
 *   active? wait until it is 0
 *   s = seq
 *   look the page up
 *                                                  start: lock; active++; unmap; unlock
 *                                                  ... the change ...
 *                                                  end:   lock; seq++; active--; unlock
 *   lock
 *   active, or seq != s: put the page, begin again
 *   program it
 *   unlock
 *
 * A look-up that begins before `start` finds either `active` or, after the end, another sequence. Holds; its price is that a
 * change anywhere makes every device wait, which is what the interval scheme is for. It needs no list of ranges, so that
 * coming late (R6) or leaving early (R12) are no problem either.
 */
#include "lab/models/models.h"

/* Hangs in the simulated kernel's list, so it outlives the device's state. */
struct watcher {
	struct lab_listener listener;
	struct lab_device *d;
	struct lab_lock lock;
	struct uhmm_a32 seq, active; /* stored under the lock */
};

struct state {
	struct watcher *w;
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct watcher *w = (struct watcher *)l;

	if (!model_lock_for(&w->lock, event))
		return -EAGAIN;
	lab_store_relaxed(&w->active, lab_load_relaxed(&w->active) + 1);
	lab_unmap(w->d, event->start, event->end);
	lab_unlock(&w->lock);
	return 0;
}

static void end(struct lab_listener *l, const struct uhmm_event *event, bool changed)
{
	struct watcher *w = (struct watcher *)l;

	(void)event;
	(void)changed;
	lab_lock(&w->lock);
	lab_store_release(&w->seq, lab_load_relaxed(&w->seq) + 1);
	/* After the sequence: who sees the count at 0 sees that this was there. */
	lab_store_release(&w->active, lab_load_relaxed(&w->active) - 1);
	lab_unlock(&w->lock);
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);

	(void)range_start;
	(void)range_end;
	s->w = lab_alloc_zeroed(sizeof(*s->w));
	s->w->d = d;
	s->w->listener.start = start;
	s->w->listener.end = end;
	lab_listen(&s->w->listener);
}

/* The whole address space is watched from the beginning. */
static void attach_late(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	(void)d;
	(void)range_start;
	(void)range_end;
}

static void detach(struct lab_device *d)
{
	struct watcher *w = ((struct state *)lab_device_state(d))->w;

	lab_lock(&w->lock);
	lab_unmap(d, LAB_ADDR(0), LAB_ADDR(LAB_PAGES));
	lab_unlock(&w->lock);
}

/* -EAGAIN: overtaken by a change. */
static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	struct watcher *w = ((struct state *)lab_device_state(d))->w;
	lab_frame frame;
	uint32_t seq;
	int err;

	lab_await(&w->active, 0);
	seq = lab_load_acquire(&w->seq); /* acquire: the look-up comes after it */
	err = lab_grab(w->d, page, access, &frame);
	if (err)
		return err;
	lab_lock(&w->lock);
	if (lab_load_relaxed(&w->active) || lab_load_relaxed(&w->seq) != seq)
		err = -EAGAIN;
	else
		lab_map(w->d, page, frame, access);
	lab_unlock(&w->lock);
	lab_put(w->d, frame);
	return err;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return model_use(d, page, access, value, fault);
}

const struct lab_model lab_model_kvm = {
	.name = "kvm",
	.about = "sequence and active count for the whole address space; holds, and waits for unrelated ranges",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.attach_late = attach_late,
	.detach = detach,
};
