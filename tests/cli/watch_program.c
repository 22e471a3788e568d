/* SPDX-License-Identifier: MIT */
/*
 * watch_program.c: changes that are known exactly, for watch.py. Usage: watch_program SCENE. Nothing is printed, and no memory
 * is allocated but what the scene says: its calls are all that there is to count beside the start of the process.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define BIG (PAGE * 32)

static char *map(size_t len)
{
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		_exit(99);
	return at;
}

static char *map_at(char *at, size_t len)
{
	return mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static int null_fd;

static void use(const void *buf, size_t len)
{
	if (write(null_fd, buf, len) != (ssize_t)len)
		_exit(98);
}

/* 10 mmap, 7 mmap fixed, 5 munmap, 4 DONTNEED, 3 mprotect, 2 mremap moves, 1 shrink, 1 FREE; 6 failed munmap. */
static __attribute__((noinline)) void scene_counts(void)
{
	char *at[10], *moved;

	for (int i = 0; i < 10; i++)
		at[i] = map(BIG);
	for (int i = 0; i < 7; i++)
		map_at(at[0] + (size_t)i * PAGE, PAGE);
	for (int i = 0; i < 4; i++)
		madvise(at[1], PAGE * 2, MADV_DONTNEED);
	for (int i = 0; i < 3; i++)
		mprotect(at[2], PAGE, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE);
	for (int i = 0; i < 6; i++)
		munmap(at[0] + 1, PAGE);
	moved = mremap(at[3], BIG, BIG, MREMAP_MAYMOVE | MREMAP_FIXED, at[4]);
	mremap(moved, BIG, BIG, MREMAP_MAYMOVE | MREMAP_FIXED, at[3]);
	mremap(at[3], BIG, PAGE, 0);
	madvise(at[5], PAGE, MADV_FREE);
	madvise(at[5], PAGE, MADV_WILLNEED); /* no change */
	for (int i = 5; i < 10; i++)
		munmap(at[i], BIG);
}

/* Stale if nothing is heard: 3. None of it with hooks. One registration goes unused, one change is of other pages. */
static void scene_stale(void)
{
	char *a = map(BIG), *b = map(BIG);

	use(a, PAGE);
	use(a, PAGE);
	madvise(a, PAGE, MADV_DONTNEED);
	use(a, PAGE); /* 1 */
	use(a, PAGE);
	map_at(a, PAGE);
	map_at(a, PAGE);
	use(a, PAGE); /* 2 */
	use(b, BIG);
	madvise(b + PAGE, PAGE, MADV_DONTNEED);
	use(b, PAGE);     /* not what changed */
	use(b, 2 * PAGE); /* 3 */
	mprotect(a, PAGE, PROT_READ);
	use(a, PAGE); /* the same pages */
	madvise(a + PAGE, PAGE, MADV_DONTNEED);
	use(a, PAGE);
	munmap(b, BIG);
}

/* What today's hooks miss: 1 onto, 1 by number, 1 unknown. */
static void scene_missed(void)
{
	char *a = map(BIG), *b = map(BIG);

	use(a, PAGE);
	if (mremap(b, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a) != a)
		_exit(97);
	use(a, PAGE);
	syscall(SYS_madvise, a, PAGE, MADV_DONTNEED);
	use(a, PAGE);
	if (madvise(a, PAGE, 24) == 0) { /* MADV_DONTNEED_LOCKED, Linux 5.18 */
		use(a, PAGE);
		_exit(0);
	}
	_exit(7);
}

static long bare_munmap(void *at, size_t len)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_munmap), "D"(at), "S"(len) : "rcx", "r11", "memory");
	return result;
}

/* An unmap that nobody sees, and the same place given out again: 1. */
static void scene_unseen(void)
{
	char *a = map(BIG);

	use(a, PAGE);
	bare_munmap(a, BIG);
	if (mmap(a, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != a)
		_exit(97);
	use(a, PAGE);
}

/* Every function that takes a buffer, each stale once: 16 uses after a change of their one page. */
static void scene_calls(void)
{
	char *a = map(BIG);
	struct iovec v = {a, 64};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	volatile uintptr_t nowhere = 16;
	int pair[2], file = memfd_create("watched", 0), bad = 0;

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) || ftruncate(file, 4096))
		_exit(97);
	bad |= write(file, a, 64) != 64; /* registers */
