/* SPDX-License-Identifier: MIT */
/*
 * Where the witness cannot be had or cannot watch: refused by the system, no descriptor, no mapping more, a program that
 * has its own userfaultfd; and what it changes for the program, as the manual says it.
 */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "uffd_common.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define MANY 10000

static void test_options(void)
{
	struct uhmm_mm_options o = {.size = sizeof(o), .monitors = UHMM_MONITOR_UFFD, .witness = 1u << 31};
	struct uhmm_mm *mm;

	CHECK(uhmm_mm_open(&mm, &o) == -E2BIG);
	o.size = offsetof(struct uhmm_mm_options, witness); /* of a caller that does not know the field: not looked at */
	CHECK(uhmm_mm_open(&mm, &o) == 0);
	CHECK(uhmm_mm_monitors(mm) == (UHMM_MONITOR_UFFD | UHMM_MONITOR_EXPLICIT));
	uhmm_mm_close(mm);
	o.size--;
	CHECK(uhmm_mm_open(&mm, &o) == -EINVAL);
	CHECK(uhmm_mm_open(&mm, NULL) == 0);
	CHECK(!(uhmm_mm_monitors(mm) & UHMM_MONITOR_UFFD)); /* never unasked */
	uhmm_mm_close(mm);
}

/* In a child, because a filter is for ever. */
__attribute__((unused)) static void with_filter(int error, int expected)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	struct cached c;
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
			_exit(SKIP);
		_exit(cached_open(&c, UHMM_MONITOR_UFFD, 0) == expected ? 0 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SKIP);
}

static void test_no_descriptor(void)
{
	struct rlimit old, now;
	struct cached c;
	int fd = open("/dev/null", O_RDONLY);

	CHECK(fd >= 0 && getrlimit(RLIMIT_NOFILE, &old) == 0);
	now = old;
	for (int i = 0; i < 3; i++) {
		now.rlim_cur = (rlim_t)fd + (rlim_t)i;
		CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
		int err = cached_open(&c, UHMM_MONITOR_UFFD, 0);

		CHECK(err == -EMFILE || (i == 2 && err == 0)); /* an old kernel does with two */
		if (!err)
			cached_close(&c);
	}
	CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
	CHECK(cached_open(&c, UHMM_MONITOR_UFFD, 0) == 0);
	cached_close(&c);
	CHECK(open("/dev/null", O_RDONLY) == fd + 1); /* nothing leaked */
	close(fd + 1);
	close(fd);
}

static void test_many_mappings(void)
{
	unsigned char *base = mmap(NULL, 2 * MANY * PAGE, PROT_NONE, ANON, -1, 0);
	struct cached c;

	CHECK(base != MAP_FAILED);
	CHECK(cached_open(&c, UHMM_MONITOR_UFFD, 0) == 0);
	for (size_t i = 0; i < MANY; i++) {
		CHECK(mprotect(base + 2 * i * PAGE, PAGE, RW) == 0);
		base[2 * i * PAGE] = (unsigned char)(i % 250 + 1);
		CHECK(cached_get(&c, base + 2 * i * PAGE) == (int)(i % 250 + 1));
	}
	CHECK(c.regs == MANY);
	for (size_t i = 0; i < MANY; i += 97) {
		unsigned char *p = base + 2 * i * PAGE;

		CHECK(cached_get(&c, p) == (int)(i % 250 + 1));
		raw_unmap(p, PAGE);
		raw_map(p, PAGE);
		*p = 251;
		CHECK(cached_get(&c, p) == 251);
	}
	cached_close(&c);
	munmap(base, 2 * MANY * PAGE);
}

