/* SPDX-License-Identifier: MIT */
/* test_regcache.c: what one thread sees of the registration cache. Races are in test_regcache_threads.c. */
#include "regcache_fixture.h"

#include "regcache/trim.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_THREAD_SANITIZER 1
#endif
#endif

/* ---- hits ---- */

static void check_parts(size_t pages, unsigned int first)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *whole = get(f, first, pages, RW);
	size_t step = 1 + pages / 20;

	assert_ptr_equal(whole->addr, page(first));
	assert_int_equal(whole->len, pages * PAGE);
	for (size_t at = 0; at < pages; at += step) {
		for (size_t len = 1; at + len <= pages; len += step) {
			struct uhmm_reg *part = get(f, first + (unsigned int)at, len, PROT_READ);

			assert_ptr_equal(part, whole);
			uhmm_regcache_put(f->cache, part);
		}
	}
	assert_int_equal(f->regs, 1);
	assert_true(misses(f, first + (unsigned int)pages));
	get_put(f, first + (unsigned int)pages - 1, 2, RW);
	assert_int_equal(f->regs, 3);
	uhmm_regcache_put(f->cache, whole);
	fixture_end(f);
}

/* On both sides of every change of the index's size class, and at every alignment to its blocks. */
static void any_part_of_a_region_is_a_hit(void **state)
{
	static const size_t sizes[] = {1, 2, 3, 4, 5, 6, 16, 17, 63, 64, 65, 100, 1023, 1024, 1025, 5000, 300000, 1u << 24};
	(void)state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (unsigned int first = 0; first < 40; first += 7)
			check_parts(sizes[i], first);
}

static void bytes_are_rounded_to_pages(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *reg, *other;
	(void)state;

	assert_int_equal(uhmm_regcache_get(f->cache, (char *)page(3) + 4000, 200, PROT_READ, &reg), 0);
	assert_ptr_equal(reg->addr, page(3));
	assert_int_equal(reg->len, 2 * PAGE);
	assert_int_equal(uhmm_regcache_get(f->cache, (char *)page(4) + 4095, 1, PROT_READ, &other), 0);
	assert_ptr_equal(reg, other);
	uhmm_regcache_put(f->cache, reg);
	uhmm_regcache_put(f->cache, other);
	fixture_end(f);
}

/* Many regions that overlap in one page, entered under the same keys: the one that covers is always found. */
static void a_covering_region_is_reused_among_overlapping_ones(void **state)
{
	struct fixture *f = fixture_make(NULL);
	uint64_t before;
	(void)state;

	for (unsigned int i = 0; i < 60; i++)
		get_put(f, i, 4, RW);
	get_put(f, 0, 64, RW);
	before = f->regs;
	for (unsigned int i = 0; i < 60; i++)
		get_put(f, i, 5, RW);
	get_put(f, 1, 62, RW);
	assert_int_equal(f->regs, before);
	/* Those under the large one go, the large one stays, and the other way round. */
	fixture_end(f);
}

static void growth_keeps_everything(void **state)
{
	struct fixture *f = fixture_make(NULL);
	(void)state;

	for (unsigned int i = 0; i < 50000; i++)
		get_put(f, i * 3, 1, RW);
	assert_int_equal(f->regs, 50000);
	for (unsigned int i = 0; i < 50000; i++)
		get_put(f, i * 3, 1, RW);
	assert_int_equal(f->regs, 50000);
	fixture_end(f);
}

static void access_widens(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *narrow = get(f, 10, 8, PROT_READ), *wide;
	(void)state;

	wide = get(f, 12, 1, PROT_WRITE);
	assert_int_equal(f->regs, 2);
	assert_ptr_equal(wide->addr, page(10));
	assert_int_equal(wide->access, RW);
	assert_ptr_not_equal(wide, narrow);
	/* The old one goes with its last user, and nobody finds it before. */
	assert_int_equal(f->deregs, 0);
	get_put(f, 10, 8, PROT_READ);
	assert_int_equal(f->regs, 2);
	uhmm_regcache_put(f->cache, narrow);
	assert_true(eventually(&f->deregs, 1));
	uhmm_regcache_put(f->cache, wide);
	fixture_end(f);
}

static void refuse_writes_beyond_a_page(struct fixture *f, struct uhmm_reg *reg)
{
	f->error = (reg->access & PROT_WRITE) && reg->len > PAGE ? -EFAULT : 0;
}

