/* SPDX-License-Identifier: MIT */
/*
 * Random reads and writes of random length at random, mostly unaligned addresses and offsets, eight in flight on each of two
 * threads with a ring each, while buffers that are not in flight are unmapped, discarded, replaced and moved. File and memory
 * must agree byte for byte with a copy that is kept beside them. Seed as first argument; same seed, same run per thread.
 */
#include <pthread.h>
#include <stdint.h>

#include "uring_common.h"

#define THREADS 2u
#define DEPTH 8u
#define ROUNDS 3000u
#define BUFFER ((size_t)96 << 10) /* a multiple of pages; requests are within one */
#define FILE_SIZE ((size_t)4 << 20)

struct request {
	unsigned char *buffer;
	size_t at, len, offset; /* at: in the buffer */
	bool read;
};

struct worker {
	pthread_t thread;
	uint64_t random;
	bool announce; /* nobody hooks: bracket the changes ourselves */
	struct uhmm_mm *mm;
	struct io_uring ring;
	struct uhmm_uring *u;
	int file;
	unsigned char *model; /* what the file must hold */
	struct request requests[DEPTH];
};

static uint64_t next_random(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

static void fill(struct worker *w, unsigned char *p, size_t len)
{
	uint64_t x = next_random(w);

	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)((x >> (i % 8 * 8)) + i / 8 * 31);
}

/* The buffer, or a new one if another thread has mapped something where this one had a hole for a moment. */
static unsigned char *unmap_and_map(unsigned char *p, unsigned char *at, size_t len)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

	CHECK(munmap(at, len) == 0);
	if (mmap(at, len, PROT_READ | PROT_WRITE, flags, -1, 0) == at)
		return p;
	CHECK(at == p || munmap(p, (size_t)(at - p)) == 0);
	CHECK(at + len == p + BUFFER || munmap(at + len, (size_t)(p + BUFFER - at) - len) == 0);
	return map_at(NULL, BUFFER);
}

static unsigned char *change(struct worker *w, unsigned char *p)
{
	size_t page = next_random(w) % (BUFFER / PAGE), pages = 1 + next_random(w) % (BUFFER / PAGE - page);
	unsigned char *at = p + page * PAGE, *other;
	size_t len = pages * PAGE;

	switch (next_random(w) % 4) {
	case 0:
		return unmap_and_map(p, at, len);
	case 1:
		CHECK(madvise(at, len, MADV_DONTNEED) == 0);
		break;
	case 2:
		map_at(at, len);
		break;
	default:
		other = map_at(NULL, len);
		CHECK(mremap(other, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at);
	}
	return p;
}

static unsigned char *change_buffer(struct worker *w, unsigned char *p)
{
	struct uhmm_event event = {.start = (uintptr_t)p, .end = (uintptr_t)p + BUFFER, .kind = UHMM_EVENT_UNMAP};
	struct uhmm_invalidation inv;

	if (!w->announce)
		return change(w, p);
	CHECK(uhmm_invalidate_start(w->mm, &inv, &event) == 0);
	p = change(w, p);
	uhmm_invalidate_end(&inv);
	return p;
}

/* Offsets of one batch do not overlap: each request has its share of the file. */
static void choose(struct worker *w, struct request *r, size_t share)
{
	size_t share_len = FILE_SIZE / DEPTH;

	r->read = next_random(w) & 1;
	r->len = 1 + next_random(w) % (next_random(w) % 4 ? BUFFER : 5000);
	r->at = next_random(w) % (BUFFER - r->len + 1);
	r->offset = share * share_len + next_random(w) % (share_len - r->len);
	if (!r->read)
		fill(w, r->buffer + r->at, r->len);
}

static void prepare(struct worker *w, size_t i)
{
	struct request *r = &w->requests[i];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
	unsigned len = (unsigned)r->len;

	CHECK(sqe);
	if (r->read)
		CHECK(uhmm_uring_prep_read(w->u, sqe, w->file, r->buffer + r->at, len, r->offset, i) == 0);
	else
		CHECK(uhmm_uring_prep_write(w->u, sqe, w->file, r->buffer + r->at, len, r->offset, i) == 0);
}

static void finish(struct worker *w)
{
	struct io_uring_cqe *cqe;
	struct request *r;

	CHECK(io_uring_wait_cqe(&w->ring, &cqe) == 0);
	CHECK(uhmm_uring_owns(w->u, cqe));
	r = &w->requests[uhmm_uring_complete(w->u, cqe)];
	CHECK(cqe->res == (int)r->len);
	io_uring_cqe_seen(&w->ring, cqe);
	if (r->read)
		CHECK(memcmp(r->buffer + r->at, w->model + r->offset, r->len) == 0);
	else
		memcpy(w->model + r->offset, r->buffer + r->at, r->len);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned char *back = malloc(FILE_SIZE);
	struct uhmm_uring_stats s;

	CHECK(back);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < DEPTH; i++) {
			if (next_random(w) % 8 == 0)
				w->requests[i].buffer = change_buffer(w, w->requests[i].buffer);
			choose(w, &w->requests[i], i);
			prepare(w, i);
		}
		CHECK(io_uring_submit(&w->ring) == (int)DEPTH);
		for (size_t i = 0; i < DEPTH; i++)
			finish(w);
	}
	CHECK(pread(w->file, back, FILE_SIZE, 0) == (ssize_t)FILE_SIZE);
	CHECK(memcmp(back, w->model, FILE_SIZE) == 0);
	s = stats_of(w->u);
	CHECK(s.fixed > ROUNDS && s.in_flight == 0);
	free(back);
	return NULL;
}

