/* SPDX-License-Identifier: MIT */
/* sigsys.c: what becomes of programs whose calls are stopped by SIGSYS; see intercept.c. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "trap.h"

extern char **environ;

/* ---- staging ---- */

struct scene {
	enum way way;
	int (*body)(void);
};

static int play(const void *arg)
{
	const struct scene *s = arg;

	return intercept(s->way) ? SETUP_FAILED : s->body();
}

int fate(enum way way, int (*body)(void))
{
	const struct scene s = {way, body};

	return fate_of(play, &s);
}

static int nothing(void)
{
	return 0;
}

bool is_here(enum way way)
{
	return fate(way, nothing) == 0;
}

/* ---- what it is good for ---- */

static bool sees(const char *what, long number, long after)
{
	bool ok = seen.calls == 1 && seen.number == number && seen.before == 1 && seen.after == after;

	printf("  %s: %lu call, %d at start, %d at end\n", what, seen.calls, seen.before, seen.after);
	memset(&seen, 0, sizeof(seen));
	return ok;
}

int look_at_four_calls(void)
{
	char *a = map_inline(PAGE, 1), *b = map_inline(PAGE, 1), *c = map_inline(PAGE, 1), *d = map_inline(PAGE, 1);
	bool ok = true;

	memset(&seen, 0, sizeof(seen));
	unmap_inline(a, PAGE);
	ok &= sees("munmap", SYS_munmap, -1);
	bare_call(SYS_madvise, (long)b, PAGE, MADV_DONTNEED, 0, 0, 0);
	ok &= sees("madvise", SYS_madvise, 0);
	bare_call(SYS_mmap, (long)c, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ok &= sees("mmap", SYS_mmap, 0);
	bare_call(SYS_mremap, (long)d, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (long)c, 0);
	ok &= sees("mremap", SYS_mremap, -1);
	if (dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL))
		ok &= claim("the dynamic linker's own calls are seen", seen.calls > 0);
	return ok ? PASSED : FAILED;
}

static int trap_sees(void)
{
	NEEDS(TRAP);
	return fate(TRAP, look_at_four_calls);
}

/* ---- blocked signals ---- */

int unmap_with_all_blocked(void)
{
	char *page = map_inline(PAGE, 1);

	return page && block_all_signals() && unmap_inline(page, PAGE) == 0 ? 0 : 5;
}

static int trap_blocked(void)
{
	bool ok = true;

	NEEDS(TRAP);
	ok &= claim_fate("all signals blocked, not intercepted", fate(NO_WAY, unmap_with_all_blocked), 0);
	ok &= claim_fate("all signals blocked, intercepted", fate(TRAP, unmap_with_all_blocked), KILLED + SIGSYS);
	ok &= claim_fate("the same with rt_sigprocmask intercepted too", fate(TRAP_MASKS, unmap_with_all_blocked), 0);
	return ok ? PASSED : FAILED;
}

static void *return_at_once(void *arg)
{
	return arg;
}

static int end_a_thread(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, return_at_once, NULL))
		return 5;
	return pthread_join(t, NULL);
}

static int trap_thread_exit(void)
{
	bool ok = true;
	int found;

	NEEDS(TRAP);
	ok &= claim_fate("a thread ends, not intercepted", fate(NO_WAY, end_a_thread), 0);
	found = fate(TRAP, end_a_thread);
	if (found == 0)
		return skip("this libc gives no stack back when a thread ends");
	ok &= claim_fate("a thread ends, intercepted", found, KILLED + SIGSYS);
	ok &= claim_fate("the same with rt_sigprocmask intercepted too", fate(TRAP_MASKS, end_a_thread), 0);
	return ok ? PASSED : FAILED;
}

/* ---- the other calls that block signals ---- */

static char *page_of_handler;

static void unmap_in_handler(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	(void)context;
	unmap_inline(page_of_handler, PAGE);
}

static void block_on_return(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	memset(&((ucontext_t *)context)->uc_sigmask, 0xff, sizeof(uint64_t)); /* the kernel's are eight bytes */
}

int handler_with_full_mask(void)
{
	page_of_handler = map_inline(PAGE, 1);
	if (set_action(SIGUSR1, unmap_in_handler, 0, ~UINT64_C(0)) || send_self(SIGUSR1))
		return 5;
	return byte_at(page_of_handler) == -1 ? 0 : 6;
}

static int handler_during_ppoll(void)
{
	uint64_t usr1 = UINT64_C(1) << (SIGUSR1 - 1), all_but_usr1 = ~usr1;
	struct timespec soon = {.tv_sec = 30};

	page_of_handler = map_inline(PAGE, 1);
	bare_call(SYS_rt_sigprocmask, SIG_BLOCK, (long)&usr1, 0, sizeof(usr1), 0, 0);
	if (set_action(SIGUSR1, unmap_in_handler, 0, 0) || send_self(SIGUSR1))
		return 5;
	bare_call(SYS_ppoll, 0, 0, (long)&soon, (long)&all_but_usr1, sizeof(usr1), 0);
	return byte_at(page_of_handler) == -1 ? 0 : 6;
}

