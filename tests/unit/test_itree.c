/* SPDX-License-Identifier: MIT */
/*
 * test_itree.c: the interval tree against a naive model: a plain array, searched whole. Every shape of the ranges, the cursor
 * while the tree changes under it, and no memory at each point (G7: an insertion that cannot be served changes nothing).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/itree.h"
#include "port/inject.h"

#define NOTIFIERS 3000u
#define TOP ((uintptr_t)1 << 56)

struct model {
	struct itree tree;
	struct uhmm_notifier *n; /* NOTIFIERS */
	bool *in;
	uint64_t random;
	uint32_t count;
};

static uint64_t rnd(struct model *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random;
}

typedef void (*shape_fn)(struct model *m, uint32_t i, uintptr_t *start, uintptr_t *len);

static void shape_sparse(struct model *m, uint32_t i, uintptr_t *start, uintptr_t *len)
{
	(void)i;
	*start = rnd(m) % (TOP - 65536);
	*len = 1 + rnd(m) % 65536;
}

static void shape_dense(struct model *m, uint32_t i, uintptr_t *start, uintptr_t *len)
{
	(void)i;
	*start = 0x10000 + rnd(m) % 5000;
	*len = 1 + rnd(m) % 40;
}

static void shape_ascending(struct model *m, uint32_t i, uintptr_t *start, uintptr_t *len)
{
	(void)m;
	*start = 0x10000 + (uintptr_t)i * 8192;
	*len = 4096;
}

static void shape_descending(struct model *m, uint32_t i, uintptr_t *start, uintptr_t *len)
{
	shape_ascending(m, NOTIFIERS - i, start, len);
}

static void shape_same(struct model *m, uint32_t i, uintptr_t *start, uintptr_t *len)
{
	(void)i;
	*start = 0x5000 + rnd(m) % 2;
	*len = 100;
}

static void shape_nested(struct model *m, uint32_t i, uintptr_t *start, uintptr_t *len)
{
	(void)m;
	*start = 0x100000 + i;
	*len = 2 * (NOTIFIERS - i) + 1;
}

static void shape_mixed(struct model *m, uint32_t i, uintptr_t *start, uintptr_t *len)
{
	uint64_t bits = rnd(m) % 56;

	(void)i;
	*len = 1 + rnd(m) % ((uint64_t)1 << bits);
	*start = rnd(m) % (TOP - *len + 1);
	if (rnd(m) % 50 == 0) {
		*start = 0;
		*len = TOP;
	}
}

/*
 * Each new one just below the last, in a gap between two that stay: what makes a tree that only splits at the end
 * degenerate.
 */
static void shape_gap(struct model *m, uint32_t i, uintptr_t *start, uintptr_t *len)
{
	(void)m;
	*start = i % 2 ? 0x100000 - i : 0x100000 + i;
	*len = 1;
}

static const struct {
	const char *name;
	shape_fn fn;
} shapes[] = {
	{"sparse", shape_sparse}, {"dense", shape_dense},   {"ascending", shape_ascending}, {"descending", shape_descending},
	{"same", shape_same},     {"nested", shape_nested}, {"mixed", shape_mixed},         {"gap", shape_gap},
};

static void begin(struct model *m, uint64_t seed)
{
	*m = (struct model){.random = seed};
	m->n = calloc(NOTIFIERS, sizeof(*m->n));
	m->in = calloc(NOTIFIERS, sizeof(*m->in));
	assert_non_null(m->n);
	assert_non_null(m->in);
	itree_init(&m->tree);
}

static void finish(struct model *m)
{
	itree_destroy(&m->tree);
	free(m->n);
	free(m->in);
}

static void check(struct model *m)
{
	const char *wrong = itree_check(&m->tree);

	if (wrong)
		fail_msg("%s", wrong);
	assert_int_equal(itree_count(&m->tree), m->count);
}

static void insert(struct model *m, uint32_t i)
{
	struct spare spare = {0};

	while (!itree_insert(&m->tree, &m->n[i], &spare))
		assert_int_equal(itree_refill(&m->tree, &spare), 0);
	itree_release(&m->tree, &spare);
	m->in[i] = true;
	m->count++;
}

static void insert_shaped(struct model *m, uint32_t i, shape_fn shape)
{
	uintptr_t start, len;

	shape(m, i, &start, &len);
	m->n[i].private_start = start;
	m->n[i].private_end = start + len;
	insert(m, i);
}

static void remove_one(struct model *m, uint32_t i)
{
	struct spare spare = {0};

	itree_remove(&m->tree, &m->n[i], rnd(m) % 2 ? &spare : NULL);
	itree_release(&m->tree, &spare);
	m->in[i] = false;
	m->count--;
}

