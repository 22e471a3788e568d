/* SPDX-License-Identifier: MIT */
/*
 * The lock checker by itself (G7): each rule broken on purpose is reported once, with a stack for every edge, in one thread and
 * without waiting for anything; and what is allowed stays silent.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/lockcheck.h"
#include "port/alloc.h"

static unsigned reports;
static struct lockcheck_report last;

static void note(const struct lockcheck_report *r)
{
	reports++;
	last = *r;
}

static int setup(void **state)
{
	(void)state;
	lockcheck_reset();
	lockcheck_set_handler(note);
	reports = 0;
	return 0;
}

static int lock_a, lock_b, lock_c;

/* What a callback that takes one lock looks like to the checker. */
static void callback_taking(const void *lock, const char *name)
{
	lockcheck_invalidating();
	lockcheck_enter_notifier();
	lockcheck_acquire(lock, name);
	lockcheck_release(lock);
	lockcheck_leave_notifier();
}

static void test_opposite_orders(void **state)
{
	(void)state;
	lockcheck_acquire(&lock_a, "a");
	lockcheck_acquire(&lock_b, "b");
	lockcheck_release(&lock_b);
	lockcheck_release(&lock_a);
	assert_int_equal(reports, 0);
	lockcheck_acquire(&lock_b, "b");
	lockcheck_acquire(&lock_a, "a");
	assert_int_equal(reports, 1);
	lockcheck_release(&lock_a);
	lockcheck_release(&lock_b);
	assert_int_equal(last.edges, 2);
	assert_string_equal(last.name[0], "b");
	assert_string_equal(last.name[1], "a");
	assert_true(last.stack[0]->depth > 0 && last.stack[1]->depth > 0);
	/* Two places in this function: not one stack given twice. */
	assert_ptr_not_equal(last.stack[0]->at[0], last.stack[1]->at[0]);
}

static void test_circle_of_three(void **state)
{
	const void *lock[3] = {&lock_a, &lock_b, &lock_c};
	const char *name[3] = {"a", "b", "c"};

	(void)state;
	for (int i = 0; i < 3; i++) {
		lockcheck_acquire(lock[i], name[i]);
		lockcheck_acquire(lock[(i + 1) % 3], name[(i + 1) % 3]);
		lockcheck_release(lock[(i + 1) % 3]);
		lockcheck_release(lock[i]);
		assert_int_equal(reports, i == 2);
	}
	assert_int_equal(last.edges, 3);
	assert_string_equal(last.name[0], "c");
	assert_string_equal(last.name[1], "a");
	assert_string_equal(last.name[2], "b");
	for (int i = 0; i < 3; i++)
		assert_true(last.stack[i]->depth > 0);
}

static void test_allocation_in_callback(void **state)
{
	(void)state;
	lockcheck_enter_notifier();
	lockcheck_allocating();
	lockcheck_leave_notifier();
	assert_int_equal(reports, 1);
	assert_string_equal(last.rule, "allocation inside a callback");
}

/* Both orders of discovery: the lock is seen in a callback first, or under an allocation first. */
static void test_allocation_under_callback_lock(void **state)
{
	(void)state;
	callback_taking(&lock_a, "driver");
	assert_int_equal(reports, 0);
	lockcheck_acquire(&lock_a, "driver");
	lockcheck_allocating();
	lockcheck_release(&lock_a);
	assert_int_equal(reports, 1);
	assert_int_equal(last.edges, 3); /* driver -> allocating -> in notifier -> driver */
	assert_non_null(last.stack[0]);
	assert_null(last.stack[1]); /* that an allocation may invalidate is nobody's stack */
	assert_non_null(last.stack[2]);
}

static void test_allocation_seen_first(void **state)
{
	(void)state;
	lockcheck_acquire(&lock_a, "driver");
	lockcheck_allocating();
	lockcheck_release(&lock_a);
	assert_int_equal(reports, 0);
	callback_taking(&lock_a, "driver");
	assert_int_equal(reports, 1);
	assert_string_equal(last.rule, "allocation under a lock that a callback takes");
}

/* The lock that matters may be one further on: a is held around malloc, and is taken under the lock that the callback takes. */
static void test_allocation_through_second_lock(void **state)
{
	(void)state;
	callback_taking(&lock_b, "driver");
	lockcheck_acquire(&lock_b, "driver");
	lockcheck_acquire(&lock_a, "list");
	lockcheck_release(&lock_a);
	lockcheck_release(&lock_b);
	assert_int_equal(reports, 0);
	lockcheck_acquire(&lock_a, "list");
	lockcheck_allocating();
	lockcheck_release(&lock_a);
	assert_int_equal(reports, 1);
	assert_int_equal(last.edges, 4);
}

static void test_pool_is_an_allocation(void **state)
{
	struct pool p;

	(void)state;
	pool_init(&p, 64, 10);
	lockcheck_enter_notifier();
	assert_non_null(pool_get(&p));
	lockcheck_leave_notifier();
	assert_int_equal(reports, 1);
	pool_destroy(&p);
}

