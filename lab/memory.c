/* SPDX-License-Identifier: MIT */
/*
 * memory.c: what loads may return.
 *
 * Sequential consistency: a load returns the newest store. Clocks are kept all the same, for races.c: what makes one access
 * happen before another is a release that an acquire has read, a lock, spawn and join, and nothing else.
 *
 * Weak: each word has its last stores in the order in which they reached memory, and a load may return any of them that is not
 * forbidden (a choice, the newest first):
 *
 *   CoWR, CoRR   nothing older than what this fiber knows to be there: a store that happens before the load, or that was
 *                read by somebody by an operation which happens before the load. `known` of a store has for each fiber its
 *                clock when it made or first read the store; whoever has come that far in any of them knows of it.
 *   CoRW, CoWW   a store goes behind everything that is there, so nothing to be done.
 *   own buffer   a fiber reads its own waiting stores, the newest.
 *
 * A store may wait in a buffer of its fiber (a choice) and reach memory later, which lets stores to different words arrive in
 * another order than they were made. A release store waits for all made before it, a relaxed one for those to its own word.
 * Read-modify-writes that are full barriers, full fences, locks, waits and wakes (the kernel's side of both has full barriers)
 * and the end of a fiber empty the buffer; a relaxed read-modify-write only of its own word. An RMW reads the newest store and
 * goes right behind it, so it carries on the release sequence of what it replaced; a relaxed store does not (C++20). A failing
 * compare-and-swap reads the newest.
 *
 * Full fences are ordered by the schedule: each takes over what the fences before it knew. They make no happens-before edge by
 * that; as in C11 they do when a relaxed load before one reads a relaxed store after another. Those orders of fences in which
 * less is known are other schedules.
 *
 * The light fence and the heavy barrier:
 *
 *   fiber T                                        fiber B
 *   store X                                        store Y
 *   fence_light: remembers what it knows
 *                                                  heavy barrier: what T stored before its last fence_light is in memory,
 *                                                  and B knows what T knew there
 *   fence_light: learns what B knew at the barrier
 *   load Y                                         load X
 *
 * Not more, although the kernel's call does more: it interrupts T wherever it is. But the compiler is free to move T's accesses
 * across that place, unless there is a fence_light; so a dropped one shows.
 *
 * Not modelled: loads that return stores which have not been made yet (LB: forbidden here, as by every machine that does not
 * speculate stores), stores that become visible to some processors before others beyond what stale loads amount to, and
 * stores older than the last LAB_HISTORY (8) of a word. The library reclaims no memory by RCU (pools are type-stable), so
 * there is none.
 *
 * history.c keeps the stores; here are the operations on words; fences.c and locks.c have the others.
 */
#include "lab/history.h"

struct lab_fiber_memory lab_memory_of[LAB_FIBERS];
bool lab_weak;
uint32_t lab_mistakes;

bool lab_begin(struct lab_access *a, enum lab_op_kind kind, bool write, const void *word, uint32_t size,
	       const struct lab_site *site)
{
	struct lab_op op = {.kind = kind, .write = write, .object = word, .site = site};

	lab_point(&op);
	a->fiber = lab_run.now;
	a->word = (void *)(uintptr_t)word;
	a->size = size;
	a->index = lab_index_of_word(word);
	a->mark = lab_mark(a->index);
	if (a->fiber == 0)
		return false;
	a->me = &lab_memory_of[a->fiber];
	a->me->place = lab_place_of(site);
	return true;
}

void lab_note_access(const struct lab_access *a, bool write)
{
	uint32_t news = LAB_USERS(a->fiber) | (write ? LAB_WRITERS(a->fiber) : 0) | LAB_ACCESS_ATOMIC;
	uint32_t kind = LAB_SLOT_ATOMIC | (write ? LAB_SLOT_WRITE : 0);

	if (lab_access_state(a->index, news) & LAB_ACCESS_MATTERS)
		lab_access(lab_cell(a->index), lab_slot(a->fiber, lab_mask((uintptr_t)a->word, a->size), kind),
			   (uintptr_t)a->word);
}

