/* SPDX-License-Identifier: MIT */
/*
 * Two threads: the device's use of a buffer against changes of its neighbours (R1, R32, G1).
 *
 *	A, chaos                                        B, device
 *	a free page q is discarded, mapped over,        writes the whole chunk: registers it, free pages included,
 *	unmapped and mapped, or moved onto              while A is in the middle of a change
 *	stamps q with a new generation
 *	hands q over (release)                          takes q (acquire); nobody changes it now
 *	                                                odd:  writes q to a file: the stamp must be there
 *	                                                even: reads q from a file: the stamp must be gone
 *	                                                hands q back
 *
 * Through the hooks nothing may be stale. With nobody announcing the changes something must be.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "uring_common.h"

enum { PAGES = 16, HANDOVERS = 2000 };

static struct {
	struct uhmm_mm *mm;
	struct io_uring ring;
	struct uhmm_uring *u;
	unsigned char *chunk;
	int file;
	atomic_uint handed; /* page that is B's for now; 0: none, page 0 is always B's */
	atomic_bool stop;
	unsigned long generation, stale, holes;
} t;

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void change(unsigned char *q, uint64_t how)
{
	unsigned char *other;

	switch (how % 4) {
	case 0:
		CHECK(madvise(q, PAGE, MADV_DONTNEED) == 0);
		break;
	case 1:
		map_at(q, PAGE);
		break;
	case 2:
		/* A hole for a moment, in which no other mapping can land. */
		CHECK(mprotect(q, PAGE, PROT_NONE) == 0);
		map_at(q, PAGE);
		break;
	default:
		other = map_at(NULL, PAGE);
		CHECK(mremap(other, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
	}
}

static void *chaos(void *arg)
{
	uint64_t random = 88172645463325252u;

	(void)arg;
	while (!atomic_load_explicit(&t.stop, memory_order_relaxed)) {
		unsigned page = 1 + (unsigned)(next_random(&random) % (PAGES - 1));
		unsigned char *q = t.chunk + page * PAGE;

		change(q, next_random(&random));
		memcpy(q, &(unsigned long){++t.generation}, sizeof(t.generation));
		atomic_store_explicit(&t.handed, page, memory_order_release);
		/* One change of a neighbour while B has q; more would starve B, which is bounded but slow. */
		change(t.chunk + (page % (PAGES - 1) + 1) * PAGE, next_random(&random));
		while (atomic_load_explicit(&t.handed, memory_order_acquire) && !atomic_load(&t.stop))
			sched_yield();
	}
	return NULL;
}

static void check_page(unsigned page, bool odd)
{
	static const unsigned long input = ~0ul;
	unsigned char *q = t.chunk + page * PAGE;
	unsigned long in_file = 0;

	if (odd) {
		CHECK(transfer(t.u, &t.ring, 0, t.file, q, PAGE, 0) == (int)PAGE);
		CHECK(pread(t.file, &in_file, sizeof(in_file), 0) == (ssize_t)sizeof(in_file));
		t.stale += memcmp(&in_file, q, sizeof(in_file)) != 0;
	} else {
		CHECK(pwrite(t.file, &input, sizeof(input), (off_t)PAGE) == (ssize_t)sizeof(input));
		CHECK(transfer(t.u, &t.ring, 1, t.file, q, PAGE, PAGE) == (int)PAGE);
		t.stale += memcmp(&input, q, sizeof(input)) != 0;
	}
}

/* Free pages are anybody's guess and may be holes: it is the registration that matters. */
static void write_chunk(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&t.ring);
	struct io_uring_cqe *cqe;
	int err = uhmm_uring_prep_write(t.u, sqe, t.file, t.chunk, PAGES * PAGE, 2 * PAGE, 0);

	CHECK(err == 0 || err == -EFAULT);
	if (err) {
		t.holes++;
		io_uring_prep_nop(sqe);
	}
	cqe = submit_one(&t.ring);
	CHECK(uhmm_uring_owns(t.u, cqe) == !err);
	uhmm_uring_complete(t.u, cqe);
	io_uring_cqe_seen(&t.ring, cqe);
}

static unsigned long run(struct uhmm_mm *mm, const char *name)
{
	pthread_t thread;
	struct uhmm_uring_stats s;

	t.mm = mm;
	t.stale = t.holes = t.generation = 0;
	t.chunk = map_at(NULL, PAGES * PAGE);
	t.file = scratch_file((PAGES + 2) * PAGE);
	atomic_store(&t.stop, false);
	atomic_store(&t.handed, 0);
	ring_open(&t.ring, 8, 0);
	CHECK(uhmm_uring_attach(mm, &t.ring, &t.u) == 0);
	CHECK(pthread_create(&thread, NULL, chaos, NULL) == 0);
	for (int i = 0; i < HANDOVERS; i++) {
		unsigned page;

		while (!(page = atomic_load_explicit(&t.handed, memory_order_acquire)))
			write_chunk();
		if (i % 4 == 0)
			write_chunk(); /* q is in it, and still the same */
		check_page(page, i & 1);
		atomic_store_explicit(&t.handed, 0, memory_order_release);
		write_chunk();
	}
	atomic_store(&t.stop, true);
	CHECK(pthread_join(thread, NULL) == 0);
	s = stats_of(t.u);
	printf("%-8s  %d hand-overs: %lu stale; %llu requests fixed, %llu plain, %lu holes\n", name, HANDOVERS, t.stale,
	       (unsigned long long)s.fixed, (unsigned long long)(s.plain_chosen + s.plain_forced), t.holes);
	CHECK(uhmm_uring_detach(t.u) == 0);
	io_uring_queue_exit(&t.ring);
	CHECK(munmap(t.chunk, PAGES * PAGE) == 0);
	close(t.file);
	uhmm_mm_close(mm);
	return t.stale;
}

int main(void)
{
	struct io_uring probe;
	struct uhmm_mm *mm;

	setvbuf(stdout, NULL, _IOLBF, 0);
	ring_open(&probe, 2, 0);
	io_uring_queue_exit(&probe);
	if (UNDER_TSAN) {
		printf("skipped: ThreadSanitizer cannot follow the hooks to the end of a thread\n");
		return SKIP;
	}
	CHECK(run(space_open(UHMM_MONITOR_EXPLICIT), "unheard") > 0);
	mm = space_open_hooks();
	if (!mm)
		return SKIP;
	CHECK(run(mm, "hooks") == 0);
	return 0;
}
