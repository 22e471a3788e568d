/* SPDX-License-Identifier: MIT */
/*
 * start_then_grab: drops its mapping in `start`, and has a worker look the page up again at once.
 *
 * How drivers with a userptr list and a revalidation worker did it: the device should not have to fault. It holds a
 * reference to what it has programmed, as get_user_pages() gives it. The worker need not wait for the device to come along,
 * so the race is lost sooner (R1, R7), and where the change looks at the reference count, both sides worked for nothing,
 * again and again (R8):
 *
 *   worker                                         migration
 *                                                  start: unmap, put the reference, wake the worker
 *   look the page up: old frame, one reference
 *   program it
 *                                                  references? one too many: give up
 *                                                  end
 *                                                  ... tries again: start, and so on
 */
#include "lab/models/models.h"

struct state {
	struct lab_listener listener;
	struct lab_device *d;
	struct lab_lock lock;
	struct uhmm_a32 stale;        /* 1: the worker has to look up again */
	lab_frame held[LAB_PAGES];    /* under the lock: a reference for each programmed page */
	uint32_t access[LAB_PAGES];   /* how it was programmed last; 0: never */
};

static int revalidate(struct state *s, uint32_t page, uint32_t access)
{
	lab_frame frame;
	int err = lab_grab(s->d, page, access, &frame);

	if (err)
		return err;
	lab_lock(&s->lock);
	if (s->held[page]) /* the other one of device and worker was faster */
		lab_put(s->d, s->held[page]);
	s->held[page] = frame;
	s->access[page] = access;
	lab_map(s->d, page, frame, access);
	lab_unlock(&s->lock);
	return 0;
}

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct state *s = (struct state *)l;
	bool any = false;

	if (!model_lock_for(&s->lock, event))
		return -EAGAIN;
	lab_unmap(s->d, event->start, event->end);
	for (uint32_t page = 0; page < LAB_PAGES; page++) {
		if (!s->held[page] || !model_overlaps(event, LAB_ADDR(page), LAB_ADDR(page + 1)))
			continue;
		lab_put(s->d, s->held[page]);
		s->held[page] = 0;
		any = true;
	}
	lab_unlock(&s->lock);
	if (any)
		lab_store_release(&s->stale, 1);
	return 0;
}

/* The access for which each page is to be programmed again; 0: not. */
static void collect(struct state *s, uint32_t access[LAB_PAGES])
{
	lab_lock(&s->lock);
	for (uint32_t page = 0; page < LAB_PAGES; page++)
		access[page] = s->held[page] ? 0 : s->access[page];
	lab_unlock(&s->lock);
}

static void worker(void *arg)
{
	struct state *s = arg;
	uint32_t access[LAB_PAGES];

	for (;;) {
		lab_await(&s->stale, 1);
		lab_store_relaxed(&s->stale, 0);
		collect(s, access);
		for (uint32_t page = 0; page < LAB_PAGES; page++)
			if (access[page])
				(void)revalidate(s, page, access[page]);
	}
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);

	(void)range_start;
	(void)range_end;
	s->d = d;
	s->listener.start = start;
	lab_listen(&s->listener);
	lab_spawn_daemon(lab_device_index(d) ? "worker1" : "worker0", worker, s);
}

static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	return revalidate(lab_device_state(d), page, access);
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return model_use(d, page, access, value, fault);
}

const struct lab_model lab_model_start_then_grab = {
	.name = "start_then_grab",
	.about = "drops its mapping in start, and a worker revalidates at once, with a reference",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
