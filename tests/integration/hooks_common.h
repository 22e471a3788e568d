/* SPDX-License-Identifier: MIT */
/* hooks_common.h: a notifier that writes down what it is told, and system calls that no hook sees. */
#ifndef TESTS_HOOKS_COMMON_H
#define TESTS_HOOKS_COMMON_H

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <uhmm/uhmm.h>

#include "../bare.h"

#define PAGE ((size_t)4096)
#define SKIP 77

/* Where there is no process_vm_readv (emulators): write() says as well whether memory can be read. */
static inline int peek_by_pipe(uintptr_t addr)
{
	unsigned char byte = 0;
	int fd[2];
	long wrote;

	if (bare_call(SYS_pipe2, (long)fd, 0, 0, 0, 0, 0) != 0)
		abort();
	wrote = bare_call(SYS_write, fd[1], (long)addr, 1, 0, 0, 0);
	if (wrote == 1)
		bare_call(SYS_read, fd[0], (long)&byte, 1, 0, 0, 0);
	bare_call(SYS_close, fd[0], 0, 0, 0, 0, 0);
	bare_call(SYS_close, fd[1], 0, 0, 0, 0, 0);
	return wrote == 1 ? byte : -1;
}

/* The byte at addr as the process would read it, or -1: not readable. Touches nothing. */
static inline int peek(uintptr_t addr)
{
	unsigned char byte;
	struct iovec local = {.iov_base = &byte, .iov_len = 1}, remote = {.iov_base = (void *)addr, .iov_len = 1};
	long pid = bare_call(SYS_getpid, 0, 0, 0, 0, 0, 0);
	long got = bare_call(SYS_process_vm_readv, pid, (long)&local, 1, (long)&remote, 1, 0);

	return got == -ENOSYS ? peek_by_pipe(addr) : got == 1 ? byte : -1;
}

struct watch {
	struct uhmm_notifier n; /* first */
	uintptr_t start;
	atomic_int starts, drops, keeps; /* invalidate; end with changed; end without */
	atomic_int kind;                 /* of the last invalidate */
	atomic_int byte_at_start, byte_at_end; /* what was readable then; of the last ones */
	atomic_int byte_at_first;              /* of the first start */
};

static inline int watch_invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct watch *w = (struct watch *)n;

	w->kind = (int)event->kind;
	w->byte_at_start = peek(w->start);
	if (w->starts++ == 0)
		w->byte_at_first = w->byte_at_start;
	errno = 99; /* a driver's code may; the caller must not see it */
	return 0;
}

static inline void watch_end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	struct watch *w = (struct watch *)n;

	(void)event;
	if (changed)
		w->drops++;
	else
		w->keeps++;
	w->byte_at_end = peek(w->start);
	errno = 99;
}

static const struct uhmm_notifier_ops watch_ops = {.invalidate = watch_invalidate, .end = watch_end};

static inline void watch_on(struct uhmm_mm *mm, struct watch *w, void *start, size_t len)
{
	int err;

	memset(w, 0, sizeof(*w));
	w->start = (uintptr_t)start;
	err = uhmm_notifier_insert(mm, &w->n, start, len, &watch_ops);
	if (err) {
		printf("insert of %p+%zu: %d\n", start, len, err);
		exit(1);
	}
}

static inline void watch_off(struct watch *w)
{
	if (uhmm_notifier_remove(&w->n) != 0)
		abort();
}

/* An address space with hooks, or exit with 77. */
static inline struct uhmm_mm *open_hooks(void)
{
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_HOOKS};
	struct uhmm_mm *mm = NULL;
	int err = uhmm_mm_open(&mm, &options);

	if (err == -EOPNOTSUPP || err == -EPERM) {
		printf("skipped: no hooks here (%d)\n", err);
		exit(SKIP);
	}
	if (err) {
		printf("uhmm_mm_open: %d\n", err);
		exit(1);
	}
	return mm;
}

/* Memory that ThreadSanitizer has not been told of, perhaps after some other that it has. */
__attribute__((noinline, unused, no_sanitize("thread"))) static void fill(void *at, int byte, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((volatile char *)at)[i] = (char)byte;
}

/* Pages of a byte, without libc. */
static inline void *bare_map(size_t len, int byte)
{
	long at = bare_call(SYS_mmap, 0, (long)len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at < 0 && at > -4096)
		abort();
	fill((void *)at, byte, len);
	return (void *)at;
}

static inline void bare_unmap(void *at, size_t len)
{
	bare_call(SYS_munmap, (long)at, (long)len, 0, 0, 0, 0);
}

#endif
