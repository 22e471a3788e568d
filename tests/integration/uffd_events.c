/* SPDX-License-Identifier: MIT */
/*
 * What the witness sees of calls that no hook sees, and what it does not: each kind of call on each kind of mapping. Seen means
 * that what was looked up before is stale when the call has returned (R34), and that its notifier is told in the end. What is
 * not seen is shown not to be, so that the manual says what is true.
 */
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "uffd_common.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define PAGES 4

struct watch {
	struct uhmm_notifier n; /* first */
	atomic_int starts, ends;
};

static int invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)event;
	((struct watch *)n)->starts++;
	return 0;
}

static void end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	(void)event;
	((struct watch *)n)->ends += changed;
}

static const struct uhmm_notifier_ops ops = {.invalidate = invalidate, .end = end};
static struct uhmm_mm *mm;
static unsigned char *spare; /* PAGES that mremap may move to */

enum kind { ANONYMOUS, SHARED_ANONYMOUS, MEMFD, TMPFS, FILE_PRIVATE, FILE_SHARED, SYSV, KINDS };
static const char *const kind_names[] = {"anonymous",    "shared anonymous", "memfd", "tmpfs",
					 "private file", "shared file",      "SysV"};

enum call {
	UNMAP, UNMAP_PART, REPLACE, MOVE, MOVE_DONTUNMAP, SHRINK, DISCARD, LAZY_FREE, PUNCH, /* seen */
	GUARD, PROTECT, TRUNCATE, DETACH,                                                    /* not seen */
	CALLS
};
static const char *const call_names[] = {"munmap",  "munmap of part", "mmap over it", "mremap",         "mremap DONTUNMAP",
					 "shrink",  "DONTNEED",       "FREE",         "MADV_REMOVE",    "GUARD_INSTALL",
					 "mprotect", "ftruncate",     "shmdt"};

static int file; /* of what is mapped, or -1 */

static unsigned char *map_kind(enum kind kind)
{
	static const char *const dirs[] = {[TMPFS] = "/dev/shm", [FILE_PRIVATE] = "/var/tmp", [FILE_SHARED] = "/var/tmp"};
	int flags = kind == FILE_PRIVATE ? MAP_PRIVATE : MAP_SHARED, id;
	unsigned char *p;

	file = -1;
	if (kind == ANONYMOUS)
		return map_alone(PAGES, ANON, -1);
	if (kind == SHARED_ANONYMOUS)
		return map_alone(PAGES, MAP_SHARED | MAP_ANONYMOUS, -1);
	if (kind == SYSV) {
		id = shmget(IPC_PRIVATE, PAGES * PAGE, 0600);
		p = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
		if (id >= 0)
			shmctl(id, IPC_RMID, NULL);
		return p == (void *)-1 ? NULL : p;
	}
	file = kind == MEMFD ? (int)syscall(SYS_memfd_create, "uffd_events", 0) : open(dirs[kind], O_TMPFILE | O_RDWR, 0600);
	if (file < 0)
		return NULL;
	CHECK(ftruncate(file, PAGES * (off_t)PAGE) == 0);
	return map_alone(PAGES, flags, file);
}

static long move(unsigned char *p, int flags)
{
	const long len = PAGES * (long)PAGE, to = (long)spare;

	return bare_call(SYS_mremap, (long)p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to, 0) == to ? 0 : -1;
}