/* The rest of the covering region may not be writable. */
static void widening_falls_back_to_what_was_asked_for(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *one;
	(void)state;

	get_put(f, 10, 8, PROT_READ);
	f->in_reg = refuse_writes_beyond_a_page;
	one = get(f, 12, 1, PROT_WRITE);
	assert_ptr_equal(one->addr, page(12));
	assert_int_equal(one->len, PAGE);
	uhmm_regcache_put(f->cache, one);
	f->in_reg = NULL;
	f->error = 0;
	assert_false(misses(f, 11));
	fixture_end(f);
}

/* ---- bad input ---- */

static void bad_input_is_refused(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *reg = (struct uhmm_reg *)1;
	(void)state;

	assert_int_equal(uhmm_regcache_get(NULL, page(0), 1, RW, &reg), -EINVAL);
	assert_int_equal(uhmm_regcache_get(f->cache, NULL, 1, RW, &reg), -EINVAL);
	assert_int_equal(uhmm_regcache_get(f->cache, page(0), 1, RW, NULL), -EINVAL);
	assert_int_equal(uhmm_regcache_get(f->cache, page(0), 0, RW, &reg), -EINVAL);
	assert_int_equal(uhmm_regcache_get(f->cache, page(0), 1, 0, &reg), -EINVAL);
	assert_int_equal(uhmm_regcache_get(f->cache, page(0), 1, PROT_EXEC, &reg), -EINVAL);
	assert_int_equal(uhmm_regcache_get(f->cache, page(0), 1, RW | PROT_EXEC, &reg), -EINVAL);
	assert_int_equal(uhmm_regcache_get(f->cache, page(0), SIZE_MAX, RW, &reg), -EINVAL);
	assert_int_equal(uhmm_regcache_get(f->cache, (void *)(UINTPTR_MAX - 10), 11, RW, &reg), -EINVAL);
	assert_int_equal(uhmm_regcache_get(f->cache, (void *)(UINTPTR_MAX - 10), 12, RW, &reg), -EINVAL);
	assert_int_equal(uhmm_regcache_get(f->cache, (void *)(UINTPTR_MAX << 47 << 1), 1, RW, &reg), -EINVAL);
	f->error = -EFAULT;
	assert_int_equal(uhmm_regcache_get(f->cache, page(0), 1, RW, &reg), -EFAULT);
	f->error = 7; /* not an errno of ours */
	assert_int_equal(uhmm_regcache_get(f->cache, page(0), 1, RW, &reg), -EINVAL);
	assert_ptr_equal(reg, (void *)1);
	assert_int_equal(f->cache->regions, 0);
	f->error = 0;
	assert_true(misses(f, 0));
	uhmm_regcache_put(f->cache, NULL);
	uhmm_regcache_put(NULL, NULL);
	assert_int_equal(uhmm_regcache_flush(NULL), -EINVAL);
	assert_int_equal(uhmm_regcache_destroy(NULL), 0);
	fixture_end(f);
}