static void test_change_under_callback_lock(void **state)
{
	(void)state;
	callback_taking(&lock_a, "driver");
	lockcheck_acquire(&lock_a, "driver");
	lockcheck_invalidating();
	lockcheck_release(&lock_a);
	assert_int_equal(reports, 1);
	assert_string_equal(last.rule, "address space changed under a lock that a callback takes");
}

static void test_read_begin_under_callback_lock(void **state)
{
	(void)state;
	callback_taking(&lock_a, "driver");
	assert_int_equal(reports, 0);
	lockcheck_acquire(&lock_a, "driver");
	lockcheck_may_wait();
	lockcheck_release(&lock_a);
	assert_int_equal(reports, 1);
	assert_string_equal(last.rule, "read_begin under a lock that is taken before the invalidation ends");
}

/* No callback takes it, but whoever changes the mapping does, between start and end. */
static void test_read_begin_under_lock_of_the_change(void **state)
{
	(void)state;
	lockcheck_opened();
	lockcheck_acquire(&lock_a, "change");
	lockcheck_release(&lock_a);
	lockcheck_closed();
	lockcheck_acquire(&lock_a, "change");
	lockcheck_may_wait();
	lockcheck_release(&lock_a);
	assert_int_equal(reports, 1);
	assert_int_equal(last.edges, 2);
}

static void test_release_of_a_stranger(void **state)
{
	(void)state;
	lockcheck_release(&lock_a);
	assert_int_equal(reports, 1);
	assert_int_equal(last.edges, 0);
}

static void test_each_circle_once(void **state)
{
	(void)state;
	callback_taking(&lock_a, "driver");
	for (int i = 0; i < 3; i++) {
		lockcheck_acquire(&lock_a, "driver");
		lockcheck_allocating();
		lockcheck_release(&lock_a);
	}
	assert_int_equal(reports, 1);
}

/* The rules kept, in the shape of every driver: nothing is said. */
static void test_silent_when_kept(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		lockcheck_may_wait();
		lockcheck_allocating();
		lockcheck_acquire(&lock_a, "driver");
		lockcheck_acquire(&lock_b, "core");
		lockcheck_release(&lock_a); /* not in the order of taking: allowed */
		lockcheck_release(&lock_b);
		callback_taking(&lock_a, "driver");
		lockcheck_opened();
		lockcheck_allocating();
		lockcheck_invalidating(); /* nested in one's own open invalidation */
		lockcheck_closed();
	}
	assert_int_equal(reports, 0);
}

/* Two objects of a class, either order, and one lock twice: classes are not instances, so nothing is known and nothing said. */
static void test_same_class_is_silent(void **state)
{
	(void)state;
	lockcheck_acquire(&lock_a, "driver");
	lockcheck_acquire(&lock_b, "driver");
	lockcheck_acquire(&lock_a, "driver");
	lockcheck_release(&lock_a);
	lockcheck_release(&lock_b);
	lockcheck_release(&lock_a);
	assert_int_equal(reports, 0);
}

static void handler_invalidates(int sig)
{
	(void)sig;
	lockcheck_invalidating();
}

/* G12: a handler cannot know that it interrupted a holder; the same call made by the holder itself is its mistake. */
static void test_signal_handler_is_excused(void **state)
{
	struct sigaction sa = {.sa_handler = handler_invalidates}, old;

	(void)state;
#if !defined(__x86_64__) && !defined(__aarch64__)
	skip();
#endif
	sigaction(SIGUSR1, &sa, &old);
	callback_taking(&lock_a, "driver");
	lockcheck_acquire(&lock_a, "driver");
	raise(SIGUSR1);
	assert_int_equal(reports, 0);
	lockcheck_invalidating();
	assert_int_equal(reports, 1);
	lockcheck_release(&lock_a);
	sigaction(SIGUSR1, &old, NULL);
}

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
static int lock_d;

static unsigned steps, phase;

/* Never b while d is held or d while b is: whoever takes a forgotten entry for a lock that is held sees both. */
static void handler_takes_locks(int sig)
{
	unsigned turn = steps++ + phase;
	const void *lock = turn % 2 ? &lock_b : &lock_d;
	const char *name = turn % 2 ? "b" : "d";

	(void)sig;
	if (turn % 3 == 0) {
		callback_taking(lock, name);
	} else {
		lockcheck_acquire(lock, name);
		lockcheck_release(lock);
	}
}

/* The processor traps after every instruction while this flag is set, but not in handlers. Below the red zone. */
#define SINGLE_STEP "0x100"
#define CHANGE_FLAGS(how) "subq $128, %%rsp; pushfq; " how ", (%%rsp); popfq; addq $128, %%rsp"
static inline void single_step(void)
{
	__asm__ volatile(CHANGE_FLAGS("orq $" SINGLE_STEP) ::: "memory", "cc");
}

static inline void run_on(void)
{
	__asm__ volatile(CHANGE_FLAGS("andq $~" SINGLE_STEP) ::: "memory", "cc");
}
#endif