static int mask_from_a_frame(void)
{
	char *page = map_inline(PAGE, 1);

	if (set_action(SIGUSR1, block_on_return, 0, 0) || send_self(SIGUSR1))
		return 5;
	return (int)unmap_inline(page, PAGE);
}

static sem_t is_blocked, go_on;

static void *block_and_unmap(void *page)
{
	block_all_signals();
	sem_post(&is_blocked);
	while (sem_wait(&go_on))
		;
	unmap_inline(page, PAGE);
	return NULL;
}

/* It is there, and has everything blocked, before the interception begins. */
static int blocked_before(const void *arg)
{
	enum way way = *(const enum way *)arg;
	pthread_t t;

	sem_init(&is_blocked, 0, 0);
	sem_init(&go_on, 0, 0);
	if (pthread_create(&t, NULL, block_and_unmap, map_inline(PAGE, 1)))
		return SETUP_FAILED;
	while (sem_wait(&is_blocked))
		;
	if (intercept(way))
		return SETUP_FAILED;
	sem_post(&go_on);
	return pthread_join(t, NULL);
}

static int trap_masks(void)
{
	static const struct {
		const char *what;
		int (*body)(void);
	} rows[] = {
		{"a handler with a full sa_mask", handler_with_full_mask},
		{"a handler that runs during ppoll() with a full mask", handler_during_ppoll},
		{"a full mask put back by a handler's return", mask_from_a_frame},
	};
	const enum way none = NO_WAY, masks = TRAP_MASKS;
	bool ok = true;

	NEEDS(TRAP_MASKS);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		printf(" %s\n", rows[i].what);
		ok &= claim_fate("not intercepted", fate(NO_WAY, rows[i].body), 0);
		ok &= claim_fate("rt_sigprocmask intercepted too", fate(TRAP_MASKS, rows[i].body), KILLED + SIGSYS);
	}
	printf(" a thread that had blocked everything before\n");
	ok &= claim_fate("not intercepted", fate_of(blocked_before, &none), 0);
	ok &= claim_fate("rt_sigprocmask intercepted too", fate_of(blocked_before, &masks), KILLED + SIGSYS);
	return ok ? PASSED : FAILED;
}

/* ---- exec ---- */

int fork_and_exec(void)
{
	pid_t pid = (pid_t)bare_call(SYS_fork, 0, 0, 0, 0, 0, 0);

	if (pid == 0)
		exec_self("ordinary");
	return fate_of_pid(pid) == KILLED + SIGSYS ? 40 : 0;
}

int exec_in_place(void)
{
	exec_self("ordinary");
}

static int exec_true(void)
{
	execlp("true", "true", (char *)NULL);
	return SETUP_FAILED;
}

/* 40: killed by SIGSYS. 41: no such program, as it should be told. */
static int spawn(const char *path, bool all_default)
{
	char *const argv[] = {"trap", "--child", "ordinary", NULL};
	posix_spawnattr_t attr;
	sigset_t all;
	pid_t pid;
	int rc;

	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, all_default ? POSIX_SPAWN_SETSIGDEF : 0);
	rc = posix_spawn(&pid, path, NULL, &attr, argv, environ);
	if (rc)
		return rc == ENOENT ? 41 : 42;
	return fate_of_pid(pid) == KILLED + SIGSYS ? 40 : 0;
}

static int spawn_self(void)
{
	return spawn(self_path(), false);
}

static int spawn_nobody(void)
{
	return spawn("/nonexistent/program", true);
}

static int trap_exec(void)
{
	bool ok = true;
	int found;

	NEEDS(TRAP);
	ok &= claim_fate("fork and exec, not intercepted", fate(NO_WAY, fork_and_exec), 0);
	printf(" status 40: the child was killed by SIGSYS\n");
	ok &= claim_fate("fork and exec, intercepted", fate(TRAP, fork_and_exec), 40);
	ok &= claim_fate("posix_spawn, not intercepted", fate(NO_WAY, spawn_self), 0);
	/* glibc gives the stack of its child back with all signals blocked: the caller dies. */
	found = fate(TRAP, spawn_self);
	ok &= claim("posix_spawn, intercepted: the caller or its child is killed", found == KILLED + SIGSYS || found == 40);
	ok &= claim_fate("posix_spawn, rt_sigprocmask intercepted too", fate(TRAP_MASKS, spawn_self), 40);
	ok &= claim_fate("exec in place, intercepted", fate(TRAP, exec_in_place), KILLED + SIGSYS);
	return ok ? PASSED : FAILED;
}

/*
 * Who starts programs may put all handlers back to the default first. With the mask intercepted the child dies of setting its
 * mask then, before the exec, whose failure nobody is told.
 */
