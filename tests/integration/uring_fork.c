/* SPDX-License-Identifier: MIT */
/*
 * fork with an attachment: the parent's requests and registrations go on, on the pages that the parent keeps (R20, R22:
 * io_uring pins, so the cache keeps its regions). In the child the attachment is dead, and a ring of its own works.
 */
#include <sys/wait.h>

#include "uring_common.h"

static struct uhmm_mm *mm;

static void childs_own_ring(unsigned char *p)
{
	struct io_uring ring;
	struct uhmm_uring *u;
	unsigned char byte = 0;
	int file = scratch_file(PAGE);

	CHECK(p[0] == 'P');
	memset(p, 'C', PAGE);
	ring_open(&ring, 4, 0);
	CHECK(uhmm_uring_attach(mm, &ring, &u) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(transfer(u, &ring, 0, file, p, PAGE, 0) == (int)PAGE);
	CHECK(pread(file, &byte, 1, 0) == 1 && byte == 'C');
	CHECK(stats_of(u).fixed == 3);
	CHECK(uhmm_uring_detach(u) == 0);
	io_uring_queue_exit(&ring);
	close(file);
}

static void child(struct uhmm_uring *parents, const struct io_uring_cqe *parents_cqe, unsigned char *p)
{
	struct io_uring_sqe sqe, before;

	memset(&sqe, 0x5a, sizeof(sqe));
	before = sqe;
	CHECK(uhmm_uring_prep_read(parents, &sqe, 0, p, PAGE, 0, 0) == -EOWNERDEAD);
	CHECK(uhmm_uring_prep_write(parents, &sqe, 0, p, PAGE, 0, 0) == -EOWNERDEAD);
	CHECK(memcmp(&sqe, &before, sizeof(sqe)) == 0);
	CHECK(!uhmm_uring_owns(parents, parents_cqe));
	CHECK(uhmm_uring_complete(parents, parents_cqe) == parents_cqe->user_data);
	CHECK(uhmm_uring_detach(parents) == -EOWNERDEAD);
	if (!UNDER_TSAN) /* which ends a forked child that starts a thread, as the child's own cache does */
		childs_own_ring(p);
	_exit(0);
}

static void fork_and_go_on(struct uhmm_uring *u, struct io_uring *ring, int file)
{
	unsigned char *p = map_at(NULL, PAGE);
	unsigned char byte = 0;
	struct uhmm_stats before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe, in_flight = {0};
	pid_t pid;
	int status;

	memset(p, 'P', PAGE);
	CHECK(transfer(u, ring, 0, file, p, PAGE, 0) == (int)PAGE);
	sqe = io_uring_get_sqe(ring);
	CHECK(uhmm_uring_prep_write(u, sqe, file, p, PAGE, 0, 77) == 0);
	in_flight.user_data = sqe->user_data;
	CHECK(uhmm_mm_stats(mm, &before) == 0);
	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		child(u, &in_flight, p);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	memset(p, 'Q', PAGE); /* the parent keeps its pages: it is the child that got a copy */
	cqe = submit_one(ring);
	CHECK(uhmm_uring_owns(u, cqe) && cqe->res == (int)PAGE && uhmm_uring_complete(u, cqe) == 77);
	io_uring_cqe_seen(ring, cqe);
	CHECK(pread(file, &byte, 1, 0) == 1 && byte == 'Q');
	memset(p, 'R', PAGE);
	CHECK(transfer(u, ring, 0, file, p, PAGE, 0) == (int)PAGE);
	CHECK(pread(file, &byte, 1, 0) == 1 && byte == 'R');
	CHECK(uhmm_mm_stats(mm, &after) == 0);
	CHECK(after.cache_misses == before.cache_misses); /* registrations survive the fork */
	CHECK(munmap(p, PAGE) == 0);
}

int main(void)
{
	struct io_uring ring;
	struct uhmm_uring *u;
	int file = scratch_file(PAGE);

	setvbuf(stdout, NULL, _IOLBF, 0);
	ring_open(&ring, 8, 0);
	mm = space_open_hooks();
	if (!mm)
		mm = space_open(UHMM_MONITOR_EXPLICIT);
	CHECK(mm && uhmm_uring_attach(mm, &ring, &u) == 0);
	for (int i = 0; i < 20; i++)
		fork_and_go_on(u, &ring, file);
	CHECK(uhmm_uring_detach(u) == 0);
	io_uring_queue_exit(&ring);
	uhmm_mm_close(mm);
	printf("20 forks: the parent's attachment went on, the child's answered -EOWNERDEAD\n");
	return 0;
}