/* A handler that takes locks comes after every single instruction of the owner's own: no entry is lost, none is left over. */
static void test_handler_at_every_instruction(void **state)
{
	(void)state;
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
	struct sigaction sa = {.sa_handler = handler_takes_locks}, old;

	sigaction(SIGTRAP, &sa, &old);
	callback_taking(&lock_a, "a"); /* so that a change under a or c would be a mistake, but for the handler's */
	callback_taking(&lock_c, "c");
	for (phase = 0; phase < 6; phase++, steps = 0) {
		single_step();
		lockcheck_acquire(&lock_a, "a");
		lockcheck_opened();
		lockcheck_acquire(&lock_c, "c");
		lockcheck_release(&lock_a);
		lockcheck_closed();
		lockcheck_release(&lock_c);
		run_on();
		assert_true(steps > 100);
	}
	sigaction(SIGTRAP, &old, NULL);
	assert_int_equal(reports, 0);
	/* Neither a callback nor one of its locks is open still. */
	lockcheck_allocating();
	assert_int_equal(reports, 0);
	lockcheck_release(&lock_b);
	assert_int_equal(reports, 1);
#else
	skip();
#endif
}

static void *other_half(void *arg)
{
	(void)arg;
	lockcheck_acquire(&lock_b, "b");
	lockcheck_acquire(&lock_a, "a");
	lockcheck_release(&lock_a);
	lockcheck_release(&lock_b);
	lockcheck_thread_exit();
	return NULL;
}

/* The halves in two threads that never meet, in more threads than there are places if they were not given back. */
static void test_across_threads(void **state)
{
	(void)state;
	lockcheck_acquire(&lock_a, "a");
	lockcheck_acquire(&lock_b, "b");
	lockcheck_release(&lock_b);
	lockcheck_release(&lock_a);
	for (int i = 0; i < 600; i++) {
		pthread_t t;

		assert_int_equal(pthread_create(&t, NULL, other_half, NULL), 0);
		pthread_join(t, NULL);
	}
	assert_int_equal(reports, 1);
}

/* More classes and deeper nesting than the tables hold: silence about what does not fit, and no crash. */
static void test_tables_full(void **state)
{
	static char name[2 * LOCKCHECK_CLASSES][8];

	(void)state;
	for (unsigned i = 0; i < 2 * LOCKCHECK_CLASSES; i++) {
		snprintf(name[i], sizeof(name[i]), "n%u", i);
		lockcheck_acquire(name[i], name[i]);
	}
	for (unsigned i = 2 * LOCKCHECK_CLASSES; i-- > 0;)
		lockcheck_release(name[i]);
	assert_int_equal(reports, 0);
	lockcheck_release(&lock_a); /* and the count of what did not fit is right again */
	assert_int_equal(reports, 1);
}

/* Without a handler: both stacks on standard error, then abort. */
static void test_default_prints_and_aborts(void **state)
{
	char text[16384];
	ssize_t len = 0, got;
	int fd[2], status;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(fd), 0);
	child = fork();
	if (child == 0) {
		lockcheck_fork_child(); /* no address space is open, so no fork handler does it */
		signal(SIGABRT, SIG_DFL); /* cmocka would catch it */
		dup2(fd[1], STDERR_FILENO);
		lockcheck_set_handler(NULL);
		callback_taking(&lock_a, "driver lock");
		lockcheck_acquire(&lock_a, "driver lock");
		lockcheck_allocating();
		_exit(0);
	}
	close(fd[1]);
	while (len < (ssize_t)sizeof(text) - 1 && (got = read(fd[0], text + len, sizeof(text) - 1 - (size_t)len)) > 0)
		len += got;
	text[len] = '\0';
	close(fd[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(text, "driver lock was held when (allocating) was taken:"));
	assert_non_null(strstr(text, "(in notifier) was held when driver lock was taken:"));
	assert_non_null(strstr(text, program_invocation_short_name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_opposite_orders, setup),
		cmocka_unit_test_setup(test_circle_of_three, setup),
		cmocka_unit_test_setup(test_allocation_in_callback, setup),
		cmocka_unit_test_setup(test_allocation_under_callback_lock, setup),
		cmocka_unit_test_setup(test_allocation_seen_first, setup),
		cmocka_unit_test_setup(test_allocation_through_second_lock, setup),
		cmocka_unit_test_setup(test_pool_is_an_allocation, setup),
		cmocka_unit_test_setup(test_change_under_callback_lock, setup),
		cmocka_unit_test_setup(test_read_begin_under_callback_lock, setup),
		cmocka_unit_test_setup(test_read_begin_under_lock_of_the_change, setup),
		cmocka_unit_test_setup(test_release_of_a_stranger, setup),
		cmocka_unit_test_setup(test_each_circle_once, setup),
		cmocka_unit_test_setup(test_silent_when_kept, setup),
		cmocka_unit_test_setup(test_same_class_is_silent, setup),
		cmocka_unit_test_setup(test_signal_handler_is_excused, setup),
		cmocka_unit_test_setup(test_handler_at_every_instruction, setup),
		cmocka_unit_test_setup(test_across_threads, setup),
		cmocka_unit_test_setup(test_tables_full, setup),
		cmocka_unit_test_setup(test_default_prints_and_aborts, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
