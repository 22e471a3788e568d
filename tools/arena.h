/* SPDX-License-Identifier: MIT */
/*
 * arena.h: ordinary anonymous memory through which the device streams while chaos changes it, and who may touch which page.
 *
 * Chunks of 64 KiB. Page 0 of each belongs to the device thread (B) for good. Pages 1..15 are each either FREE, the chaos
 * thread's (A), which may unmap, replace or discard it; or GIVEN, the device thread's: nobody changes it until it is back.
 *
 *	chaos A                                        device thread B
 *	change q; generation[q]++; stamp q
 *	given |= q (release)
 *	                                               sees q in given (acquire)
 *	                                               requests on q, all completed
 *	                                               given &= ~q (release)
 *	sees q free (acquire); changes it again
 *
 * A stamp fills the whole page with words made of the page's number and generation, so that a page from before a change is told
 * from any other wrong content. Odd pages only ever hold stamps: the device reads them. Even pages are written by the device.
 */
#ifndef TOOLS_ARENA_H
#define TOOLS_ARENA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u
#define CHUNK_PAGES 16u
#define CHUNK_BYTES (PAGE_BYTES * CHUNK_PAGES)
#define CHUNK_FREE_MASK 0xfffeu /* the pages that change hands */

struct chunk {
	_Alignas(64) atomic_uint given;   /* bit q: page q is the device thread's */
	uint64_t generation[CHUNK_PAGES]; /* of the stamp; written by A before the hand-over, page 0's by B */
};

struct arena {
	char *base;
	unsigned chunks;
	unsigned spares; /* chunks behind the others, in no request: pages that are moved onto others come from there */
	bool secluded;   /* the kernel gives no hole in here to anybody else, so a page may really be unmapped for a moment */
	struct chunk *chunk;
};

/* 0 or a negative errno. */
int arena_create(struct arena *a, unsigned chunks, unsigned spares);
void arena_destroy(struct arena *a);

static inline char *arena_chunk(const struct arena *a, unsigned chunk)
{
	return a->base + (size_t)chunk * CHUNK_BYTES;
}

static inline char *arena_page(const struct arena *a, unsigned chunk, unsigned q)
{
	return arena_chunk(a, chunk) + (size_t)q * PAGE_BYTES;
}

/* The number that a page has in its stamps. */
static inline uint64_t arena_page_number(unsigned chunk, unsigned q)
{
	return (uint64_t)chunk * CHUNK_PAGES + q;
}

void stamp_write(void *page, uint64_t number, uint64_t generation);
/* True if bytes [from, to) of the page are those of the stamp. */
bool stamp_matches(const void *page, uint64_t number, uint64_t generation, size_t from, size_t to);
/* The generation if the whole page is some stamp of that number, else 0. */
uint64_t stamp_generation(const void *page, uint64_t number);

/* Every GIVEN page and every page 0 holds its stamp. Async-signal-safe: a forked child calls it on its copy. */
bool arena_holds_stamps(const struct arena *a);

#endif
