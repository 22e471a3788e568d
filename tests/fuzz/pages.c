/* SPDX-License-Identifier: MIT */
/*
 * pages.c: gets of ranges beside changes of pages.
 *
 * A change of a page is made under that page's lock, which no get takes, and is complete when the page's `published` says its
 * number. A get notes the numbers of its pages first; the identities that its registration took must not be retired by then.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fuzz.h"

#define PAGES 64u
#define RANGE_MAX 8u
#define SLOTS 4096u
#define CACHES 2u /* the second one is destroyed and created again now and then */

struct page {
	pthread_mutex_t lock;
	_Atomic uint64_t published;
};

/* A registration in the "device": which pages it took. */
struct slot {
	_Atomic uint64_t state; /* number shifted by 1, bit 0: live */
	uint32_t first, n;
	_Atomic uint64_t identity[PAGES];
};

static struct page pages[PAGES];
static struct slot slots[SLOTS];
static struct race_ledger ledger;
static unsigned char *arena;
static struct uhmm_mm *mm;
static bool hooks;
static struct uhmm_regcache *caches[CACHES];
static pthread_rwlock_t cache_locks[CACHES] = { PTHREAD_RWLOCK_INITIALIZER, PTHREAD_RWLOCK_INITIALIZER };
static atomic_uint_fast64_t numbers;
static _Atomic uint64_t live;

static struct slot *free_slot(uint64_t number, uint64_t *index)
{
	for (uint64_t i = 0; i < SLOTS; i++) {
		struct slot *s = &slots[(number + i) % SLOTS];
		uint64_t old = atomic_load(&s->state);

		*index = (number + i) % SLOTS;
		if (!(old & 1) && atomic_compare_exchange_strong(&s->state, &old, number << 1 | 1))
			return s;
	}
	return NULL;
}

static int reg_pages(void *ctx, struct uhmm_reg *reg)
{
	uint64_t number = atomic_fetch_add(&numbers, 1) + 1, index, seed = number;
	struct slot *s;

	(void)ctx;
	if (fuzz_pick(&seed, 50) == 0)
		return -EIO;
	if (fuzz_pick(&seed, 20) == 0)
		free(malloc(200000)); /* memory mapped and unmapped in the middle of a look-up */
	s = free_slot(number, &index);
	if (!s)
		return -ENOSPC;
	s->first = (uint32_t)(((uintptr_t)reg->addr - (uintptr_t)arena) / RACE_PAGE);
	s->n = (uint32_t)(reg->len / RACE_PAGE);
	for (uint32_t i = 0; i < s->n; i++) {
		uint64_t id = race_identity((unsigned char *)reg->addr + i * RACE_PAGE);

		if (!id) {
			atomic_store(&s->state, number << 1);
			return -EFAULT;
		}
		atomic_store_explicit(&s->identity[i], id, memory_order_relaxed);
	}
	reg->handle = number * SLOTS + index;
	atomic_fetch_add(&live, 1);
	return 0;
}

static void dereg_pages(void *ctx, struct uhmm_reg *reg)
{
	uint64_t expected = reg->handle / SLOTS << 1 | 1;

	(void)ctx;
	if (!atomic_compare_exchange_strong(&slots[reg->handle % SLOTS].state, &expected, expected & ~UINT64_C(1)))
		race_die("a registration was deregistered twice");
	atomic_fetch_sub(&live, 1);
}

static const struct uhmm_regcache_ops ops = { .reg = reg_pages, .dereg = dereg_pages };

static void create(unsigned i)
{
	struct uhmm_regcache_options o = { .size = sizeof(o), .max_regions = i ? 16 : 0, .max_bytes = i ? 40 * RACE_PAGE : 0,
					   .flags = i ? UHMM_REGCACHE_PINS : 0 };
	int rc = uhmm_regcache_create(mm, &ops, NULL, &o, &caches[i]);

	if (rc)
		race_die("regcache_create: %s", strerror(-rc));
}