static void options_are_checked(void **state)
{
	struct { struct uhmm_regcache_options o; uint64_t more; } large = {.o.size = sizeof(large)};
	const struct uhmm_regcache_ops half = {.reg = fixture_reg};
	struct uhmm_regcache_options o = {.size = sizeof(o)};
	struct uhmm_regcache *cache = NULL;
	struct uhmm_mm *mm;
	(void)state;

	assert_int_equal(core_mm_create(&mm), 0);
	assert_int_equal(uhmm_regcache_create(NULL, &fixture_ops, NULL, NULL, &cache), -EINVAL);
	assert_int_equal(uhmm_regcache_create(mm, NULL, NULL, NULL, &cache), -EINVAL);
	assert_int_equal(uhmm_regcache_create(mm, &fixture_ops, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(uhmm_regcache_create(mm, &half, NULL, NULL, &cache), -EINVAL);
	o.size = sizeof(o) - 1;
	assert_int_equal(uhmm_regcache_create(mm, &fixture_ops, NULL, &o, &cache), -EINVAL);
	o.size = sizeof(o);
	o.flags = 1u << 31;
	assert_int_equal(uhmm_regcache_create(mm, &fixture_ops, NULL, &o, &cache), -EINVAL);
	large.more = 1;
	assert_int_equal(uhmm_regcache_create(mm, &fixture_ops, NULL, &large.o, &cache), -E2BIG);
	assert_null(cache);
	large.more = 0;
	assert_int_equal(uhmm_regcache_create(mm, &fixture_ops, NULL, &large.o, &cache), 0);
	assert_int_equal(uhmm_regcache_destroy(cache), 0);
	core_mm_destroy(mm);
}

/* One clear line on standard error, and nothing else happens. */
static void a_put_too_many_is_ignored(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *reg = get(f, 1, 1, RW), foreign = {0};
	(void)state;

	uhmm_regcache_put(f->cache, reg);
	uhmm_regcache_put(f->cache, reg);
	uhmm_regcache_put(f->cache, &foreign);
	uhmm_regcache_put(f->cache, (struct uhmm_reg *)((char *)reg + 8));
	assert_ptr_equal(get(f, 1, 1, RW), reg);
	assert_int_equal(uhmm_regcache_destroy(f->cache), -EBUSY);
	change(f, 1, 1);
	uhmm_regcache_flush(f->cache);
	assert_int_equal(f->deregs, 0); /* still in use: the put too many did not count */
	uhmm_regcache_put(f->cache, reg);
	assert_true(eventually(&f->deregs, 1));
	uhmm_regcache_put(f->cache, reg);
	fixture_end(f);
}

/* More at once than a seat has tickets, of one region and of many. */
static void many_references_at_once(void **state)
{
	enum { REGIONS = 1000, TIMES = 70000 };
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *regs[REGIONS], *one = NULL;
	(void)state;

	for (unsigned int i = 0; i < REGIONS; i++)
		regs[i] = get(f, i, 1, RW);
	for (unsigned int i = 0; i < TIMES; i++)
		one = get(f, 5, 1, RW);
	change(f, 0, REGIONS);
	uhmm_regcache_flush(f->cache);
	assert_int_equal(f->deregs, 0);
	for (unsigned int i = 0; i < REGIONS; i++)
		uhmm_regcache_put(f->cache, regs[i]);
	assert_true(eventually(&f->deregs, REGIONS - 1));
	for (unsigned int i = 0; i < TIMES; i++) {
		assert_int_equal(f->deregs, REGIONS - 1);
		uhmm_regcache_put(f->cache, one);
	}
	assert_true(eventually(&f->deregs, REGIONS));
	fixture_end(f);
}

/* ---- what changes (G11) ---- */

static void a_change_drops_and_deregisters_promptly(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *reg, *fresh;
	(void)state;

	get_put(f, 1, 1, RW);
	change(f, 1, 1);
	assert_true(eventually(&f->deregs, 1));
	reg = get(f, 0, 16, RW);
	change(f, 15, 4); /* a part of it */
	fresh = get(f, 0, 16, RW);
	assert_ptr_not_equal(reg, fresh);
	assert_int_equal(f->deregs, 1);
	uhmm_regcache_put(f->cache, reg);
	assert_true(eventually(&f->deregs, 2));
	uhmm_regcache_put(f->cache, fresh);
	fixture_end(f);
}

static void an_unrelated_change_drops_nothing(void **state)
{
	struct fixture *f = fixture_make(NULL);
	(void)state;

	get_put(f, 1, 1, RW);
	change(f, 0, 1);
	change(f, 2, 100);
	assert_false(misses(f, 1));
	fixture_end(f);
}

static void what_did_not_change_is_revived(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_invalidation a, b;
	(void)state;

	get_put(f, 1, 1, RW);
	start(f, &a, 1, 1);
	uhmm_invalidate_abort(&a);
	assert_false(misses(f, 1));
	assert_int_equal(a32_load_relaxed(&f->cache->pending), 0);
	/* Of two, one changes it: whichever ends first. */
	start(f, &a, 1, 1);
	start(f, &b, 0, 3);
	uhmm_invalidate_abort(&b);
	uhmm_invalidate_end(&a);
	assert_true(misses(f, 1));
	start(f, &a, 1, 1);
	start(f, &b, 0, 3);
	uhmm_invalidate_end(&b);
	uhmm_invalidate_abort(&a);
	assert_true(misses(f, 1));
	fixture_end(f);
}

/* The thread that holds the change open does not wait for itself. */
static void inside_its_own_change_a_thread_gets_uncached(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_invalidation inv;
	struct uhmm_reg *reg;
	(void)state;

	get_put(f, 1, 1, RW);
	start(f, &inv, 1, 1);
	reg = get(f, 1, 1, RW);
	assert_int_equal(f->regs, 2);
	uhmm_regcache_put(f->cache, reg);
	assert_true(eventually(&f->deregs, 1));
	reg = get(f, 1, 1, RW);
	uhmm_invalidate_abort(&inv);
	assert_false(misses(f, 1)); /* the first, revived */
	uhmm_regcache_put(f->cache, reg);
	assert_true(eventually(&f->deregs, 2));
	fixture_end(f);
}

static void change_once(struct fixture *f, struct uhmm_reg *reg)
{
	(void)reg;
	f->in_reg = NULL;
	change(f, 1, 1);
}

/* Pages that changed while they were being registered are registered again (R1, R33). */
static void a_miss_that_is_overtaken_begins_again(void **state)
{
	struct fixture *f = fixture_make(NULL);
	(void)state;

	f->in_reg = change_once;
	get_put(f, 1, 1, RW);
	assert_int_equal(f->regs, 2);
	assert_int_equal(f->deregs, 1);
	assert_false(misses(f, 1));
	fixture_end(f);
}

static void change_always(struct fixture *f, struct uhmm_reg *reg)
{
	(void)reg;
	change(f, 1, 1);
}

/* R27: bounded, and the outcome is usable but not kept. */
static void a_registration_that_invalidates_itself_is_bounded(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *reg;
	(void)state;

	f->in_reg = change_always;
	reg = get(f, 1, 1, RW);
	assert_int_equal(f->regs, CACHE_RETRIES);
	assert_int_equal(f->deregs, CACHE_RETRIES - 1);
	f->in_reg = NULL;
	assert_true(misses(f, 1));
	uhmm_regcache_put(f->cache, reg);
	assert_true(eventually(&f->deregs, CACHE_RETRIES));
	/* Widened: first as wide as that, then what was asked for. */
	get_put(f, 0, 4, PROT_READ);
	f->in_reg = change_always;
	f->regs = f->deregs = 0;
	reg = get(f, 1, 1, RW);
	assert_true(f->regs <= 2 * CACHE_RETRIES);
	assert_int_equal(reg->len, PAGE);
	f->in_reg = NULL;
	uhmm_regcache_put(f->cache, reg);
	uhmm_regcache_flush(f->cache);
	assert_int_equal(uhmm_regcache_destroy(f->cache), 0);
	core_mm_destroy(f->mm);
	free(f);
}

/* ---- bounds ---- */

static void the_least_recently_used_goes_first(void **state)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .max_regions = 4};
	struct fixture *f = fixture_make(&o);
	(void)state;

	for (unsigned int i = 0; i < 4; i++)
		get_put(f, i * 2, 1, RW);
	get_put(f, 0, 1, RW);
	get_put(f, 8, 1, RW);
	assert_int_equal(f->regs, 5);
	assert_int_equal(f->deregs, 1);
	get_put(f, 0, 1, RW);
	get_put(f, 4, 1, RW);
	get_put(f, 6, 1, RW);
	assert_int_equal(f->regs, 5);
	assert_true(misses(f, 2));
	fixture_end(f);
}