static bool before(const struct uhmm_notifier *a, const struct uhmm_notifier *b)
{
	if (a->private_start != b->private_start)
		return a->private_start < b->private_start;
	return (uintptr_t)a < (uintptr_t)b;
}

/* The first in the model with a key above that of `last` (any if NULL) that begins below `end` and ends above `start`. */
static struct uhmm_notifier *naive_next(struct model *m, const struct uhmm_notifier *last, uintptr_t start, uintptr_t end)
{
	struct uhmm_notifier *best = NULL;

	for (uint32_t i = 0; i < NOTIFIERS; i++) {
		struct uhmm_notifier *n = &m->n[i];

		if (!m->in[i] || n->private_start >= end || n->private_end <= start)
			continue;
		if ((!last || before(last, n)) && (!best || before(n, best)))
			best = n;
	}
	return best;
}

static void query(struct model *m, uintptr_t start, uintptr_t end, uint32_t steps)
{
	struct itree_cursor c;
	struct uhmm_notifier *want = naive_next(m, NULL, start, end), *got = itree_first(&m->tree, start, end, &c);

	assert_int_equal(itree_overlaps(&m->tree, start, end), want != NULL);
	for (; steps > 0; steps--) {
		assert_ptr_equal(got, want);
		if (!got)
			return;
		assert_int_equal(itree_cursor_start(&c), got->private_start);
		assert_int_equal(itree_cursor_end(&c), got->private_end);
		want = naive_next(m, want, start, end);
		got = itree_next(&m->tree, &c);
	}
}

/* Around the edges of a notifier, where being off by one shows. */
static void query_edges(struct model *m)
{
	struct uhmm_notifier *n = &m->n[rnd(m) % NOTIFIERS];
	uintptr_t s = n->private_start, e = n->private_end;

	if (e == 0)
		return;
	query(m, s, s + 1, 8);
	query(m, e - 1, e, 8);
	query(m, e, e + 1, 8);
	query(m, s, e, 40);
	if (s > 0)
		query(m, s - 1, s, 8);
	query(m, s / 2, e + (TOP - e) / 2 + 1, 8);
}

static void test_random(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
		struct model m;

		begin(&m, 0x9e3779b97f4a7c15u + k);
		for (uint32_t step = 0; step < 12000; step++) {
			/* Grows for a while, then shrinks to nothing, twice. */
			bool growing = step % 6000 < 3500;
			uint32_t i = (uint32_t)(rnd(&m) % NOTIFIERS);

			if (!m.in[i] && (growing || rnd(&m) % 4 == 0))
				insert_shaped(&m, i, shapes[k].fn);
			else if (m.in[i] && (!growing || rnd(&m) % 4 == 0))
				remove_one(&m, i);
			if (step % 16 == 0 || m.count < 40)
				check(&m);
			if (step % 32 == 0)
				query_edges(&m);
		}
		for (uint32_t i = 0; i < NOTIFIERS; i++)
			if (m.in[i])
				remove_one(&m, i);
		check(&m);
		assert_null(m.tree.root);
		finish(&m);
	}
}

/* Deep enough that inner nodes split, give, merge and level out on several levels. */
static void test_large(void **state)
{
	enum { MANY = 60000 };
	struct model m = {.random = 31};
	struct uhmm_notifier *n = calloc(MANY, sizeof(*n));
	uint32_t *order = calloc(MANY, sizeof(*order));

	(void)state;
	assert_non_null(n);
	assert_non_null(order);
	itree_init(&m.tree);
	m.n = n;
	m.in = calloc(MANY, sizeof(*m.in));
	assert_non_null(m.in);
	for (uint32_t i = 0; i < MANY; i++) {
		uint32_t j = (uint32_t)(rnd(&m) % (i + 1));

		order[i] = order[j];
		order[j] = i;
		n[i].private_start = 0x10000 + (uintptr_t)i * 8192;
		n[i].private_end = n[i].private_start + 4096;
	}
	for (uint32_t i = 0; i < MANY; i++) {
		insert(&m, order[i]);
		if (i % 4096 == 0)
			check(&m);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		struct itree_cursor c;

		assert_ptr_equal(itree_first(&m.tree, n[i].private_start + 4095, n[i].private_end + 4096, &c), &n[i]);
		assert_null(itree_next(&m.tree, &c));
		assert_null(itree_first(&m.tree, n[i].private_end, n[i].private_end + 4096, &c));
	}
	/* A run of neighbours first, so that whole subtrees empty, then at random. */
	for (uint32_t i = MANY / 4; i < MANY / 2; i++)
		remove_one(&m, i);
	check(&m);
	for (uint32_t i = 0; i < MANY; i++) {
		if (m.in[order[i]])
			remove_one(&m, order[i]);
		if (i % 4096 == 0)
			check(&m);
	}
	assert_int_equal(m.tree.nodes, 0);
	free(order);
	finish(&m);
}

