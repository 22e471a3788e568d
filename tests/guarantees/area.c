/* SPDX-License-Identifier: MIT */
/* area.c: memory of every kind, made and looked at by system calls of the test's own. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "guarantees.h"

#define OVERCOMMIT "/proc/sys/vm/nr_overcommit_hugepages"
#define HUGE_PAGES (MAP_HUGETLB | 21 << 26)
#define ROOM_BEFORE (area.mapping == MAPPING_STACK ? HUGE : unit) /* the kernel keeps a megabyte below a stack */

const char *const mapping_names[MAPPINGS] = {"anon",         "anon-2m", "thp",   "hugetlb", "shmem", "file-shared",
					     "file-private", "brk",     "stack", "sysv",    "block", "arena",
					     "thread-stack", "object"};
struct area area;
static int pagemap = -1;
static char overcommit_before[32];

/* ---- looking ---- */

static bool transfer(long number, const char *where, unsigned char *byte)
{
	struct iovec local = {.iov_base = byte, .iov_len = 1}, remote = {.iov_base = (void *)(uintptr_t)where, .iov_len = 1};

	return bare_call(number, getpid(), (long)&local, 1, (long)&remote, 1, 0) == 1;
}

uint64_t frame_of(const char *where)
{
	uint64_t entry = 0;

	if (pagemap < 0 || BARE(pread64, pagemap, &entry, sizeof(entry), (uintptr_t)where / PAGE * sizeof(entry)) < 0)
		return 0;
	return entry >> 63 ? entry & ((UINT64_C(1) << 55) - 1) : 0;
}

/* Reading brings the page back if only the page table had lost it; writing the same byte again breaks what copy-on-write
 * has in store. What is left then is what a device would have to use. */
struct seen look(const char *where)
{
	unsigned char byte = 0;
	struct seen s = {.byte = -1};

	if (!transfer(SYS_process_vm_readv, where, &byte))
		return s;
	s.byte = byte;
	s.writable = transfer(SYS_process_vm_writev, where, &byte);
	s.frame = frame_of(where);
	return s;
}

bool frames_are_visible(void)
{
	static char page[PAGE];

	page[0] = 1;
	return frame_of(page) != 0;
}

/* ---- making ---- */

static char *map_at(char *where, size_t len, int flags, int fd)
{
	long result = BARE(mmap, where, len, RW, flags | MAP_FIXED, fd, 0);

	if (is_error(result)) {
		area.unavailable = "no such memory";
		return NULL;
	}
	return where;
}

