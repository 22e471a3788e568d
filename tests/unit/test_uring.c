/* SPDX-License-Identifier: MIT */
/*
 * The io_uring attachment from inside: tokens, the request table, slots, fallbacks and every registration call failing in turn.
 *
 * Most cases never submit: an sqe on the stack and a cqe made up from its user_data are all that prep and complete look at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <uhmm/uhmm.h>

#include "devices/uring.h"
#include "port/inject.h"

#define PAGE ((size_t)4096)
#define BUFFERS ((size_t)256)

static struct {
	struct uhmm_mm *mm;
	struct io_uring ring;
	struct uhmm_uring *u;
	unsigned char *arena; /* BUFFERS pages, each followed by one that is not mapped */
	int file;
} t;

/* Refuses registration calls of one opcode that carry all of `flags` (and none if `none`), `count` times. */
struct refusal {
	unsigned opcode, flags;
	bool none;
	int error;
	unsigned count, asked;
};

static int refuse(void *arg, unsigned opcode, unsigned flags)
{
	struct refusal *r = arg;

	if (opcode != r->opcode || (r->none ? flags != 0 : (flags & r->flags) != r->flags))
		return 0;
	r->asked++;
	return r->asked <= r->count ? r->error : 0;
}

static void *buffer(size_t i)
{
	return t.arena + 2 * i * PAGE;
}

static int ring_open(unsigned flags)
{
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_EXPLICIT};

	memset(&t, 0, sizeof(t));
	assert_int_equal(uhmm_mm_open(&t.mm, &options), 0);
	assert_int_equal(io_uring_queue_init(16, &t.ring, flags), 0);
	t.arena = mmap(NULL, 2 * BUFFERS * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(t.arena, MAP_FAILED);
	for (size_t i = 0; i < BUFFERS; i++)
		assert_int_equal(mprotect(buffer(i), PAGE, PROT_READ | PROT_WRITE), 0);
	t.file = memfd_create("uring", MFD_CLOEXEC);
	assert_true(t.file >= 0);
	assert_int_equal(ftruncate(t.file, (off_t)(16 * PAGE)), 0);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return ring_open(0);
}

static int teardown(void **state)
{
	(void)state;
	port_inject_fail(INJECT_URING, 0);
	if (t.u)
		assert_int_equal(uhmm_uring_detach(t.u), 0);
	io_uring_queue_exit(&t.ring);
	munmap(t.arena, 2 * BUFFERS * PAGE);
	close(t.file);
	uhmm_mm_close(t.mm);
	return 0;
}

static void attach(const struct uring_tuning *tuning)
{
	assert_int_equal(uring_attach_with(t.mm, &t.ring, tuning, &t.u), 0);
}

static struct uhmm_uring_stats stats(void)
{
	struct uhmm_uring_stats s = {.size = sizeof(s)};

	assert_int_equal(uhmm_uring_stats(t.u, &s), 0);
	return s;
}

/* Prepares a write of buffer i, len bytes; the result, with the token in *token. */
static int prep(size_t i, unsigned len, uint64_t user_data, uint64_t *token, int *opcode)
{
	struct io_uring_sqe sqe = {0};
	int err = uhmm_uring_prep_write(t.u, &sqe, t.file, buffer(i), len, 0, user_data);

	*token = sqe.user_data;
	if (opcode)
		*opcode = sqe.opcode;
	return err;
}

static uint64_t complete(uint64_t token)
{
	struct io_uring_cqe cqe = {.user_data = token, .res = (int)PAGE};

	return uhmm_uring_complete(t.u, &cqe);
}

static bool owns(uint64_t token)
{
	struct io_uring_cqe cqe = {.user_data = token};

	return uhmm_uring_owns(t.u, &cqe);
}

