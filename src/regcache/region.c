/* SPDX-License-Identifier: MIT */
/*
 * region.c: the region objects. They are numbered, so that slots and lists hold 32 bits for each; a chunk stays mapped until
 * the cache is destroyed, so that an outdated number or ticket still names a region of some kind.
 */
#include <errno.h>

#include "port/inject.h"
#include "regcache/cache.h"

#define CHUNK_BYTES ((size_t)mm_page_ceil(ARENA_CHUNK_REGIONS * sizeof(struct region)))
#define FIRST_BYTES ((size_t)128 << 10) /* a small cache stays small */

struct region *region_alloc(struct uhmm_regcache *c)
{
	struct arena *a = aptr_load_relaxed(&c->arena);
	struct region *r;

	if (!a)
		return NULL;
	if (a->free) {
		r = region_in(a, a->free);
		a->free = r->next;
	} else if (a->fresh < a->chunks * ARENA_CHUNK_REGIONS) {
		r = region_in(a, a->fresh);
		r->number = a->fresh++;
	} else {
		return NULL;
	}
	assert(region_state(r) == REGION_FREE);
	r->next = r->prev = 0;
	return r;
}

void region_free(struct uhmm_regcache *c, struct region *r)
{
	struct arena *a = aptr_load_relaxed(&c->arena);

	a32_store_release(&r->state, REGION_FREE);
	r->next = a->free;
	a->free = r->number;
}

/* Without the lock: two threads may map one each, and then only one is used. */
static int first_arena(struct uhmm_regcache *c)
{
	void *fresh;
	struct arena *a;
	int err = mm_map(sizeof(struct arena), &fresh);

	if (err)
		return err;
	a = fresh;
	a->fresh = 1; /* number 0 is none */
	cache_lock(c);
	if (!aptr_load_relaxed(&c->arena)) {
		a->parent = c->parents;
		aptr_store_release(&c->arena, a);
		a = NULL;
	}
	cache_unlock(c);
	if (a)
		mm_unmap(a, sizeof(*a));
	return 0;
}

int arena_extend(struct uhmm_regcache *c)
{
	struct arena *a = aptr_load_acquire(&c->arena);
	bool first;
	void *chunk;
	int err;

	if (!a)
		return first_arena(c);
	cache_lock(c);
	first = a->chunks == 0;
	cache_unlock(c);
	err = mm_map(CHUNK_BYTES, &chunk);
	if (err)
		return err;
	assert((uintptr_t)chunk >> (64 - TICKET_COUNT_BITS) == 0);
	/* In one go it is cheaper than page by page. Best effort. */
	mm_populate_write(chunk, first ? FIRST_BYTES : CHUNK_BYTES);
	cache_lock(c);
	if (a->chunks >= ARENA_CHUNKS)
		err = -ENOSPC;
	if (!err && !a->free && a->fresh >= a->chunks * ARENA_CHUNK_REGIONS) {
		a->chunk[a->chunks++] = chunk;
		chunk = NULL;
	}
	cache_unlock(c);
	if (chunk)
		mm_unmap(chunk, CHUNK_BYTES);
	return err;
}

void arenas_unmap(struct arena *a)
{
	while (a) {
		struct arena *parent = a->parent;

		for (uint32_t i = 0; i < a->chunks; i++)
			mm_unmap(a->chunk[i], CHUNK_BYTES);
		mm_unmap(a, sizeof(*a));
		a = parent;
	}
}

struct region *region_of(const struct arena *a, const struct uhmm_reg *reg)
{
	uintptr_t at = (uintptr_t)reg - offsetof(struct region, reg);

	for (uint32_t i = 0; a && i < a->chunks; i++) {
		uintptr_t offset = at - (uintptr_t)a->chunk[i];

		if (offset >= ARENA_CHUNK_REGIONS * sizeof(struct region))
			continue;
		if (offset % sizeof(struct region) != 0 ||
		    i * ARENA_CHUNK_REGIONS + offset / sizeof(struct region) >= a->fresh)
			return NULL;
		return (struct region *)at;
	}
	return NULL;
}

void list_push(const struct uhmm_regcache *c, struct region_list *l, struct region *r)
{
	list_insert(c, l, l->last, r);
}

void list_insert(const struct uhmm_regcache *c, struct region_list *l, uint32_t behind, struct region *r)
{
	uint32_t next = behind ? region_at(c, behind)->next : l->first;

	r->prev = behind;
	r->next = next;
	if (behind)
		region_at(c, behind)->next = r->number;
	else
		l->first = r->number;
	if (next)
		region_at(c, next)->prev = r->number;
	else
		l->last = r->number;
	l->count++;
}

void list_remove(const struct uhmm_regcache *c, struct region_list *l, struct region *r)
{
	assert(l->count > 0);
	if (r->prev)
		region_at(c, r->prev)->next = r->next;
	else
		l->first = r->next;
	if (r->next)
		region_at(c, r->next)->prev = r->prev;
	else
		l->last = r->prev;
	l->count--;
}
