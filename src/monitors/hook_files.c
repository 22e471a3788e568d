/* SPDX-License-Identifier: MIT */
#include "monitors/hook_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "core/core.h"
#include "monitors/file_filter.h"
#include "monitors/hook_calls.h"
#include "monitors/proc.h"
#include "port/linux_new.h"
#include "port/mm.h"
#include "port/thread.h"

#define FILE_RANGES 16u /* more mappings than that are announced together with what lies between some of them */
#define TO_THE_END UINT64_MAX

struct file {
	bool known;
	bool plain;  /* /proc/self/maps shows the device that stat() does */
	bool layers; /* nor the inode, perhaps */
	uint64_t dev, inode;
	uint64_t size, granule;
};

struct span {
	uintptr_t start, end;
};

struct run {
	const struct hook_file_op *op;
	struct file file;
	uint64_t from, to; /* what of the file goes away, in bytes */
	bool any_file;     /* it cannot be told which */
	uint32_t count;
	struct span span[FILE_RANGES];
	bool changed;
	long result;
	int error;
};

/* ---- which file ---- */

#define MAGIC_TMPFS 0x01021994l
#define MAGIC_HUGETLBFS 0x958458f6l
#define MAGIC_OVERLAYFS 0x794c7630l
#define MAGIC_AUFS 0x61756673l

/*
 * Of file systems without a block device of their own, some show one device by stat() and another in /proc/self/maps (btrfs),
 * and some another inode number too (those in layers).
 */
static void judge(struct file *f, const struct statfs *fs, long err)
{
	f->plain = !err && (fs->f_type == MAGIC_TMPFS || fs->f_type == MAGIC_HUGETLBFS);
	f->layers = err || fs->f_type == MAGIC_OVERLAYFS || fs->f_type == MAGIC_AUFS;
}

static bool take(struct file *f, const struct stat *st, long err)
{
	uint64_t block = (uint64_t)st->st_blksize;

	*f = (struct file){.known = !err && S_ISREG(st->st_mode)};
	if (!f->known)
		return false;
	f->dev = st->st_dev;
	f->inode = st->st_ino;
	f->size = (uint64_t)st->st_size;
	f->granule = block > MM_PAGE_SIZE && block <= 64u << 10 && (block & (block - 1)) == 0 ? block : MM_PAGE_SIZE;
	f->plain = major(st->st_dev) != 0;
	return true;
}

static void look_fd(struct file *f, long fd)
{
	struct stat st;
	struct statfs fs;

	if (take(f, &st, port_syscall(SYS_fstat, fd, (long)(uintptr_t)&st, 0, 0, 0, 0)) && !f->plain)
		judge(f, &fs, port_syscall(SYS_fstatfs, fd, (long)(uintptr_t)&fs, 0, 0, 0, 0));
}

/* By a descriptor that opens nothing, as the call would find the file, symbolic links and all. */
static void look_path(struct file *f, long dir, long path, long flags)
{
	long fd = port_syscall(SYS_openat, dir, path, O_PATH | O_CLOEXEC | (flags & O_NOFOLLOW), 0, 0, 0);

	*f = (struct file){0};
	if (fd >= 0) {
		look_fd(f, fd);
		port_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
	} else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM) {
		struct stat st;
		long at = flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0;

		/* Without a descriptor it stays open which kind of file system it is. */
		take(f, &st, port_syscall(SYS_newfstatat, dir, path, (long)(uintptr_t)&st, at, 0, 0));
		f->layers = f->known && !f->plain;
	}
}

struct open_how_24 {
	uint64_t flags, mode, resolve;
};

/* Where nothing else may be asked: the signals to be blocked are read before it is seen that there is no such operation. */
static bool is_readable(long word)
{
	return port_syscall(SYS_rt_sigprocmask, -1, word, 0, sizeof(uint64_t), 0, 0) != -EFAULT;
}

