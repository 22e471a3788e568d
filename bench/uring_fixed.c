/* SPDX-License-Identifier: MIT */
/*
 * uring_fixed [FILE]: what a fixed buffer saves, and what a registration costs, by size: the figures behind the rule in
 * src/devices/uring.c. FILE (made if need be, in the current directory by default) is read and written with O_DIRECT where its
 * file system has it, then through the page cache. Nanoseconds a request, eight in flight on eight buffers; medians of 9 runs,
 * plain and FIXED in turn. Beside the device the differences are small: take the machine for yourself.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH = 8, RUNS = 9, LEN_MAX = 256 << 10, SPARE_SLOT = DEPTH };

static struct io_uring ring;
static char *memory;
static int file;

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void die(const char *what, int err)
{
	fprintf(stderr, "uring_fixed: %s: %s\n", what, strerror(err));
	exit(1);
}

static void update(unsigned slot, void *addr, size_t len)
{
	struct iovec vec = {.iov_base = addr, .iov_len = len};
	__u64 tag = 0;
	int n = io_uring_register_buffers_update_tag(&ring, slot, &vec, &tag, 1);

	if (n != 1)
		die("register", n < 0 ? -n : EINVAL);
}

static void prepare(struct io_uring_sqe *sqe, int i, unsigned len, int write, int fixed)
{
	char *p = memory + (size_t)i * LEN_MAX;
	unsigned long long offset = (unsigned long long)i * LEN_MAX;

	if (fixed && write)
		io_uring_prep_write_fixed(sqe, file, p, len, offset, i);
	else if (fixed)
		io_uring_prep_read_fixed(sqe, file, p, len, offset, i);
	else if (write)
		io_uring_prep_write(sqe, file, p, len, offset);
	else
		io_uring_prep_read(sqe, file, p, len, offset);
}

static double requests(unsigned len, int write, int fixed, int batches)
{
	double begin = now_ns();

	for (int b = 0; b < batches; b++) {
		struct io_uring_cqe *cqe;

		for (int i = 0; i < DEPTH; i++)
			prepare(io_uring_get_sqe(&ring), i, len, write, fixed);
		if (io_uring_submit_and_wait(&ring, DEPTH) < 0)
			die("submit", EIO);
		for (int i = 0; i < DEPTH; i++) {
			if (io_uring_wait_cqe(&ring, &cqe) != 0 || cqe->res != (int)len)
				die("request", EIO);
			io_uring_cqe_seen(&ring, cqe);
		}
	}
	return (now_ns() - begin) / batches / DEPTH;
}

static double registrations(unsigned len)
{
	enum { TIMES = 200 };
	double begin = now_ns();

	for (int i = 0; i < TIMES; i++) {
		update(SPARE_SLOT, memory, len);
		update(SPARE_SLOT, NULL, 0);
	}
	return (now_ns() - begin) / TIMES;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, RUNS, sizeof(*v), ascending);
	return v[RUNS / 2];
}

static void measure(const char *how, unsigned len, int write)
{
	int batches = len >= 65536 ? 20 : 60;
	double plain[RUNS], fixed[RUNS], reg[RUNS], p, f, r;

	for (int i = 0; i < DEPTH; i++)
		update((unsigned)i, memory + (size_t)i * LEN_MAX, len);
	for (int run = 0; run < RUNS; run++) {
		plain[run] = requests(len, write, 0, batches);
		fixed[run] = requests(len, write, 1, batches);
		reg[run] = registrations(len);
	}
	p = median(plain);
	f = median(fixed);
	r = median(reg);
	printf("%-8s  %-5s  %7u  %8.0f  %8.0f  %+8.0f  %8.0f\n", how, write ? "write" : "read", len, p, f, p - f, r);
}

static void measure_all(const char *how, const char *path, int flags)
{
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
	if (file < 0) {
		printf("%-8s  %s: %s\n", how, path, strerror(errno));
		return;
	}
	for (int write = 1; write >= 0; write--) {
		for (unsigned len = 512; len <= LEN_MAX; len *= write ? 2 : 8)
			measure(how, len, write);
	}
	close(file);
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "uring_fixed.tmp";
	int err = io_uring_queue_init(2 * DEPTH, &ring, 0);

	if (err || (err = io_uring_register_buffers_sparse(&ring, DEPTH + 1)) != 0)
		die("io_uring", -err);
	memory = mmap(NULL, (size_t)DEPTH * LEN_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("memory", errno);
	memset(memory, 1, (size_t)DEPTH * LEN_MAX);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0 || pwrite(file, memory, (size_t)DEPTH * LEN_MAX, 0) != DEPTH * LEN_MAX || fsync(file) != 0)
		die(path, errno);
	close(file);
	printf("ns a request         bytes     plain     fixed     saved  register + empty\n");
	measure_all("O_DIRECT", path, O_DIRECT);
	measure_all("buffered", path, 0);
	if (argc == 1)
		unlink(path);
	io_uring_queue_exit(&ring);
	return 0;
}