static void test_bad_arguments(void **state)
{
	struct io_uring none = {0};
	struct io_uring_sqe sqe, before;
	struct uhmm_uring *u = (void *)1;

	(void)state;
	assert_int_equal(uhmm_uring_attach(NULL, &t.ring, &u), -EINVAL);
	assert_int_equal(uhmm_uring_attach(t.mm, NULL, &u), -EINVAL);
	assert_int_equal(uhmm_uring_attach(t.mm, &t.ring, NULL), -EINVAL);
	assert_int_equal(uhmm_uring_attach(t.mm, &none, &u), -EINVAL);
	assert_ptr_equal(u, (void *)1);
	assert_int_equal(uhmm_uring_detach(NULL), -EINVAL);
	attach(NULL);
	memset(&sqe, 0x5a, sizeof(sqe));
	before = sqe;
	assert_int_equal(uhmm_uring_prep_read(NULL, &sqe, 0, buffer(0), 1, 0, 0), -EINVAL);
	assert_int_equal(uhmm_uring_prep_read(t.u, NULL, 0, buffer(0), 1, 0, 0), -EINVAL);
	assert_int_equal(uhmm_uring_prep_read(t.u, &sqe, 0, NULL, 4096, 0, 0), -EINVAL);
	assert_int_equal(uhmm_uring_prep_write(t.u, &sqe, 0, (void *)(UINTPTR_MAX - 10), 4096, 0, 0), -EINVAL);
	assert_int_equal(uhmm_uring_prep_write(t.u, &sqe, 0, (void *)(UINTPTR_MAX / 2 + 1), 4096, 0, 0), -EINVAL);
	/* A hole behind the buffer, and memory that may not be touched at all. */
	assert_int_equal(uhmm_uring_prep_write(t.u, &sqe, 0, buffer(0), 2 * PAGE, 0, 0), -EFAULT);
	assert_int_equal(uhmm_uring_prep_read(t.u, &sqe, 0, t.arena + PAGE, PAGE, 0, 0), -EFAULT);
	assert_int_equal(munmap(t.arena + PAGE, PAGE), 0);
	assert_int_equal(uhmm_uring_prep_read(t.u, &sqe, 0, t.arena + PAGE, PAGE, 0, 0), -EFAULT);
	assert_memory_equal(&sqe, &before, sizeof(sqe));
	assert_int_equal(stats().in_flight, 0);
	assert_false(uhmm_uring_owns(NULL, NULL));
	assert_int_equal(uhmm_uring_stats(t.u, NULL), -EINVAL);
}

/* Read-only memory cannot be pinned for writing. Writing it to a file is legal all the same, reading into it is not. */
static void test_read_only_memory(void **state)
{
	struct io_uring_sqe sqe;
	uint64_t token;

	(void)state;
	attach(NULL);
	memset(buffer(0), 7, PAGE);
	assert_int_equal(mprotect(buffer(0), PAGE, PROT_READ), 0);
	assert_int_equal(uhmm_uring_prep_read(t.u, &sqe, t.file, buffer(0), PAGE, 0, 0), -EFAULT);
	assert_int_equal(prep(0, PAGE, 11, &token, NULL), 0);
	assert_int_equal(stats().plain_forced, 1);
	assert_int_equal(complete(token), 11);
}

static void test_zero_and_small_are_plain(void **state)
{
	uint64_t token;
	int opcode;

	(void)state;
	attach(NULL);
	assert_int_equal(prep(0, 0, 1, &token, &opcode), 0);
	assert_int_equal(opcode, IORING_OP_WRITE);
	assert_int_equal(complete(token), 1);
	assert_int_equal(prep(0, 512, 2, &token, &opcode), 0);
	assert_int_equal(opcode, IORING_OP_WRITE);
	assert_int_equal(complete(token), 2);
	assert_int_equal(prep(0, PAGE, 3, &token, &opcode), 0);
	assert_int_equal(opcode, IORING_OP_WRITE_FIXED);
	assert_int_equal(complete(token), 3);
	assert_int_equal(stats().plain_chosen, 2);
	assert_int_equal(stats().fixed, 1);
}

/* Over the kernel's limit for one buffer: plain, whether or not the memory is there. */
static void test_huge_is_plain(void **state)
{
	const unsigned len = (1u << 30) + 1;
	struct io_uring_sqe sqe;
	struct io_uring_cqe cqe = {0};
	void *huge = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)state;
	assert_ptr_not_equal(huge, MAP_FAILED);
	attach(NULL);
	assert_int_equal(uhmm_uring_prep_read(t.u, &sqe, t.file, huge, len, 0, 5), 0);
	assert_int_equal(sqe.opcode, IORING_OP_READ);
	cqe.user_data = sqe.user_data;
	assert_int_equal(uhmm_uring_complete(t.u, &cqe), 5);
	munmap(huge, len);
}