static char *reserve(size_t len, size_t align)
{
	long got = BARE(mmap, 0, len + align, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
	uintptr_t start, first = (uintptr_t)got;

	if (is_error(got))
		abort();
	start = (first + align - 1) & ~(align - 1);
	if (start > first)
		BARE(munmap, first, start - first);
	if (first + align > start)
		BARE(munmap, start + len, first + align - start);
	return (char *)start;
}

char *spare(void)
{
	if (!area.room_spare)
		area.room_spare = reserve(4 * unit, unit);
	return area.room_spare;
}

char *other(void)
{
	if (area.room_other)
		return area.room_other;
	area.room_other = reserve(4 * unit, unit);
	map_at(area.room_other, 4 * unit, ANON, -1);
	area.room_other[area.watched - area.at] = BYTE + 1;
	return area.room_other;
}

int segment(void)
{
	if (area.second < 0)
		area.second = (int)BARE(shmget, IPC_PRIVATE, 4 * unit, 0600);
	if (area.second < 0)
		area.unavailable = "no System V shared memory";
	return area.second;
}

/* /tmp may be a file system without O_TMPFILE. */
static int make_file(void)
{
	char name[] = "/tmp/guaranteesXXXXXX";
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	fd = mkstemp(name);
	if (fd < 0)
		abort();
	unlink(name);
	return fd;
}

static void make_backing(void)
{
	unsigned char first = BYTE + 2;

	area.fd = area.mapping == MAPPING_SHMEM ? memfd_create("guarantees", MFD_CLOEXEC) : make_file();
	snprintf(area.name, sizeof(area.name), "/proc/%d/fd/%d", (int)getpid(), area.fd);
	if (area.fd < 0 || BARE(ftruncate, area.fd, 4 * unit) != 0 ||
	    BARE(pwrite64, area.fd, &first, 1, area.watched - area.at) != 1)
		abort();
}

static void make_brk(void)
{
	uintptr_t top = (uintptr_t)sbrk(0), start = (top + PAGE - 1) & ~(PAGE - 1);

	area.at = (char *)start;
	area.room = (char *)top;
	if (sbrk((intptr_t)(start - top + 4 * unit)) == (void *)-1)
		area.unavailable = "the heap cannot grow";
	/* As in a room. */
	BARE(mmap, at(8), PAGE, PROT_NONE, ANON | MAP_FIXED_NOREPLACE, -1, 0);
}

static void make_segment(void)
{
	area.sysv = (int)BARE(shmget, IPC_PRIVATE, 4 * unit, 0600);
	if (area.sysv < 0 || is_error(BARE(shmat, area.sysv, area.at, SHM_REMAP)))
		area.unavailable = "no System V shared memory";
}

/* Taken all around, so that nobody else maps something there, and what grows has to move. */
static void make_room(void)
{
	size_t before = ROOM_BEFORE;

	area.room_len = before + 8 * unit;
	area.room = reserve(area.room_len, unit);
	area.at = area.room + before;
}

/* What the operation unmapped is taken again, or the library's next mapping would be found there, and go with the area. */
void area_plug(void)
{
	if (area.mapping >= MAPPING_BLOCK || area.mapping == MAPPING_BRK)
		return;
	for (size_t i = 0; i < 5; i++)
		BARE(mmap, at(i), unit, PROT_NONE, ANON | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
}

static void make_mapping(void)
{
	size_t len = 4 * unit;

	switch (area.mapping) {
	case MAPPING_HUGETLB: map_at(area.at, len, ANON | HUGE_PAGES, -1); break;
	case MAPPING_SHMEM:
	case MAPPING_FILE_SHARED: map_at(area.at, len, MAP_SHARED, area.fd); break;
	case MAPPING_FILE_PRIVATE: map_at(area.at, len, MAP_PRIVATE, area.fd); break;
	case MAPPING_STACK: map_at(area.at, len, ANON | MAP_GROWSDOWN | MAP_STACK, -1); break;
	case MAPPING_SYSV: make_segment(); break;
	default: map_at(area.at, len, ANON, -1); break;
	}
}

/* In huge pages, or in small ones that may become huge. */
static void fill(void)
{
	bool small = area.mapping == MAPPING_ANON_2M;

	if (small || area.mapping == MAPPING_THP)
		BARE(madvise, area.at, 4 * unit, small ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	area.watched[0] = BYTE;
	if (small)
		BARE(madvise, area.at, 4 * unit, MADV_HUGEPAGE);
	if (area.mapping == MAPPING_THP && frames_are_visible() &&
	    (frame_of(area.watched) % 512 || frame_of(area.watched + PAGE) != frame_of(area.watched) + 1))
		area.unavailable = "no transparent huge page to be had";
}

void area_make(enum mapping mapping, unsigned page)
{
	area = (struct area){.mapping = mapping, .fd = -1, .sysv = -1, .second = -1, .unit_size = PAGE};
	if (mapping >= MAPPING_BLOCK) {
		heap_make();
		return;
	}
	if (mapping == MAPPING_ANON_2M || mapping == MAPPING_THP || mapping == MAPPING_HUGETLB)
		unit = HUGE;
	if (mapping == MAPPING_BRK)
		make_brk();
	else
		make_room();
	area.watched = at(page);
	if (mapping == MAPPING_SHMEM || mapping == MAPPING_FILE_SHARED || mapping == MAPPING_FILE_PRIVATE)
		make_backing();
	if (mapping != MAPPING_BRK && !area.unavailable)
		make_mapping();
	if (!area.unavailable)
		fill();
}

/* ---- clearing up ---- */

/* The heap is given back to where it began; holes in it are filled first, or brk() would refuse. */
static void drop_brk(void)
{
	uintptr_t top = (uintptr_t)bare_call(SYS_brk, 0, 0, 0, 0, 0, 0), start = (uintptr_t)area.at;

	BARE(munmap, top > start ? top : start, start + 8 * unit + PAGE - (top > start ? top : start));
	if (top > start)
		map_at(area.at, top - start, ANON, -1);
	if (brk(area.room) != 0)
		abort();
}

static void unmap_if(char *where, size_t len)
{
	if (where)
		BARE(munmap, where, len);
}

void area_drop(void)
{
	if (area.mapping >= MAPPING_BLOCK)
		heap_drop();
	else if (area.mapping == MAPPING_BRK)
		drop_brk();
	else
		unmap_if(area.room, area.room_len);
	unmap_if(area.room_spare, 4 * unit);
	unmap_if(area.room_other, 4 * unit);
	unmap_if(area.result, area.result_len);
	if (area.fd >= 0)
		BARE(close, area.fd);
	if (area.sysv >= 0)
		BARE(shmctl, area.sysv, IPC_RMID, 0);
	if (area.second >= 0)
		BARE(shmctl, area.second, IPC_RMID, 0);
}

/* ---- once ---- */

static bool write_setting(const char *text)
{
	int fd = open(OVERCOMMIT, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static void restore_setting(void)
{
	write_setting(overcommit_before);
}

/* Huge pages beyond the pool go back to the system with their mapping. */
void area_init(void)
{
	FILE *f = fopen(OVERCOMMIT, "re");

	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (!f)
		return;
	if (fgets(overcommit_before, sizeof(overcommit_before), f) && atol(overcommit_before) < 16 && write_setting("16"))
		atexit(restore_setting);
	fclose(f);
}
