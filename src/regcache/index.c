/* SPDX-License-Identifier: MIT */
/*
 * index.c: from an address to the regions that contain it.
 *
 * A hash table of aligned blocks, in size classes a factor of 16 apart. A region of up to 4 pages is entered under each of its
 * pages; a larger one under each block that it touches of the smallest class in which these are at most 5. A region that covers
 * a request contains the page of its first byte, and so has exactly one entry among that page's blocks, one per class: looking
 * at each class in use finds every covering region, and no ordered search is needed. Small regions cost one slot a page, a
 * region of 1 GiB costs 5.
 *
 * Overlapping regions make duplicate keys: a search goes on until it meets a slot without a key.
 *
 * Readers take no lock. What lets them: the key of a slot never changes once it is set; only the value does, in one store. A
 * slot whose value was taken away is reused for the same key alone; the others go when the table is replaced. The replaced
 * table's values are all set to 0 under the same lock hold, so a reader that still has it finds nothing in it or fails to
 * validate, and the table is unmapped when no seat names it any more.
 */
#include <errno.h>

#include "regcache/cache.h"

static struct slot *first_slot(const struct table *t, uint64_t key)
{
	return &t->slots[index_home(key, t->size)];
}

static struct slot *next_slot(const struct table *t, struct slot *s)
{
	return ++s == &t->slots[t->size] ? t->slots : s;
}

static void consider(struct index_found *f, struct region *r, uintptr_t start, uintptr_t end, uint32_t access)
{
	if (start < region_start(r) || end > region_end(r) || region_state(r) == REGION_DROPPED)
		return;
	if ((r->reg.access & access) != access) {
		if (region_state(r) != REGION_REGISTERING)
			f->narrower = r;
	} else if (!f->covering || region_state(r) == REGION_VALID) {
		f->covering = r;
	}
}

struct index_found index_find(struct uhmm_regcache *c, uintptr_t start, uintptr_t end, uint32_t access)
{
	const struct table *t = cache_table(c);
	uint32_t classes = a32_load_relaxed(&t->classes);
	struct index_found found = {0};

	for (uint32_t class = 0; class < INDEX_CLASSES; class++) {
		uint64_t key = index_key(start >> MM_PAGE_SHIFT, class), at;

		if (!(classes & 1u << class))
			continue;
		for (struct slot *s = first_slot(t, key); (at = a64_load_relaxed(&s->key)) != 0; s = next_slot(t, s)) {
			uint32_t value = a32_load_relaxed(&s->value);

			if (at == key && value)
				consider(&found, region_at(c, value >> SLOT_NUMBER_SHIFT), start, end, access);
		}
	}
	return found;
}

bool index_has_room(const struct uhmm_regcache *c)
{
	const struct table *t = cache_table(c);

	return (uint64_t)(t->used + INDEX_SLOTS_PER_REGION) * 4 <= (uint64_t)t->size * 3;
}

/* The region's blocks: first and last of its class. */
struct blocks {
	uintptr_t first, last;
	uint32_t class;
};

static inline struct blocks blocks_of(const struct region *r)
{
	uintptr_t first = region_start(r) >> MM_PAGE_SHIFT, last = (region_end(r) - 1) >> MM_PAGE_SHIFT;
	uint32_t class = index_class(last - first + 1);

	return (struct blocks){.first = first >> (4 * class), .last = last >> (4 * class), .class = class};
}

/* The slot of a key that belongs to the region with this number; 0: the one that a new region may take. */
static inline struct slot *slot_for(const struct table *t, uint64_t key, uint32_t number)
{
	struct slot *s = first_slot(t, key);
	uint64_t at;

	while ((at = a64_load_relaxed(&s->key)) != 0 &&
	       (at != key || a32_load_relaxed(&s->value) >> SLOT_NUMBER_SHIFT != number))
		s = next_slot(t, s);
	assert(at != 0 || number == 0);
	return s;
}

/* Over the slots that a region has, or (number 0) is to take: while (walk_next(&w)) ... w.slot. */
struct walk {
	const struct table *t;
	struct blocks left;
	uint32_t number;
	uint64_t key;
	struct slot *slot;
};

static inline struct walk walk(const struct table *t, const struct region *r, uint32_t number)
{
	return (struct walk){.t = t, .left = blocks_of(r), .number = number};
}

static inline bool walk_next(struct walk *w)
{
	if (w->left.first > w->left.last)
		return false;
	w->key = index_key(w->left.first++ << (4 * w->left.class), w->left.class);
	w->slot = slot_for(w->t, w->key, w->number);
	return true;
}

static void enter(struct table *t, struct slot *s, uint64_t key, uint32_t value)
{
	/* Value before key, so that whoever sees the key sees one of its values. */
	a32_store_release(&s->value, value);
	if (a64_load_relaxed(&s->key) == 0) {
		a64_store_release(&s->key, key);
		t->used++;
	}
	t->live++;
}

static uint32_t value_of(const struct region *r, bool valid)
{
	return r->number << SLOT_NUMBER_SHIFT | r->reg.access << SLOT_ACCESS_SHIFT | (valid ? SLOT_VALID : 0);
}

void index_enter(struct uhmm_regcache *c, struct region *r)
{
	struct table *t = cache_table(c);
	struct walk w = walk(t, r, 0);
	uint32_t class = w.left.class, classes = a32_load_relaxed(&t->classes);

	if (!(classes & 1u << class))
		a32_store_relaxed(&t->classes, classes | 1u << class);
	while (walk_next(&w))
		enter(t, w.slot, w.key, value_of(r, false));
}