/* Only what is in flight is owned: not the program's own values, not a token that was completed, not another attachment's. */
static void test_owns(void **state)
{
	static const uint64_t foreign[] = {0, 1, 42, UINT64_MAX, UINT64_MAX - 1, UINT64_C(0x7ffff7dd1000), UINT64_C(1) << 63};
	uint64_t first, second, again;

	(void)state;
	attach(NULL);
	assert_int_equal(prep(0, PAGE, UINT64_MAX, &first, NULL), 0);
	assert_int_equal(prep(1, 16, 0, &second, NULL), 0);
	assert_true(owns(first) && owns(second));
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		assert_false(owns(foreign[i]));
		assert_true(complete(foreign[i]) == foreign[i]);
	}
	for (unsigned bit = 0; bit < 64; bit++)
		assert_true(!owns(first ^ UINT64_C(1) << bit) || (first ^ UINT64_C(1) << bit) == second);
	assert_int_equal(stats().in_flight, 2);
	assert_true(complete(first) == UINT64_MAX);
	assert_false(owns(first));
	assert_true(complete(first) == first); /* twice: nothing happens */
	assert_int_equal(stats().in_flight, 1);
	assert_int_equal(prep(0, PAGE, 9, &again, NULL), 0); /* the same entry of the table, another generation */
	assert_false(owns(first));
	assert_true(owns(again));
	assert_int_equal(uhmm_uring_detach(t.u), -EBUSY);
	assert_int_equal(complete(again), 9);
	assert_int_equal(uhmm_uring_detach(t.u), -EBUSY);
	assert_int_equal(complete(second), 0);
}

static void test_requests_run_out(void **state)
{
	enum { MANY = 65536 };
	uint64_t *tokens = calloc(MANY + 1, sizeof(*tokens));

	(void)state;
	assert_non_null(tokens);
	attach(NULL);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(prep(i % BUFFERS, (i & 1) ? PAGE : 8, i, &tokens[i], NULL), 0);
	assert_int_equal(prep(0, PAGE, 0, &tokens[MANY], NULL), -EAGAIN);
	assert_int_equal(complete(tokens[77]), 77);
	assert_int_equal(prep(0, PAGE, 78, &tokens[77], NULL), 0);
	assert_int_equal(complete(tokens[77]), 78);
	for (size_t i = 0; i < MANY; i++)
		assert_true(i == 77 || complete(tokens[i]) == i);
	assert_int_equal(stats().in_flight, 0);
	free(tokens);
}

/* Requests that take long do not get in the way of short ones, wherever in the table they are. */
static void test_long_and_short_requests(void **state)
{
	enum { LONG = 1000, ROUNDS = 100000 };
	uint64_t *tokens = calloc(LONG, sizeof(*tokens));
	uint64_t token, other;

	(void)state;
	assert_non_null(tokens);
	attach(NULL);
	for (size_t i = 0; i < LONG; i++)
		assert_int_equal(prep(0, 8, i, &tokens[i], NULL), 0);
	for (size_t i = 0; i < ROUNDS; i++) {
		assert_int_equal(prep(0, 8, i, &token, NULL), 0);
		assert_int_equal(prep(0, 8, ~i, &other, NULL), 0);
		assert_true(complete(other) == ~i && complete(token) == i);
	}
	assert_int_equal(stats().in_flight, LONG);
	for (size_t i = 0; i < LONG; i++)
		assert_int_equal(complete(tokens[i]), i);
	free(tokens);
}

/* More buffers in flight than slots: the rest is plain, nothing fails; what is put makes room again. */
static void test_table_full(void **state)
{
	struct uring_tuning tuning = {.slots = 64};
	uint64_t tokens[BUFFERS];
	int opcode;

	(void)state;
	attach(&tuning);
	for (size_t i = 0; i < BUFFERS; i++)
		assert_int_equal(prep(i, PAGE, i, &tokens[i], NULL), 0);
	assert_in_range(stats().fixed, 32, 64);
	assert_int_equal(stats().in_flight, BUFFERS);
	for (size_t i = 0; i < BUFFERS; i++)
		assert_int_equal(complete(tokens[i]), i);
	tuning.always_fixed = true;
	assert_int_equal(uhmm_uring_detach(t.u), 0);
	attach(&tuning);
	for (size_t i = 0; i < 3 * BUFFERS; i++) { /* one at a time, through eviction */
		assert_int_equal(prep(i % BUFFERS, PAGE, i, &tokens[0], &opcode), 0);
		assert_int_equal(opcode, IORING_OP_WRITE_FIXED);
		assert_int_equal(complete(tokens[0]), i);
	}
}

