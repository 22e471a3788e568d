/* SPDX-License-Identifier: MIT */
#include "port/mm.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <port_call.h>

#include "port/inject.h"
#include "port/linux_new.h"
#include "port/sync.h"

long port_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	return port_call_6(number, a, b, c, d, e, f);
}

static bool failed(long result)
{
	return result < 0 && result > -4096;
}

static int map(size_t len, int extra_flags, void **out)
{
	long at;

	if (PORT_INJECT(INJECT_MAP))
		return -ENOMEM;
	at = port_syscall(SYS_mmap, port_map_hint(len), (long)len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | extra_flags, -1, 0);
	if (failed(at))
		return (int)at;
	/*
	 * Set apart: mappings with different advice are not joined, whatever the program maps beside ours. A witness that
	 * watches its mapping, always as a whole, would watch ours, and giving that back would wait for a reader that may have
	 * ended. This holds for all that comes from here: stacks, reservations, and pools, which join each other and keep the
	 * advice when their ends are cut off. Pages of code come from files of their own, which join nothing of the program's.
	 * A new mapping never joins one that is watched already; what remains is a watch between these two calls, see stop()
	 * in monitors/uffd.c. The price is paid where there is swap: nothing is read ahead from it, and use does not keep a
	 * page in memory longer.
	 */
	port_syscall(SYS_madvise, at, (long)len, MADV_RANDOM, 0, 0, 0);
	*out = (void *)(uintptr_t)at;
	return 0;
}

int mm_map(size_t len, void **out)
{
	return map(len, 0, out);
}

int mm_reserve(size_t len, void **out)
{
	return map(len, MAP_NORESERVE, out);
}

int mm_map_huge(void **out)
{
	uintptr_t at, aligned;
	void *place;
	int err = mm_map(2 * MM_HUGE_SIZE, &place);

	if (err)
		return err;
	at = (uintptr_t)place;
	aligned = (at + MM_HUGE_SIZE - 1) & ~(MM_HUGE_SIZE - 1);
	if (aligned > at)
		mm_unmap(place, aligned - at);
	if (aligned < at + MM_HUGE_SIZE)
		mm_unmap((void *)(aligned + MM_HUGE_SIZE), at + MM_HUGE_SIZE - aligned);
	port_syscall(SYS_madvise, (long)aligned, (long)MM_HUGE_SIZE, MADV_HUGEPAGE, 0, 0, 0);
	*out = (void *)aligned;
	return 0;
}

bool mm_page_size_fits(void)
{
	return sysconf(_SC_PAGESIZE) == (long)MM_PAGE_SIZE;
}

void mm_unmap(void *addr, size_t len)
{
	port_syscall(SYS_munmap, (long)(uintptr_t)addr, (long)len, 0, 0, 0, 0);
}

static int populate(void *addr, size_t len, int advice)
{
	long result;

	if (PORT_INJECT(INJECT_POPULATE))
		return -ENOMEM;
	result = port_syscall(SYS_madvise, (long)(uintptr_t)addr, (long)len, advice, 0, 0, 0);
	if (result != -EINVAL)
		return (int)result;
	/*
	 * The kernel says -EINVAL to advice that it does not know and to protection that forbids it; of no pages, only to the
	 * first.
	 */
	return port_syscall(SYS_madvise, (long)(uintptr_t)addr, 0, advice, 0, 0, 0) == 0 ? -EFAULT : -EOPNOTSUPP;
}

int mm_populate_write(void *addr, size_t len)
{
	return populate(addr, len, MADV_POPULATE_WRITE);
}

int mm_populate_read(void *addr, size_t len)
{
	return populate(addr, len, MADV_POPULATE_READ);
}
