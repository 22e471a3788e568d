/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define STAMP_WORDS (PAGE_BYTES / sizeof(uint64_t))
#define STAMP_MAGIC UINT64_C(0x9d8e73b1c5f4a26b)

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

/*
 * Far below where the kernel looks for room, it would have to run out of address space before it gave a hole in the arena to
 * somebody else's mmap(). ThreadSanitizer has its own idea of which addresses a program may have.
 */
#ifdef __SANITIZE_THREAD__
#define SECLUDED_PLACE UINT64_C(0x4000000000)
#else
#define SECLUDED_PLACE UINT64_C(0x200000000000)
#endif

static char *map_arena(size_t len, bool *secluded)
{
	const int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *place = (void *)SECLUDED_PLACE;
	void *p = mmap(place, len, prot, flags | MAP_FIXED_NOREPLACE, -1, 0);

	*secluded = p == place;
	if (*secluded)
		return p;
	if (p != MAP_FAILED)
		munmap(p, len); /* kernels before 4.17 take the address for a hint */
	p = mmap(NULL, len, prot, flags, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static size_t arena_bytes(const struct arena *a)
{
	return (size_t)(a->chunks + a->spares) * CHUNK_BYTES;
}

int arena_create(struct arena *a, unsigned chunks, unsigned spares)
{
	a->chunk = aligned_alloc(64, chunks * sizeof(*a->chunk));
	if (!a->chunk)
		return -ENOMEM;
	memset(a->chunk, 0, chunks * sizeof(*a->chunk));
	a->chunks = chunks;
	a->spares = spares;
	a->base = map_arena(arena_bytes(a), &a->secluded);
	if (!a->base) {
		free(a->chunk);
		return -ENOMEM;
	}
	for (unsigned c = 0; c < chunks; c++) {
		for (unsigned q = 0; q < CHUNK_PAGES; q++) {
			a->chunk[c].generation[q] = 1;
			stamp_write(arena_page(a, c, q), arena_page_number(c, q), 1);
		}
	}
	return 0;
}

void arena_destroy(struct arena *a)
{
	munmap(a->base, arena_bytes(a));
	free(a->chunk);
}

/* Three words in plain text for whoever looks at a page in a debugger; the rest differ from word to word. */
static inline uint64_t stamp_word(uint64_t number, uint64_t generation, size_t i)
{
	if (i == 0)
		return STAMP_MAGIC;
	if (i == 1)
		return number;
	if (i == 2)
		return generation;
	return (generation * STAMP_MAGIC) ^ (number << 32) ^ i;
}

void stamp_write(void *page, uint64_t number, uint64_t generation)
{
	uint64_t *word = page;

	for (size_t i = 0; i < STAMP_WORDS; i++)
		word[i] = stamp_word(number, generation, i);
}

/* Part of one word. */
static bool word_matches(const char *page, uint64_t word, size_t at, size_t n)
{
	return memcmp(page + at, (const char *)&word + at % sizeof(word), n) == 0;
}

bool stamp_matches(const void *page, uint64_t number, uint64_t generation, size_t from, size_t to)
{
	for (size_t at = from; at < to;) {
		uint64_t word = stamp_word(number, generation, at / sizeof(word)), there;
		size_t n = sizeof(word) - at % sizeof(word);

		if (n == sizeof(word) && to - at >= n) {
			memcpy(&there, (const char *)page + at, sizeof(there));
			if (there != word)
				return false;
		} else if (!word_matches(page, word, at, n < to - at ? n : to - at)) {
			return false;
		}
		at += n;
	}
	return true;
}

uint64_t stamp_generation(const void *page, uint64_t number)
{
	uint64_t generation;

	memcpy(&generation, (const char *)page + 2 * sizeof(uint64_t), sizeof(generation));
	return stamp_matches(page, number, generation, 0, PAGE_BYTES) ? generation : 0;
}

bool arena_holds_stamps(const struct arena *a)
{
	for (unsigned c = 0; c < a->chunks; c++) {
		unsigned held = atomic_load_explicit(&a->chunk[c].given, memory_order_acquire) | 1u;

		for (unsigned q = 0; q < CHUNK_PAGES; q++) {
			if ((held & 1u << q) && !stamp_matches(arena_page(a, c, q), arena_page_number(c, q),
							       a->chunk[c].generation[q], 0, PAGE_BYTES))
				return false;
		}
	}
	return true;
}
