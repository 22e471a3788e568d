/* SPDX-License-Identifier: MIT */
/*
 * What the witness believes to be watched (src/monitors/watchset.h): against a map of single pages; the epoch that keeps a late
 * addition out; look-ups beside a writer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "monitors/watchset.h"
#include "port/mm.h"

#define PAGES 300u

static struct watchset set;
static bool oracle[PAGES];

static uintptr_t at(uint32_t page)
{
	return (uintptr_t)(page + 16) << MM_PAGE_SHIFT;
}

static int setup(void **state)
{
	(void)state;
	memset(oracle, 0, sizeof(oracle));
	return watchset_init(&set);
}

static int teardown(void **state)
{
	(void)state;
	watchset_destroy(&set);
	return 0;
}

static uint32_t draw(uint32_t below)
{
	static uint64_t seed = 7;

	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

static bool oracle_says(uint32_t from, uint32_t to, bool whole)
{
	for (uint32_t i = from; i < to; i++)
		if (oracle[i] != whole)
			return !whole;
	return whole;
}

static void mark(uint32_t from, uint32_t to, bool watched)
{
	for (uint32_t i = from; i < to; i++)
		oracle[i] = watched;
}

/* Whatever piece it touches, to its ends. */
static void mark_touching(uint32_t from, uint32_t to)
{
	if (oracle_says(from, to, false) == false)
		return;
	while (from > 0 && oracle[from] && oracle[from - 1])
		from--;
	while (to < PAGES && oracle[to - 1] && oracle[to])
		to++;
	mark(from, to, false);
}

static void one_step(void)
{
	uint32_t from = draw(PAGES - 1), to = from + 1 + draw(PAGES - from < 20 ? PAGES - from : 20);
	uintptr_t start, end;

	switch (draw(4)) {
	case 0:
	case 1:
		assert_true(watchset_add(&set, at(from), at(to), watchset_epoch(&set)));
		mark(from, to, true);
		break;
	case 2:
		watchset_forget(&set, at(from), at(to));
		mark(from, to, false);
		break;
	default:
		if (draw(4)) {
			assert_true(watchset_try_forget_touching(&set, at(from), at(to)));
			mark_touching(from, to);
		} else if (watchset_take(&set, at(from), at(to), &start, &end)) {
			assert_true(start >= at(from) && end <= at(to) && start < end);
			mark((uint32_t)(start >> MM_PAGE_SHIFT) - 16, (uint32_t)(end >> MM_PAGE_SHIFT) - 16, false);
		} else {
			assert_false(oracle_says(from, to, false));
		}
	}
}

static void test_against_pages(void **state)
{
	(void)state;
	for (int step = 0; step < 20000; step++) {
		uint32_t from = draw(PAGES - 1), to = from + 1 + draw(PAGES - from - 1);

		one_step();
		assert_int_equal(watchset_covers(&set, at(from), at(to)), oracle_says(from, to, true));
		assert_int_equal(watchset_any(&set, at(from), at(to)), oracle_says(from, to, false));
	}
}

/* Who registered before something was taken away may not say afterwards that it is there. */
static void test_late_addition(void **state)
{
	uint64_t epoch = watchset_epoch(&set);
	uintptr_t start, end;

	(void)state;
	watchset_doubt(&set);
	assert_false(watchset_add(&set, at(1), at(2), epoch));
	epoch = watchset_epoch(&set);
	watchset_forget(&set, at(1), at(2)); /* of what is not there */
	assert_false(watchset_add(&set, at(1), at(2), epoch));
	epoch = watchset_epoch(&set);
	assert_false(watchset_take(&set, at(1), at(2), &start, &end));
	assert_true(watchset_add(&set, at(1), at(2), epoch));
	assert_true(watchset_take(&set, at(1), at(2), &start, &end));
	assert_false(watchset_add(&set, at(1), at(2), epoch));
}

/* More pieces than there may be: less is known, nothing false. */
static void test_full(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < WATCHSET_RANGES; i++)
		assert_true(watchset_add(&set, at(4 * i), at(4 * i + 3), watchset_epoch(&set)));
	assert_false(watchset_add(&set, at(4 * WATCHSET_RANGES), at(4 * WATCHSET_RANGES + 1), watchset_epoch(&set)));
	watchset_forget(&set, at(5), at(6)); /* leaves two pieces of one */
	assert_false(watchset_covers(&set, at(5), at(6)));
	assert_true(watchset_covers(&set, at(4), at(5)));
	assert_true(watchset_covers(&set, at(8), at(11)));
	assert_true(watchset_covers(&set, at(4 * WATCHSET_RANGES - 4), at(4 * WATCHSET_RANGES - 1)));
}

static atomic_bool over;

/* Pages 10 to 19 come and go as a whole; pages 0 to 4 are always there, 290 never is. */
static void *write_all_the_time(void *arg)
{
	while (!over) {
		watchset_add(&set, at(10), at(20), watchset_epoch(&set));
		watchset_add(&set, at(40), at(50), watchset_epoch(&set));
		watchset_forget(&set, at(10), at(20));
		watchset_forget_touching(&set, at(45), at(46));
	}
	return arg;
}

static void test_beside_a_writer(void **state)
{
	pthread_t writer;

	(void)state;
	over = false;
	assert_true(watchset_add(&set, at(0), at(5), watchset_epoch(&set)));
	assert_true(watchset_add(&set, at(100), at(101), watchset_epoch(&set)));
	pthread_create(&writer, NULL, write_all_the_time, NULL);
	for (int i = 0; i < 100000; i++) {
		assert_true(watchset_covers(&set, at(0), at(5)));
		assert_true(watchset_covers(&set, at(100), at(101)));
		assert_false(watchset_covers(&set, at(290), at(291)));
		assert_false(watchset_covers(&set, at(15), at(25)));
		assert_true(watchset_any(&set, at(3), at(12)));
	}
	over = true;
	pthread_join(writer, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_against_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_addition, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_beside_a_writer, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
