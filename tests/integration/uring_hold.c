/* SPDX-License-Identifier: MIT */
/*
 * R28: a fixed-buffer slot reused between preparing a request and submitting it.
 *
 *	a region of two pages is registered: slot s
 *	prepare a write of its page 0: slot s
 *	                                page 1 is replaced: the region is dropped. Page 0, in flight, is left alone.
 *	                                another buffer is registered
 *	submit                          the kernel resolves slot s only now
 *
 * The losing model slot_reuse puts the registration back when the sqe is filled: s is the other buffer's at submission, and a
 * correct request fails. uhmm_uring_* holds it until the completion.
 */
#include <sched.h>

#include "uring_common.h"

static struct io_uring ring;
static struct uhmm_mm *mm;
static int file;

/* The model's table: as many slots as it has registrations, lowest free first. */
#define MODEL_SLOTS 8u
static bool model_used[MODEL_SLOTS];

static int model_update(unsigned slot, void *addr, size_t len)
{
	struct iovec vec = {.iov_base = addr, .iov_len = len};
	__u64 tag = 0;

	return io_uring_register_buffers_update_tag(&ring, slot, &vec, &tag, 1) == 1 ? 0 : -EFAULT;
}

/* The main thread and the cache's take turns here: each waits for the other with uhmm_regcache_flush(). */
static int model_reg(void *ctx, struct uhmm_reg *reg)
{
	(void)ctx;
	for (unsigned slot = 0; slot < MODEL_SLOTS; slot++) {
		if (!model_used[slot]) {
			model_used[slot] = true;
			reg->handle = slot;
			return model_update(slot, reg->addr, reg->len);
		}
	}
	return -ENOSPC;
}

static void model_dereg(void *ctx, struct uhmm_reg *reg)
{
	(void)ctx;
	CHECK(model_update((unsigned)reg->handle, NULL, 0) == 0);
	model_used[reg->handle] = false;
}

static void replace(unsigned char *p, unsigned char fill)
{
	struct uhmm_event event = {.start = (uintptr_t)p, .end = (uintptr_t)p + PAGE, .kind = UHMM_EVENT_UNMAP};
	struct uhmm_invalidation inv;

	CHECK(uhmm_invalidate_start(mm, &inv, &event) == 0);
	map_at(p, PAGE);
	uhmm_invalidate_end(&inv);
	memset(p, fill, PAGE);
}

static unsigned char file_byte(size_t offset)
{
	unsigned char byte = 0;

	CHECK(pread(file, &byte, 1, (off_t)offset) == 1);
	return byte;
}

static void slot_reuse_loses(void)
{
	static const struct uhmm_regcache_ops ops = {.reg = model_reg, .dereg = model_dereg};
	struct uhmm_regcache_options options = {.size = sizeof(options), .flags = UHMM_REGCACHE_PINS};
	struct uhmm_regcache *cache;
	struct uhmm_reg *x, *y;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	unsigned char *p = map_at(NULL, 2 * PAGE);
	unsigned char *other = map_at(NULL, PAGE);
	int err = io_uring_register_buffers_sparse(&ring, MODEL_SLOTS);

	if (err) {
		printf("skipped: no sparse buffer tables: %s\n", strerror(-err));
		exit(SKIP);
	}
	CHECK(uhmm_regcache_create(mm, &ops, NULL, &options, &cache) == 0);
	memset(p, 'X', 2 * PAGE);
	CHECK(uhmm_regcache_get(cache, p, 2 * PAGE, PROT_READ | PROT_WRITE, &x) == 0);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_write_fixed(sqe, file, p, PAGE, 0, (int)x->handle);
	uhmm_regcache_put(cache, x); /* the mistake */
	replace(p + PAGE, 'Y');
	CHECK(uhmm_regcache_flush(cache) == 0);
	CHECK(uhmm_regcache_get(cache, other, PAGE, PROT_READ | PROT_WRITE, &y) == 0);
	cqe = submit_one(&ring);
	printf("slot_reuse  a write of memory that nobody touched: %s\n", cqe->res < 0 ? strerror(-cqe->res) : "done");
	CHECK(cqe->res < 0); /* it must lose */
	io_uring_cqe_seen(&ring, cqe);
	uhmm_regcache_put(cache, y);
	CHECK(uhmm_regcache_destroy(cache) == 0);
	CHECK(io_uring_unregister_buffers(&ring) == 0);
	CHECK(munmap(p, 2 * PAGE) == 0 && munmap(other, PAGE) == 0);
}

