/* SPDX-License-Identifier: MIT */
/* history.c: the stores to each word in the order in which they reached memory, and those that have not yet. */
#include "lab/history.h"

#include <string.h>

#define LOCATIONS 16384u /* words with orders, in one execution */

struct lab_location lab_locations[LOCATIONS];
uint32_t lab_buffered;

static struct lab_store histories[LOCATIONS][LAB_HISTORY];
static uint32_t locations_used; /* 0 is none */

void lab_locations_forget(void)
{
	locations_used = 0;
}

/* ---- in memory ---- */

struct lab_store *lab_store_at(uint32_t l, uint32_t n)
{
	return &histories[l][n % LAB_HISTORY];
}

uint32_t lab_location_new(struct lab_mark *m, const void *word, uint32_t size)
{
	uint32_t l = ++locations_used;

	if (l == LOCATIONS)
		lab_stop("an execution uses too many words with orders");
	m->location[lab_half_of(word)] = (uint16_t)l;
	lab_locations[l].released = false;
	lab_locations[l].stores = 1;
	if (lab_weak) {
		struct lab_store *s = lab_store_at(l, 0);

		s->value = lab_in_memory(word, size);
		s->released = false;
		lab_clock_zero(&s->known);
	}
	return l;
}

void lab_store_arrives(const struct lab_access *a, uint64_t value, const struct lab_time *time, int16_t issued)
{
	uint32_t l = lab_weak || time ? lab_location_of(a->mark, a->word, a->size) : a->mark->location[lab_half_of(a->word)];
	struct lab_store *s;

	if (l) {
		lab_locations[l].released = time != NULL;
		if (time)
			lab_copy(&lab_locations[l].time, time);
	}
	if (lab_weak) {
		s = lab_store_at(l, lab_locations[l].stores++);
		s->value = value;
		s->released = time != NULL;
		if (time)
			s->time = *time;
		for (uint32_t i = 0; i < LAB_LANES; i++)
			s->known.of[i] = LAB_NEVER;
		s->known.of[a->fiber] = issued;
	}
	lab_to_memory(a->index, a->word, a->size, value);
	if (lab_run.sleeping)
		lab_wake(lab_any_store_to(a->word));
}

/* ---- waiting ---- */

bool lab_store_waits(const struct lab_access *a, uint64_t value, const struct lab_time *time, bool release)
{
	struct lab_fiber_memory *me = a->me;
	struct lab_waiting_store *w;

	if (me->waiting == LAB_BUFFERED || lab_mistaken(LAB_MISTAKE_NEVER_LATE) ||
	    !lab_word_is_shared(a->index, lab_half_of(a->word)) || !lab_choose(LAB_CHOICE_BUFFER, 2))
		return false;
	w = &me->buffer[me->waiting++];
	lab_buffered |= 1u << a->fiber;
	w->word = a->word;
	w->value = value;
	w->size = a->size;
	w->issued = me->now.hb.of[a->fiber];
	w->release = release && !lab_mistaken(LAB_MISTAKE_RELEASE_EARLY);
	w->released = time != NULL;
	w->place = me->place;
	if (time)
		w->time = *time;
	return true;
}

static void commit_waiting(uint32_t fiber, uint32_t i)
{
	struct lab_fiber_memory *me = &lab_memory_of[fiber];
	struct lab_waiting_store *w = &me->buffer[i];
	struct lab_access a = {.fiber = fiber, .size = w->size, .word = w->word, .me = me};

	a.index = lab_index_of_word(w->word);
	a.mark = lab_mark(a.index);
	lab_store_arrives(&a, w->value, w->released ? &w->time : NULL, w->issued);
	if (--me->waiting == 0)
		lab_buffered &= ~(1u << fiber);
	me->waiting_lit -= i < me->waiting_lit;
	memmove(w, w + 1, (me->waiting - i) * sizeof(*w));
}

void lab_drain(uint32_t fiber, uint32_t count)
{
	for (; count > 0; count--)
		commit_waiting(fiber, 0);
}

/* Among those that wait for nothing but themselves. */
static bool may_leave(const struct lab_fiber_memory *me, uint32_t i)
{
	if (me->buffer[i].release)
		return i == 0;
	for (uint32_t j = 0; j < i; j++)
		if (me->buffer[j].word == me->buffer[i].word)
			return false;
	return true;
}

void lab_drain_word(uint32_t fiber, const void *word)
{
	struct lab_fiber_memory *me = &lab_memory_of[fiber];

	for (uint32_t i = 0; i < me->waiting;) {
		if (me->buffer[i].word != word) {
			i++;
		} else if (me->buffer[i].release) {
			lab_drain(fiber, i + 1);
			i = 0;
		} else {
			commit_waiting(fiber, i);
		}
	}
}

const struct lab_waiting_store *lab_own_store(const struct lab_fiber_memory *me, const void *word)
{
	for (uint32_t i = me->waiting; i > 0; i--)
		if (me->buffer[i - 1].word == word)
			return &me->buffer[i - 1];
	return NULL;
}

uint32_t lab_flushable(uint32_t fiber)
{
	const struct lab_fiber_memory *me = &lab_memory_of[fiber];
	uint32_t n = 0;

	for (uint32_t i = 0; i < me->waiting; i++)
		n += may_leave(me, i);
	return n;
}

void lab_flush(uint32_t fiber, uint32_t n)
{
	const struct lab_fiber_memory *me = &lab_memory_of[fiber];

	for (uint32_t i = 0; i < me->waiting; i++) {
		if (may_leave(me, i) && n-- == 0) {
			lab_tell_values(me->buffer[i].value, lab_in_memory(me->buffer[i].word, me->buffer[i].size));
			commit_waiting(fiber, i);
			return;
		}
	}
}

bool lab_flush_matters(uint32_t owner, uint32_t other, const struct lab_op *next)
{
	const struct lab_fiber_memory *const its = &lab_memory_of[owner], *const others = &lab_memory_of[other];
	const uintptr_t object = (uintptr_t)next->object >> 3;

	if (next->kind == LAB_OP_HEAVY)
		return true;
	for (uint32_t i = 0; i < its->waiting; i++) {
		const uintptr_t word = (uintptr_t)its->buffer[i].word >> 3;

		if (word == object)
			return true;
		for (uint32_t k = 0; k < others->waiting; k++) {
			if (word == (uintptr_t)others->buffer[k].word >> 3)
				return true;
		}
	}
	return false;
}