/* Buffers that are never used twice stop being registered; the first that is brings registration back. */
static void test_single_use(void **state)
{
	uint64_t token;
	uint64_t fixed;

	(void)state;
	attach(NULL);
	for (size_t i = 0; i < BUFFERS; i++) {
		assert_int_equal(prep(i, PAGE, i, &token, NULL), 0);
		complete(token);
	}
	fixed = stats().fixed;
	assert_in_range(fixed, 64 + (BUFFERS - 64) / 16, 64 + (BUFFERS - 64) / 4);
	for (size_t i = 0; i < 16; i++) { /* hits now and then: one in 8 is looked up */
		assert_int_equal(prep(0, PAGE, i, &token, NULL), 0);
		complete(token);
	}
	fixed = stats().fixed;
	for (size_t i = 0; i < 16; i++) {
		assert_int_equal(prep(0, PAGE, i, &token, NULL), 0);
		complete(token);
	}
	assert_int_equal(stats().fixed, fixed + 16);
}

static void test_has_table_already(void **state)
{
	struct uhmm_uring *u = NULL;
	struct iovec vec = {.iov_base = buffer(0), .iov_len = PAGE};

	(void)state;
	assert_int_equal(io_uring_register_buffers(&t.ring, &vec, 1), 0);
	assert_int_equal(uhmm_uring_attach(t.mm, &t.ring, &u), -EBUSY);
	assert_null(u);
	assert_int_equal(io_uring_unregister_buffers(&t.ring), 0);
	attach(NULL);
	assert_int_equal(uhmm_uring_attach(t.mm, &t.ring, &u), -EBUSY); /* twice */
	assert_int_equal(uhmm_uring_detach(t.u), 0);
	t.u = NULL;
	assert_int_equal(io_uring_register_buffers(&t.ring, &vec, 1), 0); /* given back */
}

/* Kernels without the flag for sparse tables take a table of empty buffers; older ones none, and every request is plain. */
static void test_no_sparse_tables(void **state)
{
	static struct refusal r = {
		.opcode = IORING_REGISTER_BUFFERS2, .flags = IORING_RSRC_REGISTER_SPARSE, .error = -EINVAL, .count = 1};
	struct uring_tuning tuning = {.refuse = refuse, .refuse_arg = &r};
	uint64_t token;
	int opcode;

	(void)state;
	attach(&tuning);
	assert_int_equal(r.asked, 1);
	assert_int_equal(prep(0, PAGE, 1, &token, &opcode), 0);
	assert_int_equal(opcode, IORING_OP_WRITE_FIXED);
	assert_int_equal(complete(token), 1);
	assert_int_equal(uhmm_uring_detach(t.u), 0);

	r = (struct refusal){.opcode = IORING_REGISTER_BUFFERS2, .error = -EINVAL, .count = 2};
	attach(&tuning);
	assert_int_equal(r.asked, 2);
	assert_int_equal(stats().slots, 0);
	assert_int_equal(prep(0, PAGE, 2, &token, &opcode), 0);
	assert_int_equal(opcode, IORING_OP_WRITE);
	assert_int_equal(uhmm_uring_detach(t.u), -EBUSY);
	assert_int_equal(complete(token), 2);
}

static void test_attach_refused(void **state)
{
	static const struct {
		int refused, answered;
		uint64_t slots;
	} cases[] = {{-EPERM, -EPERM, 0}, {-ENOSYS, -ENOSYS, 0}, {-EEXIST, -EEXIST, 0},
		     {-EBUSY, -EBUSY, 0}, {-EACCES, 0, 0},       {-EOPNOTSUPP, -EBADF, 0}};
	static struct refusal r; /* still asked by the teardown */
	struct uring_tuning tuning = {.refuse = refuse, .refuse_arg = &r};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		r = (struct refusal){.opcode = IORING_REGISTER_BUFFERS2, .error = cases[i].refused, .count = 100};
		t.u = NULL;
		assert_int_equal(uring_attach_with(t.mm, &t.ring, &tuning, &t.u), cases[i].answered);
		if (!cases[i].answered) {
			assert_int_equal(stats().slots, cases[i].slots);
			assert_int_equal(uhmm_uring_detach(t.u), 0);
		}
		t.u = NULL;
	}
	/* Short of memory: a smaller table, and at last none. */
	r = (struct refusal){.opcode = IORING_REGISTER_BUFFERS2, .error = -ENOMEM, .count = 3};
	attach(&tuning);
	assert_int_equal(stats().slots, 16384 / 8);
	assert_int_equal(uhmm_uring_detach(t.u), 0);
	t.u = NULL;
	r = (struct refusal){.opcode = IORING_REGISTER_BUFFERS2, .error = -ENOMEM, .count = 100};
	assert_int_equal(uring_attach_with(t.mm, &t.ring, &tuning, &t.u), -ENOMEM);
	assert_null(t.u);
}