static void test_whole_iteration(void **state)
{
	struct model m;
	struct itree_cursor c;
	uint32_t seen = 0;

	(void)state;
	begin(&m, 5);
	for (uint32_t i = 0; i < NOTIFIERS; i++)
		insert_shaped(&m, i, shape_mixed);
	for (struct uhmm_notifier *last = NULL, *n = itree_first(&m.tree, 0, TOP, &c); n; n = itree_next(&m.tree, &c)) {
		assert_true(!last || before(last, n));
		last = n;
		seen++;
	}
	assert_int_equal(seen, NOTIFIERS);
	finish(&m);
}

/*
 * The walker's lock is dropped between steps: whatever is inserted or removed meanwhile, the one it stands on included, the
 * next step finds the first overlap behind the last key, as a fresh search would.
 */
static void test_cursor_resumes(void **state)
{
	struct model m;

	(void)state;
	for (uint64_t round = 0; round < 300; round++) {
		struct uhmm_notifier last = {0}, *got, *position = NULL;
		struct itree_cursor c;
		uintptr_t start, end;

		if (round % 30 == 0) {
			begin(&m, 77 + round);
			for (uint32_t i = 0; i < NOTIFIERS; i += 2)
				insert_shaped(&m, i, shape_dense);
		}
		start = 0x10000 + rnd(&m) % 5000;
		end = start + 1 + rnd(&m) % 300;
		got = itree_first(&m.tree, start, end, &c);
		assert_ptr_equal(got, naive_next(&m, NULL, start, end));
		while (got) {
			uint32_t i = (uint32_t)(got - m.n);

			position = got;
			last.private_start = got->private_start;
			if (rnd(&m) % 3 == 0) {
				remove_one(&m, i);
				/* As if freed: nothing may read it. */
				memset(got, 0xee, sizeof(*got));
				got->private_start = last.private_start; /* the model's key */
			}
			for (uint32_t k = 0; k < rnd(&m) % 4; k++) {
				i = (uint32_t)(rnd(&m) % NOTIFIERS);
				if (&m.n[i] == position)
					continue;
				if (m.in[i])
					remove_one(&m, i);
				else
					insert_shaped(&m, i, shape_dense);
			}
			got = itree_next(&m.tree, &c);
			assert_ptr_equal(got, naive_next(&m, position, start, end));
		}
		check(&m);
		if (round % 30 == 29)
			finish(&m);
	}
}

static void test_containing_and_narrow(void **state)
{
	struct model m;

	(void)state;
	begin(&m, 11);
	for (uint32_t i = 0; i < NOTIFIERS; i++)
		insert_shaped(&m, i, i % 2 ? shape_dense : shape_mixed);
	for (uint32_t round = 0; round < 400; round++) {
		uintptr_t start = round % 2 ? 0x10000 + rnd(&m) % 5000 : rnd(&m) % (TOP / 2), end = start + 1 + rnd(&m) % 60;
		struct itree_cursor c;
		struct uhmm_notifier *n = itree_first_containing(&m.tree, start, end, &c), *want;

		/* To contain [start, end) is to begin below start + 1 and end above end - 1. */
		want = naive_next(&m, NULL, end - 1, start + 1);
		for (uint32_t k = 0; k < 20 && want; k++) {
			assert_ptr_equal(n, want);
			assert_true(n->private_start <= start && n->private_end >= end);
			want = naive_next(&m, want, end - 1, start + 1);
			n = itree_next(&m.tree, &c);
		}
		n = itree_first(&m.tree, start, end + 500, &c);
		itree_cursor_narrow(&c, start + 200);
		want = n ? naive_next(&m, n, start + 200, end + 500) : NULL;
		if (n)
			assert_ptr_equal(itree_next(&m.tree, &c), want);
	}
	finish(&m);
}

/* G7: without memory an insertion fails before it changes anything, at whichever allocation the memory ends. */
static void test_no_memory(void **state)
{
	(void)state;
#ifdef PORT_INJECT_ON
	for (int site = INJECT_MAP; site <= INJECT_ALLOC; site++) {
		struct model m;
		uint32_t failures = 0;

		begin(&m, 3);
		for (uint32_t i = 0; i < NOTIFIERS; i++) {
			struct spare spare = {0};
			uint64_t version = m.tree.version;

			shape_sparse(&m, i, &m.n[i].private_start, &m.n[i].private_end);
			m.n[i].private_end += m.n[i].private_start;
			port_inject_fail((enum inject_site)site, 1 + rnd(&m) % 3);
			while (!itree_insert(&m.tree, &m.n[i], &spare)) {
				if (itree_refill(&m.tree, &spare) == 0)
					continue;
				failures++;
				assert_int_equal(m.tree.version, version);
				port_inject_fail((enum inject_site)site, 0);
			}
			itree_release(&m.tree, &spare);
			m.in[i] = true;
			m.count++;
			check(&m);
		}
		assert_true(failures > 0);
		port_inject_fail((enum inject_site)site, 0);
		finish(&m);
	}
#else
	skip();
#endif
}

