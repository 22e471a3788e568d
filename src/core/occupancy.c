/* SPDX-License-Identifier: MIT */
/*
 * occupancy.c: see occupancy.h.
 *
 * Page numbers, inclusive at both ends, are used throughout: a level is known by its shift, the number of page-number bits
 * below its index. Writers hold the address-space lock, hence plain read-modify-write of words that only they store to.
 */
#include "core/occupancy.h"

#include <assert.h>
#include <string.h>

#include "port/mm.h"

#define ROOT_SHIFT 25u /* 128 GiB */
#define MID_SHIFT 17u  /* 512 MiB */
#define LOW_SHIFT 9u   /* 2 MiB */
#define LEVEL_BITS 8u
#define ADDR_LIMIT ((uintptr_t)1 << OCCUPANCY_BITS)

#define FULL ((uint64_t)1)
#define LIVE ((uint64_t)2)
#define MARKS (FULL | LIVE)

#define PASS_BUDGET 64u /* notifiers that a clear passes over in vain in one block before it leaves the rest marked */

struct node {
	struct uhmm_a64 entry[OCCUPANCY_NODE_ENTRIES];
	uint64_t marked; /* entries that have a mark; the writers' own */
	uint64_t padding[7];
};

struct leaf {
	_Alignas(64) struct uhmm_a64 word[OCCUPANCY_LEAF_WORDS];
};

static_assert(sizeof(struct node) % 64 == 0, "nodes begin on cache lines");
static_assert(sizeof(struct leaf) == 64, "a leaf is one line");
static_assert(OCCUPANCY_NODE_ENTRIES == 1u << LEVEL_BITS, "index width");
static_assert((uint64_t)OCCUPANCY_ROOT_ENTRIES << (ROOT_SHIFT + MM_PAGE_SHIFT) == ADDR_LIMIT, "the root spans the addresses");

/* Pages, first and last inclusive. */
struct span {
	uint64_t first, last;
};

static inline void *child_of(uint64_t entry)
{
	return (void *)(uintptr_t)(entry & ~MARKS);
}

static inline uint32_t index_at(uint64_t page, unsigned shift)
{
	return (uint32_t)(page >> shift) & (shift == ROOT_SHIFT ? OCCUPANCY_ROOT_ENTRIES - 1 : OCCUPANCY_NODE_ENTRIES - 1);
}

/* The part of a range that lies in the radix tree. False: none. */
static inline bool span_of(uintptr_t start, uintptr_t end, struct span *s)
{
	if (start >= ADDR_LIMIT)
		return false;
	s->first = start >> MM_PAGE_SHIFT;
	s->last = ((end < ADDR_LIMIT ? end : ADDR_LIMIT) - 1) >> MM_PAGE_SHIFT;
	return true;
}

/* The part of s in the block of the given shift that holds `page`; true if that is the whole block. */
static inline bool clip(const struct span *s, uint64_t page, unsigned shift, struct span *out)
{
	uint64_t first = page >> shift << shift, last = first + ((uint64_t)1 << shift) - 1;

	out->first = s->first > first ? s->first : first;
	out->last = s->last < last ? s->last : last;
	return out->first == first && out->last == last;
}

/* ---- reading ---- */

/* Bits of the leaf's word w that belong to pages of the span. */
static inline uint64_t word_mask(const struct span *s, uint32_t w)
{
	uint32_t from = (uint32_t)(s->first & 511), to = (uint32_t)(s->last & 511);
	uint64_t mask = ~(uint64_t)0;

	if (from / 64 == w)
		mask &= ~(uint64_t)0 << from % 64;
	if (to / 64 == w)
		mask &= ~(uint64_t)0 >> (63 - to % 64);
	return mask;
}

static bool any_in_leaf(const struct leaf *leaf, const struct span *s)
{
	for (uint32_t w = (uint32_t)(s->first & 511) / 64; w <= (uint32_t)(s->last & 511) / 64; w++)
		if (a64_load_acquire(&leaf->word[w]) & word_mask(s, w))
			return true;
	return false;
}

/* Whole blocks are answered by their entry's marks; at most the two at the edges are entered. */
static bool any_in(const struct uhmm_a64 *entry, unsigned shift, const struct span *s)
{
	uint64_t page = s->first;

	for (;;) {
		struct span part;
		bool whole = clip(s, page, shift, &part);
		/* Acquire pairs with the release in add_child(): the child's zeroes are seen before its address. */
		uint64_t e = a64_load_acquire(&entry[index_at(page, shift)]);

		if (e & FULL || (e & LIVE && whole))
			return true;
		if (e & LIVE) {
			if (shift == LOW_SHIFT ? any_in_leaf(child_of(e), &part)
					       : any_in(((struct node *)child_of(e))->entry, shift - LEVEL_BITS, &part))
				return true;
		}
		if (part.last == s->last)
			return false;
		page = part.last + 1;
	}
}

