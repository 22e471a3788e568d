/* SPDX-License-Identifier: MIT */
/*
 * unlocked_tree: a correct sequence and count, but the list of who is to be told is walked without the lock that changes it.
 *
 * Whoever leaves the list takes its next pointer along, so a walk that stands on it ends there, and those behind are not told;
 * or it is called back after it has left (R12):
 *
 *   device 1                  device 0                     CPU
 *   programs the page
 *                                                          start: the walk stands on device 1's range
 *   leaves the list:
 *   next = none
 *                                                          next: none, the walk ends
 *                             was behind: keeps its entry
 *                                                          page table: old frame -> new frame
 */
#include "lab/models/models.h"

#define RANGES 2u /* of a device */
#define DEVICES 2u
#define NOBODY 0u

struct state {
	uint32_t first, ranges;      /* nodes, counted from first */
};

struct node {
	struct uhmm_a32 next;        /* stored under the lock, loaded without */
	uintptr_t start, end;
	struct lab_device *d;
	bool left;                   /* under the lock: the device has taken it out and given everything back */
};

/* Of the driver; one for all devices. Nodes are never given back, so that the walk stays in valid memory. */
struct driver {
	struct lab_listener listener;
	struct lab_lock lock;
	struct uhmm_a32 seq, active; /* stored under the lock */
	struct uhmm_a32 head;
	struct node node[1 + DEVICES * RANGES];
};

static struct driver *driver; /* set by the first attach of a set-up */

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct driver *v = (struct driver *)l;

	if (!model_lock_for(&v->lock, event))
		return -EAGAIN;
	lab_store_relaxed(&v->active, lab_load_relaxed(&v->active) + 1);
	lab_unlock(&v->lock);
	for (uint32_t i = lab_load_acquire(&v->head); i != NOBODY; i = lab_load_acquire(&v->node[i].next)) {
		struct node *n = &v->node[i];

		if (!model_overlaps(event, n->start, n->end))
			continue;
		lab_lock(&v->lock);
		if (n->left)
			lab_fail("device %u is called back after it has left", lab_device_index(n->d));
		lab_unmap(n->d, event->start, event->end);
		lab_unlock(&v->lock);
	}
	return 0;
}

static void end(struct lab_listener *l, const struct uhmm_event *event, bool changed)
{
	struct driver *v = (struct driver *)l;

	(void)event;
	(void)changed;
	lab_lock(&v->lock);
	lab_store_release(&v->seq, lab_load_relaxed(&v->seq) + 1);
	lab_store_release(&v->active, lab_load_relaxed(&v->active) - 1);
	lab_unlock(&v->lock);
}

static void add_range(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);
	uint32_t i;

	lab_lock(&driver->lock);
	i = s->first + s->ranges++;
	driver->node[i].start = range_start;
	driver->node[i].end = range_end;
	driver->node[i].d = d;
	lab_store_relaxed(&driver->node[i].next, lab_load_relaxed(&driver->head));
	lab_store_release(&driver->head, i);
	lab_unlock(&driver->lock);
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct state *s = lab_device_state(d);

	if (lab_device_index(d) == 0) {
		driver = lab_alloc_zeroed(sizeof(*driver));
		driver->listener.start = start;
		driver->listener.end = end;
		lab_listen(&driver->listener);
	}
	s->first = 1 + lab_device_index(d) * RANGES;
	add_range(d, range_start, range_end);
}

/* Under the lock. */
static void take_out(uint32_t node)
{
	struct uhmm_a32 *link = &driver->head;

	while (lab_load_relaxed(link) != node)
		link = &driver->node[lab_load_relaxed(link)].next;
	lab_store_release(link, lab_load_relaxed(&driver->node[node].next));
	lab_store_release(&driver->node[node].next, NOBODY);
	driver->node[node].left = true;
}

static void detach(struct lab_device *d)
{
	struct state *s = lab_device_state(d);

	lab_lock(&driver->lock);
	lab_unmap(d, LAB_ADDR(0), LAB_ADDR(LAB_PAGES));
	for (uint32_t i = 0; i < s->ranges; i++)
		take_out(s->first + i);
	lab_unlock(&driver->lock);
}

/* -EAGAIN: overtaken by a change. */
static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	lab_frame frame;
	uint32_t seq;
	int err;

	lab_await(&driver->active, 0);
	seq = lab_load_acquire(&driver->seq);
	err = lab_grab(d, page, access, &frame);
	if (err)
		return err;
	lab_lock(&driver->lock);
	if (lab_load_relaxed(&driver->active) || lab_load_relaxed(&driver->seq) != seq)
		err = -EAGAIN;
	else
		lab_map(d, page, frame, access);
	lab_unlock(&driver->lock);
	lab_put(d, frame);
	return err;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return model_use(d, page, access, value, fault);
}

const struct lab_model lab_model_unlocked_tree = {
	.name = "unlocked_tree",
	.about = "right sequence and count; the list of ranges is walked without the lock that changes it",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.attach_late = add_range,
	.detach = detach,
};
