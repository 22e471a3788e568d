/* SPDX-License-Identifier: MIT */
#include "port/sync.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>

#include "port/mm.h"

bool port_no_membarrier;
uint32_t port_fence_word; /* used by native_seqcst only */
uint64_t port_map_next = UINT64_C(0x1000000000); /* likewise */

bool sync_heavy_barrier_setup(void)
{
	if (port_syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0) != 0)
		port_no_membarrier = true;
	return !port_no_membarrier;
}

void sync_heavy_barrier_force_fallback(bool fallback)
{
	port_no_membarrier = fallback;
}

void sync_heavy_barrier(void)
{
	fence_full();
	if (!port_no_membarrier)
		port_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0);
}

int sync_await32(const struct uhmm_a32 *word, sync_pred32 pred, const void *arg, uint64_t deadline_ns)
{
	struct timespec at = {.tv_sec = (time_t)(deadline_ns / 1000000000u), .tv_nsec = (long)(deadline_ns % 1000000000u)};
	const struct timespec *timeout = deadline_ns == SYNC_FOREVER ? NULL : &at;

	for (;;) {
		uint32_t seen = a32_load_acquire(word);

		if (pred(seen, arg))
			return 0;
		/* FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time, so a spurious wake needs no arithmetic. */
		if (port_syscall(SYS_futex, (long)(uintptr_t)word, FUTEX_WAIT_BITSET_PRIVATE, (long)seen,
				 (long)(uintptr_t)timeout, 0, (long)FUTEX_BITSET_MATCH_ANY) == -ETIMEDOUT)
			return pred(a32_load_acquire(word), arg) ? 0 : -ETIMEDOUT;
	}
}

void sync_wake32(const struct uhmm_a32 *word)
{
	port_syscall(SYS_futex, (long)(uintptr_t)word, FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0);
}
