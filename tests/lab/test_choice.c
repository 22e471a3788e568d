/* SPDX-License-Identifier: MIT */
/* The stack of choices, and schedules as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "lab/choice.h"
#include "lab/run.h"

static struct lab_stack stack;
static struct lab_schedule schedule;

static void test_all_combinations(void **state)
{
	char seen[200] = "";

	(void)state;
	stack.length = 0;
	do {
		char one[8];
		uint32_t a, b;

		lab_stack_rewind(&stack);
		a = lab_stack_take(&stack, LAB_CHOICE_DATA, 1, 3);
		b = a == 1 ? lab_stack_take(&stack, LAB_CHOICE_LOAD, 2, 2) : 7; /* later choices may depend on earlier ones */
		snprintf(one, sizeof(one), "%u%u ", a, b);
		strcat(seen, one);
		assert_true(lab_stack_taken(&stack));
	} while (lab_stack_next(&stack, 0));
	assert_string_equal(seen, "07 10 11 27 ");
	assert_int_equal(stack.length, 0);
}

static void test_floor(void **state)
{
	(void)state;
	stack.length = 0;
	lab_stack_rewind(&stack);
	lab_stack_take(&stack, LAB_CHOICE_DATA, 1, 2);
	lab_stack_take(&stack, LAB_CHOICE_DATA, 1, 2);
	assert_true(lab_stack_next(&stack, 1));
	assert_false(lab_stack_next(&stack, 1));
	assert_int_equal(stack.length, 1);
	assert_true(lab_stack_next(&stack, 0));
}

/* The same beginning, and then something else is asked: said, not gone along with. */
static void test_mismatch(void **state)
{
	static const struct {
		enum lab_choice_kind kind;
		uint32_t fiber, n;
	} wrong[] = { { LAB_CHOICE_LOAD, 1, 3 }, { LAB_CHOICE_DATA, 2, 3 }, { LAB_CHOICE_DATA, 1, 2 } };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memset(&lab_run, 0, sizeof(lab_run));
		stack.length = 0;
		lab_stack_rewind(&stack);
		lab_stack_take(&stack, LAB_CHOICE_DATA, 1, 3);
		lab_stack_rewind(&stack);
		lab_stack_take(&stack, wrong[i].kind, wrong[i].fiber, wrong[i].n);
		assert_int_equal(lab_run.verdict.outcome, LAB_LOST);
		assert_int_equal(lab_run.verdict.invariant, 9);
		assert_non_null(strstr(lab_run.verdict.text, "not deterministic: choice 0 was the scenario's data among 3"));
	}
}

static void test_text(void **state)
{
	static const char *const texts[] = {
		"", "1x12", "1x12.2x3.1x1", "1x0.D1.1x5.2x1", "1x5.L1.2x3.F1.1x2", "3x4.F2+1.3x1", "1x2.S0.T1.2x9",
		"1x1.E1.1x4.B1.L2.2x2",
	};
	char text[LAB_SCHEDULE_MAX];
	size_t at;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_null(lab_schedule_parse(texts[i], &schedule, &at));
		assert_true(lab_schedule_print(&schedule, text, sizeof(text)));
		assert_string_equal(text, texts[i]);
	}
	/* A run that was cut only to say what was chosen in it is one run. */
	assert_null(lab_schedule_parse("1x5.L1.1x3", &schedule, &at));
	assert_int_equal(schedule.runs, 1);
	assert_int_equal(schedule.run[0].count, 8);
	assert_int_equal(schedule.choice[0].turns, 5);
	assert_false(lab_schedule_print(&schedule, text, 6));
	assert_string_equal(text, "");
}

static void test_bad_text(void **state)
{
	static const struct {
		const char *text;
		size_t at;
	} bad[] = {
		{ "x", 0 }, { "1", 0 }, { "1x", 0 }, { "0x3", 0 }, { "12x3", 0 }, { "1x3,2x2", 0 }, { "1x3.", 0 },
		{ "-1x3", 0 }, { "L1", 0 }, { "1x3.Q1", 4 }, { "1x3.L", 4 }, { "1x3.F0", 4 }, { "1x3..2x1", 4 },
		{ "1x3.F1+99", 4 }, { "1x99999999999", 0 },
	};
	size_t at;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		at = 99;
		assert_non_null(lab_schedule_parse(bad[i].text, &schedule, &at));
		assert_int_equal(at, bad[i].at);
	}
}

static void test_trim(void **state)
{
	char text[64];

	(void)state;
	lab_schedule_clear(&schedule);
	lab_schedule_turn(&schedule, 1, 4, true);
	lab_schedule_choice(&schedule, LAB_CHOICE_LOAD, 1, 0, 4);
	lab_schedule_turn(&schedule, 2, 3, false);
	lab_schedule_turn(&schedule, 1, 9, true);
	lab_schedule_trim(&schedule);
	assert_true(lab_schedule_print(&schedule, text, sizeof(text)));
	assert_string_equal(text, "1x4.2x3"); /* the 0 and what goes on by itself are not said */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_combinations), cmocka_unit_test(test_floor), cmocka_unit_test(test_mismatch),
		cmocka_unit_test(test_text),		 cmocka_unit_test(test_bad_text), cmocka_unit_test(test_trim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
