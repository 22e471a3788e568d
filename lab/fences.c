/* SPDX-License-Identifier: MIT */
/* fences.c: full, light and heavy ones, and what fibers have of each other from beginning to end. See memory.c. */
#include "lab/history.h"

#include <string.h>

static struct lab_clock fences; /* what the full fences so far have known */

void lab_full_fence(struct lab_fiber_memory *me, uint32_t fiber)
{
	if (me->has_pending) {
		lab_join(&me->now, &me->pending);
		me->has_pending = false;
	}
	if (lab_weak) {
		lab_drain_all(fiber);
		if (!lab_mistaken(LAB_MISTAKE_FENCE_ALONE))
			lab_clock_join(&me->now.seen, &fences);
		if (me->has_heavy)
			lab_clock_join(&me->now.seen, &me->heavy);
		lab_clock_join(&fences, &me->now.seen);
	}
	lab_copy(&me->fence, &me->now);
	me->fenced = true;
	lab_tick(me, fiber);
}

static struct lab_fiber_memory *begin_fence(enum lab_op_kind kind, const struct lab_site *site)
{
	struct lab_op op = {.kind = kind, .site = site};

	lab_point(&op);
	lab_memory_of[lab_run.now].place = lab_place_of(site);
	return lab_run.now ? &lab_memory_of[lab_run.now] : NULL;
}

void lab_mem_fence(const struct lab_site *site)
{
	struct lab_fiber_memory *me = begin_fence(LAB_OP_FENCE, site);

	if (me)
		lab_full_fence(me, lab_run.now);
}

void lab_mem_light(const struct lab_site *site)
{
	struct lab_fiber_memory *me = begin_fence(LAB_OP_LIGHT, site);

	if (!me || !lab_weak)
		return;
	if (me->has_heavy)
		lab_clock_join(&me->now.seen, &me->heavy);
	me->has_heavy = false;
	me->light = me->now.seen;
	me->lit = true;
	me->waiting_lit = me->waiting;
	lab_tick(me, lab_run.now);
}

void lab_mem_heavy(const struct lab_site *site)
{
	struct lab_fiber_memory *me = begin_fence(LAB_OP_HEAVY, site);

	if (!me)
		return;
	lab_full_fence(me, lab_run.now);
	for (uint32_t i = 1; lab_weak && i < LAB_FIBERS; i++) {
		struct lab_fiber_memory *other = &lab_memory_of[i];

		if (other == me || !(other->lit || lab_mistaken(LAB_MISTAKE_STRONG)) || lab_mistaken(LAB_MISTAKE_LIGHT))
			continue;
		if (lab_mistaken(LAB_MISTAKE_STRONG)) {
			other->light = other->now.seen;
			other->waiting_lit = other->waiting;
		}
		lab_drain(i, other->waiting_lit);
		lab_clock_join(&me->now.seen, &other->light);
	}
	for (uint32_t i = 1; lab_weak && i < LAB_FIBERS; i++) {
		struct lab_fiber_memory *other = &lab_memory_of[i];

		if (other == me || lab_mistaken(LAB_MISTAKE_LIGHT))
			continue;
		if (lab_mistaken(LAB_MISTAKE_STRONG))
			lab_clock_join(&other->now.seen, &me->now.seen);
		if (!other->has_heavy)
			other->heavy = me->now.seen;
		else
			lab_clock_join(&other->heavy, &me->now.seen);
		other->has_heavy = true;
	}
	lab_tick(me, lab_run.now);
}

/* ---- fibers ---- */

static void begin_fiber(uint32_t fiber)
{
	struct lab_fiber_memory *me = &lab_memory_of[fiber];

	me->fenced = me->has_pending = me->lit = me->has_heavy = false;
	me->waiting = me->waiting_lit = 0;
	me->place = 0;
}

void lab_memory_begin(bool weak)
{
	lab_arena_open();
	lab_weak = weak;
}

void lab_memory_reset(void)
{
	lab_buffered = 0;
	lab_locations_forget();
	lab_clock_zero(&fences);
	memset(&lab_memory_of[0].now, 0, sizeof(lab_memory_of[0].now));
	begin_fiber(0);
	lab_tick(&lab_memory_of[0], 0);
	for (uint32_t i = 1; i < LAB_FIBERS; i++)
		lab_memory_of[i].lit = false;
}

void lab_memory_spawned(uint32_t parent, uint32_t child)
{
	struct lab_fiber_memory *p = &lab_memory_of[parent], *c = &lab_memory_of[child];

	lab_drain_all(parent);
	begin_fiber(child);
	c->now = p->now;
	lab_tick(c, child);
	lab_tick(p, parent);
}

void lab_memory_joined(uint32_t joiner, uint32_t joined)
{
	lab_drain_all(joined);
	lab_join(&lab_memory_of[joiner].now, &lab_memory_of[joined].now);
}
