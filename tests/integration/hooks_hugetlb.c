/* SPDX-License-Identifier: MIT */
/*
 * hooks_hugetlb: calls on mappings of huge pages, where the kernel rounds lengths up (mmap, mremap), down (MADV_DONTNEED) or
 * refuses them (munmap, mprotect). In the middle of every huge page one small page is watched, far beyond a length of 4,096.
 *
 * What was there and is not any more must have been announced while it was still there, and ended as changed; a call that
 * failed must not drop what it left alone (G11). Then the same without hooks, which must miss some of it: the control. Before
 * that, two calls on a file whose pages may be huge for all that can be found out.
 *
 * Huge pages come from the pool, or beyond it: nr_overcommit_hugepages is raised meanwhile if that is allowed. Pages got so
 * go back to the system with the mapping.
 */
#include "hooks_common.h"

#define HUGE ((size_t)2 << 20)
#define COUNT 4u
#define ROOM ((COUNT + 3) * HUGE)
#define BYTE 0x5a
#define RW (PROT_READ | PROT_WRITE)
#define OVERCOMMIT "/proc/sys/vm/nr_overcommit_hugepages"

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif
#define HUGE_FLAGS (MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB)

struct area {
	char *at;    /* COUNT huge pages, with a byte of its own in the middle of each */
	char *spare; /* one huge page's room; nothing is there */
};

static long last;

static void munmap_one(struct area *a) { last = munmap(a->at, HUGE); }
static void munmap_small(struct area *a) { last = munmap(a->at, PAGE); }
static void munmap_more(struct area *a) { last = munmap(a->at, HUGE + 1); }
static void mmap_small(struct area *a)
{
	last = (long)mmap(a->at + HUGE, PAGE, RW, HUGE_FLAGS | MAP_PRIVATE | MAP_FIXED, -1, 0);
}
static void mmap_more(struct area *a)
{
	last = (long)mmap(a->at, HUGE + 1, RW, HUGE_FLAGS | MAP_PRIVATE | MAP_FIXED, -1, 0);
}
static void mmap_small_pages(struct area *a)
{
	last = (long)mmap(a->at, HUGE, RW, MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, -1, 0);
}
static void mmap_one_small_page(struct area *a)
{
	last = (long)mmap(a->at, PAGE, RW, MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, -1, 0);
}
static void mremap_small(struct area *a)
{
	last = (long)mremap(a->at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a->spare);
}
static void mremap_onto(struct area *a)
{
	last = (long)mremap(a->at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a->at + 2 * HUGE);
}
static void mremap_shrink(struct area *a) { last = (long)mremap(a->at, COUNT * HUGE, HUGE + PAGE, 0); }
static void mremap_stay(struct area *a) { last = (long)mremap(a->at, COUNT * HUGE, 3 * HUGE + PAGE, 0); }
static void dontneed_one(struct area *a) { last = madvise(a->at + HUGE, HUGE, MADV_DONTNEED); }
static void dontneed_small(struct area *a) { last = madvise(a->at, PAGE, MADV_DONTNEED); }
static void dontneed_more(struct area *a) { last = madvise(a->at, HUGE + PAGE, MADV_DONTNEED); }
static void dontneed_inside(struct area *a) { last = madvise(a->at + PAGE, HUGE, MADV_DONTNEED); }
static void remove_one(struct area *a) { last = madvise(a->at, HUGE, MADV_REMOVE); }
static void remove_middle(struct area *a) { last = madvise(a->at + HUGE / 2, HUGE, MADV_REMOVE); }
static void protect_one(struct area *a) { last = mprotect(a->at, HUGE, PROT_NONE); }
static void protect_small(struct area *a) { last = mprotect(a->at, PAGE, PROT_NONE); }

