/* SPDX-License-Identifier: MIT */
#include "port/alloc.h"

#include <assert.h>

#include "port/inject.h"
#include "port/mm.h"

#define CHUNK_MIN ((size_t)64 << 10)
#define CHUNK_MAX MM_HUGE_SIZE
/* From here on a pool is large enough that half of a huge page more does not show, and misses of the TLB do. */
#define HUGE_FROM_BYTES ((uint64_t)8 << 20)
#define CHUNK_HEADER 64u /* keeps the objects of a 64-byte pool on cache lines */

struct chunk {
	struct chunk *next;
	size_t size;
};

void (*pool_on_use)(void);

void pool_init(struct pool *p, size_t object_size, uint64_t max_objects)
{
	assert(object_size >= sizeof(void *) && object_size % 8 == 0);
	assert(object_size <= CHUNK_MIN - CHUNK_HEADER);
	*p = (struct pool){.object_size = object_size, .max_objects = max_objects, .chunk_size = CHUNK_MIN};
	sync_lock_init(&p->lock);
}

static int add_chunk(struct pool *p)
{
	struct chunk *c;
	void *at;
	int err = p->bytes >= HUGE_FROM_BYTES ? mm_map_huge(&at) : mm_map(p->chunk_size, &at);

	if (err)
		return err;
	c = at;
	c->next = p->chunks;
	c->size = p->chunk_size;
	p->chunks = c;
	p->bytes += c->size;
	p->fresh = (unsigned char *)at + CHUNK_HEADER;
	p->fresh_end = (unsigned char *)at + c->size;
	if (p->chunk_size < CHUNK_MAX)
		p->chunk_size *= 2;
	return 0;
}

static void *take(struct pool *p)
{
	void *object = p->free;

	if (p->objects >= p->max_objects || PORT_INJECT(INJECT_ALLOC))
		return NULL;
	if (object) {
		p->free = *(void **)object;
	} else {
		if ((size_t)(p->fresh_end - p->fresh) < p->object_size && add_chunk(p) != 0)
			return NULL;
		object = p->fresh;
		p->fresh += p->object_size;
	}
	p->objects++;
	return object;
}

void *pool_get(struct pool *p)
{
	void *object;

	if (pool_on_use)
		pool_on_use();
	sync_lock_acquire(&p->lock);
	object = take(p);
	sync_lock_release(&p->lock);
	return object;
}

void pool_put(struct pool *p, void *object)
{
	if (pool_on_use)
		pool_on_use();
	sync_lock_acquire(&p->lock);
	assert(p->objects > 0);
	*(void **)object = p->free;
	p->free = object;
	p->objects--;
	sync_lock_release(&p->lock);
}

void pool_destroy(struct pool *p)
{
	struct chunk *c = p->chunks;

	while (c) {
		struct chunk *next = c->next;

		mm_unmap(c, c->size);
		c = next;
	}
	pool_abandon(p);
}

void pool_abandon(struct pool *p)
{
	pool_init(p, p->object_size, p->max_objects);
}
