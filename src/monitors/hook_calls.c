/* SPDX-License-Identifier: MIT */
#include "monitors/hook_calls.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "monitors/hook_files.h"
#include "monitors/proc.h"
#include "port/linux_new.h"
#include "port/mm.h"

/* ---- asking the address space ---- */

static bool is_mapped(uintptr_t page)
{
	unsigned char resident;

	return port_syscall(SYS_mincore, (long)page, 1, (long)(uintptr_t)&resident, 0, 0, 0) == 0;
}

/* True if one mapping holds all of it, or (holes_too) none holds any of it: then a call that failed has done nothing. */
static bool is_one_piece(const struct hook_range *r, bool holes_too)
{
	struct proc_mapping m;
	int err = proc_mapping_find(r->start, &m, NULL, 0);

	if (err)
		return err == -ENOENT && holes_too;
	if (m.start >= r->end)
		return holes_too;
	return m.start <= r->start && r->end <= m.end;
}

/* ---- huge pages: the kernel rounds lengths up to them ---- */

#define HUGE_SMALLEST ((uintptr_t)2 << 20)
#define HUGE_LARGEST ((uintptr_t)1 << 30)
#define HUGE_MAGIC 0x958458f6l /* of hugetlbfs */

static uintptr_t round_up_to(uintptr_t len, uintptr_t size)
{
	return len + size - 1 >= len ? (len + size - 1) & ~(size - 1) : len;
}

static bool huge_file(const struct statfs *fs, long err)
{
	return err == 0 && fs->f_type == HUGE_MAGIC;
}

/*
 * The size of the pages at start, as far as a length has to be rounded up to it. Nobody asks who has a length of whole huge
 * pages, or starts off their boundaries. What cannot be told (a deleted file, no /proc) counts as the largest: too much is
 * announced then, never too little.
 */
static uintptr_t page_size_at(uintptr_t start, uintptr_t len)
{
	char path[256];
	struct proc_mapping m;
	struct statfs fs;
	int err;

	if (start % HUGE_SMALLEST || len % HUGE_SMALLEST == 0)
		return MM_PAGE_SIZE;
	err = proc_mapping_find(start, &m, path, sizeof(path));
	if (err)
		return err == -ENOENT ? MM_PAGE_SIZE : HUGE_LARGEST;
	if (m.start > start || !m.inode || m.end % HUGE_SMALLEST)
		return MM_PAGE_SIZE;
	if (m.file && port_syscall(SYS_statfs, (long)(uintptr_t)path, (long)(uintptr_t)&fs, 0, 0, 0, 0) == 0)
		return huge_file(&fs, 0) ? (uintptr_t)fs.f_bsize : MM_PAGE_SIZE;
	return HUGE_LARGEST;
}

/* ---- outcomes ---- */

/* For calls that clear a place before they put something there, and may fail in between. */
bool hook_replaced(const struct hook_op *op, const struct hook_range *r)
{
	return !hook_failed(op) || !is_mapped(r->start);
}

static void if_replaced(struct hook_op *op)
{
	for (uint32_t i = 0; i < op->ranges; i++)
		op->range[i].changed = hook_replaced(op, &op->range[i]);
}

/* ---- mprotect ---- */

static void mprotect_outcome(struct hook_op *op)
{
	if (op->ranges)
		op->range[0].changed = !hook_failed(op) || !is_one_piece(&op->range[0], true);
}

void hook_prepare_mprotect(struct hook_op *op)
{
	hook_add_pages(op, (uintptr_t)op->arg[0], (uintptr_t)op->arg[1], UHMM_EVENT_PROTECT);
	op->outcome = mprotect_outcome;
}

/* ---- mmap ---- */

