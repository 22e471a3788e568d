/* SPDX-License-Identifier: MIT */
/*
 * hooks_process: fork (R29), vfork, posix_spawn, bare fork and clone, exec, cancellation, signals; with hooks in place and
 * other threads busy in malloc and munmap. What hangs is ended by an alarm, and that is a failure.
 */
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../emulated.h"
#include "hooks_common.h"

#define CHECK(condition)                                                                                                    \
	do {                                                                                                                \
		if (!(condition)) {                                                                                         \
			fprintf(stderr, "%s:%d: %s\n", __func__, __LINE__, #condition);                                     \
			exit(1);                                                                                            \
		}                                                                                                           \
	} while (0)

static struct uhmm_mm *mm;
static atomic_int stop;

static void reap(pid_t child)
{
	int status;

	CHECK(child > 0);
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- other threads ---- */

static void *trim(void *arg)
{
	while (!stop) {
		char *block[64];

		for (int i = 0; i < 64; i++)
			block[i] = malloc(8 << 10);
		for (int i = 0; i < 64; i++)
			free(block[i]);
		malloc_trim(0); /* madvise and brk with the arena's lock held */
	}
	return arg;
}

/* Keeps the address space's own lock busy: what a bare fork() would copy in a locked state. */
static void *insert(void *arg)
{
	char *p = bare_map(2 * PAGE, 1);

	while (!stop) {
		struct watch w;

		watch_on(mm, &w, p, PAGE);
		madvise(p, PAGE, MADV_DONTNEED);
		watch_off(&w);
	}
	bare_unmap(p, 2 * PAGE);
	return arg;
}

static pthread_t busy[3];

static void start_busy(void)
{
	void *(*const jobs[])(void *) = {trim, trim, insert};

	stop = 0;
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&busy[i], NULL, jobs[i], NULL) == 0);
}

static void stop_busy(void)
{
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(busy[i], NULL);
}

/* ---- fork ---- */

/* In the child the address space is empty and usable, and its hooks work. */
static void child_of_fork(char *p, struct watch *parents)
{
	struct watch w;

	alarm(20);
	CHECK(uhmm_read_begin(&parents->n) == UHMM_SEQ_DEAD);
	watch_on(mm, &w, p, PAGE);
	CHECK(munmap(p, PAGE) == 0);
	CHECK(w.drops == 1);
	watch_off(&w);
	free(malloc(1 << 20));
	_exit(0);
}

static void test_fork(int times)
{
	char *p = bare_map(2 * PAGE, 1);
	struct watch w;

	watch_on(mm, &w, p + PAGE, PAGE);
	/* Waits for what a signal handler of an earlier test has queued for the same address. */
	CHECK(uhmm_read_begin(&w.n) != UHMM_SEQ_DEAD);
	for (int i = 0; i < times; i++) {
		int before = w.drops;
		pid_t child = fork();

		if (child == 0)
			child_of_fork(p, &w);
		CHECK(w.kind == (int)UHMM_EVENT_RELEASE && w.drops == before + 1); /* and nothing of what the child did */
		reap(child);
		CHECK(w.drops == before + 1);
	}
	watch_off(&w);
	bare_unmap(p, 2 * PAGE);
}

static void test_grandchild(void)
{
	pid_t child = fork();

	if (child == 0) {
		alarm(20);
		test_fork(2);
		_exit(0);
	}
	reap(child);
}

/* A child in which a bare fork left things as they were: its mapping calls go through, and wait for nobody. */
static void test_bare_fork(int times)
{
	const struct itimerval limit = {.it_value = {.tv_sec = 20}};
	char *p = bare_map(PAGE, 1);
	struct watch w;

	watch_on(mm, &w, p, PAGE);
	for (int i = 0; i < times; i++) {
		pid_t child = (pid_t)(i % 2 ? syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)
					    : bare_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0));

		if (child == 0) {
			bare_call(SYS_setitimer, ITIMER_REAL, (long)&limit, 0, 0, 0, 0);
			munmap(p, PAGE);
			mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			bare_call(SYS_exit_group, peek((uintptr_t)p) != 0, 0, 0, 0, 0, 0);
		}
		reap(child);
	}
	CHECK(w.starts == 0 && p[0] == 1);
	watch_off(&w);
	bare_unmap(p, PAGE);
}

/* ---- children that share memory ---- */

static void test_spawn(int times)
{
	char *argv[] = {(char *)"true", NULL};
	pid_t child;

	for (int i = 0; i < times; i++) {
		CHECK(posix_spawnp(&child, "true", NULL, NULL, argv, environ) == 0);
		reap(child);
	}
	CHECK(system("exit 0") == 0);
}