/* One page, the usual question: four loads at most. */
static inline bool any_page(const struct occupancy *o, uint64_t page)
{
	uint64_t e = a64_load_acquire(&o->entry[index_at(page, ROOT_SHIFT)]);

	for (unsigned shift = MID_SHIFT;; shift -= LEVEL_BITS) {
		if ((e & MARKS) != LIVE)
			return e & FULL;
		if (shift < LOW_SHIFT)
			break;
		e = a64_load_acquire(&((struct node *)child_of(e))->entry[index_at(page, shift)]);
	}
	return a64_load_acquire(&((struct leaf *)child_of(e))->word[(page & 511) / 64]) >> (page & 63) & 1;
}

bool occupancy_any(const struct occupancy *o, uintptr_t start, uintptr_t end)
{
	struct span s;

	assert(start < end);
	if (end > ADDR_LIMIT && a64_load_acquire(&o->high) > 0)
		return true;
	if (!span_of(start, end, &s))
		return false;
	if (s.first == s.last)
		return any_page(o, s.first);
	return any_in(o->entry, ROOT_SHIFT, &s);
}

/* ---- nodes ---- */

static void forget(struct occupancy *o)
{
	for (uint32_t i = 0; i < OCCUPANCY_ROOT_ENTRIES; i++)
		a64_store_relaxed(&o->entry[i], 0);
	a64_store_relaxed(&o->high, 0);
	o->nodes = 0;
	o->leaves = 0;
}

void occupancy_init(struct occupancy *o)
{
	forget(o);
	pool_init(&o->node_pool, sizeof(struct node), UINT64_MAX);
	pool_init(&o->leaf_pool, sizeof(struct leaf), UINT64_MAX);
}

void occupancy_destroy(struct occupancy *o)
{
	pool_destroy(&o->node_pool);
	pool_destroy(&o->leaf_pool);
	forget(o);
}

void occupancy_reset(struct occupancy *o)
{
	pool_abandon(&o->node_pool);
	pool_abandon(&o->leaf_pool);
	forget(o);
}

uint64_t occupancy_bytes(const struct occupancy *o)
{
	return sizeof(*o) + o->nodes * sizeof(struct node) + o->leaves * sizeof(struct leaf);
}

/*
 * Counts what the way down to an edge's leaf lacks. An edge that lies in a block that is covered whole needs nothing below
 * it.
 */
static void count_missing(const struct occupancy *o, const struct span *s, uint64_t page, struct occupancy_spare *want)
{
	const struct uhmm_a64 *entry = o->entry;
	struct span part;

	for (unsigned shift = ROOT_SHIFT; entry && !clip(s, page, shift, &part); shift -= LEVEL_BITS) {
		uint64_t e = a64_load_acquire(&entry[index_at(page, shift)]);
		void *child = child_of(e);

		if (shift == LOW_SHIFT) {
			want->leaves.want += !child;
			return;
		}
		if (!child) { /* nor is there anything below it */
			want->nodes.want += shift == ROOT_SHIFT ? 2 : 1;
			want->leaves.want++;
			return;
		}
		entry = ((struct node *)child)->entry;
	}
}

/*
 * The leaf of a range that lies in one 2 MiB block without filling it, as nearly every range does, if the way there is marked
 * already: then no node is lacking, no mark has to change, and setting and clearing are matters of its bits alone.
 */
static struct leaf *live_leaf(const struct occupancy *o, const struct span *s)
{
	const struct uhmm_a64 *entry = o->entry;
	struct span part;
	uint64_t e;

	if (s->first >> LOW_SHIFT != s->last >> LOW_SHIFT || clip(s, s->first, LOW_SHIFT, &part))
		return NULL;
	for (unsigned shift = ROOT_SHIFT;; shift -= LEVEL_BITS) {
		e = a64_load_acquire(&entry[index_at(s->first, shift)]);
		if (!(e & LIVE))
			return NULL;
		if (shift == LOW_SHIFT)
			return child_of(e);
		entry = ((struct node *)child_of(e))->entry;
	}
}