void index_publish(struct uhmm_regcache *c, struct region *r, uint32_t stamp)
{
	struct walk w = walk(cache_table(c), r, r->number);

	r->published++;
	while (walk_next(&w)) {
		a32_store_relaxed(&w.slot->stamp, stamp);
		/* Release: a reader that sees it valid may read the region. */
		a32_store_release(&w.slot->value, value_of(r, true));
	}
}

void index_suspend(struct uhmm_regcache *c, struct region *r)
{
	struct walk w = walk(cache_table(c), r, r->number);

	while (walk_next(&w))
		a32_store_release(&w.slot->value, value_of(r, false));
}

void index_leave(struct uhmm_regcache *c, struct region *r)
{
	struct table *t = cache_table(c);
	struct walk w = walk(t, r, r->number);

	while (walk_next(&w)) {
		a32_store_release(&w.slot->value, 0);
		t->live--;
	}
}

uint32_t index_stamp(struct uhmm_regcache *c, const struct region *r)
{
	struct walk w = walk(cache_table(c), r, r->number);
	uint32_t newest = r->stamp;

	while (walk_next(&w)) {
		uint32_t stamp = a32_load_relaxed(&w.slot->stamp);

		if ((int32_t)(stamp - newest) > 0)
			newest = stamp;
	}
	return newest;
}

/* ---- replacement ---- */

#define TABLE_HEADER 128u
static_assert(sizeof(struct table) <= TABLE_HEADER, "slots begin on a line");

/* Half full afterwards, three quarters at most: 21 to 32 bytes a slot. Small ones leap, for their growth would show. */
static uint32_t size_for(uint32_t live)
{
	uint64_t size = (uint64_t)live * (live < 32768 ? 8 : 2) + INDEX_SLOTS_MIN;

	return size < INDEX_SLOTS_MIN ? INDEX_SLOTS_MIN : (uint32_t)size;
}

static struct table *map_table(uint32_t size)
{
	size_t bytes = (size_t)mm_page_ceil(TABLE_HEADER + (uintptr_t)size * sizeof(struct slot));
	struct table *t;
	void *at;

	if (mm_map(bytes, &at) != 0)
		return NULL;
	t = at;
	t->size = size;
	t->bytes = bytes;
	t->slots = (struct slot *)((unsigned char *)at + TABLE_HEADER);
	/* Its pages are taken now, not under the lock. Best effort: without it they come one by one. */
	mm_populate_write(at, bytes);
	return t;
}

static void copy_live(struct table *to, const struct table *from)
{
	for (uint32_t i = 0; i < from->size; i++) {
		const struct slot *s = &from->slots[i];
		uint32_t value = a32_load_relaxed(&s->value);
		uint64_t key = a64_load_relaxed(&s->key);
		struct slot *d;

		if (!value)
			continue;
		for (d = first_slot(to, key); a64_load_relaxed(&d->key) != 0; d = next_slot(to, d))
			;
		enter(to, d, key, value);
		a32_store_relaxed(&d->stamp, a32_load_relaxed(&s->stamp));
		a32_store_relaxed(&to->classes,
				  a32_load_relaxed(&to->classes) | 1u << (key >> 1 & 15));
	}
}

/* Under the lock. Until the loop ends both tables give the same answers. */
static void replace(struct uhmm_regcache *c, struct table *fresh)
{
	struct table *old = cache_table(c);

	copy_live(fresh, old);
	aptr_store_release(&c->table, fresh);
	for (uint32_t i = 0; i < old->size; i++)
		a32_store_release(&old->slots[i].value, 0);
	if (old != &c->empty) {
		old->next = c->retired;
		c->retired = old;
	}
}

/* Without the lock: unmaps retired tables that no thread reads. A seat that names an old one keeps it until its next get. */
static void reclaim(struct uhmm_regcache *c)
{
	struct table **link = &c->retired, *unused = NULL, *t;

	/*
	 * No barrier is needed: an owner lets its seat name another table only under the lock, when it is not looking into one,
	 * and a seat that changes hands was left by a thread that is gone.
	 */
	cache_lock(c);
	while ((t = *link) != NULL) {
		if (seats_name_table(c, t)) {
			link = &t->next;
			continue;
		}
		*link = t->next;
		t->next = unused;
		unused = t;
	}
	cache_unlock(c);
	while ((t = unused) != NULL) {
		unused = t->next;
		mm_unmap(t, t->bytes);
	}
}

int index_grow(struct uhmm_regcache *c, struct seat *seat)
{
	struct table *fresh;
	bool any_retired;
	uint32_t size;

	cache_lock(c);
	size = size_for(cache_table(c)->live);
	cache_unlock(c);
	fresh = map_table(size);
	if (!fresh)
		return -ENOMEM;
	cache_lock(c);
	if (!index_has_room(c) && size_for(cache_table(c)->live) <= size + size / 4) {
		replace(c, fresh);
		aptr_store_release(&seat->table, fresh);
		fresh = NULL;
	}
	any_retired = c->retired != NULL;
	cache_unlock(c);
	if (fresh)
		mm_unmap(fresh, fresh->bytes);
	if (any_retired)
		reclaim(c);
	return 0;
}

void index_unmap(struct uhmm_regcache *c)
{
	struct table *t = cache_table(c);

	if (t != &c->empty)
		mm_unmap(t, t->bytes);
	while ((t = c->retired) != NULL) {
		c->retired = t->next;
		mm_unmap(t, t->bytes);
	}
}