/* Hits count from the first one after the registration, and what ties is left in order. */
static void hits_since_the_last_miss_count(void **state)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .max_regions = 3};
	struct fixture *f = fixture_make(&o);
	(void)state;

	for (unsigned int i = 0; i < 6; i++)
		get_put(f, i % 3, 1, RW);
	assert_true(misses(f, 3)); /* for 0 */
	assert_false(misses(f, 1));
	assert_false(misses(f, 2));
	assert_int_equal(f->deregs, 1);
	assert_true(misses(f, 0)); /* for 3: it was used before the other two were */
	assert_false(misses(f, 1));
	assert_false(misses(f, 2));
	fixture_end(f);
}

/* A hit before the last miss is older than that miss, though it is noticed later. */
static void an_old_hit_does_not_outlast_a_newer_region(void **state)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .max_regions = 4};
	struct fixture *f = fixture_make(&o);
	(void)state;

	for (unsigned int i = 0; i < 4; i++)
		get_put(f, i, 1, RW);
	get_put(f, 1, 1, RW);
	assert_true(misses(f, 4)); /* for 0 */
	get_put(f, 2, 1, RW);
	assert_true(misses(f, 5)); /* for 3 */
	assert_true(misses(f, 6)); /* for 1 */
	assert_false(misses(f, 4));
	assert_false(misses(f, 2));
	assert_false(misses(f, 5));
	fixture_end(f);
}

static void put_the_other(struct fixture *f, struct uhmm_reg *reg)
{
	(void)reg;
	f->in_dereg = NULL;
	uhmm_regcache_put(f->cache, f->user);
}