int occupancy_refill(struct occupancy *o, struct occupancy_spare *spare, uintptr_t start, uintptr_t end)
{
	struct span s;
	int err;

	spare->nodes.want = 0;
	spare->leaves.want = 0;
	if (!span_of(start, end, &s) || live_leaf(o, &s))
		return 0;
	count_missing(o, &s, s.first, spare);
	if (s.first >> LOW_SHIFT != s.last >> LOW_SHIFT)
		count_missing(o, &s, s.last, spare);
	err = spare_fill(&spare->nodes, &o->node_pool, spare->nodes.want);
	return err ? err : spare_fill(&spare->leaves, &o->leaf_pool, spare->leaves.want);
}

void occupancy_release(struct occupancy *o, struct occupancy_spare *spare)
{
	spare_drain(&spare->nodes, &o->node_pool);
	spare_drain(&spare->leaves, &o->leaf_pool);
}

/* ---- setting ---- */

/* The entry's child, made if there is none. Its address is published later, by mark(), when there is something to find. */
static void *child_for(struct occupancy *o, struct occupancy_spare *spare, struct uhmm_a64 *entry, unsigned shift)
{
	uint64_t e = a64_load_relaxed(entry);
	void *child = child_of(e);

	if (child)
		return child;
	child = spare_take(shift == LOW_SHIFT ? &spare->leaves : &spare->nodes);
	assert(child); /* occupancy_refill() of this range came before */
	memset(child, 0, shift == LOW_SHIFT ? sizeof(struct leaf) : sizeof(struct node));
	if (shift == LOW_SHIFT)
		o->leaves++;
	else
		o->nodes++;
	a64_store_release(entry, e | (uint64_t)(uintptr_t)child); /* pairs with the acquire in any_in() */
	return child;
}

/* Gives entry i a mark; `marked` counts the entries of a node that have one, the root (NULL) has no use for it. */
static void mark(struct uhmm_a64 *entry, uint64_t *marked, uint64_t bit)
{
	uint64_t e = a64_load_relaxed(entry);

	if (marked && !(e & MARKS))
		(*marked)++;
	if (!(e & bit))
		a64_store_release(entry, e | bit);
}

static void set_in_leaf(struct leaf *leaf, const struct span *s)
{
	for (uint32_t w = (uint32_t)(s->first & 511) / 64; w <= (uint32_t)(s->last & 511) / 64; w++)
		a64_store_relaxed(&leaf->word[w], a64_load_relaxed(&leaf->word[w]) | word_mask(s, w));
}

static void set_in(struct occupancy *o, struct occupancy_spare *spare, struct uhmm_a64 *entry, uint64_t *marked, unsigned shift,
		   const struct span *s)
{
	struct span part;

	for (uint64_t page = s->first;; page = part.last + 1) {
		struct uhmm_a64 *at = &entry[index_at(page, shift)];

		if (clip(s, page, shift, &part)) {
			mark(at, marked, FULL);
		} else {
			void *child = child_for(o, spare, at, shift);

			/* Bottom up: a mark never promises what is not there yet. Nobody relies on it before the barrier. */
			if (shift == LOW_SHIFT)
				set_in_leaf(child, &part);
			else
				set_in(o, spare, ((struct node *)child)->entry, &((struct node *)child)->marked,
				       shift - LEVEL_BITS, &part);
			mark(at, marked, LIVE);
		}
		if (part.last == s->last)
			return;
	}
}

void occupancy_set(struct occupancy *o, struct occupancy_spare *spare, uintptr_t start, uintptr_t end)
{
	struct leaf *leaf;
	struct span s;

	assert(start < end);
	if (end > ADDR_LIMIT)
		a64_store_release(&o->high, a64_load_relaxed(&o->high) + 1);
	if (!span_of(start, end, &s))
		return;
	leaf = live_leaf(o, &s);
	if (leaf)
		set_in_leaf(leaf, &s);
	else
		set_in(o, spare, o->entry, NULL, ROOT_SHIFT, &s);
}

/* ---- clearing ---- */

static inline uintptr_t addr_of(uint64_t page)
{
	return (uintptr_t)page << MM_PAGE_SHIFT;
}

/*
 * Does the notifier at the cursor touch every page of the block of the shift that holds `page`? Then a mark further up
 * speaks for it. As in set_in(), a page that is touched by one byte counts.
 */
static inline bool covers(const struct itree_cursor *c, uint64_t page, unsigned shift)
{
	uint64_t first = page >> shift << shift, last = first + ((uint64_t)1 << shift) - 1;

	return itree_cursor_start(c) < addr_of(first + 1) && itree_cursor_end(c) > addr_of(last);
}

