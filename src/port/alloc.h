/* SPDX-License-Identifier: MIT */
/*
 * alloc.h: internal memory, from mappings of our own that are never managed and never seen by a monitor.
 *
 * A pool hands out objects of one size. Memory is type-stable: an object that was put back is still memory of the same kind, so
 * a reader that raced with the put reads an old or new object of that type, never something else; only pool_destroy() unmaps.
 * pool_get() and pool_put() take the pool's lock; neither is called in a callback of the protocol (G7).
 */
#ifndef PORT_ALLOC_H
#define PORT_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include "port/sync.h"

struct pool {
	struct sync_lock lock;
	size_t object_size;  /* bytes, a multiple of 8 */
	uint64_t max_objects; /* bound; beyond it pool_get() fails */
	uint64_t objects;    /* handed out */
	void *free;          /* linked through the first word of each free object */
	unsigned char *fresh, *fresh_end; /* the part of the newest chunk that was never handed out */
	void *chunks;        /* linked through the first words of each chunk */
	size_t chunk_size;   /* of the next chunk: doubles up to 2 MiB */
	uint64_t bytes;      /* mapped */
};

void pool_init(struct pool *p, size_t object_size, uint64_t max_objects);
/* Zeroed on its first hand-out only; afterwards as it was put, but for the first word. NULL: bound reached or no memory. */
void *pool_get(struct pool *p);
void pool_put(struct pool *p, void *object);
/* Unmaps everything. Nobody uses any object any more. */
void pool_destroy(struct pool *p);
/* Called first thing by pool_get() and pool_put() if set, which is done once, at load time: for the lock checker. */
extern void (*pool_on_use)(void);
/* In a forked child: forgets everything without unmapping (another thread may have been inside at the fork). */
void pool_abandon(struct pool *p);

#endif