/* ---- loads ---- */

void lab_acquire(struct lab_fiber_memory *me, const struct lab_time *time, enum lab_order order)
{
	if (order != LAB_RELAXED) {
		lab_join(&me->now, time);
		return;
	}
	if (!me->has_pending) {
		me->has_pending = true;
		me->pending = *time;
	} else {
		lab_join(&me->pending, time);
	}
}

/* How many of the newest stores may be returned. */
static uint32_t candidates(const struct lab_access *a, uint32_t l)
{
	uint32_t all = lab_locations[l].stores < LAB_HISTORY ? lab_locations[l].stores : LAB_HISTORY, n = 1;

	while (n < all && !lab_clock_knows(&a->me->now.seen, &lab_store_at(l, lab_locations[l].stores - n)->known))
		n++;
	return n;
}

static uint64_t load_weak(const struct lab_access *a, enum lab_order order)
{
	const struct lab_waiting_store *own = lab_own_store(a->me, a->word);
	struct lab_store *s;
	uint32_t l, n;

	if (own)
		return own->value;
	l = lab_location_of(a->mark, a->word, a->size);
	n = candidates(a, l);
	n = lab_mistaken(LAB_MISTAKE_NEVER_STALE) ? 1 : 1 + lab_choose(LAB_CHOICE_LOAD, n);
	s = lab_store_at(l, lab_locations[l].stores - n);
	if (s->known.of[a->fiber] == LAB_NEVER && !lab_mistaken(LAB_MISTAKE_INCOHERENT))
		s->known.of[a->fiber] = a->me->now.seen.of[a->fiber];
	if (s->released)
		lab_acquire(a->me, &s->time, order);
	return s->value;
}

static uint64_t load_newest(const struct lab_access *a, enum lab_order order)
{
	uint32_t l = a->mark->location[lab_half_of(a->word)];

	if (l && lab_locations[l].released)
		lab_acquire(a->me, &lab_locations[l].time, order);
	return lab_in_memory(a->word, a->size);
}

uint64_t lab_mem_load(const void *word, uint32_t size, enum lab_order order, const struct lab_site *site)
{
	struct lab_access a;
	uint64_t value;

	if (!lab_begin(&a, LAB_OP_LOAD, false, word, size, site))
		return lab_in_memory(word, size);
	lab_note_access(&a, false);
	value = lab_weak ? load_weak(&a, order) : load_newest(&a, order);
	lab_tell_values(value, value);
	return value;
}

/* ---- stores ---- */

void lab_mem_store(void *word, uint32_t size, uint64_t value, enum lab_order order, const struct lab_site *site)
{
	const struct lab_time *time = NULL;
	struct lab_access a;
	bool buffered = false;

	if (!lab_begin(&a, LAB_OP_STORE, true, word, size, site)) {
		lab_to_memory(a.index, word, size, value);
		return;
	}
	lab_note_access(&a, true);
	lab_tell_values(value, lab_in_memory(word, size));
	if (order == LAB_RELEASE && !lab_mistaken(LAB_MISTAKE_NO_RELEASE))
		time = &a.me->now;
	else if (a.me->fenced)
		time = &a.me->fence;
	if (lab_weak) {
		buffered = lab_store_waits(&a, value, time, order == LAB_RELEASE);
		if (!buffered && order == LAB_RELEASE && !lab_mistaken(LAB_MISTAKE_RELEASE_EARLY))
			lab_drain_all(a.fiber);
		else if (!buffered && a.me->waiting)
			lab_drain_word(a.fiber, word);
	}
	if (!buffered)
		lab_store_arrives(&a, value, time, a.me->now.hb.of[a.fiber]);
	if (order == LAB_RELEASE)
		lab_tick(a.me, a.fiber);
}

/* ---- read-modify-writes ---- */

static uint64_t apply(enum lab_rmw what, uint64_t old, uint64_t operand)
{
	switch (what) {
	case LAB_ADD:
		return old + operand;
	case LAB_SUB:
		return old - operand;
	case LAB_OR:
		return old | operand;
	case LAB_AND:
		return old & operand;
	default:
		return operand;
	}
}