/* Submits what is queued: the requests' results, in any order, must all be a page. */
static void finish(struct uhmm_uring *u, unsigned count)
{
	CHECK(io_uring_submit(&ring) == (int)count);
	for (unsigned i = 0; i < count; i++) {
		struct io_uring_cqe *cqe;

		CHECK(io_uring_wait_cqe(&ring, &cqe) == 0);
		CHECK(cqe->res == (int)PAGE && uhmm_uring_owns(u, cqe));
		uhmm_uring_complete(u, cqe);
		io_uring_cqe_seen(&ring, cqe);
	}
}

/* Replaced, so that its registration is dropped, which is then waited for: used slots remain. */
static void replace_and_await(struct uhmm_uring *u, unsigned char *p, unsigned used)
{
	replace(p, 'C');
	while (stats_of(u).slots_used > used)
		sched_yield();
}

/*
 * The same through the library. By the time that the other buffer is registered, whatever could be deregistered has been: two
 * canaries were dropped later, and are gone, the second in a batch that began after the first one's.
 */
static void uring_holds_region(void)
{
	struct uhmm_uring *u;
	unsigned char *p = map_at(NULL, 2 * PAGE);
	unsigned char *other = map_at(NULL, PAGE), *canary[2] = {map_at(NULL, PAGE), map_at(NULL, PAGE)};

	CHECK(uhmm_uring_attach(mm, &ring, &u) == 0);
	memset(p, 'X', 2 * PAGE);
	memset(other, 'Z', PAGE);
	CHECK(transfer(u, &ring, 0, file, p, 2 * PAGE, 0) == (int)(2 * PAGE));
	for (int i = 0; i < 2; i++)
		CHECK(transfer(u, &ring, 0, file, canary[i], PAGE, 0) == (int)PAGE);
	CHECK(stats_of(u).slots_used == 3);
	CHECK(uhmm_uring_prep_write(u, io_uring_get_sqe(&ring), file, p, PAGE, 0, 0) == 0);
	replace(p + PAGE, 'Y');
	replace_and_await(u, canary[0], 2);
	replace_and_await(u, canary[1], 1);
	CHECK(uhmm_uring_prep_write(u, io_uring_get_sqe(&ring), file, other, PAGE, PAGE, 0) == 0);
	CHECK(stats_of(u).fixed == 5 && stats_of(u).slots_used == 2);
	finish(u, 2);
	CHECK(file_byte(0) == 'X' && file_byte(PAGE) == 'Z');
	CHECK(uhmm_uring_detach(u) == 0);
	CHECK(munmap(p, 2 * PAGE) == 0 && munmap(other, PAGE) == 0);
	CHECK(munmap(canary[0], PAGE) == 0 && munmap(canary[1], PAGE) == 0);
	printf("uring       the same: done\n");
}

/*
 * What a program should not do, and what then happens: a buffer replaced while its request is in flight. Each of the requests
 * has its own slot and finishes on the pages that it was prepared with.
 */
static void uring_holds_old_pages(unsigned others)
{
	struct uhmm_uring *u;
	unsigned char *p = map_at(NULL, PAGE);

	CHECK(uhmm_uring_attach(mm, &ring, &u) == 0);
	memset(p, 'A', PAGE);
	CHECK(uhmm_uring_prep_write(u, io_uring_get_sqe(&ring), file, p, PAGE, 0, 0) == 0);
	for (unsigned i = 1; i <= others; i++) {
		replace(p, (unsigned char)('A' + i));
		CHECK(uhmm_uring_prep_write(u, io_uring_get_sqe(&ring), file, p, PAGE, i * PAGE, i) == 0);
	}
	CHECK(stats_of(u).fixed == others + 1 && stats_of(u).slots_used == others + 1);
	CHECK(uhmm_uring_detach(u) == -EBUSY);
	finish(u, others + 1);
	for (unsigned i = 0; i <= others; i++)
		CHECK(file_byte(i * PAGE) == 'A' + i);
	CHECK(uhmm_uring_detach(u) == 0);
	CHECK(munmap(p, PAGE) == 0);
	printf("uring       %u requests prepared before their buffer was replaced: each wrote its own bytes\n", others);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	mm = space_open(UHMM_MONITOR_EXPLICIT);
	CHECK(mm);
	ring_open(&ring, 64, 0);
	file = scratch_file(64 * PAGE);
	slot_reuse_loses();
	uring_holds_region();
	uring_holds_old_pages(31);
	io_uring_queue_exit(&ring);
	close(file);
	uhmm_mm_close(mm);
	return 0;
}