/* Every mapping taken: nothing is watched that was not, nothing is lost that was. */
__attribute__((unused)) static void test_no_mapping_left(bool hooks)
{
	unsigned char *p = map_alone(64, ANON, -1), *filler;
	size_t split = 0;
	struct cached c;
	int err = cached_open(&c, UHMM_MONITOR_UFFD | (hooks ? UHMM_MONITOR_HOOKS : 0), 0);

	if (err == -EOPNOTSUPP || err == -EBUSY)
		return;
	CHECK(err == 0);
	memset(p, 1, 64 * PAGE);
	CHECK(cached_get(&c, p) == 1 && cached_get(&c, p + 20 * PAGE) == 1 && cached_get(&c, p + 40 * PAGE) == 1);
	filler = mmap(NULL, 140000 * PAGE, PROT_NONE, ANON, -1, 0);
	CHECK(filler != MAP_FAILED);
	while (split < 70000 && mprotect(filler + 2 * split * PAGE, PAGE, PROT_READ) == 0)
		split++;
	/* Off the list would take two mappings more: the event is sent. What the program sees is the kernel's word as ever. */
	CHECK(madvise(p + 20 * PAGE, PAGE, MADV_DONTNEED) == 0);
	p[20 * PAGE] = 2;
	CHECK(cached_get(&c, p + 20 * PAGE) == 2);
	CHECK(cached_get(&c, p) == 1);
	CHECK(munmap(filler, 140000 * PAGE) == 0);
	CHECK(munmap(p + 40 * PAGE, PAGE) == 0);
	raw_map(p + 40 * PAGE, PAGE);
	p[40 * PAGE] = 3;
	CHECK(cached_get(&c, p + 40 * PAGE) == 3);
	CHECK(cached_comes_to_keep(&c, p + 20 * PAGE));
	cached_close(&c);
}

static int own_userfaultfd(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	CHECK(fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0);
	return fd;
}

static int own_register(int fd, void *p)
{
	struct uffdio_register r = {.range = {(uintptr_t)p, PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};

	return ioctl(fd, UFFDIO_REGISTER, &r) ? -errno : 0;
}

static void test_own_userfaultfd(bool hooks)
{
	unsigned char *theirs = map_alone(1, ANON, -1), *ours = map_alone(1, ANON, -1);
	int fd = own_userfaultfd(), err;
	struct cached c;

	*theirs = *ours = 1;
	CHECK(own_register(fd, theirs) == 0);
	err = cached_open(&c, UHMM_MONITOR_UFFD | (hooks ? UHMM_MONITOR_HOOKS : 0), 0);
	if (hooks && (err == -EOPNOTSUPP || err == -EBUSY))
		return;
	CHECK(err == 0);
	/* Theirs is nobody's to watch: nothing is kept, unless the hooks vouch for it. */
	CHECK(cached_get(&c, theirs) == 1);
	CHECK(cached_keeps(&c, theirs) == hooks);
	/* Ours is not theirs: documented, and gone with the address space. */
	CHECK(cached_get(&c, ours) == 1 && cached_keeps(&c, ours));
	CHECK(own_register(fd, ours) == -EBUSY);
	cached_close(&c);
	CHECK(own_register(fd, ours) == 0);
	close(fd);
}

/* Moving a watched and an unwatched neighbour at once: the kernel refuses. */
static void test_move_of_two(void)
{
	unsigned char *p = map_alone(2, ANON, -1), *to = mmap(NULL, 2 * PAGE, PROT_NONE, ANON, -1, 0);
	struct cached c;

	CHECK(mprotect(p + PAGE, PAGE, PROT_READ) == 0);
	*p = 1;
	CHECK(cached_open(&c, UHMM_MONITOR_UFFD, 0) == 0);
	CHECK(cached_get(&c, p) == 1);
	CHECK(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED && errno == EFAULT);
	CHECK(*p == 1);
	/* One at a time it works. */
	CHECK(mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	CHECK(cached_get(&c, to) == 1);
	cached_close(&c);
}

int main(void)
{
	struct cached c;
	int err = cached_open(&c, UHMM_MONITOR_UFFD, 0);

	need_witness(err);
	CHECK(err == 0);
	cached_close(&c);
	test_options();
#ifndef __SANITIZE_THREAD__ /* which supports no threads in forked children of a threaded process */
	with_filter(EPERM, -EPERM);
	with_filter(ENOSYS, -EOPNOTSUPP);
#endif
	test_no_descriptor();
	test_many_mappings();
#ifndef __SANITIZE_THREAD__ /* which maps memory of its own, and gives up where it cannot */
	test_no_mapping_left(false);
	test_no_mapping_left(true);
#endif
	test_own_userfaultfd(false);
	test_own_userfaultfd(true);
	test_move_of_two();
	return 0;
}
