/* SPDX-License-Identifier: MIT */
/*
 * Kinds of rings and numbers of them: several attachments of one address space, SINGLE_ISSUER and DEFER_TASKRUN rings whose
 * table only one thread may change, SQPOLL, completions reaped in another thread, and the program's own requests in between.
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "uring_common.h"

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

static struct uhmm_mm *mm;

static void replace(unsigned char *p, size_t len, int fill)
{
	struct uhmm_event event = {.start = (uintptr_t)p, .end = (uintptr_t)p + len, .kind = UHMM_EVENT_UNMAP};
	struct uhmm_invalidation inv;

	CHECK(uhmm_invalidate_start(mm, &inv, &event) == 0);
	map_at(p, len);
	uhmm_invalidate_end(&inv);
	memset(p, fill, len);
}

/* One replaced buffer is written through both rings, each with its own table. */
static void several_rings(void)
{
	enum { RINGS = 4 };
	struct io_uring rings[RINGS];
	struct uhmm_uring *u[RINGS];
	unsigned char *p = map_at(NULL, PAGE);
	unsigned char byte;
	int file = scratch_file(RINGS * PAGE);

	for (size_t i = 0; i < RINGS; i++) {
		ring_open(&rings[i], 4, 0);
		CHECK(uhmm_uring_attach(mm, &rings[i], &u[i]) == 0);
	}
	for (int round = 0; round < 20; round++) {
		replace(p, PAGE, 'a' + round);
		for (size_t i = 0; i < RINGS; i++) {
			CHECK(transfer(u[i], &rings[i], 0, file, p, PAGE, i * PAGE) == (int)PAGE);
			CHECK(pread(file, &byte, 1, (off_t)(i * PAGE)) == 1 && byte == 'a' + round);
		}
	}
	for (size_t i = 0; i < RINGS; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&rings[i]);
		struct io_uring_cqe *cqe;

		CHECK(uhmm_uring_prep_write(u[i], sqe, file, p, PAGE, 0, i) == 0);
		cqe = submit_one(&rings[i]);
		for (size_t j = 0; j < RINGS; j++)
			CHECK(uhmm_uring_owns(u[j], cqe) == (i == j));
		CHECK(uhmm_uring_complete(u[i], cqe) == i);
		io_uring_cqe_seen(&rings[i], cqe);
	}
	for (size_t i = 0; i < RINGS; i++) { /* one goes, the others go on */
		CHECK(uhmm_uring_detach(u[i]) == 0);
		io_uring_queue_exit(&rings[i]);
		if (i + 1 < RINGS)
			CHECK(transfer(u[i + 1], &rings[i + 1], 0, file, p, PAGE, 0) == (int)PAGE);
	}
	CHECK(munmap(p, PAGE) == 0);
	close(file);
	printf("several rings: each has its own registration\n");
}

/* Ours and the program's requests on one ring, with the program's user_data of every shape. */
static void mixed_requests(void)
{
	static const uint64_t theirs[] = {0, 1, UINT64_MAX, UINT64_C(0x00007fffffffe000)};
	struct io_uring ring;
	struct uhmm_uring *u;
	unsigned char *p = map_at(NULL, 4 * PAGE);
	int file = scratch_file(4 * PAGE);
	unsigned ours = 0, others = 0;

	ring_open(&ring, 16, 0);
	CHECK(uhmm_uring_attach(mm, &ring, &u) == 0);
	for (uint64_t i = 0; i < 4; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		CHECK(uhmm_uring_prep_write(u, sqe, file, p + i * PAGE, PAGE, i * PAGE, 100 + i) == 0);
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_nop(sqe);
		sqe->user_data = theirs[i];
	}
	CHECK(io_uring_submit(&ring) == 8);
	for (int i = 0; i < 8; i++) {
		struct io_uring_cqe *cqe;

		CHECK(io_uring_wait_cqe(&ring, &cqe) == 0);
		if (uhmm_uring_owns(u, cqe)) {
			CHECK(uhmm_uring_complete(u, cqe) / 4 == 25);
			ours++;
		} else {
			CHECK(uhmm_uring_complete(u, cqe) == cqe->user_data); /* harmless */
			others++;
		}
		io_uring_cqe_seen(&ring, cqe);
	}
	CHECK(ours == 4 && others == 4);
	CHECK(uhmm_uring_detach(u) == 0);
	io_uring_queue_exit(&ring);
	CHECK(munmap(p, 4 * PAGE) == 0);
	close(file);
	printf("mixed requests: told apart\n");
}

