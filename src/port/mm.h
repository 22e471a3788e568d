/* SPDX-License-Identifier: MIT */
/*
 * mm.h: system calls on memory, made directly and never through libc, whose entries may be patched by our own hooks.
 * Everything returns 0 or a negative errno.
 */
#ifndef PORT_MM_H
#define PORT_MM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MM_PAGE_SHIFT 12
#define MM_PAGE_SIZE ((uintptr_t)1 << MM_PAGE_SHIFT)

/* Where the kernel puts mappings by itself: the core is made for these. */
#if defined(__aarch64__)
#define MM_ADDR_BITS 48
#else
#define MM_ADDR_BITS 47
#endif

/* User addresses end here: larger page tables (up to 56 bits; 52 on aarch64) need asking for by a high hint. */
#define MM_ADDR_END ((uintptr_t)1 << 56)

/* The bare system call: the result, or a negative errno. */
long port_syscall(long number, long a, long b, long c, long d, long e, long f);

/* Anonymous, private, read-write, zeroed memory of whole pages. */
int mm_map(size_t len, void **out);
/* The same, but address space only: pages cost nothing until touched and are not counted against overcommit. */
int mm_reserve(size_t len, void **out);
/* The same as mm_map() for one huge page's worth, aligned to it, with a huge page behind it where the kernel gives one. */
#define MM_HUGE_SIZE ((size_t)2 << 20)
int mm_map_huge(void **out);
void mm_unmap(void *addr, size_t len);
/*
 * Makes every page of the (page-aligned) range present and private for writing. -EFAULT: not allowed; -ENOMEM: a hole, or no
 * memory; -EOPNOTSUPP: a kernel before 5.14.
 */
int mm_populate_write(void *addr, size_t len);
/* Makes every page of the range present for reading, as it is. The same errors. */
int mm_populate_read(void *addr, size_t len);

/*
 * What the kernel takes an address for whose upper bits carry a tag that the processor ignores: the top byte on aarch64, bits
 * 57 to 62 on x86-64 with LAM. The kernel strips it in most calls on mappings (not in all: then the call fails).
 */
static inline uintptr_t mm_untag(uintptr_t addr)
{
#if defined(__aarch64__)
	return addr >> 55 & 1 ? addr : addr & ~((uintptr_t)0xff << 56);
#else
	return addr >> 63 ? addr : addr & ~((uintptr_t)0x3f << 57);
#endif
}

/* True if this kernel's pages are MM_PAGE_SIZE: on aarch64 they may have 16 or 64 KiB. */
bool mm_page_size_fits(void);

static inline uintptr_t mm_page_floor(uintptr_t addr)
{
	return addr & ~(MM_PAGE_SIZE - 1);
}

static inline uintptr_t mm_page_ceil(uintptr_t addr)
{
	return (addr + MM_PAGE_SIZE - 1) & ~(MM_PAGE_SIZE - 1);
}

#endif
