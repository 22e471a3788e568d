/* SPDX-License-Identifier: MIT */
/* peer_kernel.c: see peer_kernel.h. */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "bench.h"
#include "peer_kernel.h"

static void lock(struct peer_mm *mm)
{
	int spins = 0;

	while (atomic_exchange_explicit(&mm->lock, 1, memory_order_acquire))
		while (atomic_load_explicit(&mm->lock, memory_order_relaxed))
			if (++spins % 256 == 0)
				sched_yield(); /* the holder may have been preempted, which the kernel's own never is */
}

static void unlock(struct peer_mm *mm)
{
	atomic_store_explicit(&mm->lock, 0, memory_order_release);
}

/* An AVL tree by start address; each node knows the highest end below it, which lets a search skip whole subtrees. */
static int height(const struct peer_notifier *n)
{
	return n ? n->height : 0;
}

static void refresh(struct peer_notifier *n)
{
	int l = height(n->left), r = height(n->right);

	n->height = 1 + (l > r ? l : r);
	n->subtree_last = n->last;
	if (n->left && n->left->subtree_last > n->subtree_last)
		n->subtree_last = n->left->subtree_last;
	if (n->right && n->right->subtree_last > n->subtree_last)
		n->subtree_last = n->right->subtree_last;
}

static struct peer_notifier *rotate_right(struct peer_notifier *n)
{
	struct peer_notifier *top = n->left;

	n->left = top->right;
	top->right = n;
	refresh(n);
	refresh(top);
	return top;
}

static struct peer_notifier *rotate_left(struct peer_notifier *n)
{
	struct peer_notifier *top = n->right;

	n->right = top->left;
	top->left = n;
	refresh(n);
	refresh(top);
	return top;
}

static struct peer_notifier *balance(struct peer_notifier *n)
{
	int tilt = height(n->left) - height(n->right);

	if (tilt > 1) {
		if (height(n->left->left) < height(n->left->right))
			n->left = rotate_left(n->left);
		return rotate_right(n);
	}
	if (tilt < -1) {
		if (height(n->right->right) < height(n->right->left))
			n->right = rotate_right(n->right);
		return rotate_left(n);
	}
	refresh(n);
	return n;
}

static struct peer_notifier *tree_insert(struct peer_notifier *root, struct peer_notifier *n)
{
	if (!root) {
		n->left = n->right = NULL;
		refresh(n);
		return n;
	}
	if (n->start < root->start)
		root->left = tree_insert(root->left, n);
	else
		root->right = tree_insert(root->right, n);
	return balance(root);
}

static struct peer_notifier *take_first(struct peer_notifier *root, struct peer_notifier **first)
{
	if (!root->left) {
		*first = root;
		return root->right;
	}
	root->left = take_first(root->left, first);
	return balance(root);
}

/* Ranges of the benchmarks have different starts, so that the order decides where n is. */
static struct peer_notifier *tree_remove(struct peer_notifier *root, struct peer_notifier *n)
{
	struct peer_notifier *next;

	if (n->start < root->start) {
		root->left = tree_remove(root->left, n);
		return balance(root);
	}
	if (n != root) {
		root->right = tree_remove(root->right, n);
		return balance(root);
	}
	if (!root->right)
		return root->left;
	root->right = take_first(root->right, &next);
	next->left = root->left;
	next->right = root->right;
	return balance(next);
}

/* The overlapping node with the lowest start that is above `after` (0: from the beginning). */
static struct peer_notifier *tree_find(struct peer_notifier *n, uintptr_t start, uintptr_t last, uintptr_t after)
{
	while (n && n->subtree_last >= start) {
		if (n->left && n->left->subtree_last >= start && (!after || n->start > after)) {
			struct peer_notifier *found = tree_find(n->left, start, last, after);

			if (found)
				return found;
		}
		if (n->start > last)
			return NULL;
		if (n->last >= start && n->start > after)
			return n;
		n = n->right;
	}
	return NULL;
}