/* Somebody else's business takes a moment: waits for it, at most 10 seconds. */
static void await_queued(struct uhmm_uring *u, uint64_t wanted)
{
	struct timespec pause = {.tv_nsec = 1000000};

	for (int i = 0; i < 10000 && stats_of(u).slots_queued != wanted; i++)
		nanosleep(&pause, NULL);
	CHECK(stats_of(u).slots_queued == wanted);
}

/*
 * The table of such a ring cannot be changed by the cache's thread: the slots of dropped registrations wait, unused, for the
 * submitter's next call.
 */
static void single_issuer(unsigned flags, const char *name)
{
	enum { BUFFERS = 5 };
	struct io_uring ring;
	struct uhmm_uring *u;
	unsigned char *p = map_at(NULL, BUFFERS * PAGE);
	unsigned char byte;
	int file = scratch_file(PAGE);
	int err = io_uring_queue_init(16, &ring, flags);

	if (err) {
		printf("%s: not on this kernel: %s\n", name, strerror(-err));
		return;
	}
	CHECK(uhmm_uring_attach(mm, &ring, &u) == 0);
	for (size_t i = 0; i < BUFFERS; i++)
		CHECK(transfer(u, &ring, 0, file, p + i * PAGE, PAGE, 0) == (int)PAGE);
	CHECK(stats_of(u).slots_used == BUFFERS && stats_of(u).slots_queued == 0);
	replace(p, BUFFERS * PAGE, 'n');
	await_queued(u, BUFFERS);
	CHECK(stats_of(u).slots_used == BUFFERS);
	CHECK(transfer(u, &ring, 0, file, p + PAGE, PAGE, 0) == (int)PAGE);
	CHECK(pread(file, &byte, 1, 0) == 1 && byte == 'n');
	CHECK(stats_of(u).slots_queued == 0 && stats_of(u).slots_used == 1);
	replace(p, BUFFERS * PAGE, 'm');
	await_queued(u, 1);
	CHECK(uhmm_uring_detach(u) == 0);
	io_uring_queue_exit(&ring);
	CHECK(munmap(p, BUFFERS * PAGE) == 0);
	close(file);
	printf("%s: emptied by the submitter's next call\n", name);
}

struct wrong_thread {
	struct io_uring *ring;
	struct uhmm_uring *u;
};

static void *from_another_thread(void *arg)
{
	struct wrong_thread *w = arg;
	struct uhmm_uring *u = NULL;

	if (w->u)
		CHECK(uhmm_uring_detach(w->u) == -EEXIST);
	else
		CHECK(uhmm_uring_attach(mm, w->ring, &u) == -EEXIST && !u);
	return NULL;
}

static void single_issuer_wrong_thread(void)
{
	struct io_uring ring;
	struct wrong_thread w = {.ring = &ring};
	unsigned char *p = map_at(NULL, PAGE);
	int file = scratch_file(PAGE);
	pthread_t thread;

	if (io_uring_queue_init(4, &ring, IORING_SETUP_SINGLE_ISSUER) != 0)
		return;
	CHECK(pthread_create(&thread, NULL, from_another_thread, &w) == 0 && pthread_join(thread, NULL) == 0);
	CHECK(uhmm_uring_attach(mm, &ring, &w.u) == 0);
	CHECK(transfer(w.u, &ring, 0, file, p, PAGE, 0) == (int)PAGE);
	CHECK(pthread_create(&thread, NULL, from_another_thread, &w) == 0 && pthread_join(thread, NULL) == 0);
	CHECK(transfer(w.u, &ring, 0, file, p, PAGE, 0) == (int)PAGE); /* the failed detach changed nothing */
	CHECK(stats_of(w.u).fixed == 2);
	CHECK(uhmm_uring_detach(w.u) == 0);
	io_uring_queue_exit(&ring);
	CHECK(munmap(p, PAGE) == 0);
	close(file);
	printf("SINGLE_ISSUER from another thread: refused, nothing changed\n");
}

