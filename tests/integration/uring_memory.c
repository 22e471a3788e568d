/* SPDX-License-Identifier: MIT */
/*
 * "Any pointer": each kind of memory is written from and read into, before and after the program has stored to it, shared it
 * with a child and discarded it. The bytes must agree whether the request went fixed or plain. R7: a page that is written from
 * before anything was stored in it is the zero page, or the file's; the store that follows brings another one.
 */
#include <sys/wait.h>

#include "uring_common.h"

#define LEN (4 * PAGE)

static struct io_uring ring;
static struct uhmm_mm *mm;
static struct uhmm_uring *u;
static int file;

struct kind {
	const char *name;
	void *(*make)(void);
	bool read_only;
};

static void *anonymous(void)
{
	return map_at(NULL, LEN);
}

static void *huge_page(void)
{
	const size_t huge = (size_t)2 << 20;
	unsigned char *p = map_at(NULL, 2 * huge);

	p = (unsigned char *)(((uintptr_t)p + huge - 1) & ~(huge - 1));
	madvise(p, huge, MADV_HUGEPAGE);
	return p + PAGE;
}

static void *hugetlb(void)
{
	void *p = mmap(NULL, (size_t)2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	return p == MAP_FAILED ? NULL : p; /* none set aside: usual */
}

static void *shared_memory(void)
{
	void *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void *map_file(int prot, int flags)
{
	char path[] = "/var/tmp/uhmm-uring-XXXXXX"; /* on a disk, not tmpfs: pages of a file system with dirty tracking */
	int fd = mkstemp(path);
	void *p;

	CHECK(fd >= 0 && unlink(path) == 0 && ftruncate(fd, LEN) == 0);
	p = mmap(NULL, LEN, prot, flags, fd, 0);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

static void *file_shared(void)
{
	return map_file(PROT_READ | PROT_WRITE, MAP_SHARED);
}

static void *file_private(void)
{
	return map_file(PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

static void *file_read_only(void)
{
	return map_file(PROT_READ, MAP_SHARED);
}

static unsigned char *block; /* one allocation for both cases */

static void *heap(void)
{
	block = malloc(LEN + PAGE);
	return block;
}

static void *heap_odd(void)
{
	return block + 333;
}

static void *initialised_data(void)
{
	static unsigned char data[LEN + PAGE] = {1};

	return data + 7;
}

static void *constants(void)
{
	static const unsigned char data[LEN + PAGE] = {2};

	return (void *)(uintptr_t)data;
}

static const struct kind kinds[] = {
	{"anonymous", anonymous, false},
	{"transparent huge page", huge_page, false},
	{"hugetlb", hugetlb, false},
	{"shared memory", shared_memory, false},
	{"file, shared", file_shared, false},
	{"file, private", file_private, false},
	{"file, read-only", file_read_only, true},
	{"heap", heap, false},
	{"heap, odd address", heap_odd, false},
	{"initialised data", initialised_data, false},
	{"constants", constants, true},
};

static void check_write(unsigned char *p)
{
	static unsigned char back[LEN];

	CHECK(transfer(u, &ring, 0, file, p, LEN, 0) == (int)LEN);
	CHECK(pread(file, back, LEN, 0) == (ssize_t)LEN);
	CHECK(memcmp(p, back, LEN) == 0);
}

static void check_read(unsigned char *p, int fill)
{
	static unsigned char block[LEN];

	memset(block, fill, LEN);
	CHECK(pwrite(file, block, LEN, 0) == (ssize_t)LEN);
	CHECK(transfer(u, &ring, 1, file, p, LEN, 0) == (int)LEN);
	CHECK(memcmp(p, block, LEN) == 0);
}

/* The child has its copy and goes; the parent's next store must still be where the device looks. */
static void fork_once(unsigned char *p)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		volatile unsigned char c = p[0];

		_exit(c == p[0] ? 0 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void discard(unsigned char *p)
{
	uintptr_t start = ((uintptr_t)p + PAGE - 1) & ~(PAGE - 1);
	struct uhmm_event event = {.start = start, .end = start + 2 * PAGE, .kind = UHMM_EVENT_CLEAR};
	struct uhmm_invalidation inv;

	CHECK(uhmm_invalidate_start(mm, &inv, &event) == 0);
	if (madvise((void *)start, 2 * PAGE, MADV_DONTNEED) == 0)
		uhmm_invalidate_end(&inv);
	else
		uhmm_invalidate_abort(&inv); /* hugetlb: not part of a page */
}

static void check_writable(unsigned char *p)
{
	for (int round = 1; round <= 3; round++) {
		check_write(p); /* the first time nothing was stored yet */
		memset(p, round, LEN);
		check_write(p);
		check_read(p, 0x40 + round);
		fork_once(p);
		memset(p, 0x20 + round, LEN);
		check_write(p);
		check_read(p, 0x60 + round);
		discard(p);
	}
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	ring_open(&ring, 8, 0);
	mm = space_open_hooks();
	if (!mm)
		mm = space_open(UHMM_MONITOR_EXPLICIT);
	CHECK(mm && uhmm_uring_attach(mm, &ring, &u) == 0);
	file = scratch_file(LEN);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		unsigned char *p = kinds[i].make();
		struct uhmm_uring_stats before = stats_of(u), after;

		if (!p) {
			printf("%-22s not to be had here\n", kinds[i].name);
			continue;
		}
		if (kinds[i].read_only) {
			struct io_uring_sqe sqe;

			check_write(p);
			check_write(p);
			CHECK(uhmm_uring_prep_read(u, &sqe, file, p, LEN, 0, 0) == -EFAULT);
		} else {
			check_writable(p);
		}
		after = stats_of(u);
		printf("%-22s right: %u requests fixed, %u plain\n", kinds[i].name, (unsigned)(after.fixed - before.fixed),
		       (unsigned)(after.plain_forced + after.plain_chosen - before.plain_forced - before.plain_chosen));
	}
	CHECK(uhmm_uring_detach(u) == 0);
	io_uring_queue_exit(&ring);
	uhmm_mm_close(mm);
	free(block);
	return 0;
}