/* The limit on locked memory is reached: one more try after letting go of idle buffers, then plain. No request fails. */
static void test_no_lockable_memory(void **state)
{
	static struct refusal r = {.opcode = IORING_REGISTER_BUFFERS_UPDATE, .error = -ENOMEM, .count = 1};
	struct uring_tuning tuning = {.refuse = refuse, .refuse_arg = &r};
	uint64_t token;
	int opcode;

	(void)state;
	attach(&tuning);
	assert_int_equal(prep(0, PAGE, 1, &token, &opcode), 0);
	assert_int_equal(opcode, IORING_OP_WRITE_FIXED);
	assert_int_equal(complete(token), 1);
	r = (struct refusal){.opcode = IORING_REGISTER_BUFFERS_UPDATE, .error = -ENOMEM, .count = 1000};
	assert_int_equal(prep(1, PAGE, 2, &token, &opcode), 0);
	assert_int_equal(opcode, IORING_OP_WRITE);
	assert_int_equal(complete(token), 2);
	assert_int_equal(stats().plain_forced, 1);
	r.count = 0; /* or the table could not be emptied */
}

/* One life of an attachment; every step may fail with -ENOMEM, none may leave something behind. */
static int one_life(void)
{
	struct uhmm_uring *u = NULL;
	uint64_t token;
	int err = uring_attach_with(t.mm, &t.ring, NULL, &u);

	if (err) {
		assert_null(u);
		return err;
	}
	t.u = u;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(prep(i, PAGE, i, &token, NULL), 0);
		assert_int_equal(complete(token), i);
	}
	err = uhmm_uring_detach(t.u);
	if (err) {
		port_inject_fail(INJECT_URING, 0);
		assert_int_equal(uhmm_uring_detach(t.u), 0); /* the failed one changed nothing */
	}
	t.u = NULL;
	return err;
}

static void test_every_registration_call_fails(void **state)
{
	uint64_t passes;

	(void)state;
	port_inject_fail(INJECT_URING, 0);
	assert_int_equal(one_life(), 0);
	passes = port_inject_passes(INJECT_URING);
	assert_in_range(passes, 6, 100);
	for (uint64_t n = 1; n <= passes; n++) {
		int err;

		port_inject_fail(INJECT_URING, n);
		err = one_life();
		assert_true(err == 0 || err == -ENOMEM);
		port_inject_fail(INJECT_URING, 0);
		assert_int_equal(one_life(), 0); /* the ring and the address space are as before */
	}
}

static void test_attach_without_memory(void **state)
{
	struct uhmm_uring *u = NULL;

	(void)state;
	port_inject_fail(INJECT_MAP, 1);
	assert_int_equal(uhmm_uring_attach(t.mm, &t.ring, &u), -ENOMEM);
	assert_null(u);
	port_inject_fail(INJECT_MAP, 0);
	attach(NULL);
}

static void test_closed_ring(void **state)
{
	struct io_uring dead;
	struct uhmm_uring *u = NULL;

	(void)state;
	assert_int_equal(io_uring_queue_init(4, &dead, 0), 0);
	close(dead.ring_fd);
	assert_int_equal(uhmm_uring_attach(t.mm, &dead, &u), -EBADF);
	assert_null(u);
	dead.ring_fd = dup(t.file);
	assert_int_equal(uhmm_uring_attach(t.mm, &dead, &u), -EBADF);
	io_uring_queue_exit(&dead);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bad_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_only_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zero_and_small_are_plain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_huge_is_plain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_owns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests_run_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_and_short_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_table_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_single_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_has_table_already, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_sparse_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attach_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_lockable_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_registration_call_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attach_without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed_ring, setup, teardown),
	};
	struct io_uring probe;
	int err = io_uring_queue_init(2, &probe, 0);

	if (err) {
		printf("skipped: no io_uring ring: %s\n", strerror(-err));
		return 77;
	}
	io_uring_queue_exit(&probe);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
