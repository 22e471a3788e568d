/* SPDX-License-Identifier: MIT */
/*
 * An ordinary user with little lockable memory: what does not fit goes plain, no request fails, idle registrations make room
 * for new ones, and the kernel's account is back to nothing at the end.
 */
#include <sys/resource.h>
#include <sys/wait.h>

#include "uring_common.h"

#define LIMIT ((rlim_t)256 << 10)
#define BUFFER ((size_t)64 << 10)
#define BUFFERS 32u

static void become_ordinary(void)
{
	struct rlimit limit = {.rlim_cur = LIMIT, .rlim_max = LIMIT};

	CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	if (geteuid() == 0) {
		/* The account is the user's: one that nobody else is. */
		uid_t nobody = 100000 + (uid_t)getpid();

		CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(nobody, nobody, nobody) == 0);
	}
}

static void lower_limit(rlim_t bytes)
{
	struct rlimit limit;

	CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	limit.rlim_cur = bytes;
	CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
}

static void prepare_all(struct uhmm_uring *u, struct io_uring *ring, int file, unsigned char *p)
{
	for (unsigned i = 0; i < BUFFERS; i++)
		CHECK(uhmm_uring_prep_write(u, io_uring_get_sqe(ring), file, p + i * BUFFER, BUFFER, i * BUFFER, i) == 0);
}

static void finish_all(struct uhmm_uring *u, struct io_uring *ring)
{
	CHECK(io_uring_submit(ring) == (int)BUFFERS);
	for (unsigned i = 0; i < BUFFERS; i++) {
		struct io_uring_cqe *cqe;

		CHECK(io_uring_wait_cqe(ring, &cqe) == 0);
		CHECK(cqe->res == (int)BUFFER && uhmm_uring_owns(u, cqe));
		uhmm_uring_complete(u, cqe);
		io_uring_cqe_seen(ring, cqe);
	}
}

/* One after the other, each four times: idle ones leave, so a buffer that is used again is fixed. */
static void one_by_one(struct uhmm_uring *u, struct io_uring *ring, int file, unsigned char *p, size_t limit)
{
	uint64_t fixed = stats_of(u).fixed;

	for (unsigned i = 0; i < 4 * BUFFERS; i++) {
		CHECK(transfer(u, ring, 0, file, p + i / 4 * BUFFER, BUFFER, i / 4 * BUFFER) == (int)BUFFER);
		CHECK(stats_of(u).slots_used <= limit / BUFFER);
	}
	fixed = stats_of(u).fixed - fixed;
	printf("one by one under %zu bytes: %llu of %u fixed\n", limit, (unsigned long long)fixed, 4 * BUFFERS);
	CHECK(fixed > 3 * BUFFERS);
}

static int ordinary(void)
{
	struct uhmm_mm *mm = space_open(UHMM_MONITOR_EXPLICIT);
	struct io_uring ring;
	struct uhmm_uring *u;
	struct uhmm_uring_stats s;
	unsigned char *p = map_at(NULL, BUFFERS * BUFFER), *back;
	int file = scratch_file(BUFFERS * BUFFER);

	CHECK(mm);
	ring_open(&ring, BUFFERS, 0);
	CHECK(uhmm_uring_attach(mm, &ring, &u) == 0);
	for (size_t i = 0; i < BUFFERS * BUFFER; i++)
		p[i] = (unsigned char)(i / PAGE * 7 + i);
	/* All at once: what fits is fixed, the rest plain. */
	prepare_all(u, &ring, file, p);
	s = stats_of(u);
	printf("at once: %llu fixed, %llu plain for want of lockable memory\n", (unsigned long long)s.fixed,
	       (unsigned long long)s.plain_forced);
	CHECK(s.fixed >= 1 && s.fixed <= LIMIT / BUFFER && s.fixed + s.plain_forced + s.plain_chosen == BUFFERS);
	finish_all(u, &ring);
	one_by_one(u, &ring, file, p, LIMIT);
	/* Less than the attachment counts on: the kernel says so, and idle ones leave before their time. */
	lower_limit(LIMIT / 2);
	one_by_one(u, &ring, file, p, LIMIT / 2);
	lower_limit(LIMIT);
	back = malloc(BUFFERS * BUFFER);
	CHECK(back && pread(file, back, BUFFERS * BUFFER, 0) == (ssize_t)(BUFFERS * BUFFER));
	CHECK(memcmp(p, back, BUFFERS * BUFFER) == 0);
	CHECK(uhmm_uring_detach(u) == 0);
	/* Nothing is left on the account: the whole limit can be registered again. */
	CHECK(io_uring_register_buffers(&ring, &(struct iovec){.iov_base = p, .iov_len = LIMIT - 2 * BUFFER}, 1) == 0);
	io_uring_queue_exit(&ring);
	uhmm_mm_close(mm);
	free(back);
	return 0;
}

int main(void)
{
	struct io_uring probe;
	pid_t pid;
	int status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	ring_open(&probe, 2, 0);
	io_uring_queue_exit(&probe);
	pid = fork(); /* limits and ids are for good */
	CHECK(pid >= 0);
	if (pid == 0) {
		become_ordinary();
		exit(ordinary());
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}