#define STALE(call) (madvise(a, PAGE, MADV_DONTNEED), bad |= (call) != 64)
	STALE(pread(file, a, 64, 0));
	STALE(pwrite(file, a, 64, 0));
	STALE(read(file, a, 64));
	STALE(write(file, a, 64));
	STALE(preadv(file, &v, 1, 0));
	STALE(pwritev(file, &v, 1, 0));
	STALE(readv(file, &v, 1));
	STALE(writev(file, &v, 1));
	STALE(send(pair[0], a, 64, 0));
	STALE(recv(pair[1], a, 64, 0));
	STALE(sendto(pair[0], a, 64, 0, NULL, 0));
	STALE(recvfrom(pair[1], a, 64, 0, NULL, NULL));
	STALE(sendmsg(pair[0], &m, 0));
	STALE(recvmsg(pair[1], &m, 0));
	STALE(pread64(file, a, 64, 0));
	STALE(pwrite64(file, a, 64, 0));
	/* A vector that cannot be read is the kernel's to refuse. */
	bad |= writev(file, (const struct iovec *)nowhere, 1) != -1;
	_exit(bad);
}

static void *changer(void *arg)
{
	(void)arg;
	pthread_setname_np(pthread_self(), "changer");
	for (int i = 0; i < 100; i++)
		munmap(map(BIG), BIG);
	return NULL;
}

/* 4 threads, 100 pairs each. */
static void scene_threads(void)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, changer, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

/* A child that goes on, one made without libc's knowledge, one that executes this program again: 3 + 4 + 10 mmap. */
static void scene_children(char *self)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (int i = 0; i < 3; i++)
			munmap(map(BIG), BIG);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		for (int i = 0; i < 4; i++)
			munmap(map(BIG), BIG);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	pid = vfork();
	if (pid == 0) {
		execl(self, self, "counts", (char *)NULL);
		_exit(96);
	}
	waitpid(pid, NULL, 0);
}

static _Atomic int enough;
static char *contested;

static void *user(void *arg)
{
	while (!enough)
		use(contested, PAGE);
	return arg;
}

/* A buffer that is used while it is being replaced, which takes a while because the new pages are filled. */
static void scene_window(void)
{
	const size_t len = 16ul << 20;
	pthread_t t;

	contested = map(len);
	pthread_create(&t, NULL, user, NULL);
	for (int i = 0; i < 30; i++) {
		if (mmap(contested, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1,
			 0) == MAP_FAILED)
			_exit(97);
	}
	usleep(1000);
	enough = 1;
	pthread_join(t, NULL);
}

static void on_signal(int number)
{
	_exit(40 + number % 20);
}

/* libc's own calls count as the program's: one mmap and one munmap, by malloc() and free() of what is large. */
static __attribute__((noinline)) void scene_heap(void)
{
	char *volatile at = malloc(64ul << 20);

	at[0] = 1;
	free(at);
	__asm__ volatile(""); /* a call, not a jump: it has a return address here */
}

static void scene_storm(void)
{
	for (int i = 0; i < 20000; i++)
		madvise(map_at(map(PAGE), PAGE), PAGE, MADV_DONTNEED);
}

static void scene_wait(void)
{
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	if (write(STDOUT_FILENO, "ready\n", 6) == 6)
		pause();
}

static void scene_killed(void)
{
	raise(SIGKILL);
}

static void scene_nothing(void) { }

static const struct scene {
	const char *name;
	void (*play)(void);
} scenes[] = {
	{"counts", scene_counts}, {"stale", scene_stale},     {"missed", scene_missed}, {"unseen", scene_unseen},
	{"calls", scene_calls},   {"threads", scene_threads}, {"window", scene_window}, {"heap", scene_heap},
	{"storm", scene_storm},   {"wait", scene_wait},       {"killed", scene_killed}, {"nothing", scene_nothing},
};

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	null_fd = open("/dev/null", O_RDWR);
	if (strcmp(name, "children") == 0) {
		scene_children(argv[0]);
		return 0;
	}
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		if (strcmp(scenes[i].name, name) == 0) {
			scenes[i].play();
			return 0;
		}
	return 95;
}
