/* SPDX-License-Identifier: MIT */
/*
 * test_occupancy.c: the filter of G8 against a naive model. Both ways: a page that a notifier touches must answer true (else an
 * invalidation is lost), and one that none touches answers false (else the filter filters nothing), except where the
 * documented budget leaves marks behind.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/itree.h"
#include "core/occupancy.h"
#include "port/inject.h"

#define NOTIFIERS 300u
#define PAGE ((uintptr_t)4096)
#define KB ((uintptr_t)1 << 10)
#define MB ((uintptr_t)1 << 20)
#define GB ((uintptr_t)1 << 30)
#define LIMIT ((uintptr_t)1 << OCCUPANCY_BITS)

struct world {
	struct occupancy o;
	struct itree tree;
	struct uhmm_notifier n[NOTIFIERS];
	bool in[NOTIFIERS];
	uint64_t random;
};

static struct world w;

static uint64_t rnd(void)
{
	w.random ^= w.random << 13;
	w.random ^= w.random >> 7;
	w.random ^= w.random << 17;
	return w.random;
}

static void begin(uint64_t seed)
{
	w = (struct world){.random = seed};
	occupancy_init(&w.o);
	itree_init(&w.tree);
}

static void finish(void)
{
	occupancy_destroy(&w.o);
	itree_destroy(&w.tree);
}

static void tree_insert(uint32_t i)
{
	struct spare spare = {0};

	while (!itree_insert(&w.tree, &w.n[i], &spare))
		assert_int_equal(itree_refill(&w.tree, &spare), 0);
	itree_release(&w.tree, &spare);
}

static void insert(uint32_t i, uintptr_t start, uintptr_t end)
{
	struct occupancy_spare spare = {0};

	assert_true(start < end);
	w.n[i].private_start = start;
	w.n[i].private_end = end;
	assert_int_equal(occupancy_refill(&w.o, &spare, start, end), 0);
	occupancy_set(&w.o, &spare, start, end);
	occupancy_release(&w.o, &spare);
	tree_insert(i);
	w.in[i] = true;
}

static void remove_one(uint32_t i)
{
	itree_remove(&w.tree, &w.n[i], NULL);
	occupancy_clear(&w.o, &w.tree, w.n[i].private_start, w.n[i].private_end);
	w.in[i] = false;
}

/* As the core does it: the new range is marked before the tree changes, the old one cleared after. */
static void resize(uint32_t i, uintptr_t start, uintptr_t end)
{
	struct occupancy_spare spare = {0};
	uintptr_t old_start = w.n[i].private_start, old_end = w.n[i].private_end;

	assert_int_equal(occupancy_refill(&w.o, &spare, start, end), 0);
	occupancy_set(&w.o, &spare, start, end);
	occupancy_release(&w.o, &spare);
	itree_remove(&w.tree, &w.n[i], NULL);
	w.n[i].private_start = start;
	w.n[i].private_end = end;
	tree_insert(i);
	occupancy_clear(&w.o, &w.tree, old_start, old_end);
}

static bool naive_any(uintptr_t start, uintptr_t end)
{
	uintptr_t from = start & ~(PAGE - 1), to = (end + PAGE - 1) & ~(PAGE - 1);

	for (uint32_t i = 0; i < NOTIFIERS; i++)
		if (w.in[i] && w.n[i].private_start < to && w.n[i].private_end > from)
			return true;
	/* Beyond LIMIT everything is one page. */
	if (end > LIMIT)
		for (uint32_t i = 0; i < NOTIFIERS; i++)
			if (w.in[i] && w.n[i].private_end > LIMIT)
				return true;
	return false;
}

static void query(uintptr_t start, uintptr_t end)
{
	bool want, got;

	if (start >= end)
		return;
	want = naive_any(start, end);
	got = occupancy_any(&w.o, start, end);
	if (want != got)
		fail_msg("[%#lx, %#lx): filter says %d, notifiers say %d", start, end, got, want);
}

/* Where blocks of all sizes meet, the top of the filter, and beyond it. */
static uintptr_t edge(void)
{
	static const uintptr_t blocks[] = {4 * KB, 2 * MB, 512 * MB, 128 * GB};
	uintptr_t block = blocks[rnd() % 4], at = (1 + rnd() % 6) * block;

	switch (rnd() % 8) {
	case 0:
		return LIMIT - at;
	case 1:
		return LIMIT - rnd() % 3 * PAGE;
	default:
		return at;
	}
}

