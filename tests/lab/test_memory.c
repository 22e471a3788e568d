/* SPDX-License-Identifier: MIT */
/* Happens-before and data races, on code compiled as code under test is; the seam's backend; what is learnt of words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <uhmm/lab.h>

#include "lab/memory_inside.h"
#include "lab/search.h"
#include "programs_memory.h"

static const struct program *current;
static struct shared *shared;

static void run_thread(void *arg)
{
	current->thread[(uintptr_t)arg](shared);
}

static void setup(const struct lab_setup *s)
{
	(void)s;
	shared = lab_alloc(sizeof(*shared), 64);
	lab_fiber_spawn("A", run_thread, (void *)0, false);
	lab_fiber_spawn("B", run_thread, (void *)1, false);
}

static const struct lab_scenario scenario = {.id = "memory", .title = "two threads", .setup = setup, .core_only = true};

static int search(const struct program *p, bool weak, struct lab_result *result)
{
	const struct lab_config config = {.scenario = &scenario, .weak = weak, .bound = 2, .devices = 1, .invalidators = 1};
	const struct lab_limits limits = {.go_on = false};

	current = p;
	lab_layer = NULL;
	lab_search_bound(&config, &limits, result);
	return result->outcome == LAB_LOST ? result->verdict.invariant : 0;
}

static void test_programs(void **state)
{
	static struct lab_result result;
	uint32_t wrong = 0;

	(void)state;
	for (const struct program *p = memory_programs; p->what; p++) {
		for (int weak = 0; weak < 2; weak++) {
			int got = search(p, weak, &result);

			if (got == p->expected)
				continue;
			print_message("%s (%s): %d instead of %d: %s\n", p->what, weak ? "weak" : "sc", got, p->expected,
				      got ? result.verdict.text : "held");
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

/* What the verdict says, and that the schedule alone leads there again. */
static void test_report(void **state)
{
	const struct program racy = {.what = "r", .thread = {memory_programs[0].thread[0], memory_programs[0].thread[1]}};
	const struct lab_config config = {.scenario = &scenario, .bound = 2, .devices = 1, .invalidators = 1};
	static struct lab_result result;
	struct lab_verdict verdict;

	(void)state;
	assert_int_equal(search(&racy, false, &result), 7);
	assert_non_null(strstr(result.verdict.text, "write of 8 bytes by "));
	assert_non_null(strstr(result.verdict.text, "write by "));
	assert_int_equal(lab_replay(&config, result.schedule, NULL, NULL, &verdict), 0);
	assert_int_equal(verdict.invariant, 7);
	assert_string_equal(verdict.text, result.verdict.text);
}

static bool learns(uint32_t fiber, enum lab_op_kind kind, bool write, const void *object)
{
	const struct lab_op op = {.kind = kind, .write = write, .object = object};

	return lab_op_visible(fiber, &op);
}

static void test_learning(void **state)
{
	uint32_t *words, state_of;
	uint64_t word;

	(void)state;
	lab_arena_begin();
	lab_memory_begin(false);
	lab_memory_reset();
	lab_shared_forget();
	words = lab_alloc(64, 64);
	/* One fiber alone; several that read. */
	assert_false(learns(1, LAB_OP_STORE, true, &words[0]));
	assert_false(learns(1, LAB_OP_LOAD, false, &words[1]));
	assert_false(learns(2, LAB_OP_LOAD, false, &words[1]));
	assert_false(lab_shared_grew);
	/* Neighbours are not the same word. */
	assert_true(learns(3, LAB_OP_STORE, true, &words[1]));
	assert_true(lab_shared_grew);
	assert_false(learns(1, LAB_OP_STORE, true, &words[0]));
	/* A lock's release is no decision, unless somebody tries the lock. */
	lab_shared_grew = false;
	learns(1, LAB_OP_LOCK, true, &words[4]);
	assert_true(learns(2, LAB_OP_LOCK, true, &words[4]));
	assert_false(learns(2, LAB_OP_UNLOCK, true, &words[4]));
	lab_shared_grew = false;
	assert_true(learns(2, LAB_OP_TRYLOCK, true, &words[4]));
	assert_true(lab_shared_grew);
	assert_true(learns(1, LAB_OP_UNLOCK, true, &words[4]));
	/* It can be kept and put back. */
	assert_true(lab_shared_get(0, &word, &state_of));
	lab_shared_forget();
	assert_false(lab_shared_get(0, &word, &state_of));
	assert_false(learns(3, LAB_OP_LOAD, false, &words[0]));
	lab_shared_put(word, state_of);
	assert_true(learns(3, LAB_OP_LOAD, false, &words[0]));
	lab_shared_forget();
}

static void test_conflicts(void **state)
{
	static uint32_t x, y;
	const struct lab_op read = {.kind = LAB_OP_LOAD, .object = &x},
			    write = {.kind = LAB_OP_STORE, .write = true, .object = &x};
	const struct lab_op elsewhere = {.kind = LAB_OP_STORE, .write = true, .object = &y}, heavy = {.kind = LAB_OP_HEAVY};
	const struct lab_op fence = {.kind = LAB_OP_FENCE};

	(void)state;
	assert_false(lab_ops_conflict(&read, &read));
	assert_true(lab_ops_conflict(&read, &write));
	assert_true(lab_ops_conflict(&write, &write));
	assert_false(lab_ops_conflict(&write, &elsewhere));
	assert_true(lab_ops_conflict(&heavy, &elsewhere));
	assert_false(lab_ops_conflict(&fence, &fence));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_learning),
		cmocka_unit_test(test_conflicts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
