/* SPDX-License-Identifier: MIT */
/* memory_inside.h: what memory.c, races.c and arena.c know of each other. */
#ifndef LAB_MEMORY_INSIDE_H
#define LAB_MEMORY_INSIDE_H

#include "lab/arena.h"
#include "lab/clocks.h"
#include "lab/run.h"

/* Words outside the arena and the static data, on a fiber's stack say, get an index when they are first met. */
#define LAB_STRANGERS 4096u

/* Says why and ends the program: for what is no fault of the code under test. */
void lab_stop(const char *why) __attribute__((noreturn));

extern bool lab_weak; /* histories and store buffers count */

/* ---- visible.c ---- */

/* `words` of eight bytes have an index of their own. Zeroed memory for so many bytes, for ever. */
void lab_visible_open(uint32_t words, void *(*zeroed)(size_t len));
/* Also of what lies elsewhere. */
uint32_t lab_index_of_stranger(uintptr_t addr);
static inline uint32_t lab_index_of_word(const void *word)
{
	uint32_t index = lab_index((uintptr_t)word);

	return __builtin_expect(index != LAB_NO_INDEX, 1) ? index : lab_index_of_stranger((uintptr_t)word);
}
/* Several fibers use this half, and one of them writes. */
bool lab_word_is_shared(uint32_t index, uint32_t half);

#define LAB_USERS(fiber) (1u << (fiber))
#define LAB_WRITERS(fiber) (1u << (12u + (fiber)))
#define LAB_ACCESS_PLAIN (1u << 26)
#define LAB_ACCESS_MATTERS (1u << 27) /* can race, as far as is known: several fibers, one writes, one access is plain */
#define LAB_ACCESS_ATOMIC (1u << 28)
extern uint32_t *lab_access_states; /* by index */
uint32_t lab_access_learn(uint32_t index, uint32_t news);

static inline uint32_t lab_access_state(uint32_t index, uint32_t news)
{
	uint32_t state = lab_access_states[index];

	if (__builtin_expect((state & news) != news, 0))
		state = lab_access_learn(index, news);
	/* One execution that is told, or follows a schedule, has no others to learn from. */
	return __builtin_expect(lab_run.slow, 0) ? state | LAB_ACCESS_MATTERS : state;
}

/* ---- the fibers' clocks ---- */

#define LAB_BUFFERED 8u /* stores that may wait at a time */

struct lab_waiting_store {
	void *word;
	uint64_t value;
	uint32_t size;
	int16_t issued; /* the fiber's own clock */
	bool release, released;
	uint32_t place;
	struct lab_time time; /* what whoever reads it acquires, if released */
};

struct lab_fiber_memory {
	struct lab_time now;
	struct lab_time fence;   /* at its last full fence: what the relaxed stores since then release */
	struct lab_time pending; /* released by stores that relaxed loads have read: acquired by the next full fence */
	struct lab_clock light;  /* `seen`, at its last light fence */
	struct lab_clock heavy;  /* what heavy barriers have for it, to be had at the next light fence */
	bool fenced, has_pending, lit, has_heavy;
	uint32_t place;                /* the operation made last */
	uint32_t waiting, waiting_lit; /* stores in the buffer; those of them from before the last light fence */
	struct lab_waiting_store buffer[LAB_BUFFERED];
};

extern struct lab_fiber_memory lab_memory_of[LAB_FIBERS];

/* ---- accesses, for races ---- */

#define LAB_SLOT_CLOCK 0x7fffu
#define LAB_SLOT_FIBER(s) ((s) >> 15 & 15u)
#define LAB_SLOT_MASK(s) ((s) >> 19 & 255u)
#define LAB_SLOT_WRITE (1u << 27)
#define LAB_SLOT_ATOMIC (1u << 28)
#define LAB_SLOT_VALID (1u << 29)

static inline uint32_t lab_slot(uint32_t fiber, uint32_t mask, uint32_t kind)
{
	return (uint32_t)lab_memory_of[fiber].now.hb.of[fiber] | fiber << 15 | mask << 19 | kind | LAB_SLOT_VALID;
}

/* Which bytes of an aligned word of eight. */
static inline uint32_t lab_mask(uintptr_t addr, uint32_t size)
{
	return ((1u << size) - 1u) << (addr & 7u);
}

/* Compares the access with those before and keeps it. Two accesses race unless one happens before the other. */
void lab_access_slow(struct lab_cell *c, uint32_t slot, uintptr_t addr);

static inline void lab_access(struct lab_cell *c, uint32_t slot, uintptr_t addr)
{
	for (uint32_t i = 0; i < c->used; i++)
		if (c->slot[i] == slot)
			return;
	lab_access_slow(c, slot, addr);
}

/* Code under test is about to access, plainly, bytes that atomic operations use: it finds them done, and they begin anew. */
void lab_memory_plain(uint32_t fiber, uint32_t index, uint32_t mask, bool write);

/* A place in the source, in 32 bits. */
uint32_t lab_place_of(const struct lab_site *site);
const struct lab_site *lab_site_of_place(uint32_t place);

#endif
