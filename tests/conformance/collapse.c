/* SPDX-License-Identifier: MIT */
/*
 * collapse.c: a huge page put together. The simulated one is of LAB_HUGE pages, the real one of hundreds: each simulated page
 * stands for as big a part of it. Values stay; a page to which somebody else holds a reference (here: a pipe) defeats it.
 */
#include "collapse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE (2u << 20)
#define PART (HUGE / LAB_HUGE)

static unsigned char *region, *huge;

static volatile uint32_t *part(uint32_t i)
{
	return (volatile uint32_t *)(void *)(huge + i * PART);
}

/* Small pages, all of them there. */
static bool prepare(void)
{
	region = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		return false;
	huge = (unsigned char *)(((uintptr_t)region + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	madvise(huge, HUGE, MADV_NOHUGEPAGE);
	for (uint32_t i = 0; i < HUGE; i += 4096)
		huge[i] = 1;
	for (uint32_t i = 0; i < LAB_HUGE; i++)
		*part(i) = i + 1;
	return madvise(huge, HUGE, MADV_HUGEPAGE) == 0;
}

static bool intact(void)
{
	for (uint32_t i = 0; i < LAB_HUGE; i++) {
		if (*part(i) != i + 1)
			return false;
	}
	return true;
}

static bool reference(int pipes[2], uint32_t i)
{
	struct iovec page = {.iov_base = (void *)(uintptr_t)part(i), .iov_len = 4096};

	return pipe2(pipes, O_CLOEXEC) == 0 && vmsplice(pipes[1], &page, 1, 0) == 4096;
}

enum collapsed collapse_for_real(bool referenced)
{
	int pipes[2] = {-1, -1}, r;
	enum collapsed result = COLLAPSE_CANNOT;

	if (prepare() && (!referenced || reference(pipes, 2))) {
		r = madvise(huge, HUGE, MADV_COLLAPSE);
		if (r && (errno == EINVAL || errno == ENOMEM || errno == ENOSYS))
			printf("MADV_COLLAPSE: %m\n");
		else if (!intact())
			result = COLLAPSE_CORRUPTS;
		else
			result = r == 0 ? COLLAPSE_DONE : COLLAPSE_REFUSED;
	}
	if (pipes[0] >= 0) {
		close(pipes[0]);
		close(pipes[1]);
	}
	munmap(region, 2 * HUGE);
	return result;
}
