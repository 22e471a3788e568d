/* SPDX-License-Identifier: MIT */
/* The seam's memory: bare system calls, pools with their bounds and failures, and the fault injection that tests rest on. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "port/alloc.h"
#include "port/inject.h"
#include "port/mm.h"

#define MANY 20000u

static bool is_mapped(void *addr)
{
	unsigned char resident;

	return mincore((void *)mm_page_floor((uintptr_t)addr), 1, &resident) == 0;
}

static bool is_resident(void *addr)
{
	unsigned char resident = 0;

	return mincore(addr, 1, &resident) == 0 && (resident & 1);
}

static void a_bare_call_answers_in_errnos(void **state)
{
	(void)state;
	errno = 77;
	assert_int_equal(port_syscall(SYS_munmap, 1, 4096, 0, 0, 0, 0), -EINVAL);
	assert_int_equal(port_syscall(SYS_close, -1, 0, 0, 0, 0, 0), -EBADF);
	assert_int_equal(errno, 77);
}

static void pages_round_as_the_kernel_rounds(void **state)
{
	(void)state;
	assert_int_equal(mm_page_floor(4097), 4096);
	assert_int_equal(mm_page_floor(4096), 4096);
	assert_int_equal(mm_page_ceil(4096), 4096);
	assert_int_equal(mm_page_ceil(4097), 8192);
	assert_int_equal(mm_page_ceil(0), 0);
}

/* ThreadSanitizer leaves little of the address space. */
#ifdef __SANITIZE_THREAD__
#define MUCH ((size_t)1 << 30)
#else
#define MUCH ((size_t)1 << 40)
#endif

static void mappings_come_and_go(void **state)
{
	unsigned char *at = NULL;
	void *reserved = NULL;

	(void)state;
	assert_int_equal(mm_map(8192, (void **)&at), 0);
	assert_int_equal(at[0] | at[8191], 0);
	mm_unmap(at, 8192);
	assert_false(is_mapped(at));
	assert_int_equal(mm_reserve(MUCH, &reserved), 0);
	assert_false(is_resident(reserved));
	mm_unmap(reserved, MUCH);
	assert_int_equal(mm_map((size_t)1 << 60, (void **)&at), -ENOMEM);
}

static void populating_makes_pages_writable_or_says_why_not(void **state)
{
	unsigned char *at;
	int err;

	(void)state;
	assert_int_equal(mm_map(3 * 4096, (void **)&at), 0);
	err = mm_populate_write(at, 3 * 4096);
	if (err == -EOPNOTSUPP) {
		print_message("# no MADV_POPULATE_WRITE before kernel 5.14\n");
		mm_unmap(at, 3 * 4096);
		skip();
	}
	assert_int_equal(err, 0);
	assert_true(is_resident(at) && is_resident(at + 8192));
	mm_unmap(at + 4096, 4096);
	assert_int_equal(mm_populate_write(at, 3 * 4096), -ENOMEM);
	mprotect(at + 8192, 4096, PROT_READ);
	assert_int_equal(mm_populate_write(at + 8192, 4096), -EFAULT);
	mm_unmap(at, 3 * 4096);
}

static void a_pool_stops_at_its_bound(void **state)
{
	struct pool p;
	void *o[3];

	(void)state;
	pool_init(&p, 64, 3);
	for (int i = 0; i < 3; i++)
		assert_non_null(o[i] = pool_get(&p));
	assert_null(pool_get(&p));
	assert_int_equal(p.objects, 3);
	pool_put(&p, o[1]);
	assert_ptr_equal(pool_get(&p), o[1]);
	assert_null(pool_get(&p));
	pool_destroy(&p);
}

/* Objects do not overlap, keep to cache lines, and begin as zeroes; chunks grow, so few mappings serve many objects. */
static void objects_are_apart(void **state)
{
	static unsigned char *o[MANY];
	struct pool p;

	(void)state;
	pool_init(&p, 192, MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		assert_non_null(o[i] = pool_get(&p));
		assert_int_equal((uintptr_t)o[i] % 64, 0);
		assert_int_equal(o[i][0] | o[i][191], 0);
		memset(o[i], (int)(1 + i % 255), 192);
	}
	for (uint32_t i = 0; i < MANY; i++)
		assert_true(o[i][0] == 1 + i % 255 && o[i][191] == 1 + i % 255);
	assert_true(p.bytes >= (uint64_t)MANY * 192 && p.bytes <= (uint64_t)MANY * 192 + ((uint64_t)5 << 20));
	pool_destroy(&p);
}

