/* SPDX-License-Identifier: MIT */
/* The seam's threads and clock: thread areas, exit, service threads, cancellation, fork handlers. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "port/clock.h"
#include "port/inject.h"
#include "port/sync.h"
#include "port/thread.h"

static struct uhmm_a32 exits;
static struct uhmm_aptr exit_area;

static void note_exit(void *area)
{
	aptr_store_release(&exit_area, area);
	a32_fetch_add_full(&exits, 1);
}

/* A dirty area, registered or not; returns where it was, or NULL if it was not zero at first. */
static void *dirty_area(void *wants_exit)
{
	unsigned char *area = thread_area();

	for (unsigned i = 0; i < THREAD_AREA_SIZE; i++)
		if (area[i])
			return NULL;
	memset(area, 0xff, THREAD_AREA_SIZE);
	if (wants_exit && thread_exit_register(note_exit) != 0)
		return NULL;
	return area;
}

static void areas_begin_as_zeroes(void **state)
{
	pthread_t thread;
	void *first, *second;

	(void)state;
	/* The second thread usually gets the first one's stack and thread-local block again. */
	pthread_create(&thread, NULL, dirty_area, NULL);
	pthread_join(thread, &first);
	pthread_create(&thread, NULL, dirty_area, NULL);
	pthread_join(thread, &second);
	assert_non_null(first);
	assert_non_null(second);
	assert_int_equal((uintptr_t)first % 64, 0);
	assert_ptr_not_equal(first, thread_area());
}

static void a_registered_thread_reports_its_exit(void **state)
{
	pthread_t thread;
	void *area;

	(void)state;
	a32_store_release(&exits, 0);
	pthread_create(&thread, NULL, dirty_area, NULL);
	pthread_join(thread, &area);
	assert_int_equal(a32_load_acquire(&exits), 0);
	pthread_create(&thread, NULL, dirty_area, &exits);
	pthread_join(thread, &area);
	assert_int_equal(a32_load_acquire(&exits), 1);
	assert_ptr_equal(aptr_load_acquire(&exit_area), area);
}

struct seen {
	struct thread_service service;
	sigset_t blocked;
	int cancel_state;
	char name[16];
	void *local;
	struct uhmm_a32 ran;
};

static void look_around(void *arg)
{
	struct seen *s = arg;
	int local;

	pthread_sigmask(SIG_SETMASK, NULL, &s->blocked);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &s->cancel_state);
	s->local = &local;
	a32_store_release(&s->ran, 1);
}

static bool is_mapped(void *addr)
{
	unsigned char resident;

	return mincore((void *)((uintptr_t)addr & ~(uintptr_t)4095), 1, &resident) == 0;
}

static void a_service_thread_keeps_out_of_the_way(void **state)
{
	struct seen s = {0};
	sigset_t before, after;

	(void)state;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(thread_service_start(&s.service, look_around, &s, "uhmm-test"), 0);
	thread_service_join(&s.service);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_int_equal(s.ran.private_value, 1);
	for (int sig = 1; sig < 32; sig++) {
		if (sig != SIGKILL && sig != SIGSTOP)
			assert_int_equal(sigismember(&s.blocked, sig), 1);
		assert_int_equal(sigismember(&before, sig), sigismember(&after, sig));
	}
	assert_int_equal(s.cancel_state, PTHREAD_CANCEL_DISABLE);
	assert_false(is_mapped(s.service.stack));
}

static void a_service_thread_that_cannot_start_leaves_nothing(void **state)
{
	struct seen s = {0};

	(void)state;
	port_inject_fail(INJECT_THREAD, 1);
	assert_int_equal(thread_service_start(&s.service, look_around, &s, "uhmm-test"), -EAGAIN);
	port_inject_fail(INJECT_MAP, 1);
	assert_int_equal(thread_service_start(&s.service, look_around, &s, "uhmm-test"), -ENOMEM);
	port_inject_fail(INJECT_MAP, 0);
	assert_int_equal(s.ran.private_value, 0);
	assert_null(s.service.handle);
}

struct cancelled {
	struct uhmm_a32 ready, requested, survived, restored;
};

static void *resist(void *arg)
{
	struct cancelled *c = arg;
	int old = thread_cancel_disable();

	a32_store_release(&c->ready, 1);
	while (!a32_load_acquire(&c->requested))
		sched_yield();
	pthread_testcancel();
	a32_store_release(&c->survived, 1);
	thread_cancel_restore(old);
	pthread_testcancel();
	a32_store_release(&c->restored, 1); /* not reached */
	return NULL;
}

static void cancellation_waits_for_the_restore(void **state)
{
	struct cancelled c = {0};
	pthread_t thread;
	void *result;

	(void)state;
	pthread_create(&thread, NULL, resist, &c);
	while (!a32_load_acquire(&c.ready))
		sched_yield();
	pthread_cancel(thread);
	a32_store_release(&c.requested, 1);
	pthread_join(thread, &result);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_int_equal(c.survived.private_value, 1);
	assert_int_equal(c.restored.private_value, 0);
}

static struct uhmm_a32 fork_log; /* one hexadecimal digit for each handler that ran */

static void log_fork(uint32_t digit)
{
	a32_store_release(&fork_log, a32_load_acquire(&fork_log) * 16 + digit);
}

static void log_prepare(void)
{
	log_fork(1);
}

static void log_parent(void)
{
	log_fork(2);
}

static void log_child(void)
{
	log_fork(3);
}

static void fork_runs_its_handlers(void **state)
{
	int status;
	pid_t child;

	(void)state;
	assert_int_equal(thread_atfork(log_prepare, log_parent, log_child), 0);
	a32_store_release(&fork_log, 0);
	child = fork();
	if (child == 0)
		_exit(a32_load_acquire(&fork_log) == 0x13 ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(a32_load_acquire(&fork_log), 0x12);
}

struct sleeper {
	struct uhmm_a32 begun, ended;
	uint64_t slept_ns;
};

static void on_signal(int sig)
{
	(void)sig;
}

static void *sleep_20_ms(void *arg)
{
	struct sleeper *s = arg;
	uint64_t begun = clock_now_ns();

	a32_store_release(&s->begun, 1);
	clock_sleep_ns(20000000);
	s->slept_ns = clock_now_ns() - begun;
	a32_store_release(&s->ended, 1);
	return NULL;
}

static void signals_do_not_shorten_a_sleep(void **state)
{
	struct sigaction action = {.sa_handler = on_signal}, old;
	struct sleeper s = {0};
	pthread_t thread;

	(void)state;
	sigaction(SIGUSR1, &action, &old);
	pthread_create(&thread, NULL, sleep_20_ms, &s);
	while (!a32_load_acquire(&s.begun))
		sched_yield();
	while (!a32_load_acquire(&s.ended)) {
		pthread_kill(thread, SIGUSR1);
		clock_sleep_ns(1000000);
	}
	pthread_join(thread, NULL);
	sigaction(SIGUSR1, &old, NULL);
	assert_true(s.slept_ns >= 20000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(areas_begin_as_zeroes),
		cmocka_unit_test(a_registered_thread_reports_its_exit),
		cmocka_unit_test(a_service_thread_keeps_out_of_the_way),
		cmocka_unit_test(a_service_thread_that_cannot_start_leaves_nothing),
		cmocka_unit_test(cancellation_waits_for_the_restore),
		cmocka_unit_test(fork_runs_its_handlers),
		cmocka_unit_test(signals_do_not_shorten_a_sleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
