/* SPDX-License-Identifier: MIT */
/*
 * spare.h: objects of one pool made ready before a lock is taken, so that nothing is allocated under it (G7).
 *
 * A list belongs to whoever guards it: one on a caller's stack to that caller, one inside a structure to the structure's lock.
 * Only spare_fill() and spare_drain() touch the pool, hence take its lock and may map memory: never under a core lock.
 */
#ifndef CORE_SPARE_H
#define CORE_SPARE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "port/alloc.h"

/* Linked through the first word of each object; zeroed storage is an empty list. */
struct spare {
	void *first;
	uint32_t count;
	uint32_t want; /* set by who ran short: how many it needs in all */
};

static inline void spare_put(struct spare *s, void *object)
{
	*(void **)object = s->first;
	s->first = object;
	s->count++;
}

/* The first word comes back as zero. NULL: empty. */
static inline void *spare_take(struct spare *s)
{
	void *object = s->first;

	if (!object)
		return NULL;
	s->first = *(void **)object;
	s->count--;
	*(void **)object = NULL;
	return object;
}

/* Moves objects until `from` holds no more than `keep`. */
static inline void spare_move(struct spare *to, struct spare *from, uint32_t keep)
{
	while (from->count > keep)
		spare_put(to, spare_take(from));
}

/* Until the list holds `want`. -ENOMEM keeps what there is: drain it. */
static inline int spare_fill(struct spare *s, struct pool *pool, uint32_t want)
{
	while (s->count < want) {
		void *object = pool_get(pool);

		if (!object)
			return -ENOMEM;
		spare_put(s, object);
	}
	return 0;
}

static inline void spare_drain(struct spare *s, struct pool *pool)
{
	while (s->count > 0)
		pool_put(pool, spare_take(s));
}

#endif