static long make_call(enum call call, unsigned char *p)
{
	const long at = (long)p, len = PAGES * (long)PAGE, page = (long)PAGE;

	switch (call) {
	case UNMAP:
		return bare_call(SYS_munmap, at, len, 0, 0, 0, 0);
	case UNMAP_PART:
		return bare_call(SYS_munmap, at + page, page, 0, 0, 0, 0);
	case REPLACE:
		return bare_call(SYS_mmap, at, len, RW, ANON | MAP_FIXED, -1, 0) == at ? 0 : -1;
	case MOVE:
		return move(p, 0);
	case MOVE_DONTUNMAP:
		return move(p, MREMAP_DONTUNMAP);
	case SHRINK:
		return bare_call(SYS_mremap, at, len, page, 0, 0, 0) == at ? 0 : -1;
	case DISCARD:
		return bare_call(SYS_madvise, at + page, page, MADV_DONTNEED, 0, 0, 0);
	case LAZY_FREE:
		return bare_call(SYS_madvise, at + page, page, MADV_FREE, 0, 0, 0);
	case PUNCH:
		return bare_call(SYS_madvise, at + page, page, MADV_REMOVE, 0, 0, 0);
	case GUARD:
		return bare_call(SYS_madvise, at + page, page, MADV_GUARD_INSTALL, 0, 0, 0);
	case PROTECT:
		return bare_call(SYS_mprotect, at, len, PROT_READ, 0, 0, 0);
	case TRUNCATE:
		return file < 0 ? -1 : bare_call(SYS_ftruncate, file, page, 0, 0, 0, 0);
	case DETACH:
		return bare_call(SYS_shmdt, at, 0, 0, 0, 0, 0);
	default:
		return -1;
	}
}

static bool is_seen(enum call call)
{
	return call <= PUNCH;
}

static bool comes(atomic_int *count)
{
	for (int i = 0; i < 20000 && !*count; i++)
		usleep(500);
	return *count != 0;
}

/* One cell. The notifier covers what every call changes: the second page. */
static bool try_cell(enum kind kind, enum call call, bool watched)
{
	unsigned char *p = map_kind(kind);
	struct watch w = {.starts = 0};
	bool stale;
	uint64_t seq;

	if (!p)
		return false;
	for (size_t i = 0; i < PAGES; i++)
		p[i * PAGE] = 1;
	CHECK(uhmm_notifier_insert(mm, &w.n, p + PAGE, PAGE, &ops) == 0);
	/* What was discarded here a moment ago, in the mapping before, may still be doubted. */
	for (int i = 0; (seq = uhmm_read_begin(&w.n)) == UHMM_SEQ_DEAD && watched && i < 20000; i++)
		usleep(500);
	if ((seq != UHMM_SEQ_DEAD) != watched) {
		fprintf(stderr, "%s: watched or not is not as it should be\n", kind_names[kind]);
		exit(1);
	}
	if (watched && make_call(call, p) == 0) {
		stale = uhmm_read_retry(&w.n, seq);
		if (stale != is_seen(call) || (stale && !comes(&w.ends))) {
			fprintf(stderr, "%s on %s: seen %d, told %d\n", call_names[call], kind_names[kind], stale, w.ends);
			exit(1);
		}
	}
	CHECK(uhmm_notifier_remove(&w.n) == 0);
	bare_call(SYS_munmap, (long)p, PAGES * (long)PAGE, 0, 0, 0, 0);
	bare_call(SYS_mmap, (long)spare, PAGES * (long)PAGE, PROT_NONE, ANON | MAP_FIXED, -1, 0);
	if (file >= 0)
		close(file);
	return true;
}

static bool is_file(enum kind kind)
{
	return kind == FILE_PRIVATE || kind == FILE_SHARED;
}

static void try_all(bool files)
{
	for (enum kind kind = 0; kind < KINDS; kind++)
		for (enum call call = 0; call < CALLS; call++)
			if (!try_cell(kind, call, files || !is_file(kind)))
				break;
}

static void with(uint32_t witness)
{
	struct uhmm_mm_options o = {.size = sizeof(o), .monitors = UHMM_MONITOR_UFFD, .witness = witness};
	int err = uhmm_mm_open(&mm, &o);

	need_witness(err);
	CHECK(err == 0);
	try_all(witness & UHMM_WITNESS_FILES);
	uhmm_mm_close(mm);
}

int main(void)
{
	spare = mmap(NULL, PAGES * PAGE, PROT_NONE, ANON, -1, 0);
	with(0);
	with(UHMM_WITNESS_FILES);
	return 0;
}
