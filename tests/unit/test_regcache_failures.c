/* SPDX-License-Identifier: MIT */
/*
 * test_regcache_failures.c: every allocation, thread creation and registration fails in turn. A call that fails names the cause
 * and changes nothing; what works afterwards shows it.
 */
#include <stdio.h>

#include "regcache_fixture.h"

#define REGIONS 3000u

static long mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	long count = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		count++;
	fclose(maps);
	return count;
}

/* Makes and uses a cache; how many calls failed. Fills past several growths of the table. */
static unsigned int run(struct fixture *f, const struct uhmm_regcache_options *o, unsigned int *created)
{
	unsigned int failures = 0;
	int err = uhmm_regcache_create(f->mm, &fixture_ops, f, o, &f->cache);

	if (err) {
		assert_true(err == -ENOMEM || err == -EAGAIN);
		assert_null(f->cache);
		failures++;
		assert_int_equal(uhmm_regcache_create(f->mm, &fixture_ops, f, o, &f->cache), 0);
	}
	(*created)++;
	for (unsigned int i = 0; i < REGIONS; i++) {
		struct uhmm_reg *reg = NULL;
		uint64_t regs = f->regs - f->deregs;

		err = uhmm_regcache_get(f->cache, page(i * 2), PAGE, i % 2 ? RW : PROT_READ, &reg);
		if (err) {
			assert_int_equal(err, -ENOMEM);
			assert_null(reg);
			assert_int_equal(f->regs - f->deregs, regs);
			assert_int_equal(f->cache->registering, 0);
			failures++;
			assert_true(misses(f, i * 2));
			continue;
		}
		uhmm_regcache_put(f->cache, reg);
		assert_false(misses(f, i * 2));
	}
	/* Dropping needs no memory: nothing can fail here. */
	change(f, 0, 2 * REGIONS);
	uhmm_regcache_flush(f->cache);
	assert_int_equal(f->regs, f->deregs);
	assert_int_equal(f->cache->regions, 0);
	assert_int_equal(uhmm_regcache_destroy(f->cache), 0);
	f->cache = NULL;
	return failures;
}

static void fail_each(enum inject_site site, const struct uhmm_regcache_options *o)
{
	struct fixture *f = calloc(1, sizeof(*f));
	unsigned int created = 0;
	uint64_t passes;
	long before;

	assert_non_null(f);
	assert_int_equal(core_mm_create(&f->mm), 0);
	port_inject_fail(site, 0);
	assert_int_equal(run(f, o, &created), 0);
	passes = port_inject_passes(site);
	assert_true(passes > 0);
	before = mappings();
	/* Few passes: each of them. Many (one a region): the first ones, and then samples. */
	for (uint64_t n = 1; n <= passes; n += n < 20 ? 1 : 1 + passes / 25) {
		unsigned int failures;

		port_inject_fail(site, n);
		failures = run(f, o, &created);
		assert_int_equal(failures > 0, port_inject_passes(site) >= n);
	}
	port_inject_fail(site, 0);
#ifdef __SANITIZE_THREAD__
	(void)before; /* it has mappings of its own, and ours lie apart */
#else
	/* Later runs need no more than the first. A few of the core's own may come. */
	assert_true(mappings() <= before + 4);
#endif
	core_mm_destroy(f->mm);
	assert_int_equal(f->mistakes, 0);
	free(f);
}

static void mappings_fail(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	unsigned int created = 0;
	(void)state;

	/* Some mappings are spare (the core's reserves), so a failure need not show: what matters is what run() checks. */
	assert_non_null(f);
	assert_int_equal(core_mm_create(&f->mm), 0);
	for (uint64_t n = 1; n <= 24; n++) {
		port_inject_fail(INJECT_MAP, n);
		run(f, NULL, &created);
	}
	port_inject_fail(INJECT_MAP, 0);
	core_mm_destroy(f->mm);
	assert_int_equal(f->mistakes, 0);
	free(f);
}

static void region_objects_fail(void **state)
{
	(void)state;
	fail_each(INJECT_ALLOC, NULL);
}

static void the_thread_fails(void **state)
{
	(void)state;
	fail_each(INJECT_THREAD, NULL);
}

static void no_memory_to_populate(void **state)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .flags = UHMM_REGCACHE_PINS};
	struct fixture *f = fixture_make(&o);
	void *p = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uhmm_reg *reg = NULL;
	(void)state;

	kernel_force_version(6, 1);
	port_inject_fail(INJECT_POPULATE, 3); /* the first two are the cache's own, and need not succeed */
	for (int i = 0; i < 2; i++) {
		int err = uhmm_regcache_get(f->cache, p, PAGE, PROT_READ, &reg);

		assert_true(err == 0 || err == -ENOMEM);
		assert_int_equal(err, i == 0 ? -ENOMEM : 0);
		assert_int_equal(f->regs - f->deregs, i);
	}
	uhmm_regcache_put(f->cache, reg);
	port_inject_fail(INJECT_POPULATE, 0);
	kernel_force_version(0, 0);
	munmap(p, PAGE);
	uhmm_regcache_flush(f->cache);
	fixture_end(f);
}

static void reg_fails_in_turn(void **state)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .max_regions = 3};
	struct fixture *f = fixture_make(&o);
	(void)state;

	for (unsigned int i = 0; i < 100; i++) {
		struct uhmm_reg *reg = NULL;

		f->error = -ENXIO;
		assert_int_equal(uhmm_regcache_get(f->cache, page(i), PAGE, RW, &reg), -ENXIO);
		f->error = 0;
		assert_true(misses(f, i));
		assert_true(f->cache->regions <= 3);
	}
	fixture_end(f);
}

/* Tickets without membarrier: the fences are full ones then, and everything holds. */
static void without_membarrier(void **state)
{
	struct fixture *f;
	struct uhmm_reg *reg;
	(void)state;

	sync_heavy_barrier_force_fallback(true);
	f = fixture_make(NULL);
	for (unsigned int i = 0; i < 1000; i++) {
		reg = get(f, i, 1, RW);
		change(f, i, 1);
		uhmm_regcache_flush(f->cache);
		assert_int_equal(f->deregs, i);
		uhmm_regcache_put(f->cache, reg);
		uhmm_regcache_flush(f->cache);
		assert_int_equal(f->deregs, i + 1);
	}
	fixture_end(f);
	sync_heavy_barrier_force_fallback(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mappings_fail),     cmocka_unit_test(region_objects_fail),
		cmocka_unit_test(the_thread_fails),  cmocka_unit_test(no_memory_to_populate),
		cmocka_unit_test(reg_fails_in_turn), cmocka_unit_test(without_membarrier),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
