/* SPDX-License-Identifier: MIT */
/* others.c: what comes with every filter, what no filter sees, what else the kernel offers, and what is there instead. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trap.h"

/* ---- no_new_privs ---- */

#define NOBODY 65534

static const char *copy_path;

static bool copy_with_setuid(char *path)
{
	char buffer[65536];
	int in = open(self_path(), O_RDONLY | O_CLOEXEC), out = mkstemp(path);
	ssize_t n = 0;
	bool ok = in >= 0 && out >= 0;

	while (ok && (n = read(in, buffer, sizeof(buffer))) > 0)
		ok = write(out, buffer, (size_t)n) == n;
	ok = ok && n == 0 && fchmod(out, 04755) == 0;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return ok;
}

static bool become_nobody(void)
{
	return setgid(NOBODY) == 0 && setuid(NOBODY) == 0;
}

static int exec_copy(const void *no_new_privs)
{
	if (!become_nobody() || (*(const bool *)no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))
		return SETUP_FAILED;
	execl(copy_path, "trap", "--child", "euid", (char *)NULL);
	return SETUP_FAILED;
}

static int filter_without(const void *arg)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = {.len = 1, .filter = &allow};

	(void)arg;
	if (!become_nobody())
		return SETUP_FAILED;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) ? errno : 0;
}

static int privileges(void)
{
	char path[] = "/tmp/trap-setuid-XXXXXX";
	const bool no = false, yes = true;
	bool ok = true;

	if (geteuid() != 0)
		return skip("needs root to make a set-user-id program");
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0)
		return skip("no_new_privs is set already");
	copy_path = path;
	if (!copy_with_setuid(path) || fate_of(exec_copy, &no) != 10) {
		unlink(path);
		return skip("set-user-id programs have no effect in /tmp");
	}
	ok &= claim_fate("errno of a filter without no_new_privs, as an ordinary user (EACCES is 13)",
			 fate_of(filter_without, NULL), EACCES);
	printf(" status 10: runs as root, 11: does not\n");
	ok &= claim_fate("a set-user-id program", fate_of(exec_copy, &no), 10);
	ok &= claim_fate("a set-user-id program, after no_new_privs", fate_of(exec_copy, &yes), 11);
	unlink(path);
	return ok ? PASSED : FAILED;
}

/* ---- io_uring ---- */

static struct io_uring_params ring_params;
static int ring = -1;
static char *rings;
static struct io_uring_sqe *sqes;

static bool ring_open(void)
{
	size_t cq, sq;

	ring = (int)syscall(SYS_io_uring_setup, 4, &ring_params);
	if (ring < 0)
		return false;
	cq = ring_params.cq_off.cqes + ring_params.cq_entries * sizeof(struct io_uring_cqe);
	sq = ring_params.sq_off.array + ring_params.sq_entries * sizeof(uint32_t);
	rings = mmap(NULL, cq > sq ? cq : sq, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	sqes = mmap(NULL, ring_params.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	return rings != MAP_FAILED && sqes != MAP_FAILED && (ring_params.features & IORING_FEAT_SINGLE_MMAP);
}

static int ring_discard(void *page)
{
	uint32_t *tail = (void *)(rings + ring_params.sq_off.tail), *array = (void *)(rings + ring_params.sq_off.array);
	struct io_uring_cqe *cqes = (void *)(rings + ring_params.cq_off.cqes);

	memset(sqes, 0, sizeof(*sqes));
	sqes->opcode = IORING_OP_MADVISE;
	sqes->fd = -1;
	sqes->addr = (uintptr_t)page;
	sqes->len = (uint32_t)PAGE;
	sqes->fadvise_advice = MADV_DONTNEED;
	array[0] = 0;
	__atomic_store_n(tail, 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -errno;
	return cqes[0].res;
}

static int discard_by_ring(void)
{
	char *page;
	bool ok;

	if (!ring_open())
		return SKIPPED;
	page = map_inline(PAGE, 1);
	memset(&seen, 0, sizeof(seen));
	if (ring_discard(page))
		return SKIPPED;
	ok = claim_long("the page, which held 1, holds", byte_at(page), 0);
	return claim_long("calls seen", (long)seen.calls, 0) && ok ? PASSED : FAILED;
}

static int filter_uring(void)
{
	int rc;

	NEEDS(TRAP);
	rc = fate(TRAP, discard_by_ring);
	return rc == SKIPPED ? skip("no io_uring here") : rc;
}

/* ---- ptrace ---- */

static void *trace_leader(void *arg)
{
	*(int *)arg = ptrace(PTRACE_SEIZE, getpid(), NULL, NULL) ? errno : 0;
	return NULL;
}

static int sleep_for_ever(const void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return 0;
}

/* A filter that asks a tracer, where there is none. */
static int ask_nobody(const void *arg)
{
	const struct filter_spec spec = {.action = SECCOMP_RET_TRACE, .numbers = munmap_only};

	(void)arg;
	if (filter_install(&spec))
		return SETUP_FAILED;
	return (int)-unmap_inline(map_inline(PAGE, 1), PAGE);
}

static int other_tracers(void)
{
	int rc = -1;
	pthread_t t;
	bool ok = true;
	pid_t pid;

	if (pthread_create(&t, NULL, trace_leader, &rc))
		return FAILED;
	pthread_join(t, NULL);
	ok &= claim_long("errno of tracing one's own process (EPERM is 1)", rc, EPERM);
	if (is_here(TRAP))
		ok &= claim_fate("errno of munmap() under SECCOMP_RET_TRACE without a tracer (ENOSYS is 38)",
				 fate_of(ask_nobody, NULL), ENOSYS);
	pid = fork();
	if (pid == 0)
		_exit(sleep_for_ever(NULL));
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL)) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return skip("no ptrace here");
	}
	rc = ptrace(PTRACE_SEIZE, pid, NULL, NULL) ? errno : 0;
	ok &= claim_long("errno of a second tracer, a debugger say (EPERM is 1)", rc, EPERM);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return ok ? PASSED : FAILED;
}