/* What a reader that lost a race may look at: memory of a put object stays, with all but the first word as it was. */
static void memory_is_type_stable(void **state)
{
	struct pool p;
	uint64_t *object;

	(void)state;
	pool_init(&p, 64, 8);
	object = pool_get(&p);
	for (int i = 0; i < 8; i++)
		object[i] = 0x5aa5;
	pool_put(&p, object);
	assert_true(is_mapped(object));
	for (int i = 1; i < 8; i++)
		assert_int_equal(object[i], 0x5aa5);
	assert_ptr_equal(pool_get(&p), object);
	assert_int_equal(object[7], 0x5aa5);
	pool_destroy(&p);
	assert_false(is_mapped(object));
	/* And the pool is as new. */
	assert_non_null(pool_get(&p));
	pool_destroy(&p);
}

static void abandoning_leaves_the_mappings(void **state)
{
	struct pool p;
	void *chunk, *object;

	(void)state;
	pool_init(&p, 64, 8);
	object = pool_get(&p);
	chunk = p.chunks;
	pool_abandon(&p);
	assert_true(is_mapped(object));
	assert_int_equal(p.objects, 0);
	assert_non_null(pool_get(&p));
	pool_destroy(&p);
	mm_unmap(chunk, (size_t)64 << 10);
}

/* Every site fails once, each time: NULL, nothing handed out, and the pool goes on. */
static void running_out_of_memory_changes_nothing(void **state)
{
	const enum inject_site sites[] = {INJECT_ALLOC, INJECT_MAP};

	(void)state;
	for (int s = 0; s < 2; s++) {
		for (uint64_t nth = 1; nth <= 2; nth++) {
			struct pool p;
			uint64_t got = 0, refused = 0;

			pool_init(&p, 1024, 200);
			port_inject_fail(sites[s], nth);
			while (p.objects < 200) {
				if (pool_get(&p))
					got++;
				else
					refused++;
				assert_int_equal(p.objects, got);
			}
			assert_int_equal(refused, 1);
			assert_true(port_inject_passes(sites[s]) > nth);
			port_inject_fail(sites[s], 0);
			pool_destroy(&p);
		}
	}
}

static void an_injected_failure_comes_once(void **state)
{
	void *at = NULL;

	(void)state;
	port_inject_fail(INJECT_MAP, 2);
	assert_int_equal(mm_map(4096, &at), 0);
	mm_unmap(at, 4096);
	at = NULL;
	assert_int_equal(mm_map(4096, &at), -ENOMEM);
	assert_null(at);
	assert_int_equal(mm_map(4096, &at), 0);
	assert_int_equal(port_inject_passes(INJECT_MAP), 3);
	port_inject_fail(INJECT_POPULATE, 1);
	assert_int_equal(mm_populate_write(at, 4096), -ENOMEM);
	port_inject_fail(INJECT_MAP, 0);
	assert_int_equal(port_inject_passes(INJECT_MAP), 0);
	mm_unmap(at, 4096);
}

static void *get_and_put(void *pool)
{
	for (int i = 0; i < 5000; i++) {
		uint64_t *object = pool_get(pool);

		if (!object)
			continue;
		object[3]++; /* two owners at once would be a data race, and a wrong sum */
		pool_put(pool, object);
	}
	return NULL;
}

static void threads_share_a_pool(void **state)
{
	pthread_t thread[4];
	struct pool p;

	(void)state;
	pool_init(&p, 64, 3);
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, get_and_put, &p);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(p.objects, 0);
	pool_destroy(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bare_call_answers_in_errnos),
		cmocka_unit_test(pages_round_as_the_kernel_rounds),
		cmocka_unit_test(mappings_come_and_go),
		cmocka_unit_test(populating_makes_pages_writable_or_says_why_not),
		cmocka_unit_test(a_pool_stops_at_its_bound),
		cmocka_unit_test(objects_are_apart),
		cmocka_unit_test(memory_is_type_stable),
		cmocka_unit_test(abandoning_leaves_the_mappings),
		cmocka_unit_test(running_out_of_memory_changes_nothing),
		cmocka_unit_test(an_injected_failure_comes_once),
		cmocka_unit_test(threads_share_a_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
