/* SPDX-License-Identifier: MIT */
/*
 * races.c: the run-time library of -fsanitize=thread for the code under test.
 *
 * Each plain access to the arena or to static data of that code comes here first. It is compared with the accesses to the same
 * bytes that were made before in this execution: two of them, one a write, race unless one happens before the other by what
 * memory.c calls `hb`. And a write makes the arena keep what was there, to put it back.
 *
 * An aligned word of eight bytes has a cell with room for LAB_SLOTS accesses. One that a later access makes superfluous is
 * replaced: it is ordered before the later one, of no more bytes and no stronger, so whatever would race with it and comes
 * later races with that as well. Where all slots are taken the oldest goes.
 *
 * Code of the lab's own machine (lab/simmm/, src/port/lab) is compiled the same way but calls lab_mark_*(), by which only
 * writes are kept: it makes its steps between two lab_point()s, undisturbed.
 */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lab/memory_inside.h"

/* ---- places ---- */

static const struct lab_site nowhere = {"?", "?", "its beginning", 0};

/* They are all in one program's constants, so 32 bits of distance will do. */
uint32_t lab_place_of(const struct lab_site *site)
{
	return (uint32_t)((uintptr_t)site - (uintptr_t)&nowhere);
}

const struct lab_site *lab_site_of_place(uint32_t place)
{
	return (const struct lab_site *)((uintptr_t)&nowhere + (uintptr_t)(intptr_t)(int32_t)place);
}

static const char *short_name(const char *path)
{
	const char *last = strrchr(path, '/');

	return last ? last + 1 : path;
}

/* ---- comparing ---- */

static const char *words_for(uint32_t slot)
{
	if (slot & LAB_SLOT_ATOMIC)
		return slot & LAB_SLOT_WRITE ? "atomic write" : "atomic read";
	return slot & LAB_SLOT_WRITE ? "write" : "read";
}

static void report(uint32_t now, uint32_t place, uint32_t before, uint32_t place_before, uintptr_t addr)
{
	const struct lab_site *s = lab_site_of_place(place), *b = lab_site_of_place(place_before);

	lab_lost(7, "data race at 0x%llx: %s of %d bytes by %s after %s (%s, %s:%u); %s by %s after %s (%s, %s:%u)",
		 (unsigned long long)addr, words_for(now), __builtin_popcount(LAB_SLOT_MASK(now)),
		 lab_run.fiber[LAB_SLOT_FIBER(now)].name, s->text, s->function, short_name(s->file), s->line, words_for(before),
		 lab_run.fiber[LAB_SLOT_FIBER(before)].name, b->text, b->function, short_name(b->file), b->line);
}

static bool is_before(uint32_t slot, const struct lab_clock *hb)
{
	return (int16_t)(slot & LAB_SLOT_CLOCK) <= hb->of[LAB_SLOT_FIBER(slot)];
}

/* Of two accesses of which neither is before the other. */
static bool conflict(uint32_t a, uint32_t b)
{
	return (LAB_SLOT_MASK(a) & LAB_SLOT_MASK(b)) && ((a | b) & LAB_SLOT_WRITE) && !(a & b & LAB_SLOT_ATOMIC);
}

/* `old` is before `now`: is it superfluous from now on? */
static bool outdone(uint32_t old, uint32_t now)
{
	return (LAB_SLOT_MASK(old) & ~LAB_SLOT_MASK(now)) == 0 && ((now & LAB_SLOT_WRITE) || !(old & LAB_SLOT_WRITE)) &&
	       (!(now & LAB_SLOT_ATOMIC) || (old & LAB_SLOT_ATOMIC));
}

