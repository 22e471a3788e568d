/* SPDX-License-Identifier: MIT */
/*
 * occupancy.h: "may any notifier touch this page?", answered without a lock or a shared write (G8).
 *
 * A radix tree over 47 bits of address: root (1024 entries of 128 GiB), mid (256 of 512 MiB), low (256 of 2 MiB), leaf (one
 * cache line: a bit for each of 512 pages of 4 KiB). On aarch64, whose kernels put mappings at the top of 48 bits, the root is
 * twice as long. An entry is the child's address with two marks:
 *
 *	FULL   some notifier covers the entry's whole block, but not the whole block of the entry above. So a notifier of any
 *	       size costs some hundreds of stores at its edges, at most 1024 in the root, and no memory for its inside.
 *	LIVE   something below the child is marked. A reader neither goes down where it is absent, nor where its range covers
 *	       the whole block: the answer is there.
 *
 * Each notifier marks what it covers (FULL) and the single pages that it touches at its edges (bits); nothing is counted.
 * What a removed notifier leaves is found from the interval tree: a mark goes when no remaining notifier wants it. After 64
 * remaining notifiers that say nothing about a block (they cover the whole block above) the search ends and the marks stay:
 * an answer of true that should be false costs one look into the interval tree; the reverse would be a lost invalidation
 * and never happens.
 *
 * Order. Writers hold the address-space lock. The inserter and the invalidator meet as in Dekker's algorithm, and both barriers
 * are the caller's:
 *
 *	inserter (holds the lock)                invalidator (holds nothing)
 *	occupancy_set(range)                     publish the range in its slot
 *	fence_full()                             fence_full()
 *	scan the slots                           occupancy_any(range)
 *
 * At least one of the two sees the other. Inside, a reader needs no more than to see a node's zeroes before its address
 * (store-release of the entry, load-acquire by the reader).
 *
 * Price: nodes and leaves stay until the address space closes, because readers hold no reference: 64 bytes for each 2 MiB block
 * that ever held an edge of a notifier, 2112 for each 512 MiB and each 128 GiB.
 *
 * Setting and clearing a small range takes tens of nanoseconds. The worst is to clear one that covers nearly all addresses: a
 * look into the tree for each of up to 2,000 blocks, some 60 us under the lock with 1,000,000 notifiers left.
 *
 * Addresses from 2^OCCUPANCY_BITS on are only counted: while any notifier reaches there, every question about that part is
 * answered true.
 */
#ifndef CORE_OCCUPANCY_H
#define CORE_OCCUPANCY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/itree.h"
#include "core/spare.h"
#include "port/mm.h"
#include "port/sync.h"

#define OCCUPANCY_BITS MM_ADDR_BITS
#define OCCUPANCY_ROOT_ENTRIES (1u << (OCCUPANCY_BITS - 37))
#define OCCUPANCY_NODE_ENTRIES 256u
#define OCCUPANCY_LEAF_WORDS 8u

struct occupancy {
	struct uhmm_a64 entry[OCCUPANCY_ROOT_ENTRIES];
	struct uhmm_a64 high;   /* notifiers that reach beyond 2^OCCUPANCY_BITS */
	uint64_t nodes, leaves; /* linked in; under the lock */
	struct pool node_pool, leaf_pool;
};

/* What a range may need: at each of its two edges a mid, a low and a leaf. Zeroed storage is empty. */
struct occupancy_spare {
	struct spare nodes, leaves;
};

void occupancy_init(struct occupancy *o);
/* Nobody reads it any more. */
void occupancy_destroy(struct occupancy *o);
/* In a forked child: empty, and usable; the parent's memory is left alone. */
void occupancy_reset(struct occupancy *o);

/*
 * Without the lock: gets what occupancy_set() of this range will lack. Others only ever add nodes, so what suffices now
 * suffices later, and the set cannot fail. On -ENOMEM, and after the set, give back what is left.
 */
int occupancy_refill(struct occupancy *o, struct occupancy_spare *spare, uintptr_t start, uintptr_t end);
void occupancy_release(struct occupancy *o, struct occupancy_spare *spare);

/* Under the lock. The notifier's own range, byte-exact, start < end. */
void occupancy_set(struct occupancy *o, struct occupancy_spare *spare, uintptr_t start, uintptr_t end);
/*
 * Under the lock, after the notifier has left the tree (or, for a resize, after it is there with its new range). Never
 * allocates.
 */
void occupancy_clear(struct occupancy *o, const struct itree *t, uintptr_t start, uintptr_t end);

/*
 * Without the lock; the caller's full barrier came before. True if any page that [start, end) touches may be watched. start
 * < end. At most 1024 + 4 * 256 entries are looked at, four for a single page.
 */
bool occupancy_any(const struct occupancy *o, uintptr_t start, uintptr_t end);

/* Under the lock: memory in use, the root included. */
uint64_t occupancy_bytes(const struct occupancy *o);

#endif
