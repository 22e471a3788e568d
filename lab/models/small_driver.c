/* SPDX-License-Identifier: MIT */
#include "lab/models/small_driver.h"

void small_driver_count(struct small_driver *s)
{
	s->active++;
	s->seq++;
}

int small_driver_start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct small_driver *s = (struct small_driver *)l;

	if (!model_lock_for(&s->lock, event))
		return -EAGAIN;
	small_driver_count(s);
	lab_unmap(s->d, event->start, event->end);
	lab_unlock(&s->lock);
	return 0;
}

static void end(struct lab_listener *l, const struct uhmm_event *event, bool changed)
{
	struct small_driver *s = (struct small_driver *)l;

	(void)event;
	(void)changed;
	lab_lock(&s->lock);
	s->active--;
	lab_unlock(&s->lock);
}

void small_driver_attach(struct small_driver *s, struct lab_device *d,
			 int (*start)(struct lab_listener *l, const struct uhmm_event *event))
{
	s->d = d;
	s->listener.start = start ? start : small_driver_start;
	s->listener.end = end;
	lab_listen(&s->listener);
}

uint32_t small_driver_begin(struct small_driver *s)
{
	uint32_t seen;

	lab_lock(&s->lock);
	while (s->active) {
		lab_unlock(&s->lock);
		lab_relax();
		lab_lock(&s->lock);
	}
	seen = s->seq;
	lab_unlock(&s->lock);
	return seen;
}

bool small_driver_overtaken(struct small_driver *s, uint32_t seen)
{
	return s->active || s->seq != seen;
}

int small_driver_fault(struct small_driver *s, uint32_t page, uint32_t access)
{
	uint32_t seen = small_driver_begin(s);
	lab_frame frame;
	int err = lab_grab(s->d, page, access, &frame);

	if (err)
		return err;
	lab_lock(&s->lock);
	if (small_driver_overtaken(s, seen))
		err = -EAGAIN;
	else
		lab_map(s->d, page, frame, access);
	lab_unlock(&s->lock);
	lab_put(s->d, frame);
	return err;
}