static void what_is_put_while_room_is_made_makes_room(void **state)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .max_bytes = 4 * PAGE};
	struct fixture *f = fixture_make(&o);
	(void)state;

	get_put(f, 0, 1, RW);
	f->user = get(f, 10, 3, RW);
	change(f, 10, 3);
	f->in_dereg = put_the_other;
	get_put(f, 20, 3, RW);
	assert_int_equal(f->deregs, 2);
	fixture_end(f);
}

static void bytes_are_bounded(void **state)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .max_bytes = 10 * PAGE};
	struct fixture *f = fixture_make(&o);
	struct uhmm_reg *reg, *none = NULL;
	(void)state;

	get_put(f, 0, 4, RW);
	get_put(f, 10, 4, RW);
	get_put(f, 20, 4, RW);
	assert_int_equal(f->deregs, 1);
	assert_true(f->cache->bytes <= 10 * PAGE);
	assert_int_equal(uhmm_regcache_get(f->cache, page(50), 11 * PAGE, RW, &none), -ENOSPC);
	assert_int_equal(f->deregs, 1);
	reg = get(f, 50, 10, RW);
	assert_int_equal(f->deregs, 3);
	assert_int_equal(uhmm_regcache_get(f->cache, page(0), PAGE, RW, &none), -ENOSPC);
	uhmm_regcache_put(f->cache, reg);
	assert_true(misses(f, 0));
	fixture_end(f);
}

static void no_space_only_when_all_is_in_use(void **state)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .max_regions = 4};
	struct fixture *f = fixture_make(&o);
	struct uhmm_reg *regs[4], *none = NULL;
	(void)state;

	for (unsigned int i = 0; i < 4; i++)
		regs[i] = get(f, i, 1, RW);
	assert_int_equal(uhmm_regcache_get(f->cache, page(9), 1, RW, &none), -ENOSPC);
	/* They are as they were. */
	for (unsigned int i = 0; i < 4; i++)
		assert_false(misses(f, i));
	uhmm_regcache_put(f->cache, regs[2]);
	assert_true(misses(f, 9));
	assert_int_equal(f->regs, 5);
	assert_false(misses(f, 0));
	/* Dropped ones in use count; those that are not make room at once. */
	change(f, 0, 2);
	assert_true(misses(f, 10));
	assert_int_equal(uhmm_regcache_get(f->cache, page(11), 1, RW, &none), 0);
	assert_int_equal(uhmm_regcache_get(f->cache, page(12), 1, RW, &regs[2]), -ENOSPC);
	uhmm_regcache_put(f->cache, none);
	for (unsigned int i = 0; i < 4; i++)
		if (i != 2)
			uhmm_regcache_put(f->cache, regs[i]);
	fixture_end(f);
}

/* For a registrant with a limit of its own. */
static void trimming_gives_up_what_nobody_uses(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *held;
	(void)state;

	assert_int_equal(regcache_trim(f->cache, PAGE), -ENOSPC);
	held = get(f, 0, 1, RW);
	for (unsigned int i = 1; i < 10; i++)
		get_put(f, i * 2, 1, RW);
	assert_int_equal(regcache_trim(f->cache, 3 * PAGE), 0);
	assert_int_equal(f->deregs, 3);
	assert_false(misses(f, 18));
	assert_int_equal(regcache_trim(f->cache, 7 * PAGE), -ENOSPC);
	assert_int_equal(f->deregs, 9);
	assert_false(misses(f, 0));
	uhmm_regcache_put(f->cache, held);
	fixture_end(f);
}

static void many_sparse_regions(void **state)
{
	enum { REGIONS = 1000000 };
	struct fixture *f = fixture_make(NULL);
	(void)state;

	for (unsigned int i = 0; i < REGIONS; i++)
		get_put(f, i * 512 + i % 7, 1, RW);
	assert_int_equal(f->regs, REGIONS);
	for (unsigned int i = 0; i < REGIONS; i += 97)
		get_put(f, i * 512 + i % 7, 1, RW);
	assert_int_equal(f->regs, REGIONS);
	f->in_dereg = NULL;
	memset((void *)f->registered, 1, sizeof(f->registered)); /* handles wrap */
	assert_int_equal(uhmm_regcache_destroy(f->cache), 0);
	core_mm_destroy(f->mm);
	assert_int_equal(f->deregs, REGIONS);
	free(f);
}

/* ---- calls from inside reg() and dereg() ---- */