/* `gone`: which of the watched pages may not be what they were, huge page 0 in bit 0, if the call succeeds. */
static const struct row {
	const char *name;
	void (*call)(struct area *a);
	int share;
	unsigned gone;
} rows[] = {
	{"munmap of one", munmap_one, MAP_PRIVATE, 1},
	{"munmap of 4096 bytes", munmap_small, MAP_PRIVATE, 0},
	{"munmap of one and a byte", munmap_more, MAP_PRIVATE, 0},
	{"mmap of 4096 bytes of huge pages over one", mmap_small, MAP_PRIVATE, 2},
	{"mmap of one and a byte over two", mmap_more, MAP_PRIVATE, 3},
	{"mmap of small pages over one", mmap_small_pages, MAP_PRIVATE, 1},
	{"mmap of one small page over one", mmap_one_small_page, MAP_PRIVATE, 0},
	{"mremap of 4096 bytes away", mremap_small, MAP_PRIVATE, 1},
	{"mremap of 4096 bytes onto another", mremap_onto, MAP_PRIVATE, 1 | 4},
	{"mremap to one and 4096 bytes", mremap_shrink, MAP_PRIVATE, 4 | 8},
	{"mremap to three and 4096 bytes", mremap_stay, MAP_PRIVATE, 0},
	{"MADV_DONTNEED of one", dontneed_one, MAP_PRIVATE, 2},
	{"MADV_DONTNEED of 4096 bytes", dontneed_small, MAP_PRIVATE, 0},
	{"MADV_DONTNEED of one and 4096 bytes", dontneed_more, MAP_PRIVATE, 1},
	{"MADV_DONTNEED off the boundary", dontneed_inside, MAP_PRIVATE, 0},
	{"MADV_DONTNEED of one, shared", dontneed_one, MAP_SHARED, 0},
	{"MADV_REMOVE of one", remove_one, MAP_SHARED, 1},
	{"MADV_REMOVE from middle to middle", remove_middle, MAP_SHARED, 1},
	{"mprotect of one", protect_one, MAP_PRIVATE, 1},
	{"mprotect of 4096 bytes", protect_small, MAP_PRIVATE, 0},
};

/* One of the watched pages, which is `now` a byte or -1, after a call that failed or not; counts what nobody announced. */
static unsigned judge(const struct row *row, unsigned page, const struct watch *w, int now, bool failed)
{
	int before = BYTE + (int)page;
	bool gone = now != before, announced = w->starts > 0 && w->drops > 0;

	if (gone != ((row->gone >> page & 1) && !failed)) {
		printf("%s: huge page %u: reads %d after a call that returned %ld\n", row->name, page, now, last);
		exit(1);
	}
	if (!gone && failed && w->drops > 0) {
		printf("%s: failed, and dropped huge page %u, which is still there\n", row->name, page);
		exit(1);
	}
	if (announced && gone && w->byte_at_first != before) {
		printf("%s: huge page %u: announced when it was gone\n", row->name, page);
		exit(1);
	}
	return gone && !announced;
}

/* Aligned, in room that nobody else is given. */
static void place(struct area *a)
{
	long room = bare_call(SYS_mmap, 0, (long)ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	a->at = (char *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));
	a->spare = a->at + (COUNT + 1) * HUGE;
}

static bool map_area(struct area *a, int share)
{
	place(a);
	if (bare_call(SYS_mmap, (long)a->at, COUNT * HUGE, RW, HUGE_FLAGS | share | MAP_FIXED, -1, 0) != (long)a->at)
		return false;
	for (unsigned i = 0; i < COUNT; i++)
		memset(a->at + i * HUGE + HUGE / 2, BYTE + (int)i, PAGE);
	return true;
}

static unsigned run(struct uhmm_mm *mm, const struct row *row)
{
	struct watch w[COUNT];
	unsigned unannounced = 0;
	struct area a;
	bool failed;

	if (!map_area(&a, row->share)) {
		printf("%s: huge pages ran out\n", row->name);
		exit(1);
	}
	for (unsigned i = 0; i < COUNT; i++)
		watch_on(mm, &w[i], a.at + i * HUGE + HUGE / 2, PAGE);
	row->call(&a);
	failed = last == -1;
	for (unsigned i = 0; i < COUNT; i++)
		unannounced += judge(row, i, &w[i], peek((uintptr_t)a.at + i * HUGE + HUGE / 2), failed);
	for (unsigned i = 0; i < COUNT; i++)
		watch_off(&w[i]);
	bare_unmap(a.at, ROOM - HUGE);
	return unannounced;
}