static int in_clone(void *p)
{
	return munmap(p, PAGE);
}

/* What such a child unmaps is gone for the parent too. */
static void test_clone_vm(int times)
{
	char *stack = bare_map(64 * PAGE, 0);

	for (int i = 0; i < times; i++) {
		char *p = bare_map(PAGE, 1);
		struct watch w;

		watch_on(mm, &w, p, PAGE);
		reap(clone(in_clone, stack + 64 * PAGE, CLONE_VM | SIGCHLD, p));
		CHECK(w.drops >= 1);
		watch_off(&w);
	}
	bare_unmap(stack, 64 * PAGE);
}

/* syscall(SYS_clone) with another stack: whoever made it comes back there by a plain return. */
static void test_clone_by_number(void)
{
	long *stack = bare_map(4 * PAGE, 0), *top = stack + 4 * PAGE / sizeof(long);
	static atomic_int ran;
	pid_t child;

	__asm__ volatile("" ::: "memory");
	child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (child == 0) {
		ran = 1;
		_exit(ran != 1);
	}
	reap(child);
	(void)top;
	bare_unmap(stack, 4 * PAGE);
}

/* ---- cancellation and signals ---- */

static void *map_for_ever(void *arg)
{
	for (;;) {
		char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		p[0] = 1;
		munmap(p, PAGE);
		free(malloc(1 << 20));
		pthread_testcancel();
	}
	return arg;
}

static void test_cancel(int times)
{
	for (int i = 0; i < times; i++) {
		pthread_t t;

		CHECK(pthread_create(&t, NULL, map_for_ever, NULL) == 0);
		usleep(500);
		pthread_cancel(t);
		pthread_join(t, NULL);
	}
}

static char *hot;
static atomic_int handled;

static void on_alarm(int sig)
{
	int before = errno;

	(void)sig;
	mmap(hot, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	handled++;
	errno = before;
}

/* A handler that maps over what the interrupted thread is just discarding, at every instruction of the hook sooner or later. */
static void test_signals(void)
{
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval every = {.it_interval = {.tv_usec = 200}, .it_value = {.tv_usec = 200}}, never = {0};
	struct watch w;

	hot = bare_map(PAGE, 1);
	watch_on(mm, &w, hot, PAGE);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < 200000 && handled < 500; i++) {
		errno = 7;
		CHECK(madvise(hot, PAGE, MADV_DONTNEED) == 0);
		CHECK(errno == 7);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_DFL);
	CHECK(handled > 0);
	/* Waits for what a handler has queued: removing the notifier would suppress the end of one that has started (G4). */
	CHECK(uhmm_read_begin(&w.n) != UHMM_SEQ_DEAD);
	watch_off(&w);
	CHECK(w.starts == w.drops && w.keeps == 0);
	bare_unmap(hot, PAGE);
}

/* More threads in turn than there are records for. */
static void *one_munmap(void *arg)
{
	munmap(bare_map(PAGE, 1), PAGE);
	return arg;
}

static void test_many_threads(int times)
{
	for (int i = 0; i < times; i++) {
		pthread_t t;

		CHECK(pthread_create(&t, NULL, one_munmap, NULL) == 0);
		pthread_join(t, NULL);
	}
}

/* What an emulator can do: children without threads of their own, and its clone() knows no CLONE_VM that is no thread. */
static int main_emulated(void)
{
	alarm(100);
	mm = open_hooks();
	start_busy();
	test_spawn(3);
	stop_busy();
	test_cancel(20);
	test_many_threads(500);
	test_signals();
	uhmm_mm_close(mm);
	return 0;
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 200;

#ifdef __SANITIZE_THREAD__
	printf("skipped: ThreadSanitizer does not support what forked children of a threaded process do here\n");
	return SKIP;
#endif
	if (is_emulated())
		return main_emulated();
	alarm(100);
	mm = open_hooks();
	test_fork(3);
	test_grandchild();
	start_busy();
	test_fork(times);
	test_bare_fork(times);
	test_spawn(times / 10);
	test_clone_vm(times);
	test_clone_by_number();
	stop_busy();
	test_cancel(times / 4);
	test_many_threads(5000);
	alarm(0);
	test_signals();
	alarm(60);
	test_fork(3);
	uhmm_mm_close(mm);
	mm = open_hooks();
	test_fork(3);
	uhmm_mm_close(mm);
	return 0;
}
