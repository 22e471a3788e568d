/* SPDX-License-Identifier: MIT */
/* changes.c: the ways to replace a page, by libc's calls and by inline system calls; the library as a struct race_cache. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../bare.h"
#include "races.h"

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static void must_be(const void *p, const void *page, enum race_change kind)
{
	if (p != page)
		race_die("change %d: the page cannot be had again: %s", (int)kind, strerror(errno));
}

static void raw_unmap(void *p)
{
	if (bare_call(SYS_munmap, (long)p, RACE_PAGE, 0, 0, 0, 0))
		race_die("raw munmap failed");
}

void race_change_libc(void *page, enum race_change kind)
{
	void *p;

	switch (kind) {
	case RACE_DISCARD:
		if (madvise(page, RACE_PAGE, MADV_DONTNEED))
			race_die("madvise: %s", strerror(errno));
		break;
	case RACE_REPLACE:
		must_be(mmap(page, RACE_PAGE, RW, ANON | MAP_FIXED, -1, 0), page, kind);
		break;
	case RACE_RAW_UNMAP:
		raw_unmap(page);
		must_be(mmap(page, RACE_PAGE, RW, ANON, -1, 0), page, kind);
		break;
	case RACE_UNMAP_MAP:
		if (munmap(page, RACE_PAGE))
			race_die("munmap: %s", strerror(errno));
		must_be(mmap(page, RACE_PAGE, RW, ANON, -1, 0), page, kind);
		break;
	case RACE_MOVE_ONTO:
		/* Two pages, so that the kernel cannot put them into a hole that another thread has just made for one. */
		p = mmap(NULL, 2 * RACE_PAGE, RW, ANON, -1, 0);
		must_be(mremap(p, RACE_PAGE, RACE_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page), page, kind);
		raw_unmap((char *)p + RACE_PAGE);
		break;
	case RACE_CHANGES:
	default:
		race_die("no such change");
	}
}

static void *raw_map(void *at, size_t len, int flags)
{
	return (void *)bare_call(SYS_mmap, (long)at, (long)len, RW, ANON | flags, -1, 0);
}

void race_change_raw(void *page, enum race_change kind)
{
	void *p;

	switch (kind) {
	case RACE_DISCARD:
		if (bare_call(SYS_madvise, (long)page, RACE_PAGE, MADV_DONTNEED, 0, 0, 0))
			race_die("raw madvise failed");
		break;
	case RACE_REPLACE:
		must_be(raw_map(page, RACE_PAGE, MAP_FIXED), page, kind);
		break;
	case RACE_UNMAP_MAP:
	case RACE_RAW_UNMAP:
		raw_unmap(page);
		must_be(raw_map(page, RACE_PAGE, 0), page, kind);
		break;
	case RACE_MOVE_ONTO:
		p = raw_map(NULL, 2 * RACE_PAGE, 0);
		must_be((void *)bare_call(SYS_mremap, (long)p, RACE_PAGE, RACE_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
					 (long)page, 0), page, kind);
		raw_unmap((char *)p + RACE_PAGE);
		break;
	case RACE_CHANGES:
	default:
		race_die("no such change");
	}
}

static int library_reg(void *ctx, struct uhmm_reg *reg)
{
	static atomic_uint_fast64_t turn;
	struct race_cache *c = ctx;
	uint64_t seed = atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed);

	reg->handle = race_identity(reg->addr);
	if (!reg->handle)
		return -EFAULT;
	race_delay(c->reg_turns_max, &seed);
	return 0;
}

static void library_dereg(void *ctx, struct uhmm_reg *reg)
{
	(void)ctx;
	(void)reg;
}

static int library_get(struct race_cache *c, void *addr, void **reg, uint64_t *handle)
{
	struct uhmm_reg *r;
	int rc = uhmm_regcache_get(c->cache, addr, RACE_PAGE, RW, &r);

	if (rc)
		return rc;
	if (r->addr != addr)
		race_die("a registration of another page");
	*reg = r;
	*handle = r->handle;
	return 0;
}

static void library_put(struct race_cache *c, void *reg)
{
	uhmm_regcache_put(c->cache, reg);
}

static void library_change(struct race_cache *c, void *page, enum race_change kind)
{
	struct uhmm_event e = { .start = (uintptr_t)page, .end = (uintptr_t)page + RACE_PAGE,
				.kind = kind == RACE_DISCARD ? UHMM_EVENT_CLEAR : UHMM_EVENT_UNMAP };
	static _Thread_local uint64_t seed = 98;
	struct uhmm_invalidation inv;

	if (!c->explicit_calls) {
		race_change_libc(page, kind);
		return;
	}
	if (uhmm_invalidate_start(c->mm, &inv, &e))
		race_die("invalidate_start failed");
	race_delay(RACE_CHANGE_TURNS_MAX, &seed);
	race_change_raw(page, kind);
	uhmm_invalidate_end(&inv);
}

static void library_close(struct race_cache *c)
{
	int rc = uhmm_regcache_flush(c->cache);

	if (!rc)
		rc = uhmm_regcache_destroy(c->cache);
	if (rc)
		race_die("the cache cannot be destroyed: %s", strerror(-rc));
	uhmm_mm_close(c->mm);
}

bool race_open_library(struct race_cache *c, const struct race_params *p, uint64_t reg_turns_max)
{
	static const struct uhmm_regcache_ops ops = { .reg = library_reg, .dereg = library_dereg };
	struct uhmm_mm_options o = { .size = sizeof(o),
				     .monitors = p->explicit_calls ? UHMM_MONITOR_EXPLICIT : UHMM_MONITOR_HOOKS };
	uint32_t monitors = p->monitors;
	int rc;

	if (monitors)
		o.monitors = monitors;
	if (RACE_TSAN && (o.monitors & UHMM_MONITOR_HOOKS))
		return false;
	*c = (struct race_cache){ .get = library_get, .put = library_put, .change = library_change, .close = library_close,
				  .reg_turns_max = reg_turns_max, .explicit_calls = p->explicit_calls };
	rc = uhmm_mm_open(&c->mm, &o);
	if (rc == -EOPNOTSUPP || rc == -EPERM || rc == -EBUSY)
		return false;
	if (!rc)
		rc = uhmm_regcache_create(c->mm, &ops, c, NULL, &c->cache);
	if (rc)
		race_die("cannot open the library: %s", strerror(-rc));
	return true;
}