static void get_everything(struct fixture *f, struct uhmm_reg *reg)
{
	(void)reg;
	f->in_reg = NULL;
	get_put(f, 1, 1, RW); /* the very page */
	get_put(f, 7, 1, RW);
	assert_int_equal(uhmm_regcache_flush(f->cache), 0);
	assert_int_equal(uhmm_regcache_destroy(f->cache), -EDEADLK);
	change(f, 1, 1);
}

static void reg_may_use_the_cache(void **state)
{
	struct fixture *f = fixture_make(NULL);
	(void)state;

	f->in_reg = get_everything;
	get_put(f, 1, 1, RW);
	assert_false(misses(f, 1));
	assert_false(misses(f, 7));
	fixture_end(f);
}

static void use_the_cache_while_leaving(struct fixture *f, struct uhmm_reg *reg)
{
	(void)reg;
	f->in_dereg = NULL;
	get_put(f, 1, 1, RW);
	change(f, 1, 1);
	get_put(f, 2, 1, RW);
	assert_int_equal(uhmm_regcache_flush(f->cache), -EDEADLK);
	assert_int_equal(uhmm_regcache_destroy(f->cache), -EDEADLK);
}

static void dereg_may_use_the_cache(void **state)
{
	struct fixture *f = fixture_make(NULL);
	(void)state;

	f->in_dereg = use_the_cache_while_leaving;
	get_put(f, 1, 1, RW);
	change(f, 1, 1);
	assert_true(eventually(&f->deregs, 2));
	fixture_end(f);
}

static void use_the_cache_when_undone(struct fixture *f, struct uhmm_reg *reg)
{
	(void)reg;
	f->in_dereg = NULL;
	assert_int_equal(uhmm_regcache_flush(f->cache), -EDEADLK);
	assert_int_equal(uhmm_regcache_destroy(f->cache), -EDEADLK);
	get_put(f, 1, 1, RW); /* uncached, for the range is being registered by this thread */
}

static void dereg_of_an_attempt_may_use_the_cache(void **state)
{
	struct fixture *f = fixture_make(NULL);
	(void)state;

	f->in_reg = change_once;
	f->in_dereg = use_the_cache_when_undone;
	get_put(f, 1, 1, RW);
	assert_int_equal(f->regs, 3);
	assert_int_equal(uhmm_regcache_flush(f->cache), 0);
	assert_false(misses(f, 1));
	fixture_end(f);
}

static void get_while_destroyed(struct fixture *f, struct uhmm_reg *reg)
{
	(void)reg;
	f->in_dereg = NULL;
	get_put(f, 2, 1, RW);
}

static void destroy_takes_what_dereg_leaves(void **state)
{
	struct fixture *f = fixture_make(NULL);
	(void)state;

	get_put(f, 1, 1, RW);
	f->in_dereg = get_while_destroyed;
	assert_int_equal(uhmm_regcache_destroy(f->cache), 0);
	assert_int_equal(f->deregs, 2);
	core_mm_destroy(f->mm);
	free(f);
}

static void be_cancelled(struct fixture *f, struct uhmm_reg *reg)
{
	(void)f;
	(void)reg;
	pthread_cancel(pthread_self());
	pthread_testcancel();
}

static void *trim_in_a_thread(void *arg)
{
	struct fixture *f = arg;

	f->user = regcache_trim(f->cache, PAGE) == 0 ? f : NULL;
	return NULL;
}

static void *destroy_in_a_thread(void *arg)
{
	struct fixture *f = arg;

	f->user = uhmm_regcache_destroy(f->cache) == 0 ? f : NULL;
	return NULL;
}

/* Otherwise nothing would be deregistered ever again. */
static void cancellation_waits_for_dereg(void **state)
{
	struct fixture *f = fixture_make(NULL);
	pthread_t t;
	(void)state;

	get_put(f, 1, 1, RW);
	get_put(f, 2, 1, RW);
	f->in_dereg = be_cancelled;
	pthread_create(&t, NULL, trim_in_a_thread, f);
	pthread_join(t, NULL);
	assert_ptr_equal(f->user, f);
	f->user = NULL;
	pthread_create(&t, NULL, destroy_in_a_thread, f);
	pthread_join(t, NULL);
	assert_ptr_equal(f->user, f);
	assert_int_equal(f->deregs, 2);
	core_mm_destroy(f->mm);
	free(f);
}

/* ---- old kernels (R7), fork, counters ---- */

