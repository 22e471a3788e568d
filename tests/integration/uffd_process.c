/* SPDX-License-Identifier: MIT */
/*
 * The witness and processes: fork with and without handlers, vfork, a child that outlives the address space, a reader that is
 * killed from outside; two address spaces; io_uring's own discards are in uring_*.c.
 */
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <elf.h>

#include "uffd_common.h"

static void replace(unsigned char *p, unsigned char value)
{
	raw_unmap(p, PAGE);
	raw_map(p, PAGE);
	*p = value;
}

static void await_child(pid_t pid)
{
	int status = 0;

	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Both go on with a witness of their own. */
static void test_fork(void)
{
	unsigned char *p = map_alone(1, ANON, -1);
	struct cached c;
	pid_t pid;

	*p = 1;
	CHECK(cached_open(&c, UHMM_MONITOR_UFFD, 0) == 0);
	CHECK(cached_get(&c, p) == 1 && cached_keeps(&c, p));
	pid = fork();
	CHECK(pid >= 0);
	CHECK(cached_get(&c, p) == 1 && cached_keeps(&c, p));
	replace(p, 2);
	CHECK(cached_get(&c, p) == 2 && cached_keeps(&c, p));
	replace(p, 3);
	CHECK(cached_get(&c, p) == 3);
	if (pid)
		await_child(pid);
	cached_close(&c);
	if (!pid)
		_exit(0);
}

/* The kernel says that there was a fork where it may (with the privilege); the child must not touch the library. */
static void test_bare_fork(void)
{
	unsigned char *p = map_alone(1, ANON, -1);
	struct cached c;
	pid_t pid;

	*p = 1;
	CHECK(cached_open(&c, UHMM_MONITOR_UFFD, 0) == 0);
	CHECK(cached_get(&c, p) == 1);
	pid = (pid_t)bare_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
	if (!pid) {
		/* Nobody waits for anybody: these mappings are not watched. */
		bare_call(SYS_munmap, (long)p, PAGE, 0, 0, 0, 0);
		bare_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
	}
	CHECK(pid > 0);
	await_child(pid);
	replace(p, 2);
	CHECK(cached_get(&c, p) == 2);
	cached_close(&c);
}

/* A child without handlers has the descriptor, too. Closing ours must end the watching all the same. */
static void test_child_outlives(void)
{
	unsigned char *p = map_alone(1, ANON, -1), *rest = map_alone(2, ANON, -1);
	struct cached c;
	int fd[2];
	char byte;
	pid_t pid;

	*p = 1;
	CHECK(cached_open(&c, UHMM_MONITOR_UFFD, 0) == 0);
	CHECK(cached_get(&c, p) == 1 && pipe(fd) == 0);
	CHECK(cached_get(&c, rest) == 0);
	raw_unmap(rest, PAGE); /* which takes all of it out of the library's list, but not the other page off the kernel's */
	cached_get(&c, p);
	pid = (pid_t)bare_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
	if (!pid) {
		bare_call(SYS_close, fd[1], 0, 0, 0, 0, 0);
		bare_call(SYS_read, fd[0], (long)&byte, 1, 0, 0, 0);
		bare_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
	}
	cached_close(&c);
	raw_unmap(p, PAGE); /* hangs if an event were still sent */
	raw_unmap(rest + PAGE, PAGE);
	close(fd[1]);
	close(fd[0]);
	await_child(pid);
}

static void test_vfork(void)
{
	struct cached c;
	pid_t pid;

	CHECK(cached_open(&c, UHMM_MONITOR_UFFD, 0) == 0);
	pid = vfork();
	if (!pid)
		_exit(0);
	await_child(pid);
	cached_close(&c);
}

/* Two address spaces share what the kernel has one of; either may go first. */
static void test_two(void)
{
	unsigned char *p = map_alone(1, ANON, -1);
	struct cached a, b;

	for (int first = 0; first < 2; first++) {
		*p = 1;
		CHECK(cached_open(&a, UHMM_MONITOR_UFFD, 0) == 0);
		CHECK(cached_open(&b, UHMM_MONITOR_UFFD, 0) == 0);
		CHECK(cached_get(&a, p) == 1 && cached_get(&b, p) == 1);
		replace(p, 2);
		CHECK(cached_get(&a, p) == 2 && cached_get(&b, p) == 2);
		cached_close(first ? &a : &b);
		replace(p, 3);
		CHECK(cached_get(first ? &b : &a, p) == 3);
		CHECK(cached_keeps(first ? &b : &a, p));
		cached_close(first ? &b : &a);
	}
}

/* One that hears of hooked calls from the hooks, and one that must hear of them from the kernel. */
static void test_hooked_and_not(void)
{
	unsigned char *p = map_alone(1, ANON, -1);
	struct cached a, b;
	int err = cached_open(&a, UHMM_MONITOR_UFFD | UHMM_MONITOR_HOOKS, 0);

	if (err == -EOPNOTSUPP || err == -EBUSY)
		return;
	CHECK(err == 0);
	for (int i = 0; i < 20; i++) {
		*p = 1;
		CHECK(cached_open(&b, UHMM_MONITOR_UFFD, 0) == 0);
		cached_get(&a, p); /* perhaps the registration from before, of the same page */
		CHECK(cached_get(&b, p) == 1);
		CHECK(munmap(p, PAGE) == 0);
		raw_map(p, PAGE);
		*p = 2;
		CHECK(cached_get(&a, p) == 2 && cached_get(&b, p) == 2);
		CHECK(madvise(p, PAGE, MADV_DONTNEED) == 0);
		*p = 3;
		CHECK(cached_get(&a, p) == 3 && cached_get(&b, p) == 3);
		cached_close(&b);
	}
	cached_close(&a);
}

/* ---- the reader is killed ---- */

#if defined(__x86_64__)
static pid_t thread_named(const char *name)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	pid_t found = 0;

	while (d && (e = readdir(d))) {
		char path[300], comm[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "r");
		if (f && fgets(comm, sizeof(comm), f) && strncmp(comm, name, strlen(name)) == 0)
			found = (pid_t)atoi(e->d_name);
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return found;
}

/* In the killer, which is a child: makes the thread do exit() where it stands. 0, or SKIP. */
static int kill_thread(pid_t tid)
{
	struct user_regs_struct regs;
	struct iovec io = {.iov_base = &regs, .iov_len = sizeof(regs)};
	int status;

	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) || ptrace(PTRACE_INTERRUPT, tid, NULL, NULL))
		return SKIP;
	if (waitpid(tid, &status, __WALL) != tid || ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &io))
		return 1;
	/* It sleeps in a system call: back to the instruction, with another number. */
	regs.rip -= 2;
	regs.rax = SYS_exit;
	regs.orig_rax = (unsigned long long)-1;
	regs.rdi = 0;
	if (ptrace(PTRACE_SETREGSET, tid, (void *)NT_PRSTATUS, &io) || ptrace(PTRACE_DETACH, tid, NULL, NULL))
		return 1;
	return 0;
}

