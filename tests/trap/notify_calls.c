/* SPDX-License-Identifier: MIT */
/* notify_calls.c: the stopped calls themselves, under signals and beside others who use seccomp. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor.h"

/* ---- signals ---- */

struct caller {
	pthread_t thread;
	char *page;
	_Atomic int tid;
	atomic_long result; /* of its munmap */
	atomic_int handled;
};
static struct caller caller;

static void count(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	(void)context;
	caller.handled++;
}

static void *call_munmap(void *arg)
{
	caller.tid = (int)bare_call(SYS_gettid, 0, 0, 0, 0, 0, 0);
	caller.result = unmap_inline(caller.page, PAGE);
	return arg;
}

/* A thread that is inside munmap, waiting to be received, with a handler of these flags for SIGUSR1. */
static int start_caller(int listener, int flags)
{
	caller.page = map_inline(PAGE, 1);
	caller.result = 1;
	if (set_action(SIGUSR1, count, flags, 0) || pthread_create(&caller.thread, NULL, call_munmap, NULL))
		return SETUP_FAILED;
	return is_waiting(listener, LONG_MS) ? 0 : SETUP_FAILED;
}

static void signal_caller(void)
{
	bare_call(SYS_tgkill, bare_call(SYS_getpid, 0, 0, 0, 0, 0, 0), caller.tid, SIGUSR1, 0, 0, 0);
}

static int interrupt_before_receipt(const void *arg)
{
	unsigned flags = *(const unsigned *)arg;
	int listener = notify_install(munmap_only, ALL_THREADS | flags);
	bool ok;

	if (listener < 0 || start_caller(listener, 0))
		return SETUP_FAILED;
	signal_caller();
	/* Nobody receives anything: the call comes back by itself. Unanswered from here on, so no libc call that may unmap. */
	while (caller.result == 1)
		poll(NULL, 0, 1);
	ok = claim_long("what munmap() returned (EINTR is 4)", caller.result, -EINTR);
	ok &= claim_long("the page still holds", byte_at(caller.page), 1);
	fflush(stdout);
	_exit(ok ? PASSED : FAILED);
}

static atomic_bool churning;

static void *churn(void *arg)
{
	long failures = 0;

	caller.tid = (int)bare_call(SYS_gettid, 0, 0, 0, 0, 0, 0);
	while (churning) {
		char *page = map_inline(PAGE, 1);

		failures += !page || unmap_inline(page, PAGE) != 0;
	}
	caller.result = failures;
	return arg;
}

/* Calls of a thread that failed while 200 signals were handled, or -1. */
static long failed_under_signals(void)
{
	pthread_t t;

	churning = true;
	if (set_action(SIGUSR1, count, 0, 0) || pthread_create(&t, NULL, churn, NULL))
		return -1;
	while (!caller.tid)
		poll(NULL, 0, 1);
	while (caller.handled < 200)
		signal_caller();
	churning = false;
	pthread_join(t, NULL);
	return caller.result;
}

static int calls_under_signals(const void *arg)
{
	(void)arg;
	return claim_long("mmap() and munmap() that failed under 200 signals", failed_under_signals(), 0) ? PASSED : FAILED;
}

/* How often depends on how soon the supervisor gets the processor, so nothing is claimed. */
static int supervised_under_signals(const void *arg)
{
	(void)arg;
	if (supervised() < 0)
		return SETUP_FAILED;
	printf("  mmap() and munmap() that failed under 200 signals: %ld\n", failed_under_signals());
	return PASSED;
}

static int notify_eintr(void)
{
	const unsigned plain = 0, killable = KILLABLE;
	bool ok = true;

	NEEDS_NOTIFY();
	printf(" not intercepted, a handler without SA_RESTART\n");
	ok &= fate_here(calls_under_signals) == PASSED;
	printf(" intercepted, a supervisor at work, with SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\n");
	ok &= fate_here(supervised_under_signals) == PASSED;
	printf(" intercepted, not received yet\n");
	ok &= fate_of(interrupt_before_receipt, &plain) == PASSED;
	printf(" intercepted, not received yet, with SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\n");
	ok &= fate_of(interrupt_before_receipt, &killable) == PASSED;
	return ok ? PASSED : FAILED;
}

/*
 *   caller                       supervisor                      another thread
 *   munmap(p)                    receives, unmaps p
 *                                                                mmap() is given p
 *   a signal, SA_RESTART:
 *   munmap(p) once more          receives, unmaps p              has lost its page
 */