uintptr_t hook_mmap_len(const struct hook_op *op)
{
	unsigned flags = (unsigned)op->arg[3], shift = (flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK;
	uintptr_t len = (uintptr_t)op->arg[1];
	struct statfs fs;

	if (!(flags & MAP_ANONYMOUS))
		return huge_file(&fs, port_syscall(SYS_fstatfs, op->arg[4], (long)(uintptr_t)&fs, 0, 0, 0, 0))
			       ? round_up_to(len, (uintptr_t)fs.f_bsize)
			       : len;
	if (!(flags & MAP_HUGETLB))
		return len;
	return round_up_to(len, shift ? (uintptr_t)1 << shift : HUGE_SMALLEST);
}

void hook_mmap_note(const struct hook_op *op)
{
	if (!hook_failed(op))
		hook_files_note((uintptr_t)op->result, hook_end_of((uintptr_t)op->result, hook_mmap_len(op)));
}

/* ---- mremap ---- */

/*
 * The lengths are rounded up, but `kept`, the new length as far as it can be told to be kept, only where the size of the pages
 * is known. Whether the mapping grows or shrinks is asked of the lengths as given: rounding them alike can make them equal,
 * never turn them round.
 */
struct mremap_args {
	uintptr_t old, old_len, new_len, kept, target;
	bool grows, shrinks;
	int flags;
};

static struct mremap_args mremap_args(const struct hook_op *op)
{
	uintptr_t size = (uintptr_t)op->extra, given_old = mm_page_ceil((uintptr_t)op->arg[1]);
	uintptr_t given_new = mm_page_ceil((uintptr_t)op->arg[2]);

	return (struct mremap_args){
		.old = mm_untag((uintptr_t)op->arg[0]),
		.old_len = round_up_to((uintptr_t)op->arg[1], size),
		.new_len = round_up_to((uintptr_t)op->arg[2], size),
		.kept = round_up_to((uintptr_t)op->arg[2], size == HUGE_LARGEST ? MM_PAGE_SIZE : size),
		.grows = given_new > given_old,
		.shrinks = given_new < given_old,
		.flags = (int)op->arg[3],
		.target = (uintptr_t)op->arg[4],
	};
}

#define WILL_MOVE (MREMAP_FIXED | MREMAP_DONTUNMAP)

/*
 * A failure in the middle is possible with MREMAP_FIXED only. The target is cleared first, as is what exceeds the new length;
 * and since 6.17 several mappings are moved one by one, so that some may be in their new place already when one is refused.
 * How far it came cannot be seen afterwards: the target is mapped before and after. What the kernel refuses at once is known.
 */
static bool mremap_half_done(const struct hook_op *op, const struct mremap_args *a)
{
	/* By the lengths as given: rounded up to huge pages they may be too long. */
	bool overlap = a->old < a->target + (uintptr_t)op->arg[2] && a->target < a->old + (uintptr_t)op->arg[1];

	return (a->flags & MREMAP_FIXED) && (a->flags & MREMAP_MAYMOVE) && hook_is_aligned(a->target) && !overlap;
}

static void mremap_outcome(struct hook_op *op)
{
	struct mremap_args a = mremap_args(op);
	bool failed = hook_failed(op), moved = !failed && (uintptr_t)op->result != a.old;

	for (uint32_t i = 0; i < op->ranges; i++)
		op->range[i].changed = failed ? mremap_half_done(op, &a) : moved || op->range[i].kind == UHMM_EVENT_UNMAP;
	if (moved) {
		hook_give(op, (uintptr_t)op->result, hook_end_of((uintptr_t)op->result, a.new_len));
		hook_files_note(op->given_start, op->given_end);
	} else if (!failed && a.grows) {
		hook_give(op, a.old + mm_page_ceil((uintptr_t)op->arg[1]), hook_end_of(a.old, a.kept));
	}
}

void hook_prepare_mremap(struct hook_op *op)
{
	struct mremap_args a;

	op->outcome = mremap_outcome;
	op->extra = (long)page_size_at(mm_untag((uintptr_t)op->arg[0]), (uintptr_t)(op->arg[1] | op->arg[2]));
	a = mremap_args(op);
	if (!hook_is_aligned(a.old) || !a.new_len)
		return; /* it will fail */
	if ((a.flags & WILL_MOVE) || ((a.flags & MREMAP_MAYMOVE) && a.grows))
		hook_add(op, a.old, hook_end_of(a.old, a.old_len), UHMM_EVENT_REMAP);
	else if (a.shrinks && a.kept < a.old_len)
		hook_add(op, a.old + a.kept, hook_end_of(a.old, a.old_len), UHMM_EVENT_UNMAP);
	if (a.flags & MREMAP_FIXED)
		hook_add_pages(op, a.target, a.new_len, UHMM_EVENT_UNMAP);
}

/* ---- madvise ---- */

#define ADVICE_HWPOISON 100
#define ADVICE_SOFT_OFFLINE 101

/*
 * COLD and PAGEOUT keep the contents, and a page that a device holds is not paged out. POPULATE may break copy-on-write, as any
 * first write does (R7 is the registrant's matter). MERGEABLE and the like only permit what the kernel may do later.
 */
bool hook_advice(long advice, enum uhmm_event_kind *kind)
{
	switch ((int)advice) {
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
	case MADV_FREE:
	case MADV_REMOVE:
	case MADV_GUARD_INSTALL:
	case ADVICE_HWPOISON:
		*kind = UHMM_EVENT_CLEAR;
		return true;
	case MADV_COLLAPSE: /* copies small pages into a huge one */
	case ADVICE_SOFT_OFFLINE:
		*kind = UHMM_EVENT_MIGRATE;
		return true;
	default:
		return false;
	}
}

/* Refused for what the mapping is, as opposed to what became of the pages. */
static bool is_refusal(int error)
{
	return error == EINVAL || error == EPERM || error == EACCES || error == EBADF || error == EOPNOTSUPP;
}

/* A refusal of a range inside one mapping came before anything was done. */
static void madvise_outcome(struct hook_op *op)
{
	bool nothing = hook_failed(op) && op->ranges && is_refusal(errno) && is_one_piece(&op->range[0], false);

	for (uint32_t i = 0; i < op->ranges; i++)
		op->range[i].changed = !nothing;
}

void hook_prepare_madvise(struct hook_op *op)
{
	enum uhmm_event_kind kind;

	if (hook_advice(op->arg[2], &kind))
		hook_add_pages(op, (uintptr_t)op->arg[0], (uintptr_t)op->arg[1], kind);
	op->outcome = madvise_outcome;
}

#define VECTORS_MAX 1024 /* UIO_MAXIOV */

/* The program's vector may be a bad pointer, which is the kernel's to report, not ours to die of. */
static bool copy_vector(const struct iovec *from, struct iovec *to)
{
	struct iovec local = {.iov_base = to, .iov_len = sizeof(*to)};
	struct iovec remote = {.iov_base = (void *)(uintptr_t)from, .iov_len = sizeof(*from)};
	long pid = port_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
	long got = port_syscall(SYS_process_vm_readv, pid, (long)(uintptr_t)&local, 1, (long)(uintptr_t)&remote, 1, 0);

	if (got == -EFAULT)
		return false;
	if (got != (long)sizeof(*to)) /* not allowed here: trust the program */
		*to = *from;
	return true;
}

static void process_madvise_outcome(struct hook_op *op)
{
	madvise_outcome(op);
	if (op->ranges && op->result == 0)
		op->range[0].changed = false;
}

static bool vector_is_readable(const struct iovec *vector, long n)
{
	struct iovec one;

	for (long i = 0; i < n; i++)
		if (!copy_vector(&vector[i], &one))
			return false;
	return true;
}

/*
 * The kernel takes the vector one range at a time, stops at the first failure and returns the bytes done, if any; so can we,
 * and announce just what each one touches.
 */
long hook_process_madvise(struct hook_op *op)
{
	const struct iovec *vector = (const struct iovec *)(uintptr_t)op->arg[1];
	long n = op->arg[2], total = 0;
	enum uhmm_event_kind kind;

	op->outcome = process_madvise_outcome;
	if (!hook_advice(op->arg[3], &kind) || n <= 0 || n > VECTORS_MAX || !proc_pidfd_is_self((int)op->arg[0]) ||
	    !vector_is_readable(vector, n))
		return hook_run(op);
	for (long i = 0; i < n; i++) {
		struct iovec one = {0};

		op->ranges = 0;
		copy_vector(&vector[i], &one);
		op->arg[1] = (long)(uintptr_t)&one;
		op->arg[2] = 1;
		if ((int)op->arg[3] == MADV_REMOVE) /* other mappings of the file have it, too */
			hook_add(op, 0, MM_ADDR_END, kind);
		else
			hook_add_pages(op, (uintptr_t)one.iov_base, one.iov_len, kind);
		if (hook_run(op) < 0)
			return total ? total : -1;
		total += op->result;
		if ((size_t)op->result < one.iov_len)
			break;
	}
	return total;
}

/* ---- brk ---- */

static void brk_outcome(struct hook_op *op)
{
	uintptr_t before = (uintptr_t)op->extra, wanted = (uintptr_t)op->arg[0];
	bool done = op->original ? op->result == 0 : (uintptr_t)op->result == wanted;

	if (op->ranges)
		op->range[0].changed = done;
	else if (done && wanted > before)
		hook_give(op, mm_page_ceil(before), mm_page_ceil(wanted));
}

void hook_prepare_brk(struct hook_op *op)
{
	uintptr_t wanted = (uintptr_t)op->arg[0], now;

	op->outcome = brk_outcome;
	op->extra = op->arg[0];
	if (!wanted)
		return; /* only asks */
	now = (uintptr_t)port_syscall(SYS_brk, 0, 0, 0, 0, 0, 0);
	op->extra = (long)now;
	if (wanted < now)
		hook_add(op, mm_page_ceil(wanted), mm_page_ceil(now), UHMM_EVENT_UNMAP);
}

/* ---- System V shared memory ---- */

#define SEGMENT_UNKNOWN UINTPTR_MAX

/* 0: no such segment. Who may attach or detach one may still not be allowed to ask about it. */
static uintptr_t segment_size(long id)
{
	struct shmid_ds ds;
	long err = port_syscall(SYS_shmctl, id, IPC_STAT, (long)(uintptr_t)&ds, 0, 0, 0);

	if (err)
		return err == -EINVAL || err == -EIDRM ? 0 : SEGMENT_UNKNOWN;
	return mm_page_ceil(ds.shm_segsz);
}

/* The end of what was attached at start: a segment of huge pages is longer than its size says. */
static uintptr_t attached_end(uintptr_t start, uintptr_t size)
{
	struct proc_mapping m;

	if (size != SEGMENT_UNKNOWN && (start % HUGE_SMALLEST || size % HUGE_SMALLEST == 0))
		return hook_end_of(start, size);
	if (proc_mapping_find(start, &m, NULL, 0) == 0)
		return m.end;
	return size == SEGMENT_UNKNOWN ? MM_ADDR_END : hook_end_of(start, round_up_to(size, HUGE_LARGEST));
}

/* Range 1, if any, is what the segment takes if its pages are huge. */
static void shmat_outcome(struct hook_op *op)
{
	bool failed = hook_failed(op);
	uintptr_t start = (uintptr_t)op->result, end = failed ? 0 : attached_end(start, (uintptr_t)op->extra);

	if (op->ranges)
		op->range[0].changed = !failed || !is_mapped(mm_page_floor((uintptr_t)op->arg[1]));
	if (op->ranges > 1)
		op->range[1].changed = failed ? op->range[0].changed : end > op->range[1].start;
	if (!failed)
		hook_give(op, start, end);
}

void hook_prepare_shmat(struct hook_op *op)
{
	uintptr_t at = (uintptr_t)op->arg[1];
	int flags = (int)op->arg[2];

	op->extra = (long)segment_size(op->arg[0]);
	op->outcome = shmat_outcome;
	if (!at || !(flags & SHM_REMAP))
		return;
	if (flags & SHM_RND)
		at = mm_page_floor(at); /* SHMLBA is a page here */
	if ((uintptr_t)op->extra == SEGMENT_UNKNOWN) {
		hook_add(op, 0, MM_ADDR_END, UHMM_EVENT_UNMAP);
		return;
	}
	hook_add_pages(op, at, (uintptr_t)op->extra, UHMM_EVENT_UNMAP);
	if (op->ranges && at % HUGE_SMALLEST == 0 && op->range[0].end % HUGE_SMALLEST)
		hook_add(op, op->range[0].end, hook_end_of(at, round_up_to((uintptr_t)op->extra, HUGE_LARGEST)),
			 UHMM_EVENT_UNMAP);
}

/*
 * shmdt() is told the address only: from it the kernel finds the segment's mapping, perhaps cut off at the front, and
 * unmaps what is left of it. Its inode number is the segment's id. What is not plain to see is announced as everything:
 * without /proc, where the segment may not be asked about, where something else comes before the mapping that is meant.
 */
void hook_prepare_shmdt(struct hook_op *op)
{
	uintptr_t at = (uintptr_t)op->arg[0];
	uintptr_t size = SEGMENT_UNKNOWN;
	struct proc_mapping m;
	int err = proc_mapping_find(at, &m, NULL, 0);

	op->outcome = hook_if_succeeded;
	if (err == -ENOENT || !hook_is_aligned(at))
		return; /* it will fail */
	if (!err && m.sysv && m.start >= at && m.start - at == m.offset)
		size = segment_size((long)m.inode);
	/* Huge pages: every cut is at their boundaries. */
	if (size != SEGMENT_UNKNOWN && at % HUGE_SMALLEST == 0 && m.end % HUGE_SMALLEST == 0)
		size = round_up_to(size, at % HUGE_LARGEST || m.end % HUGE_LARGEST ? HUGE_SMALLEST : HUGE_LARGEST);
	if (size == SEGMENT_UNKNOWN || size < m.end - at)
		hook_add(op, 0, MM_ADDR_END, UHMM_EVENT_UNMAP);
	else
		hook_add_pages(op, at, size, UHMM_EVENT_UNMAP);
}

/* ---- remap_file_pages: an mmap(MAP_FIXED) in disguise; start and size are rounded down ---- */

void hook_prepare_remap_file_pages(struct hook_op *op)
{
	uintptr_t start = mm_page_floor((uintptr_t)op->arg[0]);

	hook_add(op, start, hook_end_of(start, mm_page_floor((uintptr_t)op->arg[1])), UHMM_EVENT_REMAP);
	op->outcome = if_replaced;
}

/* ---- all of them ---- */

static const struct {
	long number;
	hook_prepare prepare;
} calls[HOOK_BY_NUMBER] = {
	[HOOK_MUNMAP] = {SYS_munmap, hook_prepare_munmap},
	[HOOK_MMAP] = {SYS_mmap, hook_prepare_mmap},
	[HOOK_MREMAP] = {SYS_mremap, hook_prepare_mremap},
	[HOOK_MADVISE] = {SYS_madvise, hook_prepare_madvise},
	[HOOK_PROCESS_MADVISE] = {SYS_process_madvise, NULL},
	[HOOK_BRK] = {SYS_brk, hook_prepare_brk},
	[HOOK_SHMAT] = {SYS_shmat, hook_prepare_shmat},
	[HOOK_SHMDT] = {SYS_shmdt, hook_prepare_shmdt},
	[HOOK_MPROTECT] = {SYS_mprotect, hook_prepare_mprotect},
	[HOOK_PKEY_MPROTECT] = {SYS_pkey_mprotect, hook_prepare_mprotect},
	[HOOK_REMAP_FILE_PAGES] = {SYS_remap_file_pages, hook_prepare_remap_file_pages},
};

hook_prepare hook_prepare_of(enum hook_call call)
{
	return calls[call].prepare;
}

enum hook_call hook_call_of(long number)
{
	for (enum hook_call call = 0; call < HOOK_BY_NUMBER; call++)
		if (calls[call].number == number)
			return call;
	return HOOK_CALLS;
}

bool hook_is_mapping_call(long number)
{
	return hook_call_of(number) != HOOK_CALLS || hook_is_truncation(number);
}
