/* SPDX-License-Identifier: MIT */
/* Stacks and the switch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab/fiber.h"

static struct lab_context context[4];
static char order[64];
static void *local_at;

static void note(char c)
{
	const size_t n = strlen(order);

	order[n] = c;
	order[n + 1] = '\0';
}

static void give_way(uint32_t self, uint32_t to)
{
	lab_fiber_switch(&context[self], &context[to]);
}

static void letters(void *arg)
{
	const uint32_t self = (uint32_t)(uintptr_t)arg;
	/* Live across switches, so that some of them are in registers that a call preserves. */
	uint64_t a = self, b = self * 3, c = self * 7, d = self * 11, e = self * 13, f = self * 17;

#ifdef LAB_FIBER_ASAN
	lab_fiber_asan_arrived(NULL);
#endif
	for (;;) {
		note((char)('a' + self));
		local_at = &a;
		a++, b += 2, c += 3, d += 4, e += 5, f += 6;
		give_way(self, 0);
		if (b - self * 3 != 2 * (a - self) || c - self * 7 != 3 * (a - self) || d - self * 11 != 4 * (a - self) ||
		    e - self * 13 != 5 * (a - self) || f - self * 17 != 6 * (a - self))
			note('!');
	}
}

static void prepare(uint32_t i, void (*entry)(void *))
{
	lab_fiber_prepare(&context[i], i, entry, (void *)(uintptr_t)i);
}

static void test_switches(void **state)
{
	(void)state;
	order[0] = '\0';
	prepare(1, letters);
	prepare(2, letters);
	for (uint32_t i = 0; i < 6; i++)
		give_way(0, 1 + (i & 1));
	assert_string_equal(order, "bcbcbc");
}

static void test_same_place_again(void **state)
{
	void *first;

	(void)state;
	order[0] = '\0';
	prepare(1, letters);
	give_way(0, 1);
	first = local_at;
	/* Given up in the middle; the next execution begins at the beginning, with locals where they were. */
	prepare(1, letters);
	give_way(0, 1);
	assert_ptr_equal(local_at, first);
	assert_int_equal(lab_fiber_stack_of(first), 1);
	prepare(3, letters);
	give_way(0, 3);
	assert_int_equal(lab_fiber_stack_of(local_at), 3);
	assert_int_equal(lab_fiber_stack_of(&first), 0);
	assert_int_equal(lab_fiber_stack_of(order), 0);
}

static void fails(void *arg)
{
	const uint32_t self = (uint32_t)(uintptr_t)arg;

#ifdef LAB_FIBER_ASAN
	lab_fiber_asan_arrived(NULL);
#endif
	note(errno ? '?' : '0');
	errno = EBADF;
	give_way(self, 0);
	note(errno == EBADF ? 'y' : 'n');
	give_way(self, 0);
}

static void test_errno(void **state)
{
	(void)state;
	order[0] = '\0';
	prepare(1, fails);
	errno = EINTR;
	give_way(0, 1);
	assert_int_equal(errno, EINTR);
	errno = EIO;
	give_way(0, 1);
	assert_int_equal(errno, EIO);
	assert_string_equal(order, "?y");
}

static int deep(int n)
{
	volatile char room[512];

	room[0] = (char)n;
	return n == 0 ? room[0] : deep(n - 1) + room[0] - (char)n;
}

static void overflows(void *arg)
{
	(void)arg;
#ifdef LAB_FIBER_ASAN
	lab_fiber_asan_arrived(NULL);
#endif
	deep(1000000);
	_exit(0);
}

/* Negative control for the guard pages: without them the neighbour's stack would be written and this child would go on. */
static void test_guard(void **state)
{
	const struct rlimit no_core = { 0, 0 };
	const pid_t child = fork();
	int status;

	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGSEGV, SIG_DFL);
		prepare(2, overflows);
		give_way(0, 2);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_switches),
		cmocka_unit_test(test_same_place_again),
		cmocka_unit_test(test_errno),
		cmocka_unit_test(test_guard),
	};

	lab_fiber_init(4);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