static int trap_spawn(void)
{
	bool ok = true;

	NEEDS(TRAP_MASKS);
	printf(" status 40: the child was killed by SIGSYS; 41: ENOENT\n");
	ok &= claim_fate("a program that is not there, not intercepted", fate(NO_WAY, spawn_nobody), 41);
	ok &= claim_fate("rt_sigprocmask intercepted too", fate(TRAP_MASKS, spawn_nobody), 40);
	return ok ? PASSED : FAILED;
}

/* Inline system calls of this program only, so not those of another that is started: unless it lies at the same address. */
static int trap_own_text(void)
{
	bool ok = true;

	NEEDS(TRAP_OWN_TEXT);
	ok &= claim_fate("another program, started under the filter", fate(TRAP_OWN_TEXT, exec_true), 0);
	ok &= claim_fate("this program, which is not position-independent", fate(TRAP_OWN_TEXT, exec_in_place),
			 KILLED + SIGSYS);
	return ok ? PASSED : FAILED;
}

/* ---- stacks, other handlers, removal ---- */

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* An alternate stack with room for one frame and two KiB of program, as programs have that handle crashes or overflows. */
static int handler_on_small_stack(void)
{
	size_t room = getauxval(AT_MINSIGSTKSZ) + 2048;
	char *guarded = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = {.ss_sp = guarded + 8 * PAGE, .ss_size = room};

	page_of_handler = map_inline(PAGE, 1);
	if (mprotect(guarded + 8 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE) || room > 8 * PAGE || sigaltstack(&stack, NULL))
		return SETUP_FAILED;
	if (set_action(SIGUSR1, unmap_in_handler, SA_ONSTACK, 0) || send_self(SIGUSR1))
		return 5;
	return byte_at(page_of_handler) == -1 ? 0 : 6;
}

static int sigsys_small_stack(void)
{
	bool ok = true;

	NEEDS(TRAP);
	if (!getauxval(AT_MINSIGSTKSZ))
		return skip("the kernel does not say how much a signal takes (5.14)");
	ok &= claim_fate("a handler on a small stack, not intercepted", fate(NO_WAY, handler_on_small_stack), 0);
	ok &= claim_fate("intercepted by a filter", fate(TRAP, handler_on_small_stack), KILLED + SIGSEGV);
	if (is_here(DISPATCH))
		ok &= claim_fate("intercepted by dispatch", fate(DISPATCH, handler_on_small_stack), KILLED + SIGSEGV);
	return ok ? PASSED : FAILED;
}

static volatile int strangers;

static void stranger(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	(void)context;
	strangers++;
}

static int unmap_under_stranger(void)
{
	char *page = map_inline(PAGE, 1);
	bool ok = true;

	memset(&seen, 0, sizeof(seen));
	if (set_action(SIGSYS, stranger, 0, 0))
		return SETUP_FAILED;
	unmap_inline(page, PAGE);
	ok &= claim_long("calls that the other handler got", strangers, 1);
	ok &= claim_long("calls that ours got", (long)seen.calls, 0);
	ok &= claim_long("the page, which should be gone, still holds", byte_at(page), 1);
	return ok ? 0 : 6;
}

static int trap_other_handler(void)
{
	NEEDS(TRAP);
	return claim_fate("another SIGSYS handler is installed later", fate(TRAP, unmap_under_stranger), 0) ? PASSED : FAILED;
}

static int give_it_up(void)
{
	char *page = map_inline(PAGE, 1);

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_DISABLED, NULL) == 0)
		return 0;
	signal(SIGSYS, SIG_DFL);
	return (int)unmap_inline(page, PAGE);
}

static int trap_for_ever(void)
{
	NEEDS(TRAP);
	return claim_fate("the handler is taken away, the filter cannot be", fate(TRAP, give_it_up), KILLED + SIGSYS) ? PASSED
														      : FAILED;
}

const struct experiment sigsys_experiments[] = {
	{"trap_sees", "RET_TRAP sees inline calls and the dynamic linker's, start before and end after", trap_sees},
	{"trap_blocked", "RET_TRAP kills a thread that has its signals blocked", trap_blocked},
	{"trap_thread_exit", "which every thread of this libc has when it ends", trap_thread_exit},
	{"trap_masks", "keeping SIGSYS out of rt_sigprocmask leaves the other ways to block it", trap_masks},
	{"trap_exec", "RET_TRAP kills every program that is started", trap_exec},
	{"trap_spawn", "rt_sigprocmask intercepted kills a child that sets signals to the default before its exec", trap_spawn},
	{"trap_own_text", "a filter on one program's text hits the same program started again", trap_own_text},
	{"sigsys_small_stack", "a signal needs room on the stack that a system call does not", sigsys_small_stack},
	{"trap_other_handler", "another handler for SIGSYS swallows the program's mapping calls", trap_other_handler},
	{"trap_for_ever", "a filter outlives the monitor", trap_for_ever},
	{0},
};