static int interrupt_after_receipt(const void *arg)
{
	unsigned flags = *(const unsigned *)arg;
	int listener = notify_install(munmap_only, ALL_THREADS | flags);
	const unsigned long fresh = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	union request first, again;
	char *p;

	if (listener < 0 || start_caller(listener, SA_RESTART) || receive(listener, &first))
		return SETUP_FAILED;
	p = caller.page;
	gate_call(SYS_munmap, (long)p, PAGE, 0, 0, 0, 0);
	if (gate_call(SYS_mmap, (long)p, PAGE, PROT_READ | PROT_WRITE, (long)fresh, -1, 0) != (long)p)
		return SETUP_FAILED;
	*p = 7;
	signal_caller();
	if (is_waiting(listener, flags & KILLABLE ? A_WHILE_MS : LONG_MS) && receive(listener, &again) == 0) {
		gate_call(SYS_munmap, (long)again.n.data.args[0], PAGE, 0, 0, 0, 0);
		reply(listener, again.n.id, 0);
	}
	reply(listener, first.n.id, 0);
	while (caller.result == 1)
		poll(NULL, 0, 1);
	fflush(stdout);
	_exit(byte_at(p) == 7 ? 50 : byte_at(p) == -1 ? 51 : 52);
}

static int notify_twice(void)
{
	const unsigned plain = 0, killable = KILLABLE;
	bool ok = true;

	NEEDS_NOTIFY();
	printf(" status 50: another thread's new page at the address is there; 51: it was unmapped\n");
	ok &= claim_fate("a signal after the supervisor has made the call", fate_of(interrupt_after_receipt, &plain), 51);
	ok &= claim_fate("with SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", fate_of(interrupt_after_receipt, &killable), 50);
	return ok ? PASSED : FAILED;
}

/* ---- others who use seccomp ---- */

static int second_in_child(const void *arg)
{
	(void)arg;
	return -notify_install(munmap_only, 0);
}

static int second_listener(const void *arg)
{
	bool ok = true;

	(void)arg;
	if (notify_install(munmap_only, 0) < 0)
		return SETUP_FAILED;
	ok &= claim_long("errno of a second listener (EBUSY is 16)", second_in_child(NULL), EBUSY);
	ok &= claim_long("errno of a second listener, in a child", fate_of(second_in_child, NULL), EBUSY);
	fflush(stdout);
	_exit(ok ? PASSED : FAILED);
}

static int notify_second(void)
{
	NEEDS_NOTIFY();
	return fate_here(second_listener);
}

static int sandbox(const long *numbers, unsigned flags)
{
	const struct filter_spec spec = {
		.action = SECCOMP_RET_ERRNO | EPERM,
		.flags = flags,
		.numbers = numbers,
		.no_gate = true,
	};

	return filter_install(&spec);
}

static const long ioctl_only[] = {SYS_ioctl, -1};

static atomic_int sandboxed;

static void *sandbox_this_thread(void *arg)
{
	int rc = sandbox(ioctl_only, 0);

	sandboxed = rc ? rc : 1;
	for (;;)
		pause();
	return arg;
}

static int other_thread_has_filter(const void *arg)
{
	pthread_t t;
	int rc;

	(void)arg;
	if (pthread_create(&t, NULL, sandbox_this_thread, NULL))
		return SETUP_FAILED;
	while (!sandboxed)
		poll(NULL, 0, 1);
	rc = notify_install(munmap_only, ALL_THREADS);
	return sandboxed == 1 ? -rc : SETUP_FAILED;
}

static int sandbox_later(const void *arg)
{
	int listener = notify_install(munmap_only, ALL_THREADS);
	union request request;

	(void)arg;
	if (listener < 0 || sandbox(ioctl_only, SECCOMP_FILTER_FLAG_TSYNC))
		return SETUP_FAILED;
	return -receive(listener, &request);
}

static int notify_sandbox(void)
{
	bool ok = true;

	NEEDS_NOTIFY();
	ok &= claim_fate("errno of a filter for all threads where one has its own (ESRCH is 3)",
			 fate_here(other_thread_has_filter), ESRCH);
	ok &= claim_fate("errno of the supervisor's ioctl() after the program has locked itself in (EPERM is 1)",
			 fate_here(sandbox_later), EPERM);
	return ok ? PASSED : FAILED;
}

const struct experiment notify_call_experiments[] = {
	{"notify_eintr", "mapping calls fail with EINTR, which they never do otherwise", notify_eintr},
	{"notify_twice", "without WAIT_KILLABLE_RECV a call that was made is made again", notify_twice},
	{"notify_second", "there is one listener, for all descendants too", notify_second},
	{"notify_sandbox", "filters of the program's own exclude it, or silence it", notify_sandbox},
	{0},
};