static void test_killed_reader(void)
{
	unsigned char *p = map_alone(1, ANON, -1);
	struct cached c;
	int status = 0;
	pid_t tid, killer;

	*p = 1;
	CHECK(cached_open(&c, UHMM_MONITOR_UFFD, 0) == 0);
	CHECK(cached_get(&c, p) == 1 && cached_keeps(&c, p));
	tid = thread_named("uhmm-uffd");
	CHECK(tid > 0);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	killer = (pid_t)bare_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
	if (!killer)
		bare_call(SYS_exit_group, kill_thread(tid), 0, 0, 0, 0, 0);
	CHECK(waitpid(killer, &status, 0) == killer && WIFEXITED(status));
	if (WEXITSTATUS(status) == SKIP) {
		printf("not killed: ptrace is not allowed here\n");
	} else {
		CHECK(WEXITSTATUS(status) == 0);
		replace(p, 2); /* returns, and what was cached is not any more */
		CHECK(cached_get(&c, p) == 2);
		CHECK(!cached_keeps(&c, p));
		replace(p, 3);
		CHECK(cached_get(&c, p) == 3);
	}
	cached_close(&c);
	CHECK(cached_open(&c, UHMM_MONITOR_UFFD, 0) == 0);
	CHECK(cached_get(&c, p) == *p && cached_keeps(&c, p));
	cached_close(&c);
}
#else
static void test_killed_reader(void)
{
}
#endif

int main(void)
{
	struct cached c;
	int err;

#ifdef __SANITIZE_THREAD__
	printf("skipped: ThreadSanitizer does not support threads in forked children of a threaded process\n");
	return SKIP;
#endif
	err = cached_open(&c, UHMM_MONITOR_UFFD, 0);
	need_witness(err);
	CHECK(err == 0);
	cached_close(&c);
	test_fork();
	test_bare_fork();
	test_child_outlives();
	test_vfork();
	test_two();
	test_hooked_and_not();
	test_killed_reader();
	return 0;
}
