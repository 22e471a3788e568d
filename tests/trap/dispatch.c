/* SPDX-License-Identifier: MIT */
/*
 * dispatch.c: syscall user dispatch. Of one thread, every system call that does not come from one region of addresses (or,
 * since 6.16, every one that does) is a SIGSYS. Nothing is inherited: no thread, no child, no program started has it.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "port/linux_new.h"
#include "trap.h"

static int look_at_all(void)
{
	bool ok = look_at_four_calls() == PASSED;
	unsigned long before = seen.all;

	bare_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
	ok &= claim("a call that is none of the monitor's business is stopped as well", seen.all == before + 1);
	return ok ? PASSED : FAILED;
}

static int dispatch_sees(void)
{
	NEEDS(DISPATCH);
	return fate(DISPATCH, look_at_all);
}

/* ---- blocked signals ---- */

static int block_then_dispatch(void)
{
	char *page = map_inline(PAGE, 1);

	block_all_signals();
	if (intercept(DISPATCH))
		return SETUP_FAILED;
	return (int)unmap_inline(page, PAGE);
}

static int dispatch_blocked(void)
{
	bool ok = true;

	NEEDS(DISPATCH);
	ok &= claim_fate("a thread that had blocked everything", fate(NO_WAY, block_then_dispatch), KILLED + SIGSYS);
	ok &= claim_fate("a handler with a full sa_mask", fate(DISPATCH, handler_with_full_mask), KILLED + SIGSYS);
	return ok ? PASSED : FAILED;
}

/* ---- who has it ---- */

static void *unmap_in_thread(void *page)
{
	dispatch_pause(false);
	unmap_inline(page, PAGE);
	dispatch_pause(true);
	return NULL;
}

static int unmap_in_new_thread(void)
{
	char *page = map_inline(PAGE, 1);
	pthread_t t;
	bool ok;

	memset(&seen, 0, sizeof(seen));
	dispatch_pause(true);
	if (pthread_create(&t, NULL, unmap_in_thread, page))
		return SETUP_FAILED;
	pthread_join(t, NULL);
	ok = claim_long("calls seen of a new thread that unmaps a page", (long)seen.calls, 0);
	return claim_long("the page holds", byte_at(page), -1) && ok ? PASSED : FAILED;
}

static sem_t go_on;

static void *unmap_when_told(void *page)
{
	while (sem_wait(&go_on))
		;
	return unmap_in_thread(page);
}

/* The thread is there before; there is no way to begin for another thread, but as its tracer. */
static int unmap_in_old_thread(const void *arg)
{
	char *page = map_inline(PAGE, 1);
	pthread_t t;
	bool ok;

	(void)arg;
	sem_init(&go_on, 0, 0);
	if (pthread_create(&t, NULL, unmap_when_told, page) || intercept(DISPATCH))
		return SETUP_FAILED;
	dispatch_pause(true);
	sem_post(&go_on);
	pthread_join(t, NULL);
	ok = claim_long("calls seen of an older thread that unmaps a page", (long)seen.calls, 0);
	return claim_long("the page holds", byte_at(page), -1) && ok ? PASSED : FAILED;
}

static int unmap_in_vfork_child(void)
{
	char *page = map_inline(PAGE, 1);
	bool ok;
	pid_t pid;

	memset(&seen, 0, sizeof(seen));
	dispatch_pause(true);
	pid = vfork();
	if (pid == 0) {
		dispatch_pause(false);
		unmap_inline(page, PAGE);
		dispatch_pause(true);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	ok = claim_long("calls seen of a vfork() child that unmaps a page of ours", (long)seen.calls, 0);
	return claim_long("the page holds", byte_at(page), -1) && ok ? PASSED : FAILED;
}

static int dispatch_threads(void)
{
	bool ok = true;

	NEEDS(DISPATCH);
	ok &= fate(DISPATCH, unmap_in_new_thread) == PASSED;
	ok &= fate_of(unmap_in_old_thread, NULL) == PASSED;
	ok &= fate(DISPATCH, unmap_in_vfork_child) == PASSED;
	return ok ? PASSED : FAILED;
}

static int dispatch_exec(void)
{
	bool ok = true;

	NEEDS(DISPATCH);
	ok &= claim_fate("fork and exec", fate(DISPATCH, fork_and_exec), 0);
	ok &= claim_fate("exec in place", fate(DISPATCH, exec_in_place), 0);
	return ok ? PASSED : FAILED;
}

/* ---- one for all ---- */

static volatile char other_selector = SYSCALL_DISPATCH_FILTER_ALLOW;

static int dispatch_again(void)
{
	char *page = map_inline(PAGE, 1);
	bool ok;

	ok = claim("a second one is accepted",
		   prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &other_selector) == 0);
	memset(&seen, 0, sizeof(seen));
	unmap_inline(page, PAGE);
	return claim_long("calls that the first one sees afterwards", (long)seen.all, 0) && ok ? PASSED : FAILED;
}

static int dispatch_replaced(void)
{
	NEEDS(DISPATCH);
	return fate(DISPATCH, dispatch_again);
}

#define REGION 256ul /* of code, beginning with a function */

static __attribute__((noinline, aligned(256))) long unmap_here(void *at)
{
	return bare_call(SYS_munmap, (long)at, PAGE, 0, 0, 0, 0);
}

static __attribute__((noinline, aligned(256))) long unmap_there(void *at)
{
	return bare_call(SYS_munmap, (long)at, PAGE, 1, 0, 0, 0);
}

static bool only_from(long (*fn)(void *at))
{
	return prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_INCLUSIVE_ON, fn, REGION, NULL) == 0;
}

static long times_seen(long (*fn)(void *at))
{
	char *page = map_inline(PAGE, 1);

	memset(&seen, 0, sizeof(seen));
	fn(page);
	return (long)seen.calls;
}

static int two_regions(void)
{
	bool ok = true;

	dispatch_pause(true); /* the handler stays */
	if (!only_from(unmap_here))
		return SKIPPED;
	ok &= claim_long("calls seen from the region", times_seen(unmap_here), 1);
	ok &= claim_long("calls seen from elsewhere", times_seen(unmap_there), 0);
	ok &= claim("a second region is accepted", only_from(unmap_there));
	ok &= claim_long("calls seen from the first one then", times_seen(unmap_here), 0);
	return ok ? PASSED : FAILED;
}

static int dispatch_inclusive(void)
{
	int rc;

	NEEDS(DISPATCH);
	rc = fate(DISPATCH, two_regions);
	return rc == SKIPPED ? skip("this kernel has no PR_SYS_DISPATCH_INCLUSIVE_ON (6.16)") : rc;
}

const struct experiment dispatch_experiments[] = {
	{"dispatch_sees", "dispatch sees inline calls, and every other call of the thread too", dispatch_sees},
	{"dispatch_blocked", "dispatch kills a thread that has its signals blocked", dispatch_blocked},
	{"dispatch_threads", "dispatch is one thread's: not other threads', not a vfork() child's", dispatch_threads},
	{"dispatch_exec", "programs that are started run as ever", dispatch_exec},
	{"dispatch_replaced", "another user of dispatch replaces it without a word", dispatch_replaced},
	{"dispatch_inclusive", "by region there is one region a thread", dispatch_inclusive},
	{0},
};
