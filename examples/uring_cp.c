/* SPDX-License-Identifier: MIT */
/*
 * uring_cp SRC DST [DEPTH]: copies a file with io_uring fixed buffers in memory from malloc().
 *
 * The buffers are ordinary pointers. Each is filled by a read, then emptied by a write of the same bytes; DEPTH of them (16)
 * are in flight at once. Both sides bypass the page cache where they can: that is where fixed buffers pay.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <uhmm/mm.h>
#include <uhmm/uring.h>

enum { BLOCK = 128 << 10, ALIGN = 4096, DEPTH_MAX = 32 };

struct block {
	char *memory;
	uint64_t offset;
	unsigned len, done; /* bytes of the step in progress */
	int writing;
};

static struct {
	struct io_uring ring;
	struct uhmm_uring *u;
	struct block blocks[DEPTH_MAX];
	uint64_t size, next; /* bytes; where the next read begins */
	unsigned in_flight;
	int from, to;
} copy;

static void die(const char *what, int err)
{
	fprintf(stderr, "uring_cp: %s: %s\n", what, strerror(err));
	exit(1);
}

/* The rest of the block's step. Direct I/O is in whole sectors, so the last block is rounded up; the end is cut off later. */
static void start(struct block *b)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&copy.ring);
	unsigned len = (b->len - b->done + ALIGN - 1) / ALIGN * ALIGN;
	uint64_t offset = b->offset + b->done, which = (uint64_t)(b - copy.blocks);
	int err;

	if (b->writing)
		err = uhmm_uring_prep_write(copy.u, sqe, copy.to, b->memory + b->done, len, offset, which);
	else
		err = uhmm_uring_prep_read(copy.u, sqe, copy.from, b->memory + b->done, len, offset, which);
	if (err)
		die("prepare", -err);
	copy.in_flight++;
}

static void read_next(struct block *b)
{
	if (copy.next >= copy.size)
		return;
	b->offset = copy.next;
	b->len = copy.size - copy.next < BLOCK ? (unsigned)(copy.size - copy.next) : BLOCK;
	b->done = 0;
	b->writing = 0;
	copy.next += b->len;
	start(b);
}

static void finished(struct block *b, int res)
{
	if (res < 0)
		die(b->writing ? "write" : "read", -res);
	if (res == 0)
		die("the file became shorter", EIO);
	b->done += (unsigned)res;
	if (b->done < b->len) {
		b->done -= b->done % ALIGN; /* a short transfer: go on from a whole sector */
		start(b);
	} else if (b->writing) {
		read_next(b);
	} else {
		b->writing = 1;
		b->done = 0;
		start(b);
	}
}

static void copy_all(unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		read_next(&copy.blocks[i]);
	while (copy.in_flight) {
		struct io_uring_cqe *cqe;
		int err = io_uring_submit_and_wait(&copy.ring, 1);

		if (err < 0)
			die("submit", -err);
		while (io_uring_peek_cqe(&copy.ring, &cqe) == 0) {
			int res = cqe->res;
			struct block *b = &copy.blocks[uhmm_uring_complete(copy.u, cqe)];

			io_uring_cqe_seen(&copy.ring, cqe);
			copy.in_flight--;
			finished(b, res);
		}
	}
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECT | O_CLOEXEC, 0666);

	if (fd < 0 && errno == EINVAL) /* no direct I/O on this file system */
		fd = open(path, flags | O_CLOEXEC, 0666);
	if (fd < 0)
		die(path, errno);
	return fd;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	int depth = argc == 4 ? atoi(argv[3]) : 16;
	struct uhmm_mm *mm;
	struct stat st;
	double begin;
	int err;

	if (argc < 3 || argc > 4 || depth < 1 || depth > DEPTH_MAX) {
		fprintf(stderr, "usage: uring_cp SRC DST [DEPTH 1..%d]\n", DEPTH_MAX);
		return 2;
	}
	copy.from = open_file(argv[1], O_RDONLY);
	if (fstat(copy.from, &st) != 0 || !S_ISREG(st.st_mode))
		die(argv[1], S_ISDIR(st.st_mode) ? EISDIR : EINVAL);
	copy.to = open_file(argv[2], O_WRONLY | O_CREAT);
	copy.size = (uint64_t)st.st_size;
	if ((err = uhmm_mm_open(&mm, NULL)) != 0)
		die("address space", -err);
	if ((err = io_uring_queue_init((unsigned)depth, &copy.ring, 0)) != 0)
		die("io_uring", -err);
	if ((err = uhmm_uring_attach(mm, &copy.ring, &copy.u)) != 0)
		die("attach", -err);
	for (int i = 0; i < depth; i++) {
		if (!(copy.blocks[i].memory = aligned_alloc(ALIGN, BLOCK)))
			die("memory", ENOMEM);
	}
	begin = seconds();
	copy_all((unsigned)depth);
	if (ftruncate(copy.to, st.st_size) != 0 || close(copy.to) != 0)
		die(argv[2], errno);
	printf("%.1f MB, %.0f MB/s\n", (double)copy.size / 1e6, (double)copy.size / 1e6 / (seconds() - begin));
	uhmm_uring_detach(copy.u);
	io_uring_queue_exit(&copy.ring);
	uhmm_mm_close(mm);
	for (int i = 0; i < depth; i++)
		free(copy.blocks[i].memory);
	close(copy.from);
	return 0;
}