/* Reads the newest store, as memory holds it, and what is to be had with that. */
static void rmw_read(const struct lab_access *a, enum lab_order order)
{
	uint32_t l = a->mark->location[lab_half_of(a->word)];

	if (l && lab_locations[l].released)
		lab_acquire(a->me, &lab_locations[l].time, order);
	if (l && lab_weak) {
		struct lab_store *s = lab_store_at(l, lab_locations[l].stores - 1);

		if (s->known.of[a->fiber] == LAB_NEVER)
			s->known.of[a->fiber] = a->me->now.seen.of[a->fiber];
	}
}

/* What it releases itself, and what the store that it replaces had released. */
static void rmw_write(const struct lab_access *a, uint64_t value, enum lab_order order)
{
	uint32_t l = a->mark->location[lab_half_of(a->word)];
	const struct lab_time *own = order == LAB_FULL ? &a->me->now : a->me->fenced ? &a->me->fence : NULL;
	struct lab_time both;

	if (l && lab_locations[l].released && !lab_mistaken(LAB_MISTAKE_NO_SEQUENCE)) {
		both = lab_locations[l].time;
		if (own)
			lab_join(&both, own);
		own = &both;
	}
	lab_store_arrives(a, value, own, a->me->now.hb.of[a->fiber]);
}

static void rmw_end(const struct lab_access *a, enum lab_order order)
{
	if (order == LAB_FULL)
		lab_full_fence(a->me, a->fiber);
}

uint64_t lab_mem_rmw(void *word, uint32_t size, enum lab_rmw what, uint64_t operand, enum lab_order order,
		     const struct lab_site *site)
{
	struct lab_access a;
	uint64_t old, value;
	bool in_fiber = lab_begin(&a, LAB_OP_RMW, true, word, size, site);

	if (in_fiber) {
		lab_note_access(&a, true);
		if (order == LAB_FULL)
			lab_drain_all(a.fiber);
		else if (a.me->waiting)
			lab_drain_word(a.fiber, word);
	}
	old = lab_in_memory(word, size);
	value = apply(what, old, operand);
	if (!in_fiber) {
		lab_to_memory(a.index, word, size, value);
		return old;
	}
	lab_tell_values(size == 4 ? (uint32_t)value : value, old);
	rmw_read(&a, order);
	rmw_write(&a, value, order);
	rmw_end(&a, order);
	return old;
}

bool lab_mem_cas(void *word, uint32_t size, uint64_t expected, uint64_t desired, const struct lab_site *site)
{
	struct lab_access a;
	uint64_t old;
	bool in_fiber = lab_begin(&a, LAB_OP_RMW, true, word, size, site);

	if (in_fiber) {
		lab_note_access(&a, true);
		lab_drain_all(a.fiber);
	}
	old = lab_in_memory(word, size);
	if (!in_fiber) {
		if (old == expected)
			lab_to_memory(a.index, word, size, desired);
		return old == expected;
	}
	lab_tell_values(old == expected ? desired : old, old);
	rmw_read(&a, LAB_FULL);
	if (old == expected)
		rmw_write(&a, desired, LAB_FULL);
	rmw_end(&a, LAB_FULL);
	return old == expected;
}

/* ---- plain accesses to words that atomics use ---- */

void lab_memory_plain(uint32_t fiber, uint32_t index, uint32_t mask, bool write)
{
	struct lab_mark *m = lab_mark(index);
	struct lab_fiber_memory *me = &lab_memory_of[fiber];

	for (uint32_t i = 0; i < me->waiting; i++) {
		if (lab_index_of_word(me->buffer[i].word) == index) {
			lab_drain_all(fiber);
			break;
		}
	}
	/* What is written is memory's content at the next operation, known to all: to whom it is not, it races. */
	if (write && (mask & 0x0fu))
		m->location[0] = 0;
	if (write && (mask & 0xf0u))
		m->location[1] = 0;
}
