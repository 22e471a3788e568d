/* SPDX-License-Identifier: MIT */
/*
 * history.h: what is kept of words between operations, for memory.c, fences.c and locks.c; see memory.c's head comment.
 */
#ifndef LAB_HISTORY_H
#define LAB_HISTORY_H

#include "lab/memory.h"
#include "lab/memory_inside.h"
#include "lab/mistakes.h"
#include "lab/search.h"

#define LAB_HISTORY 8u /* stores to each word that may still be read */
#define LAB_NEVER LAB_CLOCK_MAX

/* What is to be had with a word, or a lock, by whoever acquires it. */
struct lab_location {
	struct lab_time time;
	uint32_t stores; /* so far; weak memory only */
	bool released;   /* `time` is to be had */
};

struct lab_store {
	uint64_t value;
	bool released;
	struct lab_time time;
	struct lab_clock known; /* for each fiber, its clock when it first knew of this store */
};

/* An operation that has got its turn. */
struct lab_access {
	uint32_t fiber, index, size;
	void *word;
	struct lab_fiber_memory *me;
	struct lab_mark *mark;
};

/* Publishes, waits for the turn, and finds what is known of the word. False: set-up or final checks, nothing to keep. */
bool lab_begin(struct lab_access *a, enum lab_op_kind kind, bool write, const void *word, uint32_t size,
	       const struct lab_site *site);
/* The fiber has one access more that others may race with. */
void lab_note_access(const struct lab_access *a, bool write);

/* ---- words ---- */

extern struct lab_location lab_locations[];
struct lab_store *lab_store_at(uint32_t l, uint32_t n);
/* What the word holds before its first operation in this execution is known to all. */
uint32_t lab_location_new(struct lab_mark *m, const void *word, uint32_t size);
void lab_locations_forget(void);

static inline uint32_t lab_half_of(const void *word)
{
	return (uint32_t)((uintptr_t)word >> 2 & 1u);
}

static inline uint32_t lab_location_of(struct lab_mark *m, const void *word, uint32_t size)
{
	uint32_t l = m->location[lab_half_of(word)];

	return l ? l : lab_location_new(m, word, size);
}

static inline uint64_t lab_in_memory(const void *word, uint32_t size)
{
	return size == 4 ? *(const uint32_t *)word : *(const uint64_t *)word;
}

static inline void lab_to_memory(uint32_t index, void *word, uint32_t size, uint64_t value)
{
	lab_arena_dirty_word(index);
	if (size == 4)
		*(uint32_t *)word = (uint32_t)value;
	else
		*(uint64_t *)word = value;
}

/* What lab_mem_await_change() sleeps on: not the word, or the code under test would be woken by what does not wake it. */
static inline const void *lab_any_store_to(const void *word)
{
	return (const char *)word + 1;
}

/* A store reaches memory. `time`: NULL if nothing is to be acquired from it. */
void lab_store_arrives(const struct lab_access *a, uint64_t value, const struct lab_time *time, int16_t issued);
/* Or waits, if so chosen. */
bool lab_store_waits(const struct lab_access *a, uint64_t value, const struct lab_time *time, bool release);
/* The oldest `count` of the stores that wait go to memory; those to one word, each with what it has to wait for. */
void lab_drain(uint32_t fiber, uint32_t count);
void lab_drain_word(uint32_t fiber, const void *word);
/* The newest that waits; NULL: none. */
const struct lab_waiting_store *lab_own_store(const struct lab_fiber_memory *me, const void *word);

static inline void lab_drain_all(uint32_t fiber)
{
	if (lab_memory_of[fiber].waiting)
		lab_drain(fiber, lab_memory_of[fiber].waiting);
}

/* ---- clocks ---- */

/* From here on what the fiber does is not what others have learnt of. */
static inline void lab_tick(struct lab_fiber_memory *me, uint32_t fiber)
{
	int16_t next = (int16_t)(me->now.hb.of[fiber] + 1);

	if (next == LAB_NEVER)
		lab_lost(5, "%s makes too many operations", lab_run.fiber[fiber].name);
	me->now.hb.of[fiber] = next;
	me->now.seen.of[fiber] = next;
}

static inline void lab_join(struct lab_time *to, const struct lab_time *from)
{
	lab_clock_join(&to->hb, &from->hb);
	if (lab_weak)
		lab_clock_join(&to->seen, &from->seen);
}

static inline void lab_copy(struct lab_time *to, const struct lab_time *from)
{
	to->hb = from->hb;
	if (lab_weak)
		to->seen = from->seen;
}

/* What is to be had with a store that was read: at once, or by the next full fence. */
void lab_acquire(struct lab_fiber_memory *me, const struct lab_time *time, enum lab_order order);
void lab_full_fence(struct lab_fiber_memory *me, uint32_t fiber);

/* ---- telling ---- */

static inline void lab_tell_values(uint64_t value, uint64_t old)
{
	if (__builtin_expect(lab_telling, 0))
		lab_told_values(value, old);
}

static inline bool lab_mistaken(enum lab_mistake m)
{
	return __builtin_expect(lab_mistakes >> m & 1u, 0);
}

#endif
