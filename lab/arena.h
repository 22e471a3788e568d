/* SPDX-License-Identifier: MIT */
/*
 * arena.h: all memory of an execution, and what the lab knows of each eight bytes of it.
 *
 * Two ranges: the arena, at a fixed address, and the static data of the code under test, which the build puts into sections
 * with names of their own. Both are put back to what they were after set-up by undoing writes: the first write to a block of 64
 * bytes in an execution saves it. A third are the fibers' stacks, where races are looked for as well (invalidations live there,
 * and others link and unlink them), but which every execution begins anew. Addresses in the arena are the same in every run;
 * offsets in the static data are too, so whatever depends on an address (tables below) depends on lab_index() instead.
 */
#ifndef LAB_ARENA_H
#define LAB_ARENA_H

#include <stdint.h>

#include "lab/engine.h"
#include "lab/fiber.h"

#define LAB_ARENA_BASE UINT64_C(0x6a0000000000)
#define LAB_ARENA_SIZE (UINT64_C(64) << 20)
#define LAB_AREA_SIZE 192u /* of each fiber's thread_area(); they come first in the arena */

#define LAB_STACKS_SIZE ((uint64_t)LAB_FIBERS * LAB_STACK_SIZE)

#define LAB_BLOCK_SHIFT 6u

/*
 * What is known of a word of eight bytes in this execution: where memory.c keeps what operations have done to it, and the
 * accesses that races.c compares. Valid in the generation that it carries; an older one is as zero.
 */
struct lab_mark {
	uint32_t generation;
	uint16_t location[2]; /* of the lower and the upper half; 0: none */
};

#define LAB_SLOTS 12u
struct lab_cell {
	_Alignas(64) uint32_t generation;
	uint32_t used; /* slots */
	uint32_t slot[LAB_SLOTS];
	uint32_t place[LAB_SLOTS]; /* the operation that the fiber had made last, as lab_place_of() packs it */
};

extern uint32_t lab_generation; /* of executions; never 0 */

/* Bounds of the static data; the arena begins at index 0, the stacks come last. */
extern uintptr_t lab_static_start, lab_static_end;
#define LAB_NO_INDEX UINT32_MAX

/* Which eight bytes these are, counted from the beginning of the arena; static data follows. */
static inline uint32_t lab_index(uintptr_t addr)
{
	uintptr_t at = addr - LAB_ARENA_BASE;

	if (__builtin_expect(at < LAB_ARENA_SIZE, 1))
		return (uint32_t)(at >> 3);
	at = addr - lab_static_start;
	if (at < lab_static_end - lab_static_start)
		return (uint32_t)((LAB_ARENA_SIZE + at) >> 3);
	at = addr - LAB_STACKS_AT;
	if (at < LAB_STACKS_SIZE)
		return (uint32_t)((LAB_ARENA_SIZE + lab_static_end - lab_static_start + at) >> 3);
	return LAB_NO_INDEX;
}

extern struct lab_mark *lab_marks;
extern struct lab_cell *lab_cells;

/* Of an index; they begin afresh in each execution. */
static inline struct lab_mark *lab_mark(uint32_t index)
{
	struct lab_mark *m = &lab_marks[index];

	if (__builtin_expect(m->generation != lab_generation, 0))
		*m = (struct lab_mark){.generation = lab_generation};
	return m;
}

static inline struct lab_cell *lab_cell(uint32_t index)
{
	struct lab_cell *c = &lab_cells[index];

	if (__builtin_expect(c->generation != lab_generation, 0)) {
		c->generation = lab_generation;
		c->used = 0;
	}
	return c;
}

/* Before the first anything; may be called again. Says so and exits where the address space cannot be had. */
void lab_arena_open(void);
/* Saves the block. */
void lab_arena_save(uint32_t block);
extern uint32_t *lab_saved_in; /* by block: the generation in which it was saved */
/* Somebody is about to write the word of this index: saves its block once in an execution. */
static inline void lab_arena_dirty_word(uint32_t index)
{
	uint32_t block = index >> (LAB_BLOCK_SHIFT - 3u);

	if (__builtin_expect(lab_saved_in[block] != lab_generation, 0))
		lab_arena_save(block);
}
/* A new execution for the cells: called by lab_arena_restore(). */
void lab_arena_next(void);
/* Memory written by code that the lab does not see (not compiled with -fsanitize=thread): saved whole in every execution. */
void lab_arena_always(void *addr, size_t len);
size_t lab_arena_used(void);

#endif
