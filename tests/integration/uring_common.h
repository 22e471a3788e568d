/* SPDX-License-Identifier: MIT */
/* uring_common.h: what the io_uring programs share. A check that fails ends the program with status 1. */
#ifndef URING_COMMON_H
#define URING_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <uhmm/uhmm.h>

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#define PAGE ((size_t)4096)
#define SKIP 77

#define CHECK(condition)                                                                                                       \
	do {                                                                                                                   \
		if (!(condition)) {                                                                                            \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                \
			exit(1);                                                                                               \
		}                                                                                                              \
	} while (0)

/* A ring, or the reason why there can be none and exit 77. */
static inline void ring_open(struct io_uring *ring, unsigned entries, unsigned flags)
{
	int err = io_uring_queue_init(entries, ring, flags);

	if (err) {
		printf("skipped: no io_uring ring (flags %#x): %s\n", flags, strerror(-err));
		exit(SKIP);
	}
}

static inline struct uhmm_mm *space_open(uint32_t monitors)
{
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = monitors};
	struct uhmm_mm *mm = NULL;
	int err = uhmm_mm_open(&mm, &options);

	if (err)
		printf("no address space with monitors %#x: %s\n", monitors, strerror(-err));
	return err ? NULL : mm;
}

/* Hooks where they can be had, or NULL with the reason printed. */
static inline struct uhmm_mm *space_open_hooks(void)
{
	return space_open(UHMM_MONITOR_EXPLICIT | UHMM_MONITOR_HOOKS);
}

static inline unsigned char *map_at(void *at, size_t len)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0);
	void *p = mmap(at, len, PROT_READ | PROT_WRITE, flags, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static inline int scratch_file(size_t len)
{
	int fd = memfd_create("uring", MFD_CLOEXEC);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)len) == 0);
	return fd;
}

/* Submits what is prepared and returns the one completion's cqe, to be given to io_uring_cqe_seen(). */
static inline struct io_uring_cqe *submit_one(struct io_uring *ring)
{
	struct io_uring_cqe *cqe = NULL;

	CHECK(io_uring_submit(ring) == 1);
	CHECK(io_uring_wait_cqe(ring, &cqe) == 0);
	return cqe;
}

/* One request through the library, from prep to completion; its result. */
static inline int transfer(struct uhmm_uring *u, struct io_uring *ring, int read, int fd, void *buf, size_t len, size_t offset)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	uint64_t mine = (uint64_t)(uintptr_t)buf ^ offset;
	int res;

	CHECK(sqe);
	if (read)
		CHECK(uhmm_uring_prep_read(u, sqe, fd, buf, (unsigned)len, offset, mine) == 0);
	else
		CHECK(uhmm_uring_prep_write(u, sqe, fd, buf, (unsigned)len, offset, mine) == 0);
	cqe = submit_one(ring);
	CHECK(uhmm_uring_owns(u, cqe));
	res = cqe->res;
	CHECK(uhmm_uring_complete(u, cqe) == mine);
	CHECK(!uhmm_uring_owns(u, cqe));
	io_uring_cqe_seen(ring, cqe);
	return res;
}

static inline struct uhmm_uring_stats stats_of(struct uhmm_uring *u)
{
	struct uhmm_uring_stats s = {.size = sizeof(s)};

	CHECK(uhmm_uring_stats(u, &s) == 0);
	return s;
}

#endif
