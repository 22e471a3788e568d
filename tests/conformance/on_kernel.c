/* SPDX-License-Identifier: MIT */
/*
 * on_kernel.c: a sequence on the kernel, at the simulated machine's addresses. Each page of a file mapping has a file of its
 * own, as there. What is not a program's doing (migration, write-back, ...) is asked for where that can be, and is otherwise
 * nothing at all: a program does not notice either.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uhmm/lab.h>

#include "conformance.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define CHILDREN 3u /* the simulated machine's */

static int file[PAGES], pagemap = -1;
static uint32_t file_of[PAGES]; /* which file is mapped at the page */
static bool is_mapped[PAGES];
static uint64_t zero_frame;
static struct {
	pid_t pid;
	int to, from;
} child[CHILDREN];
static uint32_t children;
static sigjmp_buf fault;

static void on_fault(int signal)
{
	siglongjmp(fault, signal);
}

static volatile uint32_t *at(uint32_t page)
{
	return (volatile uint32_t *)LAB_ADDR(page);
}

/* Not inlined: the jump comes back into a frame that holds nothing. */
__attribute__((noinline)) static int touch(uint32_t page, bool write, uint32_t *value)
{
	if (sigsetjmp(fault, 1))
		return -EFAULT;
	if (write)
		*at(page) = *value;
	else
		*value = *at(page);
	return 0;
}

/* ---- the child: answers what it reads, until there is nobody to ask ---- */

