/* SPDX-License-Identifier: MIT */
/* The memory model's litmus tests, in both modes; and that a model with a mistake in it fails them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lab/litmus/litmus.h"
#include "lab/mistakes.h"

static const struct litmus *const families[] = {litmus_stores, litmus_messages, litmus_fences};

static uint32_t failing(const struct litmus *l, bool weak, bool say)
{
	uint32_t n = 0;

	for (; l->name; l++) {
		const char *wanted = weak || !l->sc ? l->weak : l->sc, *met = litmus_run(l, weak);

		if (strcmp(wanted, met) == 0)
			continue;
		if (say)
			print_message("%s (%s), %s\n  allowed: %s\n  met:     %s\n", l->name, weak ? "weak" : "sc", l->about,
				      wanted, met);
		n++;
	}
	return n;
}

static void test_stores(void **state)
{
	(void)state;
	assert_int_equal(failing(litmus_stores, false, true), 0);
	assert_int_equal(failing(litmus_stores, true, true), 0);
}

static void test_messages(void **state)
{
	(void)state;
	assert_int_equal(failing(litmus_messages, false, true), 0);
	assert_int_equal(failing(litmus_messages, true, true), 0);
}

static void test_fences(void **state)
{
	(void)state;
	assert_int_equal(failing(litmus_fences, false, true), 0);
	assert_int_equal(failing(litmus_fences, true, true), 0);
}

static void test_mistakes_are_noticed(void **state)
{
	(void)state;
	for (uint32_t m = 0; m < LAB_MISTAKES; m++) {
		uint32_t n = 0;

		lab_mistakes = 1u << m;
		for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
			n += failing(families[i], true, false);
		lab_mistakes = 0;
		if (n == 0)
			print_message("mistake %u of the model is not noticed\n", m);
		assert_true(n > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stores),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_fences),
		cmocka_unit_test(test_mistakes_are_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
