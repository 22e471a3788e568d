/* SPDX-License-Identifier: MIT */
/* ways.c: who makes the call. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "guarantees.h"
#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

const char *const way_names[WAYS] = {"libc", "syscall", "thread", "handler", "vfork", "inline", "ring", "process", "kernel"};
enum way way;
long way_result;

static long (*current)(void);

bool calls_libc(void)
{
	return way == WAY_LIBC || way == WAY_THREAD || way == WAY_HANDLER || way == WAY_VFORK;
}

/* ---- io_uring ---- */

#ifdef HAVE_LIBURING
#define OP_FTRUNCATE 55 /* 6.9 */

static struct io_uring ring;
static bool ring_is_open;

/* Before there is any area into whose gaps it might be mapped. */
static void ring_open(void)
{
	ring_is_open = io_uring_queue_init(4, &ring, 0) == 0;
}

static void ring_close(void)
{
	if (ring_is_open)
		io_uring_queue_exit(&ring);
	ring_is_open = false;
}

static long ring_call(long number, const long *a)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	long result;

	if (!ring_is_open) {
		area.unavailable = "no io_uring";
		return -ENOSYS;
	}
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_nop(sqe);
	if (number == SYS_madvise) {
		sqe->opcode = IORING_OP_MADVISE;
		sqe->addr = (unsigned long)a[0];
		sqe->len = (unsigned)a[1];
		sqe->fadvise_advice = (unsigned)a[2];
	} else if (number == SYS_fallocate) {
		sqe->opcode = IORING_OP_FALLOCATE;
		sqe->fd = (int)a[0];
		sqe->len = (unsigned)a[1];
		sqe->off = (unsigned long)a[2];
		sqe->addr = (unsigned long)a[3];
	} else {
		sqe->opcode = OP_FTRUNCATE;
		sqe->fd = (int)a[0];
		sqe->off = (unsigned long)a[1];
	}
	io_uring_submit(&ring);
	while (io_uring_wait_cqe(&ring, &cqe) == -EINTR)
		;
	result = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	if (result == -EINVAL && number == SYS_ftruncate)
		area.unavailable = "io_uring without IORING_OP_FTRUNCATE";
	return result;
}
#else
static void ring_open(void)
{
}

static void ring_close(void)
{
}

static long ring_call(long number, const long *a)
{
	(void)number;
	(void)a;
	area.unavailable = "built without liburing";
	return -ENOSYS;
}
#endif

/* ---- another process ---- */

static int to_helper = -1;
static pid_t helper;

struct request {
	long number, args[6];
	char name[48]; /* of the file, or empty */
};

static long helper_does(struct request *r, int parent_fd)
{
	struct iovec v = {.iov_base = (void *)r->args[0], .iov_len = (size_t)r->args[1]};
	long result;
	int fd;

	switch (r->number) {
	case SYS_process_madvise:
		return bare_call(r->number, parent_fd, (long)&v, 1, r->args[2], 0, 0);
	case SYS_truncate:
	case SYS_open:
	case SYS_creat:
		r->args[0] = (long)r->name;
		result = bare_six(r->number, r->args);
		break;
	case SYS_openat:
		r->args[1] = (long)r->name;
		result = bare_six(r->number, r->args);
		break;
	default: /* a descriptor first */
		fd = (int)BARE(openat, AT_FDCWD, r->name, O_RDWR | O_CLOEXEC, 0);
		if (fd < 0)
			return fd;
		r->args[0] = fd;
		result = bare_six(r->number, r->args);
		bare_call(SYS_close, fd, 0, 0, 0, 0, 0);
		return result;
	}
	if (result > 0 && r->number != SYS_truncate)
		bare_call(SYS_close, result, 0, 0, 0, 0, 0);
	return result;
}

static _Noreturn void helper_main(int fd, pid_t parent)
{
	int parent_fd = (int)syscall(SYS_pidfd_open, parent, 0);
	struct request r;

	while (read(fd, &r, sizeof(r)) == (ssize_t)sizeof(r)) {
		long result = helper_does(&r, parent_fd);

		if (write(fd, &result, sizeof(result)) != (ssize_t)sizeof(result))
			break;
	}
	_exit(0);
}

static long helper_call(long number, const long *a)
{
	struct request r = {.number = number};
	long result = -EIO;

	memcpy(r.args, a, sizeof(r.args));
	memcpy(r.name, area.name, sizeof(r.name));
	if (BARE(write, to_helper, &r, sizeof(r)) != (long)sizeof(r) ||
	    BARE(read, to_helper, &result, sizeof(result)) != (long)sizeof(result))
		return -EIO;
	return result;
}

long helper_advise(void *start, size_t len, int advice)
{
	return helper_call(SYS_process_madvise, (const long[6]){LONGS(start, len, advice)});
}

void ways_init(void)
{
	int fd[2];
	pid_t parent = getpid();

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) != 0)
		abort();
	helper = fork();
	if (helper < 0)
		abort();
	if (helper == 0) {
		close(fd[0]);
		helper_main(fd[1], parent);
	}
	close(fd[1]);
	to_helper = fd[0];
	ring_open();
}

void ways_end(void)
{
	close(to_helper);
	waitpid(helper, NULL, 0);
	ring_close();
}

long way_call(long number, const long *a)
{
	if (way == WAY_RING)
		return ring_call(number, a);
	if (way == WAY_PROCESS)
		return helper_call(number, a);
	if (way == WAY_INLINE || way == WAY_KERNEL)
		return bare_six(number, a);
	return errno_of(syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

/* ---- this process ---- */

static void run_current(void)
{
	way_result = current();
}

static void on_signal(int sig)
{
	(void)sig;
	run_current();
}

static void *thread_main(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	run_current();
	return arg;
}

static void in_thread(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread_main, NULL) != 0)
		abort();
	pthread_join(t, NULL);
}

static void in_handler(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
}

static void in_vfork_child(void)
{
	pid_t child = vfork();

	if (child == 0) {
		run_current();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

void run_in_way(long (*call)(void))
{
	current = call;
	way_result = 0;
	if (way == WAY_THREAD)
		in_thread();
	else if (way == WAY_HANDLER)
		in_handler();
	else if (way == WAY_VFORK)
		in_vfork_child();
	else
		run_current();
}