static void remember_access(struct fixture *f, struct uhmm_reg *reg)
{
	*(uint32_t *)f->user = reg->access;
}

static void pins_on_old_kernels_populate_first(void **state)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .flags = UHMM_REGCACHE_PINS};
	struct fixture *f = fixture_make(&o);
	unsigned char *p = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), resident[4] = {0};
	struct uhmm_reg *reg;
	uint32_t access = 0;
	(void)state;

	assert_ptr_not_equal(p, MAP_FAILED);
	f->user = &access;
	f->in_reg = remember_access;
	kernel_force_version(6, 2);
	assert_int_equal(uhmm_regcache_get(f->cache, p, PAGE, PROT_READ, &reg), 0);
	uhmm_regcache_put(f->cache, reg);
	kernel_force_version(6, 1);
	assert_int_equal(uhmm_regcache_get(f->cache, p + PAGE, PAGE, PROT_READ, &reg), 0);
	uhmm_regcache_put(f->cache, reg);
	assert_int_equal(mincore(p, 4 * PAGE, resident), 0);
	assert_int_equal(resident[0] & 1, 0);
	assert_int_equal(resident[1] & 1, 1);
	assert_int_equal(access, PROT_READ);
	/* Read-only memory cannot be populated for writing: the driver is asked to, and then not to. */
	assert_int_equal(mprotect(p + 2 * PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(uhmm_regcache_get(f->cache, p + 2 * PAGE, PAGE, PROT_READ, &reg), 0);
	assert_int_equal(reg->access, PROT_READ);
	uhmm_regcache_put(f->cache, reg);
	kernel_force_version(0, 0);
	munmap(p, 4 * PAGE);
	fixture_end(f);
}

static int child_of(struct fixture *f, struct uhmm_reg *held)
{
	uint64_t regs = f->regs, deregs = f->deregs;
	struct uhmm_reg *reg;

	core_fork_child();
	uhmm_regcache_put(f->cache, held);
	if (uhmm_regcache_get(f->cache, page(1), PAGE, RW, &reg) != 0 || f->regs != regs + 1)
		return 1;
	uhmm_regcache_put(f->cache, held);
	uhmm_regcache_put(f->cache, reg);
	change(f, 1, 1);
	uhmm_regcache_flush(f->cache);
	if (f->deregs != deregs + 1)
		return 2;
	return uhmm_regcache_destroy(f->cache) != 0 || f->deregs != deregs + 1 ? 3 : 0;
}

static void fork_with(uint32_t flags, bool kept)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .flags = flags};
	struct fixture *f = fixture_make(&o);
	struct uhmm_reg *held;
	int status;
	pid_t pid;

	get_put(f, 1, 1, RW);
	held = get(f, 2, 1, RW);
	/* AddressSanitizer's lock on thread creation does not survive a fork: wait for the cache's thread to sleep. */
	while (!a32_load_acquire(&f->cache->idle))
		sched_yield();
	core_fork_prepare();
	pid = fork();
	if (pid == 0)
		_exit(child_of(f, held));
	core_fork_parent();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(misses(f, 1), !kept);
	assert_int_equal(misses(f, 2), !kept);
	uhmm_regcache_put(f->cache, held);
	fixture_end(f);
}

static void fork_drops_regions_unless_pinned(void **state)
{
	(void)state;
#ifdef UNDER_THREAD_SANITIZER
	skip(); /* ThreadSanitizer does not support threads in a child of a threaded process */
#endif
	fork_with(0, false);
	fork_with(UHMM_REGCACHE_PINS, true);
}

static void fork_inside(struct fixture *f, struct uhmm_reg *reg)
{
	pid_t *pid = f->user;
	(void)reg;

	f->in_reg = NULL;
	while (!a32_load_acquire(&f->cache->idle))
		sched_yield();
	core_fork_prepare();
	*pid = fork();
	if (*pid == 0)
		core_fork_child();
	else
		core_fork_parent();
}

/* Both come back into the get: the parent with its registration, the child with nothing, and its empty cache is intact. */
static void reg_may_fork(void **state)
{
	struct fixture *f;
	struct uhmm_reg *reg = NULL;
	int status, err;
	pid_t pid = -1;
	(void)state;

#ifdef UNDER_THREAD_SANITIZER
	skip();
#endif
	f = fixture_make(NULL);
	get_put(f, 1, 4, PROT_READ);
	f->user = &pid;
	f->in_reg = fork_inside;
	err = uhmm_regcache_get(f->cache, page(1), PAGE, PROT_WRITE, &reg); /* widens */
	if (pid == 0)
		_exit(err != -EAGAIN || reg || f->cache->regions || !misses(f, 1) || uhmm_regcache_destroy(f->cache));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(err, 0);
	uhmm_regcache_put(f->cache, reg);
	fixture_end(f);
}

