/* SPDX-License-Identifier: MIT */
/* acts_memory.c: operations on mappings that are more than one call. */
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "guarantees.h"

#ifndef UFFDIO_MOVE
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move) /* 6.8 */
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* What the operation made is unmapped with the area. */
static long made(long result, size_t len)
{
	if (!is_error(result)) {
		area.result = (void *)result;
		area.result_len = len;
	}
	return result;
}

long act_map_hint(void)
{
	return made(CALL(mmap, at(0), unit, RW, ANON, -1, 0), unit);
}

/* Another part of the program gives it back unseen, and is given the place again by a call that is seen (R31). */
long act_map_reused(void)
{
	long result;

	BARE(munmap, at(0), 4 * unit);
	result = CALL(mmap, at(0), 4 * unit, RW, ANON, -1, 0);
	if (result == (long)at(0))
		at(1)[0] = BYTE + 1;
	return result;
}

long act_grow_in_place(void)
{
	if (area.mapping != MAPPING_BRK)
		BARE(munmap, at(4), unit);
	return CALL(mremap, at(0), 4 * unit, 5 * unit, 0, 0);
}

long act_move_to_grow(void)
{
	return made(CALL(mremap, at(0), 4 * unit, 64 * unit, MREMAP_MAYMOVE, 0), 64 * unit);
}

long act_move_keeping(void)
{
	return made(CALL(mremap, at(0), 4 * unit, 4 * unit, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0), 4 * unit);
}

long act_view_again(void)
{
	return made(CALL(mremap, at(0), 0, 4 * unit, MREMAP_MAYMOVE, 0), 4 * unit);
}

long act_locked_dontneed(void)
{
	if (BARE(mlock, at(0), 4 * unit) != 0)
		area.unavailable = "memory cannot be locked";
	return CALL(madvise, at(0), 4 * unit, MADV_DONTNEED);
}

long act_advise_itself(int advice)
{
	struct iovec v[2] = {{at(0), 2 * unit}, {at(2), 2 * unit}};
	int fd = (int)BARE(pidfd_open, getpid(), 0);
	long result = CALL(process_madvise, fd, v, 2, advice, 0);

	BARE(close, fd);
	return result;
}

/* The part that is watched, because one huge page is made at a time. */
long act_advise_from_outside(int advice)
{
	return helper_advise(at(1), unit, advice);
}

long act_ask_residency(void)
{
	unsigned char resident[4 * 512];

	return CALL(mincore, at(0), 4 * unit, resident);
}

long act_seal(void)
{
	/* What is sealed stays until the process ends. */
	return way_call(SYS_mseal, (const long[6]){LONGS(at(0), unit, 0)});
}

long act_bind_policy(void)
{
	return way_call(SYS_mbind, (const long[6]){LONGS(at(0), 4 * unit, MPOL_DEFAULT, 0, 0, 0)});
}

long act_move_to_node(void)
{
	void *page = area.watched;
	int node = -1, to;
	long result = BARE(move_pages, 0, 1, &page, 0, &node, 0);

	if (result != 0 || node < 0)
		return result;
	to = node == 0;
	return way_call(SYS_move_pages, (const long[6]){LONGS(0, 1, &page, &to, &node, MPOL_MF_MOVE)});
}

/* ---- a userfaultfd of the program's own ---- */

static int uffd_open(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = (int)BARE(userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0 || BARE(ioctl, fd, UFFDIO_API, &api) != 0)
		area.unavailable = "no userfaultfd";
	return fd;
}

static long uffd_watch(int fd, char *where)
{
	struct uffdio_register r = {.range = {(uintptr_t)where, 4 * unit}, .mode = UFFDIO_REGISTER_MODE_MISSING};

	return way_call(SYS_ioctl, (const long[6]){LONGS(fd, UFFDIO_REGISTER, &r)});
}

long act_uffd_move(void)
{
	int fd = uffd_open();
	struct uffdio_move m = {.dst = (uintptr_t)other(), .src = (uintptr_t)at(1), .len = unit};
	long result;

	BARE(madvise, other(), 4 * unit, MADV_DONTNEED);
	result = uffd_watch(fd, other());
	if (result == 0)
		result = way_call(SYS_ioctl, (const long[6]){LONGS(fd, UFFDIO_MOVE, &m)});
	BARE(close, fd);
	return result;
}

long act_uffd_register(void)
{
	int fd = uffd_open();
	long result = uffd_watch(fd, at(0));

	BARE(close, fd);
	return result;
}
