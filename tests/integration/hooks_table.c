/* SPDX-License-Identifier: MIT */
/*
 * hooks_table: operation x outcome x the way it is called -> what a notifier hears (R31, R32, G11).
 *
 * Each row runs in every way that makes sense for it: by libc's function, by syscall(), in a signal handler, in a thread
 * with all signals blocked, in a vfork child. The start must come while the old page is there, the end when it is gone,
 * errno must be what the call left. Then the whole table again without hooks, where nobody may hear anything: the negative
 * control.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "../emulated.h"
#include "hooks_common.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define BYTE 0x5a
#define UNSUPPORTED (-2)

static bool by_number; /* the way: syscall() in place of the function */
static long last;      /* what the call returned */
static int last_errno;

/* The area: eight pages of BYTE, between two that are not mapped; a row watches some of it. */
struct area {
	char *at;
	char *spare; /* eight more, elsewhere */
	int fd;      /* a file of 16 pages */
	int shm;     /* a segment of 4 pages */
};

#define CALL(name, ...) (last = by_number ? syscall(SYS_##name, __VA_ARGS__) : (long)name(__VA_ARGS__), last_errno = errno)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

static void do_munmap(struct area *a) { CALL(munmap, a->at, 8 * PAGE); }
static void do_munmap_byte(struct area *a) { CALL(munmap, a->at, (size_t)1); }
static void do_munmap_unaligned(struct area *a) { CALL(munmap, a->at + 1, PAGE); }
static void do_munmap_nothing(struct area *a) { CALL(munmap, a->at, (size_t)0); }
static void do_munmap_wraps(struct area *a) { CALL(munmap, a->at, (size_t)-4096); }
#ifndef SYS_mseal
#define SYS_mseal 462 /* 6.10 */
#endif
static void do_munmap_sealed(struct area *a)
{
	if (bare_call(SYS_mseal, (long)a->at, 8 * PAGE, 0, 0, 0, 0) != 0)
		last = UNSUPPORTED;
	else
		CALL(munmap, a->at, 8 * PAGE); /* the area stays until the test ends */
}
static void do_mmap_fixed(struct area *a) { CALL(mmap, a->at, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0L); }
static void do_mmap_fixed_bad_fd(struct area *a) { CALL(mmap, a->at, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, 999, 0L); }
static void do_mmap_fixed_offset(struct area *a)
{
	CALL(mmap, a->at, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, a->fd, 5L);
}
static void do_mmap_noreplace(struct area *a) { CALL(mmap, a->at, 2 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0L); }
static void do_mmap_hint(struct area *a)
{
	CALL(mmap, a->at, 2 * PAGE, RW, ANON, -1, 0L);
	bare_unmap((void *)last, 2 * PAGE);
}
static void do_mmap_reuse(struct area *a)
{
	bare_unmap(a->at, 8 * PAGE); /* R31: nobody saw it */
	CALL(mmap, a->at, 8 * PAGE, RW, ANON, -1, 0L);
	if (last != (long)a->at)
		last = UNSUPPORTED;
}
static void do_mremap_away(struct area *a)
{
	CALL(mremap, a->at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a->spare);
}
static void do_mremap_onto(struct area *a)
{
	CALL(mremap, a->spare, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a->at);
}
static void do_mremap_grow_in_place(struct area *a)
{
	bare_unmap(a->at + 4 * PAGE, 4 * PAGE);
	CALL(mremap, a->at, 4 * PAGE, 6 * PAGE, 0, (void *)0);
}
static void do_mremap_grow_may_move(struct area *a)
{
	bare_unmap(a->at + 4 * PAGE, 4 * PAGE);
	CALL(mremap, a->at, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE, (void *)0);
}
static void do_mremap_grow_moves(struct area *a)
{
	CALL(mremap, a->at, 4 * PAGE, 64 * PAGE, MREMAP_MAYMOVE, (void *)0);
	bare_unmap((void *)last, 64 * PAGE);
}
static void do_mremap_grow_refused(struct area *a) { CALL(mremap, a->at, 4 * PAGE, 64 * PAGE, 0, (void *)0); }
static void do_mremap_shrink(struct area *a) { CALL(mremap, a->at, 8 * PAGE, 4 * PAGE, 0, (void *)0); }
static void do_mremap_same(struct area *a) { CALL(mremap, a->at, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE, (void *)0); }
static void do_mremap_dontunmap(struct area *a)
{
	CALL(mremap, a->at, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, (void *)0);
	bare_unmap((void *)last, 8 * PAGE);
}
static void do_mremap_hole(struct area *a)
{
	bare_unmap(a->at + 4 * PAGE, PAGE);
	CALL(mremap, a->at, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE, (void *)0);
}
/* Three mappings, the last one sealed. Before 6.17 several are refused at once, before 6.10 there is no seal. */
static void mremap_half(char *from, char *to)
{
	bare_call(SYS_mprotect, (long)(from + 2 * PAGE), 2 * PAGE, PROT_READ, 0, 0, 0);
	if (bare_call(SYS_mseal, (long)(from + 4 * PAGE), 4 * PAGE, 0, 0, 0, 0) != 0) {
		last = UNSUPPORTED;
		return;
	}
	CALL(mremap, from, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (last != -1 || peek((uintptr_t)from) != -1)
		last = UNSUPPORTED;
}
static void do_mremap_half(struct area *a) { mremap_half(a->at, a->spare); }
static void do_mremap_half_onto(struct area *a) { mremap_half(a->spare, a->at); }
static void do_mremap_unaligned_target(struct area *a)
{
	CALL(mremap, a->at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a->spare + 8);
}
static void do_mremap_overlap(struct area *a)
{
	CALL(mremap, a->at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a->at + PAGE);
}
static void do_mremap_copy_onto(struct area *a) /* of length 0: the target is the only range, and is taken */
{
	bare_call(SYS_mmap, (long)a->spare, 8 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CALL(mremap, a->spare, (size_t)0, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a->at);
}
static void advise(struct area *a, int advice)
{
	CALL(madvise, a->at, 8 * PAGE, advice);
	if (last && (last_errno == EINVAL || last_errno == EBADF))
		last = UNSUPPORTED; /* older kernel, or one built without it */
}
static void do_dontneed(struct area *a) { advise(a, MADV_DONTNEED); }
static void do_dontneed_locked(struct area *a) { advise(a, MADV_DONTNEED_LOCKED); }
static void do_madv_free(struct area *a) { advise(a, MADV_FREE); }
static void do_guard(struct area *a) { advise(a, MADV_GUARD_INSTALL); }
static void do_remove(struct area *a)
{
	bare_call(SYS_mmap, (long)a->at, 8 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	memset(a->at, BYTE, 8 * PAGE);
	advise(a, MADV_REMOVE);
}
static void do_hints(struct area *a)
{
	static const int hints[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTFORK, MADV_DOFORK,
				    MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ,
				    MADV_POPULATE_WRITE, MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK, 12345};

	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		CALL(madvise, a->at, 8 * PAGE, hints[i]);
	last = 0; /* some are not in every kernel, and the last in none */
	last_errno = 7;
}
static void do_dontneed_odd_length(struct area *a) { CALL(madvise, a->at, PAGE + 1, MADV_DONTNEED); }
static void do_dontneed_unaligned(struct area *a) { CALL(madvise, a->at + 8, PAGE, MADV_DONTNEED); }
static void do_dontneed_mlocked(struct area *a)
{
	if (bare_call(SYS_mlock, (long)a->at, 8 * PAGE, 0, 0, 0, 0) != 0) {
		last = UNSUPPORTED;
		return;
	}
	CALL(madvise, a->at, 8 * PAGE, MADV_DONTNEED);
}
static void do_remove_private(struct area *a) { CALL(madvise, a->at, 8 * PAGE, MADV_REMOVE); }
static void do_dontneed_hole(struct area *a)
{
	bare_unmap(a->at + 4 * PAGE, PAGE);
	CALL(madvise, a->at, 8 * PAGE, MADV_DONTNEED); /* ENOMEM, and done where there is something */
}
static void do_process_madvise(struct area *a)
{
	struct iovec v[2] = {{a->at, PAGE}, {a->at + 4 * PAGE, PAGE}};
	int fd = (int)bare_call(SYS_pidfd_open, getpid(), 0, 0, 0, 0, 0);

	last = syscall(SYS_process_madvise, fd, v, 2L, MADV_DONTNEED, 0); /* no wrapper before glibc 2.36 */
	last_errno = errno;
	bare_call(SYS_close, fd, 0, 0, 0, 0, 0);
	if (last < 0)
		last = UNSUPPORTED; /* before 6.13 */
}
static void do_process_madvise_fault(struct area *a)
{
	(void)a;
	last = syscall(SYS_process_madvise, -20000, (void *)8, 2L, MADV_DONTNEED, 0);
	last_errno = errno;
}
static void do_mprotect(struct area *a) { CALL(mprotect, a->at, 8 * PAGE, PROT_READ); }
static void do_mprotect_unaligned(struct area *a) { CALL(mprotect, a->at + 1, PAGE, PROT_READ); }
static void do_mprotect_hole(struct area *a)
{
	bare_unmap(a->at + 4 * PAGE, PAGE);
	CALL(mprotect, a->at, 8 * PAGE, PROT_READ);
}
static void do_mprotect_refused(struct area *a)
{
	bare_call(SYS_mmap, (long)a->at, 8 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, a->fd, 0);
	CALL(mprotect, a->at, 8 * PAGE, RW); /* opened for reading */
}
static void do_pkey_mprotect(struct area *a) { CALL(pkey_mprotect, a->at, 8 * PAGE, PROT_READ, -1); }
static void do_remap_file_pages(struct area *a)
{
	bare_call(SYS_mmap, (long)a->at, 8 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CALL(remap_file_pages, a->at, 2 * PAGE, 0, (size_t)6, 0);
	if (last)
		last = UNSUPPORTED;
}
static void do_shmat_over(struct area *a) { CALL(shmat, a->shm, a->at, SHM_REMAP); }
static void do_shmat_busy(struct area *a) { CALL(shmat, a->shm, a->at, 0); }
static void do_shmdt(struct area *a)
{
	bare_call(SYS_shmat, a->shm, (long)a->at, SHM_REMAP, 0, 0, 0);
	CALL(shmdt, a->at);
}
static void do_shmdt_wrong(struct area *a) { CALL(shmdt, a->at); }

enum { NOTHING, KEPT, DROPPED }; /* never a drop: NOTHING allows no start either */

struct row {
	const char *name;
	void (*run)(struct area *a);
	size_t first, pages; /* what of the area is watched */
	int expect;
	enum uhmm_event_kind kind;
	int byte_after; /* DROPPED: what the first watched byte reads as when the end comes; -2: whatever */
	bool numbered;  /* run() does it by number anyway: no second way */
};

#define U UHMM_EVENT_UNMAP
#define C UHMM_EVENT_CLEAR
#define P UHMM_EVENT_PROTECT
#define R UHMM_EVENT_REMAP
static const struct row rows[] = {
	{"munmap", do_munmap, 2, 1, DROPPED, U, -1, false},
	{"munmap of a byte takes its page", do_munmap_byte, 0, 1, DROPPED, U, -1, false},
	{"munmap of a byte leaves the next page", do_munmap_byte, 1, 1, NOTHING, U, 0, false},
	{"munmap, unaligned", do_munmap_unaligned, 0, 8, KEPT, U, 0, false},
	{"munmap of nothing", do_munmap_nothing, 0, 8, KEPT, U, 0, false},
	{"munmap, wrapping", do_munmap_wraps, 0, 8, KEPT, U, 0, false},
	{"munmap of a sealed mapping", do_munmap_sealed, 0, 8, KEPT, U, 0, false},
	{"mmap MAP_FIXED", do_mmap_fixed, 0, 1, DROPPED, U, 0, false},
	{"mmap MAP_FIXED leaves what is beside it", do_mmap_fixed, 2, 1, NOTHING, U, 0, false},
	{"mmap MAP_FIXED, bad descriptor", do_mmap_fixed_bad_fd, 0, 8, KEPT, U, 0, false},
	{"mmap MAP_FIXED, bad offset", do_mmap_fixed_offset, 0, 8, KEPT, U, 0, false},
	{"mmap MAP_FIXED_NOREPLACE", do_mmap_noreplace, 0, 8, NOTHING, U, 0, false},
	{"mmap with a hint", do_mmap_hint, 0, 8, NOTHING, U, 0, false},
	{"mmap where somebody unmapped unseen", do_mmap_reuse, 0, 8, DROPPED, U, 0, false},
	{"mremap away", do_mremap_away, 0, 1, DROPPED, R, -1, false},
	{"mremap away leaves what is beside it", do_mremap_away, 4, 1, NOTHING, R, 0, false},
	{"mremap onto", do_mremap_onto, 0, 1, DROPPED, U, -2, false},
	{"mremap that fails half-way: the old place", do_mremap_half, 0, 1, DROPPED, R, -1, false},
	{"mremap that fails half-way: the target", do_mremap_half_onto, 0, 1, DROPPED, U, BYTE + 1, false},
	{"mremap to an unaligned target", do_mremap_unaligned_target, 0, 4, KEPT, R, 0, false},
	{"mremap onto itself", do_mremap_overlap, 0, 8, KEPT, R, 0, false},
	{"mremap of length 0 onto", do_mremap_copy_onto, 3, 1, DROPPED, U, 0, false},
	{"mremap growing in place", do_mremap_grow_in_place, 0, 4, NOTHING, R, 0, false},
	{"mremap growing, may move, does not", do_mremap_grow_may_move, 0, 4, KEPT, R, 0, false},
	{"mremap growing, moves", do_mremap_grow_moves, 0, 4, DROPPED, R, -1, false},
	{"mremap growing, no room", do_mremap_grow_refused, 0, 4, KEPT, R, 0, false},
	{"mremap shrinking: the tail", do_mremap_shrink, 4, 4, DROPPED, U, -1, false},
	{"mremap shrinking: the head", do_mremap_shrink, 0, 4, NOTHING, U, 0, false},
	{"mremap to the same size", do_mremap_same, 0, 8, NOTHING, U, 0, false},
	{"mremap MREMAP_DONTUNMAP", do_mremap_dontunmap, 0, 8, DROPPED, R, 0, false},
	{"mremap over a hole", do_mremap_hole, 0, 4, KEPT, R, 0, false},
	{"MADV_DONTNEED", do_dontneed, 3, 1, DROPPED, C, 0, false},
	{"MADV_DONTNEED_LOCKED", do_dontneed_locked, 0, 8, DROPPED, C, 0, false},
	{"MADV_FREE", do_madv_free, 0, 8, DROPPED, C, -2, false},
	{"MADV_REMOVE", do_remove, 0, 8, DROPPED, C, 0, false},
	{"MADV_GUARD_INSTALL", do_guard, 0, 8, DROPPED, C, -1, false},
	{"advice that keeps the pages", do_hints, 0, 8, NOTHING, C, 0, false},
	{"MADV_DONTNEED takes whole pages", do_dontneed_odd_length, 1, 1, DROPPED, C, 0, false},
	{"MADV_DONTNEED, unaligned", do_dontneed_unaligned, 0, 8, KEPT, C, 0, false},
	{"MADV_DONTNEED of locked memory", do_dontneed_mlocked, 0, 8, KEPT, C, 0, false},
	{"MADV_REMOVE of private memory", do_remove_private, 0, 8, KEPT, C, 0, false},
	{"MADV_DONTNEED over a hole, fails half-way", do_dontneed_hole, 5, 1, DROPPED, C, 0, false},
	{"process_madvise: the first range", do_process_madvise, 0, 1, DROPPED, C, 0, true},
	{"process_madvise: the second range", do_process_madvise, 4, 1, DROPPED, C, 0, true},
	{"process_madvise: in between", do_process_madvise, 1, 3, NOTHING, C, 0, true},
	{"process_madvise, bad vector", do_process_madvise_fault, 0, 8, NOTHING, C, 0, true},
	{"mprotect", do_mprotect, 0, 8, DROPPED, P, BYTE, false},
	{"mprotect, unaligned", do_mprotect_unaligned, 0, 8, KEPT, P, 0, false},
	{"mprotect over a hole, fails half-way", do_mprotect_hole, 0, 1, DROPPED, P, BYTE, false},
	{"mprotect, refused", do_mprotect_refused, 0, 8, KEPT, P, 0, false},
	{"pkey_mprotect", do_pkey_mprotect, 0, 8, DROPPED, P, BYTE, false},
	{"remap_file_pages", do_remap_file_pages, 0, 2, DROPPED, R, -2, false},
	{"remap_file_pages leaves what is beside it", do_remap_file_pages, 2, 1, NOTHING, R, 0, false},
	{"shmat SHM_REMAP", do_shmat_over, 3, 1, DROPPED, U, 0, false},
	{"shmat SHM_REMAP leaves what is beside it", do_shmat_over, 4, 1, NOTHING, U, 0, false},
	{"shmat, taken", do_shmat_busy, 0, 8, KEPT, U, 0, false},
	{"shmdt", do_shmdt, 3, 1, DROPPED, U, -1, false},
	{"shmdt leaves what is beside it", do_shmdt, 4, 1, NOTHING, U, 0, false},
	{"shmdt of no segment", do_shmdt_wrong, 0, 8, KEPT, U, 0, false},
};

/* ---- the ways ---- */

static const struct row *current;
static struct area *current_area;

static void run_current(void)
{
	errno = 7;
	last = 0;
	current->run(current_area);
}

static void on_signal(int sig)
{
	(void)sig;
	run_current();
}

static void in_handler(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
}

static void *blocked_main(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	run_current();
	return arg;
}

static void in_blocked_thread(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, blocked_main, NULL) != 0)
		abort();
	pthread_join(t, NULL);
}

static void in_vfork_child(void)
{
	pid_t child = vfork();

	if (child == 0) {
		run_current();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static const struct {
	const char *name;
	void (*run)(void);
	bool by_number;
} ways[] = {
	{"libc", run_current, false},
	{"syscall()", run_current, true},
	{"handler", in_handler, false},
	{"signals blocked", in_blocked_thread, false},
	{"vfork child", in_vfork_child, false},
	{"vfork child, syscall()", in_vfork_child, true},
};

/* ---- running a row ---- */

static int failures, passes, skips;

static void complain(const char *name, const char *way, const char *what, const struct watch *w)
{
	printf("FAIL %s [%s]: %s (starts %d drops %d keeps %d kind %d byte %d -> %d, result %ld errno %d)\n", name, way, what,
	       w->starts, w->drops, w->keeps, w->kind, w->byte_at_start, w->byte_at_end, last, last_errno);
	failures++;
}

static void judge(const struct row *row, const char *way, const struct watch *w, bool hooked)
{
	int expect = hooked ? row->expect : NOTHING;

	if (last_errno == 99 || (last >= 0 && last_errno != 7))
		complain(row->name, way, "errno is not the call's", w);
	else if (w->starts != w->drops + w->keeps)
		complain(row->name, way, "starts and ends do not match", w);
	else if (expect == NOTHING && w->starts)
		complain(row->name, way, "heard of something that is none of its business", w);
	else if (expect == KEPT && w->drops)
		complain(row->name, way, "dropped for nothing", w);
	else if (expect == DROPPED && !w->drops)
		complain(row->name, way, "not heard of", w);
	else if (expect == DROPPED && w->kind != (int)row->kind)
		complain(row->name, way, "wrong kind", w);
	else if (expect == DROPPED && row->byte_after != -2 && w->byte_at_end != row->byte_after)
		complain(row->name, way, "the end came before the change", w);
	else if (expect == DROPPED && row->byte_after == -1 && w->byte_at_start == -1)
		complain(row->name, way, "the start came after the change", w);
	else
		passes++;
}

static struct area make_area(void)
{
	char *at = bare_map(32 * PAGE, BYTE);
	char *spare = bare_map(8 * PAGE, BYTE + 1);
	struct area a = {.at = at + 8 * PAGE, .spare = spare};
	char name[] = "/tmp/hooks_tableXXXXXX";
	int fd = mkstemp(name);

	/* Neighbours are not mapped, but for what would let a mapping grow in place by more than eight pages. */
	bare_unmap(at, 8 * PAGE);
	bare_unmap(at + 16 * PAGE, 8 * PAGE);
	if (fd < 0 || ftruncate(fd, 16 * PAGE) != 0)
		abort();
	a.fd = open(name, O_RDONLY);
	close(fd);
	unlink(name);
	a.shm = shmget(IPC_PRIVATE, 4 * PAGE, 0600);
	return a;
}

static void drop_area(struct area *a)
{
	bare_unmap(a->at - 8 * PAGE, 32 * PAGE);
	bare_unmap(a->spare, 8 * PAGE);
	close(a->fd);
	if (a->shm >= 0)
		shmctl(a->shm, IPC_RMID, NULL);
}

static void run_row(struct uhmm_mm *mm, const struct row *row, size_t way, bool hooked)
{
	struct area a = make_area();
	struct watch w;

	watch_on(mm, &w, a.at + row->first * PAGE, row->pages * PAGE);
	current = row;
	current_area = &a;
	by_number = ways[way].by_number;
	ways[way].run();
	watch_off(&w);
	if (last == UNSUPPORTED) {
		if (hooked && way == 0)
			printf("not on this kernel: %s\n", row->name);
		skips++;
	} else {
		judge(row, ways[way].name, &w, hooked);
	}
	drop_area(&a);
}

/* Calls that qemu-user forgets, refuses or makes into others; and its vfork() is a fork(). */
static bool emulated_otherwise(const struct row *row, size_t way)
{
	static const char *const rows_of_its_own[] = {
		"MADV_DONTNEED over a hole", "MADV_DONTNEED_LOCKED", "MADV_GUARD", "MADV_REMOVE", "mremap MREMAP_DONTUNMAP",
		"mremap growing, may move, does not", "mremap of length 0", "pkey_mprotect", "process_madvise",
	};

	if (!is_emulated())
		return false;
	for (size_t i = 0; i < sizeof(rows_of_its_own) / sizeof(rows_of_its_own[0]); i++)
		if (strncmp(row->name, rows_of_its_own[i], strlen(rows_of_its_own[i])) == 0)
			return true;
	return ways[way].run == in_vfork_child;
}

static void run_table(struct uhmm_mm *mm, bool hooked)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
			if (emulated_otherwise(&rows[i], way))
				skips++;
			else if (!(rows[i].numbered && ways[way].by_number))
				run_row(mm, &rows[i], way, hooked);
		}
	}
}

/* ---- what libc and the dynamic linker do by themselves ---- */

static void expect(const char *name, const struct watch *w, bool hooked, enum uhmm_event_kind kind, bool drop)
{
	bool right = hooked && drop ? w->drops > 0 && w->kind == (int)kind : w->drops == 0;

	if (right)
		passes++;
	else
		complain(name, hooked ? "inside" : "no hooks", "not what was expected", w);
}

static inline void test_free(struct uhmm_mm *mm, bool hooked)
{
	char *block = malloc(4 << 20);
	struct watch w;

	watch_on(mm, &w, block + (1 << 20), PAGE);
	free(block);
	watch_off(&w);
	expect("free() of a large block", &w, hooked, UHMM_EVENT_UNMAP, true);
}

static void test_realloc(struct uhmm_mm *mm, bool hooked)
{
	char *block = malloc(40 << 20); /* more than malloc ever takes from its arenas */
	struct watch w;

	watch_on(mm, &w, block + (1 << 20), PAGE);
	block = realloc(block, 256 << 20); /* mremap inside libc; it moves or not */
	watch_off(&w);
	if (w.drops == 0 && w.keeps == 0 && hooked)
		complain("realloc() of a large block", "inside", "not heard of", &w);
	free(block);
}

static void test_trim(struct uhmm_mm *mm, bool hooked)
{
	enum { BLOCKS = 64 };
	char *block[BLOCKS];
	struct watch w;

	for (int i = 0; i < BLOCKS; i++)
		block[i] = malloc(64 << 10);
	/* A hole in the middle, kept from the top by the last block: trimmed by madvise. */
	watch_on(mm, &w, (void *)((uintptr_t)(block[10] + 8192) & ~(PAGE - 1)), PAGE);
	for (int i = 0; i < BLOCKS - 1; i++)
		free(block[i]);
	malloc_trim(0);
	watch_off(&w);
	expect("malloc_trim()", &w, hooked, UHMM_EVENT_CLEAR, true);
	free(block[BLOCKS - 1]);
}

static void test_brk(struct uhmm_mm *mm, bool hooked)
{
	char *top = sbrk(16 * PAGE);
	struct watch w;

	if (top == (char *)-1) {
		skips++;
		return;
	}
	watch_on(mm, &w, (void *)(((uintptr_t)top + 8 * PAGE) & ~(PAGE - 1)), PAGE);
	sbrk(16 * PAGE);
	expect("sbrk() up", &w, hooked, UHMM_EVENT_UNMAP, false);
	sbrk(-(long)(16 * PAGE));
	expect("sbrk() down to above it", &w, hooked, UHMM_EVENT_UNMAP, false);
	sbrk(-(long)(16 * PAGE));
	watch_off(&w);
	expect("sbrk() down", &w, hooked, UHMM_EVENT_UNMAP, true);
	syscall(SYS_brk, sbrk(0));
}

static pthread_barrier_t meet;

static void *stack_main(void *arg)
{
	volatile char deep[256 << 10];
	pthread_attr_t attr;
	size_t size;

	deep[0] = 1;
	(void)deep[0];
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, arg, &size);
	pthread_attr_destroy(&attr);
	pthread_barrier_wait(&meet);
	pthread_barrier_wait(&meet);
	return NULL;
}

