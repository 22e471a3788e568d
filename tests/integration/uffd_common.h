/* SPDX-License-Identifier: MIT */
/* uffd_common.h: a cache whose registrations say what byte their page began with, under the witness. */
#ifndef TESTS_UFFD_COMMON_H
#define TESTS_UFFD_COMMON_H

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <uhmm/uhmm.h>

#include "../bare.h"

#define PAGE ((size_t)4096)
#define SKIP 77
#define RW (PROT_READ | PROT_WRITE)

#define CHECK(what)                                                                    \
	do {                                                                           \
		if (!(what)) {                                                         \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
			exit(1);                                                       \
		}                                                                      \
	} while (0)

struct cached {
	struct uhmm_mm *mm;
	struct uhmm_regcache *cache;
	atomic_int regs;
};

static inline int cached_reg(void *ctx, struct uhmm_reg *r)
{
	struct cached *c = ctx;

	r->handle = *(volatile unsigned char *)r->addr;
	c->regs++;
	return 0;
}

static inline void cached_dereg(void *ctx, struct uhmm_reg *r)
{
	(void)ctx;
	(void)r;
}

static inline int cached_open(struct cached *c, uint32_t monitors, uint32_t witness)
{
	static const struct uhmm_regcache_ops ops = {.reg = cached_reg, .dereg = cached_dereg};
	struct uhmm_mm_options o = {.size = sizeof(o), .monitors = monitors, .witness = witness};
	int err = uhmm_mm_open(&c->mm, &o);

	c->regs = 0;
	if (!err)
		err = uhmm_regcache_create(c->mm, &ops, c, NULL, &c->cache);
	return err;
}

static inline void cached_close(struct cached *c)
{
	CHECK(uhmm_regcache_destroy(c->cache) == 0);
	uhmm_mm_close(c->mm);
}

/* The witness is not to be had: not an error of the library. */
static inline void need_witness(int err)
{
	if (err != -EPERM && err != -EOPNOTSUPP)
		return;
	printf("skipped: no userfaultfd of this kind here: %s\n", strerror(-err));
	exit(SKIP);
}

static inline int cached_get(struct cached *c, void *page)
{
	struct uhmm_reg *r;
	int value, err = -EBUSY;

	/* A service thread may not be given the processor for longer than a get waits. */
	for (int i = 0; i < 60 && err == -EBUSY; i++)
		err = uhmm_regcache_get(c->cache, page, PAGE, PROT_READ, &r);
	CHECK(err == 0);
	value = (int)r->handle;
	uhmm_regcache_put(c->cache, r);
	return value;
}

static inline bool cached_keeps(struct cached *c, void *page)
{
	int before;

	cached_get(c, page);
	before = c->regs;
	cached_get(c, page);
	return c->regs == before;
}

/* Until the taint of a discard is over; nothing tells. */
static inline bool cached_comes_to_keep(struct cached *c, void *page)
{
	for (int i = 0; i < 20000; i++) {
		if (cached_keeps(c, page))
			return true;
		usleep(1000);
	}
	return false;
}

/* Between two pages that nobody may touch, so that the kernel joins it to nothing. */
static inline unsigned char *map_alone(size_t pages, int flags, int fd)
{
	unsigned char *p = mmap(NULL, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	p += PAGE;
	CHECK(mmap(p, pages * PAGE, RW, flags | MAP_FIXED, fd, 0) == p);
	return p;
}

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static inline void raw_unmap(void *p, size_t len)
{
	CHECK(bare_call(SYS_munmap, (long)p, (long)len, 0, 0, 0, 0) == 0);
}

static inline void raw_map(void *p, size_t len)
{
	CHECK(bare_call(SYS_mmap, (long)p, (long)len, RW, ANON | MAP_FIXED, -1, 0) == (long)p);
}

#endif
