/* SPDX-License-Identifier: MIT */
/* One execution: how it ends, how it is told, and what the lab notices about programs that it cannot search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "lab/memory.h"
#include "lab/search.h"
#include <uhmm/lab.h>

static struct shared {
	uint32_t word[4];
	struct uhmm_a32 atomic, flag;
} *shared;
static struct lab_result result;
static uint32_t executions; /* not put back: what a scenario must not have */

static void step(uint32_t i, bool write)
{
	const struct lab_op op = {
		.kind = LAB_OP_STEP, .object = &shared->word[i], .write = write, .site = LAB_SITE("step")
	};

	lab_point(&op);
	if (!write)
		return;
	lab_arena_dirty(&shared->word[i], sizeof(shared->word[i]));
	shared->word[i]++;
}

static void writes(void *arg)
{
	(void)arg;
	step(0, true);
	step(0, true);
}

static void allocate(void)
{
	shared = lab_alloc(sizeof(*shared), 64);
}

static struct lab_config of(const struct lab_scenario *s)
{
	return (struct lab_config){ .scenario = s, .devices = 1, .invalidators = 1, .bound = 2 };
}

/* ---- faults ---- */

static void follows_null(void *arg)
{
	step(0, true);
	if (shared->word[0] == 3) /* only after both of the other's */
		*(volatile uint32_t *)arg = 1;
}

static uint32_t overflows(volatile uint32_t *n)
{
	volatile uint32_t room[64];

	room[0] = *n + 1;
	return *n ? overflows(room) + room[0] : 0;
}

static void recurses(void *arg)
{
	volatile uint32_t one = 1;

	(void)arg;
	step(0, false);
	overflows(&one);
}

static void setup_null(const struct lab_setup *s)
{
	(void)s;
	allocate();
	lab_spawn("writer", writes, NULL);
	lab_spawn("faulty", follows_null, NULL);
}

static void setup_deep(const struct lab_setup *s)
{
	(void)s;
	allocate();
	lab_spawn("deep", recurses, NULL);
	lab_spawn("writer", writes, NULL);
}

static void test_fault(void **state)
{
	static const struct lab_scenario null = { .id = "null", .setup = setup_null };
	static const struct lab_scenario deep = { .id = "deep", .setup = setup_deep };
	struct lab_config config = of(&null);
	struct lab_verdict v;

	(void)state;
	for (int i = 0; i < 3; i++) { /* the handler is ready again each time */
		lab_search_bound(&config, NULL, &result);
		assert_int_equal(result.outcome, LAB_LOST);
		assert_int_equal(result.verdict.invariant, 8);
		assert_non_null(strstr(result.verdict.text, "a null pointer is followed"));
		assert_non_null(strstr(result.verdict.text, "faulty was last at test_run.c:"));
		assert_int_equal(lab_replay(&config, result.schedule, NULL, NULL, &v), 0);
		assert_int_equal(v.invariant, 8);
	}
	config = of(&deep);
	lab_search_bound(&config, NULL, &result);
	assert_int_equal(result.verdict.invariant, 8);
	assert_non_null(strstr(result.verdict.text, "the stack is full"));
}

/* ---- programs that are not deterministic ---- */

static void other_each_time(void *arg)
{
	(void)arg;
	step(0, true);
	step(++executions % 5 == 4 ? 1 : 0, true);
	step(1, true);
}

static void setup_other(const struct lab_setup *s)
{
	(void)s;
	allocate();
	executions = 0;
	lab_spawn("one", other_each_time, NULL);
	lab_spawn("two", other_each_time, NULL);
}

static void test_not_deterministic(void **state)
{
	static const struct lab_scenario s = { .id = "other", .setup = setup_other };
	struct lab_config config = of(&s);

	(void)state;
	config.bound = 5;
	lab_search_bound(&config, NULL, &result);
	assert_int_equal(result.outcome, LAB_LOST);
	assert_int_equal(result.verdict.invariant, 9);
	assert_non_null(strstr(result.verdict.text, "not deterministic"));
	assert_false(result.exhaustive);
	lab_search_all(&config, NULL, true, &result);
	assert_int_equal(result.verdict.invariant, 9);
}

/* ---- failed checks, unfinished daemons ---- */