/* At exit a thread gives its stack's pages back, with all signals blocked and its thread-specific data destroyed. */
static inline void test_thread_exit(struct uhmm_mm *mm, bool hooked)
{
	void *stack = NULL;
	struct watch w;
	pthread_t t;

	pthread_barrier_init(&meet, NULL, 2);
	if (pthread_create(&t, NULL, stack_main, &stack) != 0)
		abort();
	pthread_barrier_wait(&meet);
	watch_on(mm, &w, (char *)stack + (1 << 20), PAGE);
	pthread_barrier_wait(&meet);
	pthread_join(t, NULL);
	watch_off(&w);
	expect("thread exit", &w, hooked, UHMM_EVENT_CLEAR, true);
	pthread_barrier_destroy(&meet);
}

static void test_dlclose(struct uhmm_mm *mm, bool hooked)
{
	void *h = dlopen("libresolv.so.2", RTLD_NOW), *again = dlopen("libresolv.so.2", RTLD_NOW);
	struct link_map *map;
	struct watch w;

	if (!h || dlinfo(h, RTLD_DI_LINKMAP, &map) != 0) {
		skips++;
		return;
	}
	watch_on(mm, &w, (void *)map->l_addr, PAGE);
	dlclose(again);
	expect("dlclose() that leaves it loaded", &w, hooked, UHMM_EVENT_UNMAP, false);
	dlclose(h);
	watch_off(&w);
	expect("dlclose()", &w, hooked, UHMM_EVENT_UNMAP, true);
	if (hooked && (w.byte_at_start == -1 || w.byte_at_end != -1))
		complain("dlclose()", "inside", "not around the change", &w);
}

