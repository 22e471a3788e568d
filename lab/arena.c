/* SPDX-License-Identifier: MIT */
#include "lab/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lab/memory_inside.h"

/*
 * The static data of the code under test lies in these sections, which the linker bounds by symbols because their names are C
 * identifiers; weak, because a program may have none.
 */
extern unsigned char lab_data_start[] __asm__("__start_lab_data") __attribute__((weak));
extern unsigned char lab_data_end[] __asm__("__stop_lab_data") __attribute__((weak));
extern unsigned char lab_bss_start[] __asm__("__start_lab_bss") __attribute__((weak));
extern unsigned char lab_bss_end[] __asm__("__stop_lab_bss") __attribute__((weak));

#define BLOCK ((size_t)1 << LAB_BLOCK_SHIFT)
#define UNDO_MAX (1u << 20)
#define ALWAYS_MAX 64u

struct undo {
	uint32_t block;
	unsigned char *at;
	unsigned char was[BLOCK];
};

uint32_t lab_generation = 1;
uintptr_t lab_static_start, lab_static_end;
struct lab_mark *lab_marks;
struct lab_cell *lab_cells;

#define USED_AT_FIRST (LAB_FIBERS * LAB_AREA_SIZE)

static size_t used = USED_AT_FIRST, used_at_snapshot;
uint32_t *lab_saved_in;
static struct undo *undo;
static uint32_t blocks;
static uint32_t undone, undone_at_snapshot; /* below: what set-up wrote */
static struct {
	unsigned char *addr;
	size_t len;
} always[ALWAYS_MAX];
static uint32_t always_count;

void lab_stop(const char *why)
{
	fprintf(stderr, "race lab: %s\n", why);
	exit(2);
}

/* Address space only: pages cost when touched, and an execution touches few. */
static void *reserve(uintptr_t at, size_t len)
{
	void *got = mmap((void *)at, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED_NOREPLACE : 0), -1, 0);

	if (got == MAP_FAILED || (at && got != (void *)at))
		lab_stop("no address space for the arena");
	return got;
}

static void *zeroed(size_t len)
{
	return reserve(0, len);
}

static void find_static_data(void)
{
	uintptr_t ends[4] = {(uintptr_t)lab_data_start, (uintptr_t)lab_bss_start, (uintptr_t)lab_data_end,
			     (uintptr_t)lab_bss_end};

	/* The two need not be neighbours; what lies between belongs to nobody who is looked at. */
	for (uint32_t i = 0; i < 2; i++) {
		if (!ends[i])
			continue;
		if (!lab_static_start || ends[i] < lab_static_start)
			lab_static_start = ends[i];
		if (ends[i + 2] > lab_static_end)
			lab_static_end = ends[i + 2];
	}
	lab_static_start &= ~(uintptr_t)(BLOCK - 1);
	lab_static_end = (lab_static_end + BLOCK - 1) & ~(uintptr_t)(BLOCK - 1);
}

void lab_arena_open(void)
{
	size_t words;

	if (lab_cells)
		return;
	find_static_data();
	words = (LAB_ARENA_SIZE + (lab_static_end - lab_static_start)) / 8;
	blocks = (uint32_t)(words * 8 >> LAB_BLOCK_SHIFT);
	words += LAB_STACKS_SIZE / 8;
	reserve(LAB_ARENA_BASE, LAB_ARENA_SIZE);
	lab_saved_in = reserve(0, ((words + LAB_STRANGERS) * 8 >> LAB_BLOCK_SHIFT) * sizeof(*lab_saved_in));
	undo = reserve(0, UNDO_MAX * sizeof(*undo));
	lab_visible_open((uint32_t)words, zeroed);
	lab_marks = reserve(0, (words + LAB_STRANGERS) * sizeof(*lab_marks));
	lab_cells = reserve(0, (words + LAB_STRANGERS) * sizeof(*lab_cells));
}

void *lab_alloc(size_t size, size_t align)
{
	size_t at = (used + align - 1) & ~(align - 1);

	lab_arena_open();
	if (size > LAB_ARENA_SIZE || at > LAB_ARENA_SIZE - size)
		return NULL;
	used = at + size;
	return (void *)(LAB_ARENA_BASE + at);
}

size_t lab_arena_used(void)
{
	return used;
}

static unsigned char *address_of_block(uint32_t block)
{
	uintptr_t at = (uintptr_t)block << LAB_BLOCK_SHIFT;

	return (unsigned char *)(at < LAB_ARENA_SIZE ? LAB_ARENA_BASE + at : lab_static_start + (at - LAB_ARENA_SIZE));
}

void lab_arena_save(uint32_t block)
{
	struct undo *u;

	lab_saved_in[block] = lab_generation;
	/* On a stack, which every execution begins anew, or of the lab itself. */
	if (block >= blocks)
		return;
	if (undone == UNDO_MAX)
		lab_stop("an execution writes too much memory");
	u = &undo[undone++];
	u->at = address_of_block(block);
	memcpy(u->was, u->at, BLOCK);
}

void lab_arena_dirty(const void *addr, size_t len)
{
	uintptr_t at = (uintptr_t)addr & ~(uintptr_t)(BLOCK - 1), end = (uintptr_t)addr + len;

	for (; at < end; at += BLOCK) {
		uint32_t index = lab_index(at);

		if (index != LAB_NO_INDEX)
			lab_arena_dirty_word(index);
	}
}

void lab_arena_always(void *addr, size_t len)
{
	if (always_count == ALWAYS_MAX)
		lab_stop("too many pieces of memory outside the lab's sight");
	always[always_count].addr = addr;
	always[always_count++].len = len;
}

void lab_arena_next(void)
{
	if (++lab_generation == 0)
		lab_stop("four thousand million executions are enough");
}

static void save_always(void)
{
	for (uint32_t i = 0; i < always_count; i++)
		lab_arena_dirty(always[i].addr, always[i].len);
}

void lab_arena_snapshot(void)
{
	lab_arena_open();
	lab_arena_next();
	undone_at_snapshot = undone;
	used_at_snapshot = used;
	save_always();
}

/* In reverse, so that of two saves of one block the first has the last word. */
static void undo_down_to(uint32_t count)
{
	while (undone > count) {
		struct undo *u = &undo[--undone];

		memcpy(u->at, u->was, BLOCK);
	}
	lab_arena_next();
}

void lab_arena_restore(void)
{
	undo_down_to(undone_at_snapshot);
	used = used_at_snapshot;
	save_always();
}

void lab_arena_begin(void)
{
	lab_arena_open();
	undo_down_to(0);
	undone_at_snapshot = 0;
	used = USED_AT_FIRST;
	always_count = 0;
}
