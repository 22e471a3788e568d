/* SPDX-License-Identifier: MIT */
/*
 * structures.c: the interval tree and the occupancy filter alone, without protocol or lock: what the core's figures are
 * made of.
 *
 *	structures [RUNS [best]]     ns an operation, the median (or best) of RUNS (5)
 *
 * Notifiers are of 4 KiB every 8 KiB, taken in random order.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/itree.h"
#include "core/occupancy.h"

#define BASE ((uintptr_t)0x7f0000000000)
#define STRIDE 8192u
#define LEN 4096u
#define OPS 400000u
#define RUNS_MAX 101

static struct itree tree;
static struct occupancy filter;
static struct uhmm_notifier *notifiers;
static uint32_t *order;
static uint32_t count;
static uint64_t random_state = 88172645463325252u;
static uintptr_t sink;
static int best; /* on a busy machine the least is nearer to the truth than the median */

static uint64_t rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void shuffle(void)
{
	for (uint32_t i = count - 1; i > 0; i--) {
		uint32_t j = (uint32_t)(rnd() % (i + 1)), x = order[i];

		order[i] = order[j];
		order[j] = x;
	}
}

static void insert(uint32_t i)
{
	struct spare spare = {0};

	while (!itree_insert(&tree, &notifiers[i], &spare))
		if (itree_refill(&tree, &spare) != 0)
			exit(1);
	itree_release(&tree, &spare);
}

static void mark(uint32_t i)
{
	struct occupancy_spare spare = {0};

	if (occupancy_refill(&filter, &spare, notifiers[i].private_start, notifiers[i].private_end) != 0)
		exit(1);
	occupancy_set(&filter, &spare, notifiers[i].private_start, notifiers[i].private_end);
	occupancy_release(&filter, &spare);
}

static void fill(uint32_t n, int ascending)
{
	count = n;
	itree_init(&tree);
	occupancy_init(&filter);
	notifiers = calloc(n, sizeof(*notifiers));
	order = malloc(n * sizeof(*order));
	if (!notifiers || !order)
		exit(1);
	for (uint32_t i = 0; i < n; i++) {
		order[i] = i;
		notifiers[i].private_start = BASE + (uintptr_t)i * STRIDE;
		notifiers[i].private_end = notifiers[i].private_start + LEN;
	}
	if (!ascending)
		shuffle();
	for (uint32_t i = 0; i < n; i++) {
		insert(order[i]);
		mark(order[i]);
	}
	shuffle();
}

static void empty(void)
{
	itree_destroy(&tree);
	occupancy_destroy(&filter);
	free(notifiers);
	free(order);
}

static void op_hit(uint32_t i)
{
	struct itree_cursor c;
	uintptr_t s = notifiers[0].private_start + (uintptr_t)i * STRIDE;

	sink += (uintptr_t)itree_first(&tree, s, s + LEN, &c);
}

/* As an invalidation does: found, and then that there is no second one. */
static void op_hit_and_next(uint32_t i)
{
	struct itree_cursor c;
	uintptr_t s = notifiers[0].private_start + (uintptr_t)i * STRIDE;

	sink += (uintptr_t)itree_first(&tree, s, s + LEN, &c);
	sink += (uintptr_t)itree_next(&tree, &c);
}

static void op_miss(uint32_t i)
{
	struct itree_cursor c;
	uintptr_t s = notifiers[0].private_start + (uintptr_t)i * STRIDE + LEN;

	sink += (uintptr_t)itree_first(&tree, s, s + LEN, &c);
}

/* The next operation depends on the last: no overlap of the searches by the processor. */
static void op_hit_chained(uint32_t i)
{
	struct itree_cursor c;
	uintptr_t s = notifiers[0].private_start + (uintptr_t)((i + (sink & 1)) % count) * STRIDE;

	sink = (uintptr_t)itree_first(&tree, s, s + LEN, &c) >> 63;
}

static void op_remove_insert(uint32_t i)
{
	itree_remove(&tree, &notifiers[i], NULL);
	insert(i);
}

static void op_remove_insert_filter(uint32_t i)
{
	itree_remove(&tree, &notifiers[i], NULL);
	occupancy_clear(&filter, &tree, notifiers[i].private_start, notifiers[i].private_end);
	mark(i);
	insert(i);
}

static void op_any_empty(uint32_t i)
{
	uintptr_t s = BASE + (uintptr_t)((i + (sink & 1)) % count) * STRIDE + LEN;

	sink = occupancy_any(&filter, s, s + LEN);
}

static void op_any_one(uint32_t i)
{
	uintptr_t s = BASE + (uintptr_t)(i & 0) * STRIDE + LEN + (sink & 1) * STRIDE;

	sink = occupancy_any(&filter, s, s + LEN);
}

static void op_any_64k(uint32_t i)
{
	uintptr_t s = BASE - (1u << 20) - (uintptr_t)((i & 15) + (sink & 1)) * 65536;

	sink = occupancy_any(&filter, s, s + 65536);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double measure(void (*op)(uint32_t i), int runs)
{
	double ns[RUNS_MAX];
	uint32_t at = 0;

	for (int r = 0; r < runs; r++) {
		double t = now_ns();

		for (uint32_t k = 0; k < OPS; k++) {
			op(order[at]);
			at = at + 1 == count ? 0 : at + 1;
		}
		ns[r] = (now_ns() - t) / OPS;
	}
	qsort(ns, (size_t)runs, sizeof(ns[0]), by_value);
	return ns[best ? 0 : runs / 2];
}

static const struct {
	const char *name;
	void (*op)(uint32_t i);
} ops[] = {
	{"find 1", op_hit},
	{"find 1, chained", op_hit_chained},
	{"find 1 and no other", op_hit_and_next},
	{"find none", op_miss},
	{"remove + insert", op_remove_insert},
	{"the same with the filter", op_remove_insert_filter},
	{"filter: random empty page", op_any_empty},
	{"filter: the same page", op_any_one},
	{"filter: 64 KiB nearby", op_any_64k},
};

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = {10, 1000, 100000, 1000000};
	int runs = argc > 1 ? atoi(argv[1]) : 5;

	best = argc > 2;
	if (runs < 1 || runs > RUNS_MAX)
		return 2;
	printf("%-28s", "ns");
	for (uint32_t s = 0; s < 4; s++)
		printf("%12u", sizes[s]);
	printf("\n");
	for (size_t o = 0; o < sizeof(ops) / sizeof(ops[0]); o++) {
		printf("%-28s", ops[o].name);
		for (uint32_t s = 0; s < 4; s++) {
			fill(sizes[s], 0);
			printf("%12.1f", measure(ops[o].op, runs));
			fflush(stdout);
			empty();
		}
		printf("\n");
	}
	for (int ascending = 0; ascending < 2; ascending++) {
		fill(1000000, ascending);
		printf("%s: %.1f bytes a notifier in the tree, %.1f in the filter\n", ascending ? "ascending" : "random",
		       (double)itree_bytes(&tree) / count, (double)occupancy_bytes(&filter) / count);
		empty();
	}
	return sink == 1; /* never: the sum is kept so that the searches are */
}