void lab_access_slow(struct lab_cell *c, uint32_t slot, uintptr_t addr)
{
	const struct lab_fiber_memory *me = &lab_memory_of[LAB_SLOT_FIBER(slot)];
	uint32_t at = c->used;

	for (uint32_t i = 0; i < c->used; i++) {
		uint32_t old = c->slot[i];

		if (is_before(old, &me->now.hb))
			at = outdone(old, slot) ? i : at;
		else if (conflict(old, slot))
			report(slot, me->place, old, c->place[i], addr);
	}
	if (at == LAB_SLOTS) {
		memmove(&c->slot[0], &c->slot[1], (LAB_SLOTS - 1) * sizeof(c->slot[0]));
		memmove(&c->place[0], &c->place[1], (LAB_SLOTS - 1) * sizeof(c->place[0]));
		at--;
	} else if (at == c->used) {
		c->used++;
	}
	c->slot[at] = slot;
	c->place[at] = me->place;
}

static void access_watched(uintptr_t addr, uint32_t index, uint32_t size, bool write, uint32_t state)
{
	uint32_t fiber = lab_run.now, mask = lab_mask(addr, size);

	if (state & LAB_ACCESS_ATOMIC)
		lab_memory_plain(fiber, index, mask, write);
	if (state & LAB_ACCESS_MATTERS)
		lab_access(lab_cell(index), lab_slot(fiber, mask, write ? LAB_SLOT_WRITE : 0), addr);
}

static inline void access_word(uintptr_t addr, uint32_t size, bool write)
{
	uint32_t index = lab_index(addr), fiber = lab_run.now, state;

	if (index == LAB_NO_INDEX)
		return;
	if (write)
		lab_arena_dirty_word(index);
	if (fiber == 0)
		return;
	state = lab_access_state(index, LAB_USERS(fiber) | (write ? LAB_WRITERS(fiber) : 0) | LAB_ACCESS_PLAIN);
	if (__builtin_expect((state & (LAB_ACCESS_MATTERS | LAB_ACCESS_ATOMIC)) != 0, 0))
		access_watched(addr, index, size, write, state);
}

static void access_range(uintptr_t addr, size_t len, bool write)
{
	if (!lab_cells)
		return;
	while (len > 0) {
		uint32_t here = 8u - (uint32_t)(addr & 7u);

		if (here > len)
			here = (uint32_t)len;
		access_word(addr, here, write);
		addr += here;
		len -= here;
	}
}

static inline void access_small(void *addr, uint32_t size, bool write)
{
	uintptr_t at = (uintptr_t)addr;

	if (__builtin_expect((at & 7u) + size <= 8u && lab_cells, 1))
		access_word(at, size, write);
	else
		access_range(at, size, write);
}

/* ---- what compilers call ---- */

/* Each name that a compiler calls is a function of its own or another name of one; objcopy wants no two renamed to the same. */
#define SAME(name, other, ...) void name(__VA_ARGS__) __attribute__((alias(#other)));

#define ACCESS(size)                                                                                                           \
	void __tsan_read##size(void *addr);                                                                                    \
	void __tsan_read##size(void *addr)                                                                                     \
	{                                                                                                                      \
		access_small(addr, size, false);                                                                               \
	}                                                                                                                      \
	void __tsan_write##size(void *addr);                                                                                   \
	void __tsan_write##size(void *addr)                                                                                    \
	{                                                                                                                      \
		access_small(addr, size, true);                                                                                \
	}                                                                                                                      \
	void lab_mark_read##size(void *addr);                                                                                  \
	void lab_mark_read##size(void *addr)                                                                                   \
	{                                                                                                                      \
		(void)addr;                                                                                                    \
	}                                                                                                                      \
	void lab_mark_write##size(void *addr);                                                                                 \
	void lab_mark_write##size(void *addr)                                                                                  \
	{                                                                                                                      \
		lab_arena_dirty(addr, size);                                                                                   \
	}                                                                                                                      \
	ALIASES(__tsan_, size)                                                                                                 \
	ALIASES(lab_mark_, size)