static void be_child(int requests, int answers)
{
	uint32_t page;

	while (read(requests, &page, sizeof(page)) == sizeof(page)) {
		uint32_t answer[2] = {0, 0};

		answer[1] = (uint32_t)touch(page, false, &answer[0]);
		if (write(answers, answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	_exit(0);
}

static int fork_one(void)
{
	int requests[2], answers[2];
	pid_t pid;

	if (children == CHILDREN)
		return -EAGAIN;
	if (pipe2(requests, O_CLOEXEC) || pipe2(answers, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid == 0) {
		for (uint32_t i = 0; i < children; i++)
			close(child[i].to);
		close(requests[1]);
		be_child(requests[0], answers[1]);
	}
	close(requests[0]);
	close(answers[1]);
	if (pid < 0)
		return -errno;
	child[children].pid = pid;
	child[children].to = requests[1];
	child[children++].from = answers[0];
	return 0;
}

/* The first one. */
static int ask_child(uint32_t page, uint32_t *value)
{
	uint32_t answer[2];

	if (!children)
		return -EFAULT;
	if (write(child[0].to, &page, sizeof(page)) != sizeof(page) ||
	    read(child[0].from, answer, sizeof(answer)) != sizeof(answer))
		return -EIO;
	*value = answer[0];
	return (int)answer[1];
}

static void end_children(void)
{
	while (children) {
		children--;
		close(child[children].to);
		close(child[children].from);
		waitpid(child[children].pid, NULL, 0);
	}
}

/* ---- operations ---- */

static int prot_of(uint32_t prot)
{
	return (prot & LAB_READ ? PROT_READ : 0) | (prot & LAB_WRITE ? PROT_READ | PROT_WRITE : 0);
}

static int result(int r)
{
	return r ? -errno : 0;
}

static int map_page(const struct op *op, uint32_t page)
{
	int flags = MAP_FIXED | (op->kind == OP_SHARED ? MAP_SHARED : MAP_PRIVATE);

	if (ftruncate(file[page], 4096) ||
	    mmap((void *)LAB_ADDR(page), 4096, prot_of(op->arg), flags, file[page], 0) == MAP_FAILED)
		return -errno;
	file_of[page] = page;
	is_mapped[page] = true;
	return 0;
}

static int map(const struct op *op)
{
	int err = 0;

	if (op->kind == OP_ANON) {
		if (mmap((void *)LAB_ADDR(op->page), op->count * 4096u, prot_of(op->arg),
			 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			return -errno;
		for (uint32_t i = op->page; i < op->page + op->count; i++) {
			file_of[i] = i;
			is_mapped[i] = true;
		}
		return 0;
	}
	for (uint32_t i = 0; i < op->count && !err; i++)
		err = map_page(op, op->page + i);
	return err;
}

static int unmap(const struct op *op)
{
	memset(is_mapped + op->page, 0, op->count * sizeof(is_mapped[0]));
	return result(munmap((void *)LAB_ADDR(op->page), op->count * 4096u));
}

static int remap(const struct op *op)
{
	if (mremap((void *)LAB_ADDR(op->page), op->count * 4096u, op->count * 4096u, MREMAP_MAYMOVE | MREMAP_FIXED,
		   (void *)LAB_ADDR(op->arg)) == MAP_FAILED)
		return -errno;
	for (uint32_t i = 0; i < op->count; i++) {
		file_of[op->arg + i] = file_of[op->page + i];
		is_mapped[op->arg + i] = true;
		is_mapped[op->page + i] = false;
	}
	return 0;
}

static int truncate_pages(const struct op *op)
{
	int err = 0;

	for (uint32_t i = op->page; i < op->page + op->count && !err; i++)
		err = result(ftruncate(file[is_mapped[i] ? file_of[i] : i], 0));
	return err;
}

static int page_out(uint32_t page)
{
	madvise((void *)LAB_ADDR(page), 4096, MADV_PAGEOUT);
	return RESULT_ANY;
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* 5.14 */
#endif

/* Before 5.14 by a write of what is there, which is what it does for a page of one thread. */
static int populate(uint32_t page)
{
	void *addr = (void *)LAB_ADDR(page);
	uint32_t value;

	if (madvise(addr, 4096, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL)
		return -EFAULT;
	return touch(page, false, &value) ? -EFAULT : touch(page, true, &value);
}

static int write_back(uint32_t page)
{
	msync((void *)LAB_ADDR(page), 4096, MS_SYNC);
	return RESULT_ANY;
}

static int perform(const struct op *op, uint32_t *value)
{
	void *addr = (void *)LAB_ADDR(op->page);
	size_t len = op->count * 4096u;
	uint32_t written = op->arg;

	switch (op->kind) {
	case OP_UNMAP:
		return unmap(op);
	case OP_DONTNEED:
		return result(madvise(addr, len, MADV_DONTNEED));
	case OP_FREE:
		return result(madvise(addr, len, MADV_FREE));
	case OP_TRUNCATE:
		return truncate_pages(op);
	case OP_PROTECT:
		return result(mprotect(addr, len, prot_of(op->arg)));
	case OP_REMAP:
		return remap(op);
	case OP_FORK:
		return fork_one();
	case OP_WRITE:
		return touch(op->page, true, &written);
	case OP_READ:
		return touch(op->page, false, value);
	case OP_CHILD:
		return ask_child(op->page, value);
	case OP_WRITEBACK:
		return write_back(op->page);
	case OP_POPULATE:
		return populate(op->page);
	case OP_RECLAIM:
	case OP_DROP:
		return page_out(op->page);
	case OP_MIGRATE:
	case OP_REPLACE:
		return RESULT_ANY;
	default:
		return map(op);
	}
}

/* ---- what can be seen ---- */

static uint64_t entry_of(uint32_t page)
{
	uint64_t entry = 0;

	if (pread(pagemap, &entry, sizeof(entry), (off_t)(LAB_ADDR(page) / 4096 * sizeof(entry))) != (ssize_t)sizeof(entry))
		return 0;
	return entry;
}

#define PRESENT(entry) ((entry) >> 63)
#define FRAME(entry) ((entry) & ((UINT64_C(1) << 55) - 1)) /* 0 without CAP_SYS_ADMIN */

static void look(struct sight *sight)
{
	for (uint32_t page = 0; page < PAGES; page++) {
		uint64_t entry = entry_of(page);

		sight[page].present = PRESENT(entry);
		sight[page].frame = sight[page].present ? FRAME(entry) : 0;
		sight[page].zero = zero_frame && sight[page].frame == zero_frame;
	}
}

static void learn_zero_frame(void)
{
	const struct op map_one = {.kind = OP_ANON, .count = 1, .arg = LAB_READ};
	uint32_t value;

	if (map(&map_one) == 0 && touch(0, false, &value) == 0)
		zero_frame = FRAME(entry_of(0));
	munmap((void *)LAB_ADDR(0), 4096);
	is_mapped[0] = false;
}

/* Before each sequence: the test library has handlers of its own, for each test. */
static void catch_faults(void)
{
	struct sigaction act = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};

	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static bool open_machine(void)
{
	void *room = mmap((void *)LAB_BASE, PAGES * 4096u, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (room != (void *)LAB_BASE) {
		fprintf(stderr, "the addresses of the simulated machine are taken in this process\n");
		return false;
	}
	munmap(room, PAGES * 4096u);
	for (uint32_t i = 0; i < PAGES; i++) {
		file[i] = memfd_create("conformance", MFD_CLOEXEC);
		if (file[i] < 0) {
			perror("memfd_create");
			return false;
		}
	}
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	learn_zero_frame();
	return pagemap >= 0;
}

bool kernel_sees_frames(void)
{
	return zero_frame != 0;
}

void kernel_done(void)
{
	end_children();
	munmap((void *)LAB_BASE, PAGES * 4096u);
	memset(is_mapped, 0, sizeof(is_mapped));
	for (uint32_t i = 0; i < PAGES; i++) {
		if (ftruncate(file[i], 0))
			perror("ftruncate");
	}
}

bool run_on_kernel(const struct op *ops, size_t count, struct seen *seen)
{
	catch_faults();
	if (pagemap < 0 && !open_machine())
		return false;
	for (size_t i = 0; i < count; i++) {
		seen[i].value = 0;
		seen[i].error = perform(&ops[i], &seen[i].value);
		look(seen[i].page);
	}
	kernel_done();
	return true;
}