void fuzz_pages_open(uint64_t seconds)
{
	struct uhmm_mm_options o = { .size = sizeof(o), .monitors = RACE_TSAN ? UHMM_MONITOR_EXPLICIT : UHMM_MONITOR_AUTO };
	int rc = uhmm_mm_open(&mm, &o);

	if (rc)
		race_die("mm_open: %s", strerror(-rc));
	hooks = uhmm_mm_monitors(mm) & UHMM_MONITOR_HOOKS;
	race_catch_faults();
	race_ledger_init(&ledger, seconds * 100000);
	/* Where the kernel puts nothing by itself: a hole that a change makes is not given to somebody else meanwhile. */
	arena = mmap((void *)0x7e9000000000, PAGES * RACE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED)
		race_die("no memory");
	madvise(arena, PAGES * RACE_PAGE, MADV_NOHUGEPAGE);
	for (unsigned i = 0; i < PAGES; i++)
		pthread_mutex_init(&pages[i].lock, NULL);
	for (unsigned i = 0; i < CACHES; i++)
		create(i);
}

void fuzz_pages_close(void)
{
	for (unsigned i = 0; i < CACHES; i++) {
		int rc = uhmm_regcache_destroy(caches[i]);

		if (rc)
			race_die("a cache cannot be destroyed at the end: %s", strerror(-rc));
	}
	if (atomic_load(&live))
		race_die("%llu registrations were never deregistered", (unsigned long long)atomic_load(&live));
	uhmm_mm_close(mm);
	race_ledger_free(&ledger);
}

/* The registration covers the range, is alive, and none of its pages was retired when the get began. */
static void check(const struct uhmm_reg *reg, uint32_t first, uint32_t n, const uint64_t *k)
{
	const struct slot *s = &slots[reg->handle % SLOTS];

	if (atomic_load(&s->state) != (reg->handle / SLOTS << 1 | 1))
		race_die("a registration in use is not alive");
	if (s->first > first || s->first + s->n < first + n)
		race_die("a registration of %u pages at %u for a get of %u at %u", s->n, s->first, n, first);
	for (uint32_t i = 0; i < n; i++)
		if (race_is_stale(&ledger, atomic_load(&s->identity[first + i - s->first]), k[i]))
			race_die("STALE: page %u", first + i);
}

static bool get_error_is_known(int rc)
{
	/* -EIO and a full device are reg()'s; the hole in the middle of a change is -EFAULT; the small cache may be full. */
	return rc == -EIO || rc == -EFAULT || rc == -ENOSPC || rc == -EBUSY;
}

static void get(struct fuzz_held *h, uint64_t *seed)
{
	uint32_t n = 1 + (uint32_t)fuzz_pick(seed, RANGE_MAX), first = (uint32_t)fuzz_pick(seed, PAGES - n + 1);
	unsigned c = (unsigned)fuzz_pick(seed, CACHES);
	int access = fuzz_pick(seed, 3) ? PROT_READ : PROT_READ | PROT_WRITE, rc;
	uint64_t k[RANGE_MAX];
	struct uhmm_reg *reg;

	if (h->n == sizeof(h->regs) / sizeof(h->regs[0]) || pthread_rwlock_tryrdlock(&cache_locks[c]))
		return;
	for (uint32_t i = 0; i < n; i++)
		k[i] = atomic_load_explicit(&pages[first + i].published, memory_order_acquire);
	/* Now and then not page-aligned, but inside the same pages. */
	if (fuzz_pick(seed, 2))
		rc = uhmm_regcache_get(caches[c], arena + first * RACE_PAGE + 100, n * RACE_PAGE - 200, (uint32_t)access, &reg);
	else
		rc = uhmm_regcache_get(caches[c], arena + first * RACE_PAGE, n * RACE_PAGE, (uint32_t)access, &reg);
	if (!rc) {
		check(reg, first, n, k);
		h->regs[h->n++] = (struct held_reg){ reg, c };
		fuzz_counts.gets++;
	} else if (get_error_is_known(rc)) {
		fuzz_counts.hits_refused++;
	} else {
		race_die("get: %s", strerror(-rc));
	}
	pthread_rwlock_unlock(&cache_locks[c]);
}

static void put(struct fuzz_held *h, unsigned i)
{
	struct held_reg r = h->regs[i];

	h->regs[i] = h->regs[--h->n];
	uhmm_regcache_put(caches[r.cache], r.reg);
}

void fuzz_pages_let_go(struct fuzz_held *h)
{
	while (h->n)
		put(h, h->n - 1);
}