static unsigned run_all(struct uhmm_mm *mm, bool hooked)
{
	unsigned unannounced = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned missed = run(mm, &rows[i]);

		if (hooked && missed)
			printf("%s: not announced\n", rows[i].name);
		unannounced += missed;
	}
	return unannounced;
}

/* ---- what only looks like huge pages ---- */

/* A file without a name, where huge pages could begin: how large its pages are cannot be asked. */
static void must_see(struct uhmm_mm *mm, const char *name, size_t from, size_t to, int flags, size_t watched)
{
	int fd = memfd_create("hooks_hugetlb", 0);
	struct watch w;
	struct area a;

	if (fd < 0 || ftruncate(fd, (off_t)(COUNT * HUGE)) != 0)
		exit(1);
	/* The guard behind keeps it from growing in place. */
	place(&a);
	if (bare_call(SYS_mmap, (long)a.at, (long)from, RW, MAP_SHARED | MAP_FIXED, fd, 0) != (long)a.at)
		exit(1);
	memset(a.at + watched, BYTE, PAGE);
	watch_on(mm, &w, a.at + watched, PAGE);
	last = (long)mremap(a.at, from, to, flags);
	if (last == -1 || peek((uintptr_t)a.at + watched) == BYTE || w.drops == 0 || w.byte_at_first != BYTE) {
		printf("%s: returned %ld, %d starts, %d drops\n", name, last, w.starts, w.drops);
		exit(1);
	}
	watch_off(&w);
	if (last != (long)a.at)
		bare_unmap((void *)last, to);
	bare_unmap(a.at, ROOM - HUGE);
	close(fd);
}

/* ---- huge pages to be had ---- */

static long overcommit_before = -1;

static bool set_overcommit(long pages)
{
	FILE *f = fopen(OVERCOMMIT, "w");
	bool done;

	if (!f)
		return false;
	done = fprintf(f, "%ld\n", pages) > 0;
	return fclose(f) == 0 && done;
}

static void restore_overcommit(void)
{
	if (overcommit_before >= 0 && !set_overcommit(overcommit_before))
		printf("cannot restore %s to %ld\n", OVERCOMMIT, overcommit_before);
}

static bool have_pages(void)
{
	struct area a;
	bool have = map_area(&a, MAP_PRIVATE);

	bare_unmap(a.at, ROOM - HUGE);
	return have;
}

/* Mapping reserves, so that no access fails for want of pages; two areas at most, and one page moved or mapped over. */
static bool get_pages(void)
{
	long before = -1;
	FILE *f;

	if (have_pages())
		return true;
	f = fopen(OVERCOMMIT, "r");
	if (!f || fscanf(f, "%ld", &before) != 1)
		before = -1;
	if (f)
		fclose(f);
	if (before < 0 || !set_overcommit(before + 3 * (long)COUNT))
		return false;
	overcommit_before = before;
	atexit(restore_overcommit);
	return have_pages();
}

int main(void)
{
	const struct uhmm_mm_options plain = {.size = sizeof(plain), .monitors = UHMM_MONITOR_EXPLICIT};
	struct uhmm_mm *mm;
	unsigned missed;

	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(60);
	mm = open_hooks();
	must_see(mm, "a file grows, and moves", HUGE, HUGE + PAGE, MREMAP_MAYMOVE, HUGE / 2);
	must_see(mm, "a file shrinks", 2 * HUGE, HUGE + PAGE, 0, HUGE + HUGE / 2);
	uhmm_mm_close(mm);
	if (!get_pages()) {
		printf("skipped: no huge pages of 2 MiB, nor leave to get some\n");
		return SKIP;
	}
	mm = open_hooks();
	missed = run_all(mm, true);
	uhmm_mm_close(mm);
	if (missed)
		return 1;
	if (uhmm_mm_open(&mm, &plain) != 0)
		return 1;
	missed = run_all(mm, false);
	uhmm_mm_close(mm);
	printf("without hooks %u pages went unannounced\n", missed);
	return missed == 0;
}
