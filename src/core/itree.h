/* SPDX-License-Identifier: MIT */
/*
 * itree.h: the notifiers of an address space by range: a B+tree over (start, address of the notifier), augmented with the
 * greatest end below each child, so that the overlaps of a range are found in key order without visiting anything else.
 *
 * Ranges are byte-exact, half open, and may be duplicated, nested and overlapping in any number. Starts, ends and identities
 * are copied into the leaves: no query reads a notifier, which may be in a cold line.
 *
 * Locking: every call but itree_refill() and itree_release() is made under the address-space lock; these two are made without
 * it, because they allocate (G7). What an insertion needs is therefore brought along:
 *
 *	struct spare spare = {0};
 *
 *	lock
 *	while (!itree_insert(t, n, &spare)) {		only when the tree's own reserve is too small
 *		unlock
 *		if (itree_refill(t, &spare) != 0) { itree_release(t, &spare); return -ENOMEM; }
 *		lock
 *	}
 *	unlock
 *	itree_release(t, &spare);			empty in nearly every call
 *
 * Not supported: reading without the lock, and another order than the key's.
 */
#ifndef CORE_ITREE_H
#define CORE_ITREE_H

#include <stdbool.h>
#include <stdint.h>

#include <uhmm/notifier.h>

#include "core/spare.h"

struct itree_node;

struct itree {
	struct itree_node *root;
	uint32_t height;      /* levels; 0: empty, 1: the root is a leaf */
	uint32_t nodes;       /* in the tree, for the memory figure */
	uint64_t count;       /* notifiers */
	uint64_t version;     /* changes with every change: tells a cursor whether its leaf is still what it was */
	struct spare reserve; /* nodes for the next insertions; those that removals emptied end here */
	struct pool pool;
};

/*
 * A position: the last notifier that was returned, by key, and where it was found. It stays valid whatever happens to the tree
 * or to that notifier in between, because neither is dereferenced unless the version says that nothing changed.
 */
struct itree_cursor {
	uintptr_t start, end;                 /* the query */
	uintptr_t key_start, key_id, key_end; /* of the last one */
	const struct itree_node *leaf;
	uint64_t version;
	uint32_t index;
};

#define ITREE_INDEX_BITS 5

void itree_init(struct itree *t);
/* Nobody uses it any more. Notifiers still inside are forgotten. */
void itree_destroy(struct itree *t);
/* In a forked child: empty, and usable; the parent's memory is left alone. No cursor survives. */
void itree_reset(struct itree *t);

/* Without the lock: brings spare up to what the last itree_insert() or itree_ready() asked for. -ENOMEM. */
int itree_refill(struct itree *t, struct spare *spare);
/* Without the lock: gives back what is left. */
void itree_release(struct itree *t, struct spare *spare);

/* True if an insertion cannot fail now; spare's nodes become the tree's. An itree_remove() in between keeps that true. */
bool itree_ready(struct itree *t, struct spare *spare);
/* False, and nothing changed but spare: itree_ready() is false. n is not in the tree, private_start < private_end. */
bool itree_insert(struct itree *t, struct uhmm_notifier *n, struct spare *spare);
/*
 * n is in the tree, at the start and end it was inserted with. Never allocates, never fails. Nodes beyond the tree's reserve go
 * to spare; NULL (in a callback, where nothing may be given to the pool): they stay until the next call that brings one.
 */
void itree_remove(struct itree *t, struct uhmm_notifier *n, struct spare *spare);

/* The first notifier in key order that overlaps [start, end), or NULL. */
struct uhmm_notifier *itree_first(const struct itree *t, uintptr_t start, uintptr_t end, struct itree_cursor *c);
/*
 * Where the cursor stands, in two words, for another query of the same range: leaf and mark say nothing any more once the tree
 * has changed (NULL: search again). The mark's top bit is set.
 */
#define ITREE_MARK (UINT64_C(1) << 63)
static inline uint64_t itree_mark(const struct itree_cursor *c)
{
	return ITREE_MARK | c->version << ITREE_INDEX_BITS | c->index;
}
struct uhmm_notifier *itree_recall(const struct itree *t, const struct itree_node *leaf, uint64_t mark, uintptr_t start,
				   uintptr_t end, struct itree_cursor *c);
/* The first one that contains all of [start, end); itree_next() goes on with such. */
struct uhmm_notifier *itree_first_containing(const struct itree *t, uintptr_t start, uintptr_t end, struct itree_cursor *c);
/*
 * The next one, its key strictly greater than the last one's. Immediate in the same leaf if the tree has not changed since,
 * else a descent. What was inserted behind the cursor meanwhile is not seen, what was inserted ahead of it is.
 */
struct uhmm_notifier *itree_next(const struct itree *t, struct itree_cursor *c);
/* From the next step on, only what reaches beyond `start`. */
static inline void itree_cursor_narrow(struct itree_cursor *c, uintptr_t start)
{
	c->start = start;
}
/* Bounds of the last one that was returned, without reading it. */
static inline uintptr_t itree_cursor_start(const struct itree_cursor *c)
{
	return c->key_start;
}
static inline uintptr_t itree_cursor_end(const struct itree_cursor *c)
{
	return c->key_end;
}

bool itree_overlaps(const struct itree *t, uintptr_t start, uintptr_t end);

static inline uint64_t itree_count(const struct itree *t)
{
	return t->count;
}

/* Memory in use, reserve included. */
uint64_t itree_bytes(const struct itree *t);
/* For tests: everything that must hold, by looking at every node. NULL: it does; else what is wrong. */
const char *itree_check(const struct itree *t);

#endif