static void waits(void *arg)
{
	(void)arg;
	while (!lab_a32_load(&shared->flag, LAB_ACQUIRE, LAB_SITE("flag?")))
		lab_mem_wait(&shared->flag, 0, false, LAB_SITE("wait"));
}

static void spins(void *arg)
{
	(void)arg;
	while (!lab_a32_load(&shared->atomic, LAB_ACQUIRE, LAB_SITE("atomic?")))
		lab_relax();
}

static void setup_daemons(const struct lab_setup *s)
{
	(void)s;
	allocate();
	lab_spawn_daemon("sleeper", waits, NULL);
	lab_spawn_daemon("spinner", spins, NULL);
	lab_spawn("one", writes, NULL);
}

static void check_fails(const struct lab_setup *s)
{
	(void)s;
	if (shared->word[0] == 2)
		lab_fail("the word is %u", shared->word[0]);
}

static void test_ends(void **state)
{
	static const struct lab_scenario daemons = { .id = "daemons", .setup = setup_daemons };
	static const struct lab_scenario fails = { .id = "fails", .setup = setup_daemons, .check = check_fails };
	struct lab_config config = of(&daemons);

	(void)state;
	lab_search_bound(&config, NULL, &result);
	assert_int_equal(result.outcome, LAB_HELD);
	assert_true(result.exhaustive);
	config = of(&fails);
	lab_search_bound(&config, NULL, &result);
	assert_int_equal(result.verdict.invariant, 8);
	assert_string_equal(result.verdict.text, "the word is 2");
	assert_int_equal(result.schedules_to_loss, 1);
}

/* ---- a schedule longer than fits ---- */

static void setup_spinners(const struct lab_setup *s)
{
	(void)s;
	allocate();
	lab_spawn("one", spins, NULL);
	lab_spawn("two", spins, NULL);
	lab_spawn("three", writes, NULL);
}

/* Two that wait for ever make 20,000 operations in turn; but what is usual need not be said. */
static void test_long(void **state)
{
	static const struct lab_scenario s = { .id = "long", .setup = setup_spinners };
	struct lab_config config = of(&s);
	struct lab_verdict v;

	(void)state;
	lab_search_bound(&config, NULL, &result);
	assert_int_equal(result.verdict.invariant, 5);
	assert_non_null(strstr(result.verdict.text, "livelock"));
	assert_true(strlen(result.schedule) < 100);
	assert_int_equal(lab_replay(&config, result.schedule, NULL, NULL, &v), 0);
	assert_int_equal(v.invariant, 5);
}

/* ---- telling ---- */

static struct {
	uint32_t ops, preempts, verdicts, notes;
	char last[40];
} told;

static void listen(void *arg, const struct lab_tell *t)
{
	(void)arg;
	told.ops += t->kind == LAB_TELL_OP;
	told.preempts += t->kind == LAB_TELL_PREEMPT;
	told.verdicts += t->kind == LAB_TELL_VERDICT;
	told.notes += t->kind == LAB_TELL_NOTE;
	snprintf(told.last, sizeof(told.last), "%s: %s", t->fiber_name, t->text ? t->text : "");
}

static void speaks(void *arg)
{
	(void)arg;
	lab_call_enter("call(%d)", 1);
	step(0, true);
	lab_note("the word is %u", shared->word[0]);
	step(0, true);
	lab_call_leave();
}

static void setup_speaks(const struct lab_setup *s)
{
	(void)s;
	allocate();
	lab_spawn("one", writes, NULL);
	lab_spawn("two", speaks, NULL);
}

static void test_told(void **state)
{
	static const struct lab_scenario s = { .id = "speaks", .setup = setup_speaks };
	const struct lab_config config = of(&s);
	struct lab_verdict v;

	(void)state;
	assert_int_equal(lab_replay(&config, "1x1.2x2.1x2.2x1", listen, NULL, &v), 0);
	assert_int_equal(v.outcome, LAB_HELD);
	assert_int_equal(v.preemptions, 2);
	assert_int_equal(told.preempts, v.preemptions);
	assert_int_equal(told.ops, 6); /* two steps and an end each */
	assert_int_equal(told.notes, 1);
	assert_int_equal(told.verdicts, 1);
	assert_string_equal(told.last, "two: held");
	assert_false(lab_telling);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fault), cmocka_unit_test(test_not_deterministic), cmocka_unit_test(test_ends),
		cmocka_unit_test(test_long),  cmocka_unit_test(test_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