/* ---- perf ---- */

static struct perf_event_mmap_page *open_records(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
		.mmap = 1,
		.mmap_data = 1,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, 9 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* Bytes of records since last asked. */
static uint64_t news(struct perf_event_mmap_page *records)
{
	static uint64_t last;
	uint64_t head = __atomic_load_n(&records->data_head, __ATOMIC_ACQUIRE), bytes = head - last;

	last = head;
	return bytes;
}

static int other_perf(void)
{
	struct perf_event_mmap_page *records = open_records();
	char *page, *target;
	bool ok = true;

	if (!records)
		return skip("no perf_event_open() here");
	news(records);
	page = map_inline(PAGE, 1);
	target = map_inline(PAGE, 1);
	ok &= claim("mmap leaves a record", news(records) > 0);
	bare_call(SYS_madvise, (long)page, PAGE, MADV_DONTNEED, 0, 0, 0);
	ok &= claim_long("bytes of record of madvise(MADV_DONTNEED)", (long)news(records), 0);
	bare_call(SYS_mremap, (long)page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (long)target, 0);
	ok &= claim_long("bytes of record of mremap()", (long)news(records), 0);
	unmap_inline(target, PAGE);
	ok &= claim_long("bytes of record of munmap()", (long)news(records), 0);
	return ok ? PASSED : FAILED;
}

/* ---- userfaultfd ---- */

static int witness_open(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool witness_watch(int fd, char *page)
{
	struct uffdio_register r = {.range = {.start = (uintptr_t)page, .len = PAGE}, .mode = UFFDIO_REGISTER_MODE_WP};

	return ioctl(fd, UFFDIO_REGISTER, &r) == 0;
}

static void *discard_and_unmap_with_all_blocked(void *page)
{
	block_all_signals();
	bare_call(SYS_madvise, (long)page, PAGE, MADV_DONTNEED, 0, 0, 0);
	unmap_inline(page, PAGE);
	return NULL;
}

static bool next_is(int fd, unsigned event, const char *page)
{
	struct uffd_msg m;

	return read(fd, &m, sizeof(m)) == sizeof(m) && m.event == event && m.arg.remove.start == (uintptr_t)page;
}

static int witnessed(const void *arg)
{
	char *page = map_inline(PAGE, 1), *later = map_inline(PAGE, 1);
	int fd = witness_open();
	pthread_t t;
	bool ok = true;

	(void)arg;
	if (fd < 0 || !witness_watch(fd, page))
		return SKIPPED;
	if (pthread_create(&t, NULL, discard_and_unmap_with_all_blocked, page))
		return SETUP_FAILED;
	ok &= claim("an inline MADV_DONTNEED, all signals blocked, is told", next_is(fd, UFFD_EVENT_REMOVE, page));
	ok &= claim("an inline munmap, all signals blocked, is told", next_is(fd, UFFD_EVENT_UNMAP, page));
	pthread_join(t, NULL);
	if (!witness_watch(fd, later))
		return SETUP_FAILED;
	ok &= claim_fate("a program that is started", fork_and_exec(), 0);
	close(fd);
	ok &= claim_long("munmap of a watched page after the witness has gone", unmap_inline(later, PAGE), 0);
	if (!ok)
		return FAILED;
	fflush(stdout);
	return exec_in_place();
}

static int instead_witness(void)
{
	int rc = fate_of(witnessed, NULL);

	if (rc == SKIPPED)
		return skip("no userfaultfd here");
	return claim_fate("a program in the place of the watched one", rc, 0) ? PASSED : FAILED;
}

const struct experiment other_experiments[] = {
	{"filter_privileges", "a filter costs every later program its set-user-id", privileges},
	{"filter_uring", "no filter sees what io_uring does", filter_uring},
	{"other_tracers", "ptrace is for another process, and for one", other_tracers},
	{"other_perf", "perf's mapping records know of no unmap", other_perf},
	{"instead_witness", "userfaultfd has none of these troubles for what it watches", instead_witness},
	{0},
};