static void change_one(uint32_t at, enum race_change kind)
{
	struct uhmm_event e = { .start = (uintptr_t)arena + at * RACE_PAGE, .kind = UHMM_EVENT_UNMAP };
	void *p = arena + at * RACE_PAGE;
	uint64_t old = race_identity(p), k = atomic_load_explicit(&pages[at].published, memory_order_relaxed) + 1;
	struct uhmm_invalidation inv;

	if (hooks) {
		race_change_libc(p, kind);
	} else {
		e.end = e.start + RACE_PAGE;
		if (uhmm_invalidate_start(mm, &inv, &e))
			race_die("invalidate_start failed");
		race_change_raw(p, kind);
		uhmm_invalidate_end(&inv);
	}
	if (old)
		race_retire(&ledger, old, k);
	atomic_store_explicit(&pages[at].published, k, memory_order_release);
	fuzz_counts.changes++;
}

static void change(uint64_t *seed)
{
	uint32_t at = (uint32_t)fuzz_pick(seed, PAGES);
	/*
	 * ThreadSanitizer cannot follow the jump out of a SIGSEGV handler by which a look at a hole, or a write to read-only
	 * memory, ends: neither of them there.
	 */
	enum race_change kind = (enum race_change)fuzz_pick(seed, RACE_TSAN ? RACE_REPLACE + 1 : RACE_CHANGES);
	void *p = arena + at * RACE_PAGE;

	if (pthread_mutex_trylock(&pages[at].lock))
		return;
	/* Holes only where both neighbours stay, so that they are one page wide and nothing else is mapped into them. */
	if ((at & 1) && (kind == RACE_UNMAP_MAP || kind == RACE_RAW_UNMAP))
		kind = RACE_REPLACE;
	switch (RACE_TSAN ? 1 + fuzz_pick(seed, 7) : fuzz_pick(seed, 8)) {
	case 0: /* protection away and back: the page stays the same */
		mprotect(p, RACE_PAGE, PROT_READ);
		mprotect(p, RACE_PAGE, PROT_READ | PROT_WRITE);
		break;
	case 1: /* calls that fail and change nothing */
		munmap((char *)p + 1, RACE_PAGE);
		madvise(p, RACE_PAGE, 12345);
		mremap(p, 0, RACE_PAGE, 0);
		break;
	default:
		change_one(at, kind);
	}
	pthread_mutex_unlock(&pages[at].lock);
}

/* The second cache goes and comes back, if nobody holds anything of it. */
static void renew(void)
{
	int rc;

	if (pthread_rwlock_trywrlock(&cache_locks[1]))
		return;
	rc = uhmm_regcache_destroy(caches[1]);
	if (!rc)
		create(1);
	else if (rc != -EBUSY)
		race_die("regcache_destroy: %s", strerror(-rc));
	pthread_rwlock_unlock(&cache_locks[1]);
}

static void flush(uint64_t *seed)
{
	unsigned c = (unsigned)fuzz_pick(seed, CACHES);
	int rc;

	if (pthread_rwlock_tryrdlock(&cache_locks[c]))
		return;
	rc = uhmm_regcache_flush(caches[c]);
	if (rc)
		race_die("regcache_flush: %s", strerror(-rc));
	pthread_rwlock_unlock(&cache_locks[c]);
}

void fuzz_pages_step(struct fuzz_held *h, uint64_t *seed)
{
	uint64_t what = fuzz_pick(seed, 1000);

	if (what < 450)
		get(h, seed);
	else if (what < 800 && h->n)
		put(h, (unsigned)fuzz_pick(seed, h->n));
	else if (what < 985)
		change(seed);
	else if (what < 995)
		flush(seed);
	else if (what < 997)
		renew();
	else
		fuzz_pages_let_go(h);
}

void fuzz_pages_in_child(struct fuzz_held *h)
{
	struct uhmm_reg *reg;

	fuzz_pages_let_go(h); /* the parent's: nothing happens */
	for (unsigned i = 0; i < 4; i++)
		if (!uhmm_regcache_get(caches[0], arena + i * RACE_PAGE, RACE_PAGE, PROT_READ, &reg))
			uhmm_regcache_put(caches[0], reg);
}
