/* SPDX-License-Identifier: MIT */
/*
 * regcache_fixture.h: a registrar that only counts, on an address space whose changes the test announces. Addresses are made
 * up: neither the cache nor the core looks at the memory.
 */
#ifndef REGCACHE_FIXTURE_H
#define REGCACHE_FIXTURE_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <uhmm/regcache.h>

#include "port/clock.h"
#include "port/inject.h"
#include "regcache/cache.h"

#define PAGE ((size_t)4096)
#define BASE ((uintptr_t)0x100000000)
#define RW (PROT_READ | PROT_WRITE)
#define HANDLES 65536u

struct fixture {
	struct uhmm_mm *mm;
	struct uhmm_regcache *cache;
	_Atomic uint64_t regs, deregs;
	_Atomic uint64_t mistakes;                 /* a dereg of what is not registered */
	_Atomic unsigned char registered[HANDLES]; /* by handle, modulo */
	_Atomic int error;                              /* what reg() returns */
	void (*_Atomic in_reg)(struct fixture *f, struct uhmm_reg *reg);
	void (*_Atomic in_dereg)(struct fixture *f, struct uhmm_reg *reg);
	void *user;
};

static int fixture_reg(void *ctx, struct uhmm_reg *reg)
{
	struct fixture *f = ctx;
	void (*inside)(struct fixture *f, struct uhmm_reg *reg) = f->in_reg;

	if (inside)
		inside(f, reg);
	if (f->error)
		return f->error;
	reg->handle = atomic_fetch_add(&f->regs, 1) + 1;
	atomic_store(&f->registered[reg->handle % HANDLES], 1);
	return 0;
}

static void fixture_dereg(void *ctx, struct uhmm_reg *reg)
{
	struct fixture *f = ctx;
	void (*inside)(struct fixture *f, struct uhmm_reg *reg) = f->in_dereg;

	if (inside)
		inside(f, reg);
	if (atomic_exchange(&f->registered[reg->handle % HANDLES], 0) != 1)
		atomic_fetch_add(&f->mistakes, 1);
	atomic_fetch_add(&f->deregs, 1);
}

static const struct uhmm_regcache_ops fixture_ops = {.reg = fixture_reg, .dereg = fixture_dereg};

static inline struct fixture *fixture_make(const struct uhmm_regcache_options *options)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(core_mm_create(&f->mm), 0);
	assert_int_equal(uhmm_regcache_create(f->mm, &fixture_ops, f, options, &f->cache), 0);
	return f;
}

/* Everything that was registered has been deregistered, once. */
static inline void fixture_end(struct fixture *f)
{
	f->in_dereg = NULL;
	assert_int_equal(uhmm_regcache_destroy(f->cache), 0);
	core_mm_destroy(f->mm);
	assert_int_equal(f->regs, f->deregs);
	assert_int_equal(f->mistakes, 0);
	free(f);
}

static inline void *page(unsigned int n)
{
	return (void *)(BASE + n * PAGE);
}

static inline struct uhmm_reg *get(struct fixture *f, unsigned int first, size_t pages, uint32_t access)
{
	struct uhmm_reg *reg = NULL;

	assert_int_equal(uhmm_regcache_get(f->cache, page(first), pages * PAGE, access, &reg), 0);
	assert_non_null(reg);
	assert_true((uintptr_t)reg->addr <= (uintptr_t)page(first));
	assert_true((uintptr_t)reg->addr + reg->len >= (uintptr_t)page(first) + pages * PAGE);
	assert_int_equal(reg->access & access, access);
	return reg;
}

static inline void get_put(struct fixture *f, unsigned int first, size_t pages, uint32_t access)
{
	uhmm_regcache_put(f->cache, get(f, first, pages, access));
}

/* True if a get registers. */
static inline bool misses(struct fixture *f, unsigned int first)
{
	uint64_t before = f->regs;

	get_put(f, first, 1, PROT_READ);
	return f->regs != before;
}

static inline void start(struct fixture *f, struct uhmm_invalidation *inv, unsigned int first, size_t pages)
{
	struct uhmm_event event = {
		.start = BASE + first * PAGE, .end = BASE + (first + pages) * PAGE, .kind = UHMM_EVENT_UNMAP};

	assert_int_equal(uhmm_invalidate_start(f->mm, inv, &event), 0);
}

static inline void change(struct fixture *f, unsigned int first, size_t pages)
{
	struct uhmm_invalidation inv;

	start(f, &inv, first, pages);
	uhmm_invalidate_end(&inv);
}

/* For what the cache's thread does by itself: no call that could do it instead is made meanwhile. */
static inline bool eventually(_Atomic uint64_t *counter, uint64_t value)
{
	for (int i = 0; i < 20000 && atomic_load(counter) != value; i++)
		clock_sleep_ns(500000);
	return atomic_load(counter) == value;
}

#endif