static uintptr_t around(uintptr_t at)
{
	static const uintptr_t step[] = {0, 1, 511, 4 * KB, 8 * KB, 12345, 64 * KB, 2 * MB};
	uintptr_t d = step[rnd() % 8];

	return rnd() % 2 && at >= d ? at - d : at + d;
}

static void random_range(uintptr_t *start, uintptr_t *end)
{
	do {
		*start = around(edge());
		*end = rnd() % 3 ? *start + 1 + rnd() % (rnd() % 2 ? 64 * KB : 5 * MB) : around(edge());
	} while (*start >= *end);
}

static void check(void)
{
	for (uint32_t k = 0; k < 6; k++) {
		uint32_t i = (uint32_t)(rnd() % NOTIFIERS);
		uintptr_t s = w.n[i].private_start, e = w.n[i].private_end, start, end;

		random_range(&start, &end);
		query(start, end);
		if (e == 0)
			continue;
		query(s, s + 1);
		query(e - 1, e);
		query(s, e);
		query(e, e + 1);
		query(s / 2 + e / 2, s / 2 + e / 2 + 1);
		query(e, e + 3 * MB);
		if (s > PAGE)
			query(s - PAGE, s - PAGE + 1);
	}
}

static void check_empty(void)
{
	for (uint32_t i = 0; i < OCCUPANCY_ROOT_ENTRIES; i++)
		assert_int_equal(w.o.entry[i].private_value & 3, 0);
	assert_int_equal(w.o.high.private_value, 0);
	assert_false(occupancy_any(&w.o, 0, (uintptr_t)1 << 56));
}

/* Few enough at once that the budget of a clear never runs out: the filter is exact, and empty again at the end. */
static void churn(uint64_t seed, uint32_t most, void (*range)(uintptr_t *, uintptr_t *))
{
	begin(seed);
	for (uint32_t step = 0; step < 6000; step++) {
		uint32_t i = (uint32_t)(rnd() % most);
		uintptr_t start, end;

		range(&start, &end);
		if (!w.in[i])
			insert(i, start, end);
		else if (rnd() % 4 == 0)
			resize(i, start, end);
		else
			remove_one(i);
		check();
	}
	for (uint32_t i = 0; i < NOTIFIERS; i++)
		if (w.in[i])
			remove_one(i);
	check_empty();
	finish();
}

static void small_range(uintptr_t *start, uintptr_t *end)
{
	*start = 6 * MB + rnd() % (6 * MB);
	*end = *start + 1 + rnd() % (rnd() % 4 ? 3 * PAGE : 3 * MB);
}

static void bytes_range(uintptr_t *start, uintptr_t *end)
{
	*start = 2 * MB - 8 * KB + rnd() % (16 * KB);
	*end = *start + 1 + rnd() % 100;
}

static void huge_range(uintptr_t *start, uintptr_t *end)
{
	*start = rnd() % 4 ? rnd() % LIMIT : rnd() % 3 * 128 * GB;
	*end = rnd() % 4 ? *start + 1 + rnd() % (LIMIT + 1 - *start) : LIMIT;
}

static void test_edges(void **state)
{
	(void)state;
	churn(1, 40, random_range);
	churn(2, 60, random_range);
}

static void test_small(void **state)
{
	(void)state;
	churn(3, 60, small_range);
	churn(4, NOTIFIERS, bytes_range);
}

static void test_huge(void **state)
{
	(void)state;
	churn(5, 30, huge_range);
}

/* Each size of block alone, and one byte more or less at each side. */
static void test_blocks(void **state)
{
	static const uintptr_t blocks[] = {PAGE, 2 * MB, 512 * MB, 128 * GB};

	(void)state;
	begin(6);
	for (uint32_t b = 0; b < 4; b++)
		for (uint32_t at = 0; at < 3; at++)
			for (uint32_t bits = 0; bits < 9; bits++) {
				uintptr_t start = (at == 2 ? LIMIT / blocks[b] - 2 : at + 1) * blocks[b] + bits / 3 - 1;
				uintptr_t end = (at == 2 ? LIMIT / blocks[b] : at + 2) * blocks[b] + bits % 3 - 1;

				insert(0, start, end);
				for (uint32_t k = 0; k < 40; k++) {
					w.n[1].private_start = start;
					check();
				}
				query(start - 1, start + 1);
				query(end - 1, end + PAGE);
				remove_one(0);
				check_empty();
			}
	finish();
}