/* Returns whether any bit of the leaf is left. */
static bool clear_bits(struct leaf *leaf, uint64_t first, uint64_t last)
{
	struct span s = {first, last};
	uint64_t left = 0;

	for (uint32_t w = 0; w < OCCUPANCY_LEAF_WORDS; w++) {
		uint64_t old = a64_load_relaxed(&leaf->word[w]), now = old;

		if (w >= (uint32_t)(first & 511) / 64 && w <= (uint32_t)(last & 511) / 64)
			now &= ~word_mask(&s, w);
		if (now != old)
			a64_store_relaxed(&leaf->word[w], now);
		left |= now;
	}
	return left != 0;
}

/*
 * The gaps that the remaining notifiers leave in a piece of a leaf. They come by start, so a gap ends where the next one
 * begins; what ends before the part already dealt with is never looked at, because the cursor is narrowed. Returns whether
 * any bit is left.
 */
static bool clear_in_leaf(const struct itree *t, struct leaf *leaf, const struct span *s)
{
	struct itree_cursor c;
	uint64_t at = s->first;
	uint32_t budget = PASS_BUDGET;

	for (void *n = itree_first(t, addr_of(s->first), addr_of(s->last + 1), &c); n; n = itree_next(t, &c)) {
		uint64_t from = itree_cursor_start(&c) >> MM_PAGE_SHIFT, to = (itree_cursor_end(&c) - 1) >> MM_PAGE_SHIFT;

		if (covers(&c, s->first, LOW_SHIFT)) {
			if (--budget == 0)
				return true; /* the rest stays marked */
			continue;
		}
		if (from > at)
			clear_bits(leaf, at, from - 1);
		if (to >= s->last)
			return true; /* its own */
		if (to >= at)
			at = to + 1;
		itree_cursor_narrow(&c, addr_of(at));
	}
	return clear_bits(leaf, at, s->last);
}

/* Takes marks away, bottom up: called when what they stood for has gone. */
static void unmark(struct uhmm_a64 *entry, uint64_t *marked, uint64_t bit)
{
	uint64_t e = a64_load_relaxed(entry), now = e & ~bit;

	if (now == e)
		return;
	if (marked && !(now & MARKS))
		(*marked)--;
	a64_store_release(entry, now);
}

/* Does a remaining notifier want FULL on this block: cover it whole, but not the whole block above? True also when in doubt. */
static bool full_is_wanted(const struct itree *t, uint64_t first, unsigned shift)
{
	struct itree_cursor c;
	uint32_t budget = PASS_BUDGET;
	uint64_t last = first + ((uint64_t)1 << shift) - 1;
	void *n =
		itree_first_containing(t, addr_of(first + 1) - 1, addr_of(last) + 1, &c); /* a byte of each page at the ends */

	for (; n; n = itree_next(t, &c)) {
		if (shift == ROOT_SHIFT || !covers(&c, first, shift + LEVEL_BITS))
			return true;
		if (--budget == 0)
			return true;
	}
	return false;
}

static void clear_in(const struct itree *t, struct uhmm_a64 *entry, uint64_t *marked, unsigned shift, const struct span *s)
{
	struct span part;

	for (uint64_t page = s->first;; page = part.last + 1) {
		struct uhmm_a64 *at = &entry[index_at(page, shift)];
		uint64_t e = a64_load_relaxed(at);
		struct node *node = child_of(e);

		if (clip(s, page, shift, &part)) {
			if (e & FULL && !full_is_wanted(t, part.first, shift))
				unmark(at, marked, FULL);
		} else if (e & LIVE && shift == LOW_SHIFT) {
			if (!clear_in_leaf(t, child_of(e), &part))
				unmark(at, marked, LIVE);
		} else if (e & LIVE) {
			clear_in(t, node->entry, &node->marked, shift - LEVEL_BITS, &part);
			if (node->marked == 0)
				unmark(at, marked, LIVE);
		}
		if (part.last == s->last)
			return;
	}
}

void occupancy_clear(struct occupancy *o, const struct itree *t, uintptr_t start, uintptr_t end)
{
	struct leaf *leaf;
	struct span s;

	assert(start < end);
	if (end > ADDR_LIMIT)
		a64_store_release(&o->high, a64_load_relaxed(&o->high) - 1);
	if (!span_of(start, end, &s))
		return;
	leaf = live_leaf(o, &s);
	if (!leaf || !clear_in_leaf(t, leaf, &s)) /* the last bit of the leaf: marks further up go, too */
		clear_in(t, o->entry, NULL, ROOT_SHIFT, &s);
}
