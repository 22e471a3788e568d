/* SPDX-License-Identifier: MIT */
/*
 * notify.c: who is told of a change, and what follows from it for the invariants.
 *
 *	CPU                                     a device
 *	start: pending at all pages             may still use what it has
 *	  its callback tears down page p        not pending at p any more
 *	start returns
 *	step: page p's entry changes            not pending at p, whatever the callback did
 *	end
 *
 * Both ways of ceasing to be pending are steps on the page's own object, so that the reduction knows of them.
 */
#include "lab/simmm/sim.h"

static uint32_t open_slot(uint32_t page, uint32_t count)
{
	uint32_t slot = (uint32_t)__builtin_ctz(~sim_now_w()->open);
	struct sim_invalidation *inv = &sim->invalidation[slot];

	if (slot >= SIM_INVALIDATIONS)
		lab_lost(8, "more than %u invalidations at once", SIM_INVALIDATIONS);
	sim->now.open |= 1u << slot;
	inv->pages = sim_bits(page, count);
	inv->returned = 0;
	inv->fiber = lab_self();
	for (uint32_t d = 0; d < sim->devices; d++)
		inv->pending[d] = sim->now.silent ? 0 : inv->pages;
	return slot;
}

/* The next one that is open and of this fiber (or of any), from slot *at on; NULL: no more. */
static struct sim_invalidation *next_open(uint32_t *at, bool own)
{
	for (uint32_t rest = sim->now.open >> *at << *at; rest; rest &= rest - 1) {
		struct sim_invalidation *inv = &sim->invalidation[ *at = (uint32_t)__builtin_ctz(rest)];

		++*at;
		if (!own || inv->fiber == lab_self())
			return inv;
	}
	return NULL;
}

static void tell_end(struct sim_bracket *b, const struct lab_listener *until, bool changed)
{
	for (struct lab_listener *l = sim->listeners; l != until; l = l->next) {
		if (l->end)
			l->end(l, &b->event, changed);
	}
}

/* In the order of subscription. Who refuses has done nothing and is told no end; those before him are (R13). */
static int tell_listeners(struct sim_bracket *b)
{
	for (struct lab_listener *l = sim->listeners; l; l = l->next) {
		int err = l->start ? l->start(l, &b->event) : 0;

		if (!err)
			continue;
		if (!(b->event.flags & UHMM_EVENT_NONBLOCK))
			lab_lost(8, "a listener refused an event that may sleep");
		tell_end(b, l, false);
		return err;
	}
	return 0;
}

static int tell_start(struct sim_bracket *b)
{
	int err;

	if (sim->now.silent)
		return 0;
	err = tell_listeners(b);
	if (err || !sim->mm)
		return err;
	err = uhmm_invalidate_start(sim->mm, &b->inv, &b->event);
	if (err)
		tell_end(b, NULL, false);
	b->core = !err;
	return err;
}

int sim_start(struct sim_bracket *b, uint32_t page, uint32_t count, enum uhmm_event_kind kind, uint32_t flags)
{
	return sim_start_by(b, page, count, kind, flags, NULL);
}

int sim_start_by(struct sim_bracket *b, uint32_t page, uint32_t count, enum uhmm_event_kind kind, uint32_t flags,
		 const void *owner)
{
	static const char *const names[] = {"UNMAP", "CLEAR", "PROTECT", "REMAP", "MIGRATE", "EXCLUSIVE", "RELEASE"};
	int err;

	b->core = false;
	b->event = (struct uhmm_event){
		.start = LAB_ADDR(page), .end = LAB_ADDR(page + count), .kind = kind, .flags = flags, .owner = owner};
	b->slot = open_slot(page, count);
	if (!sim->now.silent)
		sim_enter("invalidate_start(%u, %u, %s)", page, count, names[kind]);
	err = tell_start(b);
	if (!sim->now.silent)
		sim_leave(err);
	if (err)
		sim->now.open &= ~(1u << b->slot);
	else
		sim->invalidation[b->slot].returned = ++sim->now.starts;
	return err;
}

void sim_end(struct sim_bracket *b)
{
	if (!sim->now.silent) {
		sim_enter("invalidate_end(%u, %u)", LAB_PAGE_OF(b->event.start),
			  LAB_PAGE_OF(b->event.end) - LAB_PAGE_OF(b->event.start));
		tell_end(b, NULL, true);
		if (b->core)
			uhmm_invalidate_end(&b->inv);
		sim_leave(0);
	}
	sim->now.open &= ~(1u << b->slot);
}

/* Does nobody listen to start, and somebody to end? Then that is the callback that matters (R3). */
static bool only_end(void)
{
	bool end = false;

	if (sim->mm)
		return false;
	for (const struct lab_listener *l = sim->listeners; l; l = l->next) {
		if (l->start)
			return false;
		end = end || l->end;
	}
	return end;
}

uint16_t sim_changing(uint32_t page)
{
	uint16_t bit = sim_bits(page, 1), number = 0;
	bool wait_for_end = only_end();
	struct sim_invalidation *inv;
	uint32_t at = 0;

	while ((inv = next_open(&at, true)) != NULL) {
		if (!(inv->pages & bit) || !inv->returned)
			continue;
		number = inv->returned;
		for (uint32_t d = 0; d < sim->devices && !wait_for_end; d++)
			inv->pending[d] &= (uint16_t)~bit;
	}
	return number ? number : ++sim->now.starts;
}

bool sim_pending(uint32_t device, uint32_t page)
{
	uint16_t bit = sim_bits(page, 1);
	const struct sim_invalidation *inv;
	uint32_t at = 0;

	while ((inv = next_open(&at, false)) != NULL) {
		if (inv->pending[device] & bit)
			return true;
	}
	return false;
}

void sim_device_told(uint32_t device, uint16_t pages)
{
	struct sim_invalidation *inv;
	uint32_t at = 0;

	while ((inv = next_open(&at, true)) != NULL)
		inv->pending[device] &= (uint16_t)~pages;
}

void lab_listen(struct lab_listener *l)
{
	lab_arena_dirty(l, sizeof(*l));
	lab_arena_dirty(sim->last_listener, sizeof(*sim->last_listener));
	lab_arena_dirty(&sim->last_listener, sizeof(sim->last_listener));
	l->next = NULL;
	*sim->last_listener = l;
	sim->last_listener = &l->next;
}

struct uhmm_mm *lab_mm(void)
{
	const struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_EXPLICIT};

	if (!sim->mm) {
		int err = uhmm_mm_open(&sim->mm, &options);

		if (err)
			lab_lost(8, "uhmm_mm_open: %d", err);
	}
	return sim->mm;
}

void lab_silence(bool silent)
{
	sim_now_w()->silent = silent;
}

void lab_sim_check_end(void)
{
	uint32_t at = 0;
	const struct sim_invalidation *inv = next_open(&at, false);

	if (inv)
		lab_lost(6, "an invalidation of pages %#x has started and never ended", inv->pages);
	sim_check();
}

void lab_own(uint32_t page, uint32_t who)
{
	struct sim_page *p = &sim->page[page];

	SIM_STEP(page, "take the page for oneself");
	if (p->owner && p->owner != who)
		lab_lost(4, "page %u is %u's alone, and %u's", page, p->owner, who);
	p->owner = (uint8_t)who;
}

void lab_disown(uint32_t page, uint32_t who)
{
	struct sim_page *p = &sim->page[page];

	SIM_STEP(page, "give the page up");
	if (p->owner == who)
		p->owner = 0;
}