/* A notifier of everything costs no memory for its inside, and leaves what small ones marked. */
static void test_everything(void **state)
{
	uint64_t before;

	(void)state;
	begin(7);
	for (uint32_t i = 1; i < NOTIFIERS; i++)
		insert(i, 64 * GB + i * 2 * PAGE, 64 * GB + i * 2 * PAGE + PAGE);
	before = occupancy_bytes(&w.o);
	insert(0, 0, (uintptr_t)1 << 56);
	assert_int_equal(occupancy_bytes(&w.o), before);
	query(90 * GB, 90 * GB + 1);
	query(LIMIT + GB, LIMIT + 2 * GB);
	remove_one(0);
	for (uint32_t i = 0; i < 2 * NOTIFIERS + 4; i++)
		query(64 * GB + i * PAGE, 64 * GB + i * PAGE + 1);
	query(65 * GB, LIMIT);
	for (uint32_t i = 1; i < NOTIFIERS; i++)
		remove_one(i);
	check_empty();
	finish();
}

/*
 * The budget: under more than 64 notifiers that cover the whole block above, a clear gives up and marks stay. Never the other
 * way round; and the next clear that gets through takes them away.
 */
static void test_budget(void **state)
{
	uint32_t i;

	(void)state;
	begin(8);
	for (i = 0; i < 100; i++)
		insert(i, 2 * MB, 4 * MB + i * PAGE);
	insert(100, 3 * MB, 3 * MB + PAGE);
	remove_one(100);
	for (i = 0; i < 100; i++) {
		assert_true(occupancy_any(&w.o, 3 * MB, 3 * MB + 1));
		remove_one(i);
	}
	assert_true(occupancy_any(&w.o, 3 * MB, 3 * MB + 1)); /* stale: slower, not wrong */
	assert_false(occupancy_any(&w.o, 3 * MB + PAGE, 4 * MB));
	insert(100, 3 * MB - PAGE, 3 * MB + PAGE);
	remove_one(100);
	check_empty();
	/* The same for a block that was covered whole. */
	for (i = 0; i < 100; i++)
		insert(i, 512 * MB, 1 * GB + i * PAGE);
	insert(100, 600 * MB, 602 * MB);
	remove_one(100);
	for (i = 0; i < 100; i++)
		remove_one(i);
	assert_true(occupancy_any(&w.o, 601 * MB, 601 * MB + 1));
	assert_false(occupancy_any(&w.o, 512 * MB, 600 * MB));
	insert(100, 600 * MB, 602 * MB);
	remove_one(100);
	check_empty();
	finish();
}

static void test_memory(void **state)
{
	struct occupancy_spare spare = {0};

	(void)state;
	begin(9);
	/* 8 GiB with a page watched every 8 KiB: what an invalidation of any page in there walks over. */
	for (uintptr_t at = 16 * GB; at < 24 * GB; at += 2 * PAGE) {
		assert_int_equal(occupancy_refill(&w.o, &spare, at, at + PAGE), 0);
		occupancy_set(&w.o, &spare, at, at + PAGE);
		assert_int_equal(spare.nodes.count + spare.leaves.count, 0);
	}
	print_message("# %lu KiB for 1048576 notifiers\n", (unsigned long)(occupancy_bytes(&w.o) / 1024));
	assert_true(occupancy_bytes(&w.o) < 320 * KB);
	finish();
}

/* Without memory nothing is marked and nothing is lost. */
static void test_no_memory(void **state)
{
	(void)state;
#ifdef PORT_INJECT_ON
	for (int site = INJECT_MAP; site <= INJECT_ALLOC; site++) {
		uint32_t failures = 0;

		for (uint64_t nth = 1; nth < 8; nth++) {
			struct occupancy_spare spare = {0};
			int err;

			begin(10);
			port_inject_fail((enum inject_site)site, nth);
			err = occupancy_refill(&w.o, &spare, 3 * MB, 130 * GB + PAGE);
			port_inject_fail((enum inject_site)site, 0);
			if (err) {
				failures++;
				assert_int_equal(err, -ENOMEM);
				occupancy_release(&w.o, &spare);
				check_empty();
				assert_int_equal(w.o.node_pool.objects + w.o.leaf_pool.objects, 0);
			}
			insert(0, 3 * MB, 130 * GB + PAGE);
			check();
			remove_one(0);
			check_empty();
			finish();
		}
		assert_true(failures > 0);
	}
#else
	skip();
#endif
}

