/* SPDX-License-Identifier: MIT */
/* mm.c, lab backend: internal memory comes from the arena, where an address is used once in an execution. */
#include "port/mm.h"

#include <errno.h>
#include <sys/syscall.h>

#include "lab/engine.h"
#include "lab/port_lab.h"
#include "port/inject.h"

/* Ids of fibers as the kernel would give them: never 0. */
#define FIRST_TID 100
#define PROCESS_ID 99

/* What simulated machines answer to the other calls; a scenario may bring its own. */
__attribute__((weak)) long lab_syscall(long number, const long arg[6])
{
	(void)number;
	(void)arg;
	return -ENOSYS;
}

long port_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	const long arg[6] = {a, b, c, d, e, f};

	switch (number) {
	case SYS_gettid:
		return FIRST_TID + (long)lab_self();
	case SYS_getpid:
		return PROCESS_ID;
	default:
		return lab_syscall(number, arg);
	}
}

static int map(size_t len, size_t align, void **out)
{
	void *at = PORT_INJECT(INJECT_MAP) ? NULL : lab_alloc(len, align);

	if (!at)
		return -ENOMEM;
	*out = at;
	return 0;
}

int mm_map(size_t len, void **out)
{
	return map(len, MM_PAGE_SIZE, out);
}

int mm_reserve(size_t len, void **out)
{
	return map(len, MM_PAGE_SIZE, out);
}

int mm_map_huge(void **out)
{
	return map(MM_HUGE_SIZE, MM_HUGE_SIZE, out);
}

bool mm_page_size_fits(void)
{
	return true;
}

/* Nothing is given out again: what still looks at it reads old memory, and is found by what it does with that. */
void mm_unmap(void *addr, size_t len)
{
	(void)addr;
	(void)len;
}

/* Of memory that simulated machines know by lab_syscall(); our own is always there. */
static int populate(void *addr, size_t len, long advice)
{
	const long arg[6] = {(long)(uintptr_t)addr, (long)len, advice, 0, 0, 0};
	long result;

	if (PORT_INJECT(INJECT_POPULATE))
		return -ENOMEM;
	result = lab_syscall(SYS_madvise, arg);
	return result == -ENOSYS ? 0 : (int)result;
}

int mm_populate_write(void *addr, size_t len)
{
	return populate(addr, len, 23 /* MADV_POPULATE_WRITE */);
}

int mm_populate_read(void *addr, size_t len)
{
	return populate(addr, len, 22 /* MADV_POPULATE_READ */);
}