#define ALIASES(prefix, size)                                                                                                  \
	SAME(prefix##read_write##size, prefix##write##size, void *addr)                                                        \
	SAME(prefix##unaligned_read##size, prefix##read##size, void *addr)                                                     \
	SAME(prefix##unaligned_write##size, prefix##write##size, void *addr)                                                   \
	SAME(prefix##unaligned_read_write##size, prefix##write##size, void *addr)                                              \
	SAME(prefix##volatile_read##size, prefix##read##size, void *addr)                                                      \
	SAME(prefix##volatile_write##size, prefix##write##size, void *addr)                                                    \
	SAME(prefix##unaligned_volatile_read##size, prefix##read##size, void *addr)                                            \
	SAME(prefix##unaligned_volatile_write##size, prefix##write##size, void *addr)

ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

void __tsan_read_range(void *addr, size_t len);
void __tsan_read_range(void *addr, size_t len)
{
	access_range((uintptr_t)addr, len, false);
}

void __tsan_write_range(void *addr, size_t len);
void __tsan_write_range(void *addr, size_t len)
{
	access_range((uintptr_t)addr, len, true);
}

void __tsan_init(void);
void __tsan_init(void) { }

void __tsan_func_entry(void *addr);
void __tsan_func_entry(void *addr)
{
	(void)addr;
}

void __tsan_func_exit(void);
void __tsan_func_exit(void) { }

void lab_mark_read_range(void *addr, size_t len);
void lab_mark_read_range(void *addr, size_t len)
{
	(void)addr;
	(void)len;
}

void lab_mark_write_range(void *addr, size_t len);
void lab_mark_write_range(void *addr, size_t len)
{
	lab_arena_dirty(addr, len);
}

/* ---- what the code under test calls instead of libc; clang has names of its own for some ---- */

void *lab_memset(void *to, int byte, size_t len);
void *lab_memset(void *to, int byte, size_t len)
{
	access_range((uintptr_t)to, len, true);
	return memset(to, byte, len);
}

void *lab_memmove(void *to, const void *from, size_t len);
void *lab_memmove(void *to, const void *from, size_t len)
{
	access_range((uintptr_t)from, len, false);
	access_range((uintptr_t)to, len, true);
	return memmove(to, from, len);
}

int lab_memcmp(const void *a, const void *b, size_t len);
int lab_memcmp(const void *a, const void *b, size_t len)
{
	access_range((uintptr_t)a, len, false);
	access_range((uintptr_t)b, len, false);
	return memcmp(a, b, len);
}

void *lab_mark_memset(void *to, int byte, size_t len);
void *lab_mark_memset(void *to, int byte, size_t len)
{
	lab_arena_dirty(to, len);
	return memset(to, byte, len);
}

void *lab_mark_memmove(void *to, const void *from, size_t len);
void *lab_mark_memmove(void *to, const void *from, size_t len)
{
	lab_arena_dirty(to, len);
	return memmove(to, from, len);
}

#define SAME_CALL(name, other) void *name(void *to, const void *from, size_t len) __attribute__((alias(#other)));
SAME_CALL(lab_memcpy, lab_memmove)
SAME_CALL(__tsan_memcpy, lab_memmove)
SAME_CALL(__tsan_memmove, lab_memmove)
SAME_CALL(lab_mark_memcpy, lab_mark_memmove)
SAME_CALL(lab_mark_tsan_memcpy, lab_mark_memmove)
SAME_CALL(lab_mark_tsan_memmove, lab_mark_memmove)
void *__tsan_memset(void *to, int byte, size_t len) __attribute__((alias("lab_memset")));
void *lab_mark_tsan_memset(void *to, int byte, size_t len) __attribute__((alias("lab_mark_memset")));
int lab_bcmp(const void *a, const void *b, size_t len) __attribute__((alias("lab_memcmp")));

void lab_assert_fail(const char *what, const char *file, unsigned int line, const char *function) __attribute__((noreturn));
void lab_assert_fail(const char *what, const char *file, unsigned int line, const char *function)
{
	lab_lost(8, "assertion failed: %s, in %s (%s:%u)", what, function, short_name(file), line);
	abort();
}