/* Sanitizers bring an allocator of their own, which makes its system calls itself. */
#ifdef __SANITIZE_ADDRESS__
#define LIBC_MALLOC false
#else
#define LIBC_MALLOC true
#endif

static void run_all(struct uhmm_mm *mm, bool hooked)
{
	run_table(mm, hooked);
	if (LIBC_MALLOC) {
		test_free(mm, hooked);
		test_realloc(mm, hooked);
		test_trim(mm, hooked);
	}
	test_brk(mm, hooked);
	test_thread_exit(mm, hooked);
	test_dlclose(mm, hooked);
}

int main(void)
{
	struct uhmm_mm_options plain = {.size = sizeof(plain), .monitors = UHMM_MONITOR_EXPLICIT};
	struct uhmm_mm *mm, *explicit_only;

#ifdef __SANITIZE_THREAD__
	printf("skipped: ThreadSanitizer makes forks of vforks and dies of a munmap that wraps\n");
	return SKIP;
#endif
	mm = open_hooks();
	setvbuf(stdout, NULL, _IOLBF, 0);
	run_all(mm, true);
	uhmm_mm_close(mm);
	printf("with hooks: %d as expected, %d not, %d not on this kernel\n", passes, failures, skips);
	passes = skips = 0;
	if (uhmm_mm_open(&explicit_only, &plain) != 0)
		return 1;
	run_all(explicit_only, false);
	uhmm_mm_close(explicit_only);
	printf("without: %d as expected, %d not, %d not on this kernel\n", passes, failures, skips);
	return failures != 0;
}