/* A refill made long before its set, with other sets between, still suffices: nodes only ever come. */
static void test_refill_early(void **state)
{
	struct occupancy_spare early = {0};
	uintptr_t start = 5 * MB + PAGE, end = 300 * GB + PAGE;

	(void)state;
	begin(11);
	insert(1, 4 * MB, 512 * MB);
	assert_int_equal(occupancy_refill(&w.o, &early, start, end), 0);
	insert(2, start, end);
	remove_one(2);
	remove_one(1);
	occupancy_set(&w.o, &early, start, end);
	assert_true(occupancy_any(&w.o, start, start + 1) && occupancy_any(&w.o, end - 1, end));
	occupancy_release(&w.o, &early);
	occupancy_clear(&w.o, &w.tree, start, end);
	check_empty();
	/* A forked child begins empty and goes on. */
	insert(1, 4 * MB, 512 * MB);
	occupancy_reset(&w.o);
	itree_reset(&w.tree);
	w.in[1] = false;
	check_empty();
	insert(1, 4 * MB, 512 * MB);
	check();
	finish();
}

static atomic_bool stop;

/* Reads without the lock while the writer churns all around: a page that stays watched never reads as unwatched. */
static void *reader(void *arg)
{
	uintptr_t steady = 6 * MB + 5 * PAGE;
	uint64_t *lost = arg;

	while (!atomic_load(&stop)) {
		*lost += !occupancy_any(&w.o, steady, steady + 1);
		*lost += !occupancy_any(&w.o, steady - 3 * PAGE, steady + 2 * MB);
		*lost += !occupancy_any(&w.o, 0, LIMIT);
	}
	return NULL;
}

static void test_readers(void **state)
{
	pthread_t thread;
	uint64_t lost = 0;

	(void)state;
	begin(12);
	insert(0, 6 * MB + 5 * PAGE, 6 * MB + 6 * PAGE);
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&thread, NULL, reader, &lost), 0);
	for (uint32_t step = 0; step < 20000; step++) {
		uint32_t i = 1 + (uint32_t)(rnd() % 40);
		uintptr_t start, end;

		if (rnd() % 2)
			small_range(&start, &end);
		else
			random_range(&start, &end);
		if (w.in[i])
			remove_one(i);
		else
			insert(i, start, end);
	}
	atomic_store(&stop, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(lost, 0);
	finish();
}

/* Negative control: the model notices a mark that is missing and one that is too many. */
static void test_model_notices(void **state)
{
	struct occupancy_spare spare = {0};
	struct itree empty;

	(void)state;
	begin(13);
	itree_init(&empty);
	insert(0, 3 * MB, 3 * MB + PAGE);
	occupancy_clear(&w.o, &empty, 3 * MB,
			3 * MB + PAGE); /* from a tree that has forgotten it: an invalidation would be lost */
	assert_true(naive_any(3 * MB, 3 * MB + 1) != occupancy_any(&w.o, 3 * MB, 3 * MB + 1));
	assert_int_equal(occupancy_refill(&w.o, &spare, 9 * MB, 9 * MB + 1), 0);
	occupancy_set(&w.o, &spare, 9 * MB, 9 * MB + 1); /* of nobody */
	assert_true(naive_any(9 * MB, 9 * MB + 1) != occupancy_any(&w.o, 9 * MB, 9 * MB + 1));
	finish();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges),   cmocka_unit_test(test_small),         cmocka_unit_test(test_huge),
		cmocka_unit_test(test_blocks),  cmocka_unit_test(test_everything),    cmocka_unit_test(test_budget),
		cmocka_unit_test(test_memory),  cmocka_unit_test(test_no_memory),     cmocka_unit_test(test_refill_early),
		cmocka_unit_test(test_readers), cmocka_unit_test(test_model_notices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