/* Prepared and submitted here, reaped and completed there. */
enum { ROUNDS = 20000, WINDOW = 8 };

struct pair {
	struct io_uring ring;
	struct uhmm_uring *u;
	pthread_mutex_t lock;
	pthread_cond_t room;
	unsigned in_flight;
};

static void *reaper(void *arg)
{
	struct pair *pair = arg;
	bool *seen = calloc(ROUNDS, sizeof(*seen));

	CHECK(seen);
	for (int i = 0; i < ROUNDS; i++) {
		struct io_uring_cqe *cqe;
		uint64_t number;

		CHECK(io_uring_wait_cqe(&pair->ring, &cqe) == 0);
		CHECK(cqe->res == (int)PAGE && uhmm_uring_owns(pair->u, cqe));
		number = uhmm_uring_complete(pair->u, cqe);
		CHECK(number < ROUNDS && !seen[number]);
		seen[number] = true;
		io_uring_cqe_seen(&pair->ring, cqe);
		pthread_mutex_lock(&pair->lock);
		pair->in_flight--;
		pthread_cond_signal(&pair->room);
		pthread_mutex_unlock(&pair->lock);
	}
	free(seen);
	return NULL;
}

static void other_thread_completes(unsigned flags, const char *name)
{
	struct pair pair = {.lock = PTHREAD_MUTEX_INITIALIZER, .room = PTHREAD_COND_INITIALIZER};
	unsigned char *p = map_at(NULL, 2 * WINDOW * PAGE);
	int file = scratch_file(WINDOW * PAGE);
	pthread_t thread;

	ring_open(&pair.ring, 2 * WINDOW, flags);
	CHECK(uhmm_uring_attach(mm, &pair.ring, &pair.u) == 0);
	CHECK(pthread_create(&thread, NULL, reaper, &pair) == 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct io_uring_sqe *sqe;

		pthread_mutex_lock(&pair.lock);
		while (pair.in_flight == WINDOW)
			pthread_cond_wait(&pair.room, &pair.lock);
		pair.in_flight++;
		pthread_mutex_unlock(&pair.lock);
		while (!(sqe = io_uring_get_sqe(&pair.ring)))
			sched_yield(); /* SQPOLL takes them when it likes */
		CHECK(uhmm_uring_prep_write(pair.u, sqe, file, p + i % (2 * WINDOW) * PAGE, PAGE, 0, i) == 0);
		CHECK(io_uring_submit(&pair.ring) >= 0);
	}
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(stats_of(pair.u).in_flight == 0 && stats_of(pair.u).fixed == ROUNDS);
	CHECK(uhmm_uring_detach(pair.u) == 0);
	io_uring_queue_exit(&pair.ring);
	CHECK(munmap(p, 2 * WINDOW * PAGE) == 0);
	close(file);
	printf("%s: %d requests completed in another thread\n", name, ROUNDS);
}

int main(void)
{
	struct io_uring probe;

	setvbuf(stdout, NULL, _IOLBF, 0);
	ring_open(&probe, 2, 0);
	io_uring_queue_exit(&probe);
	mm = space_open(UHMM_MONITOR_EXPLICIT);
	CHECK(mm);
	several_rings();
	mixed_requests();
	single_issuer(IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER");
	single_issuer(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN");
	single_issuer_wrong_thread();
	other_thread_completes(0, "plain ring");
	other_thread_completes(IORING_SETUP_SQPOLL, "SQPOLL");
	uhmm_mm_close(mm);
	return 0;
}