/*
 * Two inserters share one reserve: when the other has used it, the insertion says so, and what was brought along is not
 * lost.
 */
static void test_reserve_is_shared(void **state)
{
	struct model m;
	struct spare mine = {0};

	(void)state;
	begin(&m, 9);
	assert_false(itree_ready(&m.tree, &mine));
	assert_true(mine.want > 0);
	assert_int_equal(itree_refill(&m.tree, &mine), 0);
	for (uint32_t i = 0; i < NOTIFIERS; i++)
		insert_shaped(&m, i, shape_sparse);
	spare_move(&mine, &m.tree.reserve, 0); /* the other's last insertion left nothing */
	assert_true(mine.count > m.tree.height);
	assert_true(itree_ready(&m.tree, &mine));
	assert_int_equal(mine.count, 0);
	check(&m);
	/* A removal in between never makes it less: a resize cannot fail half way. */
	for (uint32_t i = 0; i < NOTIFIERS; i++) {
		while (!itree_ready(&m.tree, &mine))
			assert_int_equal(itree_refill(&m.tree, &mine), 0);
		itree_remove(&m.tree, &m.n[i], &mine);
		shape_dense(&m, i, &m.n[i].private_start, &m.n[i].private_end);
		m.n[i].private_end += m.n[i].private_start;
		assert_true(itree_insert(&m.tree, &m.n[i], &mine));
	}
	check(&m);
	itree_release(&m.tree, &mine);
	finish(&m);
}

/* A forked child begins empty and goes on. */
static void test_reset(void **state)
{
	struct model m;

	(void)state;
	begin(&m, 13);
	for (uint32_t i = 0; i < 100; i++)
		insert_shaped(&m, i, shape_sparse);
	itree_reset(&m.tree);
	memset(m.in, 0, NOTIFIERS);
	m.count = 0;
	check(&m);
	assert_false(itree_overlaps(&m.tree, 0, TOP));
	for (uint32_t i = 0; i < NOTIFIERS; i++)
		insert_shaped(&m, i, shape_sparse);
	check(&m);
	finish(&m);
}

static void memory_per_notifier(shape_fn shape, uint64_t bound)
{
	struct model m;

	begin(&m, 21);
	for (uint32_t i = 0; i < NOTIFIERS; i++)
		insert_shaped(&m, i, shape);
	print_message("# %.1f bytes a notifier\n", (double)m.tree.nodes * 512 / NOTIFIERS);
	assert_true((uint64_t)m.tree.nodes * 512 <= bound * NOTIFIERS);
	finish(&m);
}

static void test_memory(void **state)
{
	(void)state;
	memory_per_notifier(shape_ascending, 32);
	memory_per_notifier(shape_descending, 32);
	memory_per_notifier(shape_sparse, 40);
	memory_per_notifier(shape_gap, 40);
}

/* Negative control: each kind of damage is reported, so that silence of itree_check() means something. */
static void test_check_notices(void **state)
{
	struct model m;
	uintptr_t *root, saved;
	static const struct {
		uint32_t word;
		uintptr_t add;
	} damage[] = {
		{1, 1u << 20},               /* a bound above its child */
		{1 + 2 * 15, 1},             /* a greatest end that is too great */
		{1 + 2 * 15, (uintptr_t)-1}, /* or too small: overlaps would be missed */
		{0, (uintptr_t)-1},          /* a child lost */
	};

	(void)state;
	begin(&m, 17);
	for (uint32_t i = 0; i < 200; i++)
		insert_shaped(&m, i, shape_ascending);
	check(&m);
	assert_int_equal(m.tree.height, 2);
	root = (uintptr_t *)m.tree.root;
	for (size_t k = 0; k < sizeof(damage) / sizeof(damage[0]); k++) {
		saved = root[damage[k].word];
		root[damage[k].word] += damage[k].add;
		assert_non_null(itree_check(&m.tree));
		root[damage[k].word] = saved;
		check(&m);
	}
	m.tree.count++;
	assert_non_null(itree_check(&m.tree));
	m.tree.count--;
	/* And the naive model differs from a tree that misses an end. */
	saved = root[1 + 2 * 15];
	root[1 + 2 * 15] = 0;
	assert_true(naive_next(&m, NULL, 0x10000, 0x10001) != NULL);
	assert_false(itree_overlaps(&m.tree, 0x10000, 0x10001));
	root[1 + 2 * 15] = saved;
	finish(&m);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_whole_iteration),
		cmocka_unit_test(test_cursor_resumes),
		cmocka_unit_test(test_containing_and_narrow),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_reserve_is_shared),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_check_notices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