static void worker_start(struct worker *w, struct uhmm_mm *mm, bool announce, uint64_t seed)
{
	*w = (struct worker){.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1, .mm = mm, .announce = announce};
	ring_open(&w->ring, 2 * DEPTH, 0);
	CHECK(uhmm_uring_attach(mm, &w->ring, &w->u) == 0);
	w->file = scratch_file(FILE_SIZE);
	w->model = calloc(1, FILE_SIZE);
	CHECK(w->model);
	for (size_t i = 0; i < DEPTH; i++)
		w->requests[i].buffer = map_at(NULL, BUFFER);
	CHECK(pthread_create(&w->thread, NULL, work, w) == 0);
}

static void worker_end(struct worker *w)
{
	struct uhmm_uring_stats s;

	CHECK(pthread_join(w->thread, NULL) == 0);
	s = stats_of(w->u);
	printf("%llu on fixed buffers, %llu plain by choice, %llu by force\n", (unsigned long long)s.fixed,
	       (unsigned long long)s.plain_chosen, (unsigned long long)s.plain_forced);
	CHECK(uhmm_uring_detach(w->u) == 0);
	io_uring_queue_exit(&w->ring);
	close(w->file);
	free(w->model);
	for (size_t i = 0; i < DEPTH; i++)
		CHECK(munmap(w->requests[i].buffer, BUFFER) == 0);
}

static void run(struct uhmm_mm *mm, bool announce, uint64_t seed)
{
	struct worker workers[THREADS];

	printf("%s, seed %llu\n", announce ? "announced by the program" : "seen by the hooks", (unsigned long long)seed);
	for (unsigned i = 0; i < THREADS; i++)
		worker_start(&workers[i], mm, announce, seed + i);
	for (unsigned i = 0; i < THREADS; i++)
		worker_end(&workers[i]);
	uhmm_mm_close(mm);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	struct uhmm_mm *hooked;
	struct io_uring probe;

	setvbuf(stdout, NULL, _IOLBF, 0);
	ring_open(&probe, 2, 0);
	io_uring_queue_exit(&probe);
	run(space_open(UHMM_MONITOR_EXPLICIT), true, seed);
	/* ThreadSanitizer has forgotten a thread by the time that libc gives its stack back, through the hooks. */
	hooked = UNDER_TSAN ? NULL : space_open_hooks();
	if (hooked)
		run(hooked, false, seed);
	return 0;
}