/* G12: what a signal handler changed while it had to be queued is not hit once its call has returned. */
static void a_queued_change_is_not_overlooked(void **state)
{
	struct fixture *f = fixture_make(NULL);
	(void)state;

	for (unsigned int i = 0; i < 200; i++) {
		get_put(f, 1, 1, RW);
		core_hold();
		change(f, 1, 1);
		core_unhold();
		assert_true(misses(f, 1));
	}
	fixture_end(f);
}

static void unsettled_address_spaces_keep_nothing(void **state)
{
	struct fixture *f = fixture_make(NULL);
	(void)state;

	core_mm_set_unsettled(f->mm, true);
	get_put(f, 1, 1, RW);
	assert_true(misses(f, 1));
	core_mm_set_unsettled(f->mm, false);
	assert_true(misses(f, 1));
	assert_false(misses(f, 1));
	fixture_end(f);
}

static void hits_and_misses_are_counted(void **state)
{
	struct uhmm_stats s = {.size = sizeof(s)};
	struct fixture *f = fixture_make(NULL);
	struct uhmm_mm *mm = f->mm;
	(void)state;

	for (unsigned int i = 0; i < 10; i++)
		get_put(f, i % 3, 1, RW);
	assert_int_equal(uhmm_mm_stats(mm, &s), 0);
	assert_int_equal(s.cache_hits, 7);
	assert_int_equal(s.cache_misses, 3);
	assert_int_equal(uhmm_regcache_destroy(f->cache), 0);
	assert_int_equal(uhmm_mm_stats(mm, &s), 0);
	assert_int_equal(s.cache_hits, 7);
	assert_int_equal(uhmm_regcache_create(mm, &fixture_ops, f, NULL, &f->cache), 0);
	fixture_end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_part_of_a_region_is_a_hit),
		cmocka_unit_test(bytes_are_rounded_to_pages),
		cmocka_unit_test(a_covering_region_is_reused_among_overlapping_ones),
		cmocka_unit_test(growth_keeps_everything),
		cmocka_unit_test(access_widens),
		cmocka_unit_test(widening_falls_back_to_what_was_asked_for),
		cmocka_unit_test(bad_input_is_refused),
		cmocka_unit_test(options_are_checked),
		cmocka_unit_test(a_put_too_many_is_ignored),
		cmocka_unit_test(many_references_at_once),
		cmocka_unit_test(a_change_drops_and_deregisters_promptly),
		cmocka_unit_test(an_unrelated_change_drops_nothing),
		cmocka_unit_test(what_did_not_change_is_revived),
		cmocka_unit_test(inside_its_own_change_a_thread_gets_uncached),
		cmocka_unit_test(a_miss_that_is_overtaken_begins_again),
		cmocka_unit_test(a_registration_that_invalidates_itself_is_bounded),
		cmocka_unit_test(the_least_recently_used_goes_first),
		cmocka_unit_test(hits_since_the_last_miss_count),
		cmocka_unit_test(an_old_hit_does_not_outlast_a_newer_region),
		cmocka_unit_test(what_is_put_while_room_is_made_makes_room),
		cmocka_unit_test(bytes_are_bounded),
		cmocka_unit_test(no_space_only_when_all_is_in_use),
		cmocka_unit_test(trimming_gives_up_what_nobody_uses),
		cmocka_unit_test(many_sparse_regions),
		cmocka_unit_test(reg_may_use_the_cache),
		cmocka_unit_test(dereg_may_use_the_cache),
		cmocka_unit_test(dereg_of_an_attempt_may_use_the_cache),
		cmocka_unit_test(destroy_takes_what_dereg_leaves),
		cmocka_unit_test(cancellation_waits_for_dereg),
		cmocka_unit_test(pins_on_old_kernels_populate_first),
		cmocka_unit_test(fork_drops_regions_unless_pinned),
		cmocka_unit_test(reg_may_fork),
		cmocka_unit_test(a_queued_change_is_not_overlooked),
		cmocka_unit_test(unsettled_address_spaces_keep_nothing),
		cmocka_unit_test(hits_and_misses_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
