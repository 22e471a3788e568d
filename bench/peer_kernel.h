/* SPDX-License-Identifier: MIT */
/*
 * peer_kernel.h: interval notifiers the way the kernel keeps them, as the peer of the core's figures.
 *
 * Our own code, written from the published description of the design, not from its source: one lock for the address space, one
 * sequence for the address space (odd while an invalidation that hit something is active), an augmented balanced tree of
 * ranges, and inserts or removals that arrive while the sequence is odd put off until it turns even. What that costs is what
 * the comparison is about: every start descends the tree under the shared lock, and readers wait for every invalidation, theirs
 * or not, until the sequence turns even.
 */
#ifndef BENCH_PEER_KERNEL_H
#define BENCH_PEER_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer_notifier {
	struct peer_notifier *left, *right, *next_deferred;
	uintptr_t start, last, subtree_last; /* inclusive ends */
	int height;
	bool in_tree;
	_Atomic uint64_t seq;
	void (*invalidate)(struct peer_notifier *n, uint64_t seq);
};

struct peer_mm {
	_Alignas(64) _Atomic uint32_t lock;
	_Atomic uint64_t seq;
	unsigned active;
	struct peer_notifier *root, *deferred;
};

void peer_init(struct peer_mm *mm);
void peer_insert(struct peer_mm *mm, struct peer_notifier *n, uintptr_t start, size_t len);
void peer_remove(struct peer_mm *mm, struct peer_notifier *n);
/* false: gave up at the deadline (an address space under a storm never turns even). */
bool peer_read_begin(struct peer_mm *mm, struct peer_notifier *n, uint64_t deadline_ns, uint64_t *seq);
bool peer_read_retry(struct peer_notifier *n, uint64_t seq);
void peer_start(struct peer_mm *mm, uintptr_t start, uintptr_t last);
void peer_end(struct peer_mm *mm);

#endif
