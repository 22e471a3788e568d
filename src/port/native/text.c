/* SPDX-License-Identifier: MIT */
#include "port/text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "port/inject.h"
#include "port/linux_new.h"
#include "port/mm.h"
#include "port/sync.h"

/* How far a jump reaches either way; less, for the length of the instruction and of what is reserved. */
#if defined(__aarch64__)
#define REACH ((uintptr_t)0x07f00000) /* 128 MiB */
#else
#define REACH ((uintptr_t)0x7ff00000) /* 2 GiB */
#endif
#define STEP ((uintptr_t)1 << 20)

static bool failed(long result)
{
	return result < 0 && result > -4096;
}

/*
 * What instruction caches hold of the new page is the kernel's business: where they do not follow the data caches (aarch64), it
 * cleans and invalidates a page's lines before it first enters the page as executable into any page table, because
 * writing to the file marked the page as not clean. What a core has fetched already is text_sync_core()'s.
 */

/* Sealed at birth against execve(), which some systems insist on and which takes nothing from mapping it executable. */
static long create(void)
{
	const char *name = "uhmm-text";
	long fd = port_syscall(SYS_memfd_create, (long)(uintptr_t)name, MFD_CLOEXEC | MFD_NOEXEC_SEAL, 0, 0, 0, 0);

	if (fd == -EINVAL) /* before 6.3 */
		fd = port_syscall(SYS_memfd_create, (long)(uintptr_t)name, MFD_CLOEXEC | MFD_ALLOW_SEALING, 0, 0, 0, 0);
	return fd;
}

int text_image(const void *bytes, size_t len, int *fd)
{
	const unsigned char *from = bytes;
	size_t done = 0;
	long made;

	if (PORT_INJECT(INJECT_MAP))
		return -ENOMEM;
	made = create();
	if (failed(made))
		return made == -ENOMEM || made == -EMFILE || made == -ENFILE ? -ENOMEM : -EPERM;
	while (done < len) {
		long at = (long)(uintptr_t)(from + done);
		long wrote = port_syscall(SYS_pwrite64, made, at, (long)(len - done), (long)done, 0, 0);

		if (wrote <= 0) {
			text_close((int)made);
			return -ENOMEM;
		}
		done += (size_t)wrote;
	}
	port_syscall(SYS_fcntl, made, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, 0, 0, 0);
	*fd = (int)made;
	return 0;
}

int text_switch(void *at, size_t len, int fd, uint64_t offset)
{
	long got;

	if (PORT_INJECT(INJECT_MAP))
		return -ENOMEM;
	got = port_syscall(SYS_mmap, (long)(uintptr_t)at, (long)len, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd,
			   (long)offset);
	if (!failed(got))
		return 0;
	return got == -ENOMEM ? -ENOMEM : -EPERM;
}

static bool reserve_at(uintptr_t at, size_t len, void **out)
{
	long got = port_syscall(SYS_mmap, (long)at, (long)len, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (failed(got))
		return false;
	if ((uintptr_t)got != at) { /* before 4.17 the flag is unknown and the address a hint */
		mm_unmap((void *)(uintptr_t)got, len);
		return false;
	}
	*out = (void *)at;
	return true;
}

/* Below first, and a little off, because the next libraries go right below. Above lies the stack's room: only if need be. */
int text_reserve_near(uintptr_t low, uintptr_t high, size_t len, void **out)
{
	uintptr_t bottom = high > REACH ? high - REACH : STEP, top = low + REACH - len;

	if (PORT_INJECT(INJECT_MAP))
		return -ENOMEM;
	for (uintptr_t at = mm_page_floor(low) - 16 * STEP; at > bottom && at < low; at -= STEP)
		if (reserve_at(at, len, out))
			return 0;
	for (uintptr_t at = mm_page_ceil(high) + 16 * STEP; at < top; at += STEP)
		if (reserve_at(at, len, out))
			return 0;
	return -ENOMEM;
}

/*
 * At load, while the process usually has one thread, this costs nothing. With several the kernel waits for a grace period, ten
 * milliseconds and more, which would otherwise be the larger part of opening an address space. Whoever loads the library late
 * pays then.
 */
__attribute__((constructor)) static void register_early(void)
{
	port_syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0, 0, 0, 0);
	sync_heavy_barrier_setup();
}

void text_sync_core(void)
{
	long cmd = MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE;

	/*
	 * Without the call, what is left is the interrupt of the TLB flush that came with the switch, which serialises as well;
	 * processors that flush other cores without interrupting them come with kernels that have the call.
	 */
	if (port_syscall(SYS_membarrier, cmd, 0, 0, 0, 0, 0) == 0)
		port_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0, 0, 0, 0);
}

int text_open(const char *path)
{
	return (int)port_syscall(SYS_openat, AT_FDCWD, (long)(uintptr_t)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
}

long text_read(int fd, void *out, size_t len, uint64_t offset)
{
	return port_syscall(SYS_pread64, fd, (long)(uintptr_t)out, (long)len, (long)offset, 0, 0);
}

void text_close(int fd)
{
	port_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}