/* The program's structure may be a bad pointer or too short, which is the kernel's to report. */
static bool copy_how(const long arg[4], struct open_how_24 *how)
{
	struct iovec local = {.iov_base = how, .iov_len = sizeof(*how)};
	struct iovec remote = {.iov_base = (void *)(uintptr_t)arg[2], .iov_len = sizeof(*how)};
	long pid = port_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0), got;

	if ((unsigned long)arg[3] < sizeof(*how))
		return false;
	got = port_syscall(SYS_process_vm_readv, pid, (long)(uintptr_t)&local, 1, (long)(uintptr_t)&remote, 1, 0);
	if (got >= 0 || got == -EFAULT)
		return got == (long)sizeof(*how);
	if (!is_readable(arg[2]) || !is_readable(arg[2] + (long)offsetof(struct open_how_24, resolve)))
		return false;
	memcpy(how, remote.iov_base, sizeof(*how));
	return true;
}

static void look_how(struct file *f, const long arg[4])
{
	struct open_how_24 how;
	long fd;

	*f = (struct file){0};
	if (!copy_how(arg, &how))
		return;
	how.flags = O_PATH | O_CLOEXEC | (how.flags & O_NOFOLLOW);
	how.mode = 0;
	fd = port_syscall(SYS_openat2, arg[0], arg[1], (long)(uintptr_t)&how, sizeof(how), 0, 0);
	if (fd < 0)
		return;
	look_fd(f, fd);
	port_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

/* The mapping that MADV_REMOVE is about, if it is one; else every file may be. */
struct found {
	uintptr_t start, end;
	uint32_t count;
	struct proc_mapping m;
};

static void note_mapping(const struct proc_mapping *m, void *arg)
{
	struct found *found = arg;

	found->count++;
	found->m = *m;
}

static bool find_mapping(struct found *found)
{
	int fd = proc_query_open(), err;

	if (fd < 0) {
		found->count = 1;
		return proc_mapping_find(found->start, &found->m, NULL, 0) == 0;
	}
	err = proc_query_files(fd, found->start, found->end, note_mapping, found);
	port_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
	return err == 0;
}

static void look_mapping(struct run *r)
{
	uintptr_t start = (uintptr_t)r->op->arg[0];
	struct found f = {.start = start, .end = hook_end_of(start, (uintptr_t)r->op->arg[1])};

	r->file = (struct file){0};
	r->any_file = !find_mapping(&f) || f.count > 1 || (f.count && (f.m.start > f.start || f.m.end < f.end));
	if (r->any_file || !f.count || !f.m.inode)
		return;
	r->file = (struct file){.known = true, .plain = true, .dev = f.m.dev, .inode = f.m.inode, .size = UINT64_MAX};
	r->from = f.m.offset + (f.start - f.m.start);
	r->to = r->from + (f.end - f.start);
}

static void look(struct run *r)
{
	const long *a = r->op->arg;

	switch (r->op->call) {
	case HOOK_FILE_FTRUNCATE:
	case HOOK_FILE_FALLOCATE:
		look_fd(&r->file, a[0]);
		break;
	case HOOK_FILE_TRUNCATE:
		look_path(&r->file, AT_FDCWD, a[0], 0);
		break;
	case HOOK_FILE_OPENAT:
		look_path(&r->file, a[0], a[1], a[2]);
		break;
	case HOOK_FILE_OPENAT2:
		look_how(&r->file, a);
		break;
	default:
		look_mapping(r);
	}
}

/* Once it is done: a path may have led elsewhere by then. */
static void look_again(struct run *r)
{
	if (r->op->call == HOOK_FILE_OPENAT || r->op->call == HOOK_FILE_OPENAT2)
		look_fd(&r->file, r->result);
	else if (r->op->call == HOOK_FILE_TRUNCATE)
		look(r);
}

/* ---- what of it goes away ---- */

static bool may_truncate(uint64_t flags)
{
	return (flags & O_TRUNC) && !(flags & O_PATH) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
}

#define FALLOC_DROPS (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_WRITE_ZEROES)
#define FALLOC_MOVES (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)

static bool concerns(const struct hook_file_op *op)
{
	struct open_how_24 how;

	switch (op->call) {
	case HOOK_FILE_FTRUNCATE:
	case HOOK_FILE_TRUNCATE:
		return op->arg[1] >= 0;
	case HOOK_FILE_FALLOCATE:
		return (op->arg[1] & (FALLOC_DROPS | FALLOC_MOVES)) && op->arg[2] >= 0 && op->arg[3] > 0;
	case HOOK_FILE_OPENAT:
		return may_truncate((uint64_t)op->arg[2]);
	case HOOK_FILE_OPENAT2:
		return copy_how(op->arg, &how) && may_truncate(how.flags);
	default:
		return hook_is_aligned((uintptr_t)op->arg[0]) &&
		       hook_end_of((uintptr_t)op->arg[0], (uintptr_t)op->arg[1]) > (uintptr_t)op->arg[0];
	}
}

static uint64_t round_down_to(uint64_t v, uint64_t granule)
{
	return v & ~(granule - 1);
}

static uint64_t round_up_to(uint64_t v, uint64_t granule)
{
	return v > UINT64_MAX - granule ? TO_THE_END : round_down_to(v + granule - 1, granule);
}

static void find_extent(struct run *r)
{
	const long *a = r->op->arg;
	uint64_t granule = r->file.granule;

	r->to = TO_THE_END;
	switch (r->op->call) {
	case HOOK_FILE_FTRUNCATE:
	case HOOK_FILE_TRUNCATE:
		r->from = round_up_to((uint64_t)a[1], MM_PAGE_SIZE);
		break;
	case HOOK_FILE_FALLOCATE:
		r->from = round_down_to((uint64_t)a[2], granule);
		if (a[1] & FALLOC_DROPS)
			r->to = round_up_to((uint64_t)a[2] + (uint64_t)a[3], granule);
		break;
	default:
		r->from = 0;
	}
}

/* ---- where it is mapped ---- */

static bool same_by_name(const struct proc_mapping *m, const char *name, const struct file *f)
{
	struct stat st;

	if (!m->file) /* neither anonymous nor a path: of no file system that is in layers */
		return false;
	if (port_syscall(SYS_newfstatat, AT_FDCWD, (long)(uintptr_t)name, (long)(uintptr_t)&st, 0, 0, 0) != 0)
		return true; /* renamed or removed: it cannot be told */
	return st.st_dev == f->dev && st.st_ino == f->inode;
}

static bool same_file(const struct proc_mapping *m, const char *name, const struct file *f)
{
	if (!m->inode || m->sysv)
		return false;
	if (m->inode == f->inode && (m->dev == f->dev || !f->plain))
		return true;
	return f->layers && same_by_name(m, name, f);
}

/* The two that are closest to each other become one. */
static void make_room(struct run *r)
{
	uint32_t best = 1;

	for (uint32_t i = 2; i < r->count; i++)
		if (r->span[i].start - r->span[i - 1].end < r->span[best].start - r->span[best - 1].end)
			best = i;
	r->span[best - 1].end = r->span[best].end;
	r->count--;
	memmove(&r->span[best], &r->span[best + 1], (r->count - best) * sizeof(r->span[0]));
}

static bool add_mapping(const struct proc_mapping *m, const char *name, void *arg)
{
	struct run *r = arg;
	uint64_t first = m->offset, last = first + (m->end - m->start);

	if (last <= r->from || first >= r->to || !same_file(m, name, &r->file))
		return true;
	if (r->count == FILE_RANGES)
		make_room(r);
	first = first < r->from ? r->from : first;
	last = last > r->to ? r->to : last;
	r->span[r->count++] = (struct span){.start = m->start + (uintptr_t)(first - m->offset),
					    .end = m->start + (uintptr_t)(last - m->offset)};
	return true;
}

/* What cannot be found out is announced as everything. */
static void find_spans(struct run *r)
{
	r->count = 0;
	if (r->file.known && proc_mappings_each(add_mapping, r) == 0)
		return;
	r->span[0] = (struct span){.start = 0, .end = MM_ADDR_END};
	r->count = 1;
}

/* Does it matter to anybody, as of now? A file that is not there yet does not. */
static bool is_hit(const struct run *r)
{
	return r->any_file ||
	       (r->file.known && (!filter_update() || r->file.layers || filter_has(r->file.inode)));
}

/* ---- the call ---- */

static const long numbers[HOOK_FILE_CALLS] = {
	[HOOK_FILE_FTRUNCATE] = SYS_ftruncate, [HOOK_FILE_TRUNCATE] = SYS_truncate, [HOOK_FILE_FALLOCATE] = SYS_fallocate,
	[HOOK_FILE_OPENAT] = SYS_openat,       [HOOK_FILE_OPENAT2] = SYS_openat2,   [HOOK_FILE_REMOVE] = SYS_madvise,
};

/* As libc gives it. */
static long bare(const struct hook_file_op *op, int *error)
{
	const long *a = op->arg;
	long result = port_syscall(numbers[op->call], a[0], a[1], a[2], a[3], 0, 0);

	if ((unsigned long)result <= -4096ul)
		return result;
	*error = (int)-result;
	return -1;
}

/* The mapping's own range, as for any other advice. */
static long advise(const long *a, patch_fn original)
{
	struct hook_op op = {.number = SYS_madvise, .arg = {a[0], a[1], a[2]}, .original = original};

	hook_prepare_madvise(&op);
	return hook_run(&op);
}

/* Nothing to announce: just as without hooks, cancellation included. */
static long pass(const struct hook_file_op *op)
{
	const long *a = op->from;

	if (op->call == HOOK_FILE_REMOVE)
		return advise(op->arg, op->original);
	if (op->original)
		return (int)op->original(a[0], a[1], a[2], a[3], 0, 0, 0);
	return bare(op, &errno);
}

static bool is_refusal(int error)
{
	return error == EINVAL || error == EPERM || error == EACCES || error == EBADF || error == EOPNOTSUPP ||
	       error == ENODEV || error == ESPIPE || error == EFBIG || error == ETXTBSY || error == ENOSYS;
}

/*
 * Inside the bracket. The size is asked for here and not before: whoever registered pages before the start found them in the
 * file, which may have grown since the first look; who registers later waits for the end. So from a file that is no longer than
 * `from` now nothing is taken away that anybody holds.
 */
static void call_now(struct run *r)
{
	bool by_size = r->op->call != HOOK_FILE_REMOVE;
	struct run again = *r;
	uint64_t before;

	if (by_size)
		look(&again);
	before = by_size && again.file.known ? again.file.size : UINT64_MAX;
	r->result = bare(r->op, &r->error);
	r->changed = before > r->from && (r->result != -1 || !is_refusal(r->error));
	if (r->result == -1 && r->changed && by_size && r->op->call != HOOK_FILE_FALLOCATE) {
		look(&again);
		r->changed = !again.file.known || again.file.size != before;
	}
}

static void bracket(struct run *r, uint32_t place)
{
	struct uhmm_invalidation inv[FILE_RANGES];
	bool started[FILE_RANGES];
	struct uhmm_mm *mm = hook_next(&place);

	if (!mm) {
		call_now(r);
		return;
	}
	for (uint32_t i = 0; i < r->count; i++) {
		struct uhmm_event e = {.start = r->span[i].start, .end = r->span[i].end, .kind = UHMM_EVENT_CLEAR};

		started[i] = uhmm_invalidate_start(mm, &inv[i], &e) == 0;
	}
	bracket(r, place);
	for (uint32_t i = r->count; i-- > 0;) {
		if (started[i] && r->changed)
			uhmm_invalidate_end(&inv[i]);
		else if (started[i])
			uhmm_invalidate_abort(&inv[i]);
	}
}

/* Too late to be before, but the call has not returned. */
static void announce_late(const struct run *r)
{
	uint64_t saved = 0;
	struct hook_record *record = hook_enter(&saved);
	uint32_t place = 0;
	struct uhmm_mm *mm;

	while ((mm = hook_next(&place))) {
		for (uint32_t i = 0; i < r->count; i++) {
			struct uhmm_event e = {.start = r->span[i].start, .end = r->span[i].end, .kind = UHMM_EVENT_CLEAR};
			struct uhmm_invalidation inv;

			if (uhmm_invalidate_start(mm, &inv, &e) == 0)
				uhmm_invalidate_end(&inv);
		}
	}
	hook_leave(record, saved);
}

static void find_out(struct run *r)
{
	look(r);
	if (r->op->call != HOOK_FILE_REMOVE)
		find_extent(r);
}

/* Was it that file, and has nobody begun to watch it meanwhile? */
static bool is_as_expected(struct run *r, uint64_t seen)
{
	struct file before = r->file;

	look_again(r);
	fence_after_call();
	return before.known && before.inode == r->file.inode && before.dev == r->file.dev && filter_position() == seen;
}

static void afterwards(struct run *r, uint64_t seen)
{
	if (r->result == -1 || is_as_expected(r, seen) || !is_hit(r))
		return;
	find_extent(r);
	find_spans(r);
	announce_late(r);
}

static void run_bracketed(struct run *r)
{
	uint64_t saved = 0;
	struct hook_record *record = hook_enter(&saved);

	bracket(r, 0);
	hook_leave(record, saved);
}

static bool anybody_listens(void)
{
	uint32_t place = 0;

	return hook_next(&place) != NULL;
}

/*
 * On a hit the bare call is made, which is no cancellation point, so that no cancellation can come between start and end: one
 * that is pending is acted upon before. A miss is in no hook while libc's function runs, and may be cancelled there.
 */
long hook_file_run(const struct hook_file_op *op)
{
	struct run r = {.op = op, .error = errno};
	uint64_t seen;

	if (!anybody_listens() || !concerns(op))
		return pass(op);
	seen = filter_position();
	find_out(&r);
	if (is_hit(&r))
		find_spans(&r);
	if (r.count && op->cancellation_point)
		thread_cancel_point();
	if (r.count) {
		run_bracketed(&r);
	} else {
		r.result = pass(op);
		r.error = errno;
	}
	if (op->call != HOOK_FILE_REMOVE)
		afterwards(&r, seen);
	errno = r.error;
	return r.result;
}

/* ---- by number ---- */

#ifdef SYS_open
#define NUMBER_OPEN SYS_open
#define NUMBER_CREAT SYS_creat
#else /* newer machines have openat only */
#define NUMBER_OPEN (-1)
#define NUMBER_CREAT (-1)
#endif

bool hook_is_truncation(long number)
{
	return number == SYS_ftruncate || number == SYS_truncate || number == SYS_fallocate;
}

bool hook_is_file_call(long number)
{
	return hook_is_truncation(number) || number == SYS_openat || number == SYS_openat2 || number == NUMBER_OPEN ||
	       number == NUMBER_CREAT;
}

long hook_file_by_number(long number, const long a[6])
{
	struct hook_file_op op = {.arg = {a[0], a[1], a[2], a[3]}};

	if (number == NUMBER_OPEN || number == NUMBER_CREAT) {
		op.call = HOOK_FILE_OPENAT;
		op.arg[0] = AT_FDCWD;
		op.arg[1] = a[0];
		op.arg[2] = number == NUMBER_OPEN ? a[1] : O_CREAT | O_WRONLY | O_TRUNC;
		op.arg[3] = number == NUMBER_OPEN ? a[2] : a[1];
		return hook_file_run(&op);
	}
	while (numbers[op.call] != number)
		op.call++;
	return hook_file_run(&op);
}

void hook_files_note(uintptr_t start, uintptr_t end)
{
	filter_note(start, end);
}
