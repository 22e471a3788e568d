/* SPDX-License-Identifier: MIT */
/*
 * sync.h: every access to memory that two threads share, and every wait.
 *
 * The seam at which the race lab replaces the world: <port_sync.h> is found by include path (src/port/native, or native_seqcst
 * for ThreadSanitizer, later lab). Words are wrapped in structs (uhmm_a32, uhmm_a64, uhmm_aptr, see <uhmm/notifier.h>) so that
 * a plain access does not compile by accident; the memory order is in the name of each operation.
 *
 *   a32_load_relaxed / a32_load_acquire             a32_store_relaxed / a32_store_release
 *   a32_xchg_full(a, v) -> old                      a32_cas_full(a, expected, desired) -> success (strong)
 *   a32_fetch_add_relaxed(a, v) -> old              a32_fetch_add_full / a32_fetch_sub_full / a32_fetch_or_full / _and_full
 *   the same for a64 (all) and aptr (load, store, xchg, cas)
 *
 *   fence_full()     a full barrier
 *   fence_light()    free; pairs only with sync_heavy_barrier(), which makes every thread of the process pass a full barrier.
 *                    Where the kernel has no membarrier, fence_light() is fence_full() and the heavy barrier fence_full().
 *   fence_after_call()  what this thread loads from here on comes after what its last system call did
 *   fence_signal()   orders this thread against its own signal handlers only
 *
 *   struct sync_lock { ... };  SYNC_LOCK_INIT; sync_lock_init, sync_lock_acquire, sync_lock_try -> bool, sync_lock_release
 *                    sync_lock_acquire_spin: never sleeps
 *   sync_await32(word, pred, arg, deadline_ns): returns 0 once pred(load_acquire(word), arg), or -ETIMEDOUT; a deadline of
 *                    SYNC_FOREVER never ends. Some other thread changes the word and then calls sync_wake32(word).
 *   sync_wake32(word): wakes all. Touches no memory at the address, so the word may have been freed meanwhile.
 *   sync_relax():    one turn of a bounded spin
 */
#ifndef PORT_SYNC_H
#define PORT_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include <uhmm/notifier.h>

#define SYNC_FOREVER UINT64_MAX

typedef bool (*sync_pred32)(uint32_t value, const void *arg);

/* The usual predicate: the word is no longer what it was; arg points to the value seen. */
static inline bool sync_differs32(uint32_t value, const void *seen)
{
	return value != *(const uint32_t *)seen;
}

int sync_await32(const struct uhmm_a32 *word, sync_pred32 pred, const void *arg, uint64_t deadline_ns);
void sync_wake32(const struct uhmm_a32 *word);

/* Once per process, and again in a forked child; false: no membarrier here, light fences are full ones from now on. */
bool sync_heavy_barrier_setup(void);
void sync_heavy_barrier(void);
/* For tests: as on a kernel without membarrier. Before any thread relies on it. */
void sync_heavy_barrier_force_fallback(bool fallback);

#include <port_sync.h>

#endif