void peer_init(struct peer_mm *mm)
{
	memset(mm, 0, sizeof(*mm));
	atomic_store(&mm->seq, 2);
}

void peer_insert(struct peer_mm *mm, struct peer_notifier *n, uintptr_t start, size_t len)
{
	uint64_t seq;

	n->start = start;
	n->last = start + len - 1;
	n->in_tree = false;
	lock(mm);
	seq = atomic_load_explicit(&mm->seq, memory_order_relaxed);
	if (mm->active) {
		/* Something is active, which may cover n: n begins invalid, until the sequence turns even. The tree may be
		 * being walked by those who made the sequence odd, so that n joins it only then. */
		if (!(seq & 1))
			atomic_store(&mm->seq, ++seq);
		n->next_deferred = mm->deferred;
		mm->deferred = n;
		atomic_store_explicit(&n->seq, seq, memory_order_relaxed);
	} else {
		mm->root = tree_insert(mm->root, n);
		n->in_tree = true;
		atomic_store_explicit(&n->seq, seq - 1, memory_order_relaxed);
	}
	unlock(mm);
}

void peer_remove(struct peer_mm *mm, struct peer_notifier *n)
{
	struct peer_notifier **p;
	uint64_t seq;

	lock(mm);
	if (!n->in_tree) {
		for (p = &mm->deferred; *p && *p != n; p = &(*p)->next_deferred)
			;
		if (*p)
			*p = n->next_deferred;
		unlock(mm);
		return;
	}
	/* Removal waits for the sequence to turn even: a walk may stand on n. */
	while ((seq = atomic_load_explicit(&mm->seq, memory_order_relaxed)) & 1) {
		unlock(mm);
		sched_yield();
		lock(mm);
	}
	mm->root = tree_remove(mm->root, n);
	n->in_tree = false;
	unlock(mm);
}

bool peer_read_begin(struct peer_mm *mm, struct peer_notifier *n, uint64_t deadline_ns, uint64_t *seq)
{
	bool invalid;

	lock(mm);
	*seq = atomic_load_explicit(&n->seq, memory_order_relaxed);
	invalid = *seq == atomic_load_explicit(&mm->seq, memory_order_relaxed);
	unlock(mm);
	while (invalid && atomic_load_explicit(&mm->seq, memory_order_acquire) == *seq) {
		if (bench_now_ns() > deadline_ns)
			return false;
		sched_yield();
	}
	return true;
}

bool peer_read_retry(struct peer_notifier *n, uint64_t seq)
{
	return atomic_load_explicit(&n->seq, memory_order_relaxed) != seq;
}

void peer_start(struct peer_mm *mm, uintptr_t start, uintptr_t last)
{
	struct peer_notifier *n;
	uint64_t seq;

	lock(mm);
	mm->active++;
	n = tree_find(mm->root, start, last, 0);
	seq = atomic_load_explicit(&mm->seq, memory_order_relaxed);
	if (n && !(seq & 1))
		atomic_store_explicit(&mm->seq, ++seq, memory_order_release);
	unlock(mm);
	/* The odd sequence keeps the tree as it is: callbacks run without the lock. */
	while (n) {
		uintptr_t at = n->start;

		n->invalidate(n, seq);
		n = tree_find(mm->root, start, last, at);
	}
}

void peer_end(struct peer_mm *mm)
{
	uint64_t seq;

	lock(mm);
	seq = atomic_load_explicit(&mm->seq, memory_order_relaxed);
	mm->active--;
	if (!mm->active && (seq & 1)) {
		struct peer_notifier *n, *next;

		atomic_store_explicit(&mm->seq, seq + 1, memory_order_release);
		for (n = mm->deferred; n; n = next) {
			next = n->next_deferred;
			mm->root = tree_insert(mm->root, n);
			n->in_tree = true;
		}
		mm->deferred = NULL;
	}
	unlock(mm);
}
