/* SPDX-License-Identifier: MIT */
/*
 * port_sync.h, lab backend: every operation is a macro, so that each place in the shipped sources knows its file, line and
 * words, and goes to lab/memory.c, which publishes it, waits for its turn and performs it on simulated memory.
 */
#ifndef PORT_LAB_SYNC_H
#define PORT_LAB_SYNC_H

#include "lab/memory.h"

#define a32_load_relaxed(a) lab_a32_load((a), LAB_RELAXED, LAB_SITE("a32_load_relaxed(" #a ")"))
#define a32_load_acquire(a) lab_a32_load((a), LAB_ACQUIRE, LAB_SITE("a32_load_acquire(" #a ")"))
#define a32_store_relaxed(a, v) lab_a32_store((a), (v), LAB_RELAXED, LAB_SITE("a32_store_relaxed(" #a ", " #v ")"))
#define a32_store_release(a, v) lab_a32_store((a), (v), LAB_RELEASE, LAB_SITE("a32_store_release(" #a ", " #v ")"))
#define a32_xchg_full(a, v) lab_a32_rmw((a), LAB_XCHG, (v), LAB_FULL, LAB_SITE("a32_xchg_full(" #a ", " #v ")"))
#define a32_cas_full(a, e, d) lab_a32_cas((a), (e), (d), LAB_SITE("a32_cas_full(" #a ", " #e ", " #d ")"))
#define a32_fetch_add_relaxed(a, v)                                                                                            \
	lab_a32_rmw((a), LAB_ADD, (v), LAB_RELAXED, LAB_SITE("a32_fetch_add_relaxed(" #a ", " #v ")"))
#define a32_fetch_add_full(a, v) lab_a32_rmw((a), LAB_ADD, (v), LAB_FULL, LAB_SITE("a32_fetch_add_full(" #a ", " #v ")"))
#define a32_fetch_sub_full(a, v) lab_a32_rmw((a), LAB_SUB, (v), LAB_FULL, LAB_SITE("a32_fetch_sub_full(" #a ", " #v ")"))
#define a32_fetch_or_full(a, v) lab_a32_rmw((a), LAB_OR, (v), LAB_FULL, LAB_SITE("a32_fetch_or_full(" #a ", " #v ")"))
#define a32_fetch_and_full(a, v) lab_a32_rmw((a), LAB_AND, (v), LAB_FULL, LAB_SITE("a32_fetch_and_full(" #a ", " #v ")"))

#define a64_load_relaxed(a) lab_a64_load((a), LAB_RELAXED, LAB_SITE("a64_load_relaxed(" #a ")"))
#define a64_load_acquire(a) lab_a64_load((a), LAB_ACQUIRE, LAB_SITE("a64_load_acquire(" #a ")"))
#define a64_store_relaxed(a, v) lab_a64_store((a), (v), LAB_RELAXED, LAB_SITE("a64_store_relaxed(" #a ", " #v ")"))
#define a64_store_release(a, v) lab_a64_store((a), (v), LAB_RELEASE, LAB_SITE("a64_store_release(" #a ", " #v ")"))
#define a64_xchg_full(a, v) lab_a64_rmw((a), LAB_XCHG, (v), LAB_FULL, LAB_SITE("a64_xchg_full(" #a ", " #v ")"))
#define a64_cas_full(a, e, d) lab_a64_cas((a), (e), (d), LAB_SITE("a64_cas_full(" #a ", " #e ", " #d ")"))
#define a64_fetch_add_relaxed(a, v)                                                                                            \
	lab_a64_rmw((a), LAB_ADD, (v), LAB_RELAXED, LAB_SITE("a64_fetch_add_relaxed(" #a ", " #v ")"))
#define a64_fetch_add_full(a, v) lab_a64_rmw((a), LAB_ADD, (v), LAB_FULL, LAB_SITE("a64_fetch_add_full(" #a ", " #v ")"))
#define a64_fetch_sub_full(a, v) lab_a64_rmw((a), LAB_SUB, (v), LAB_FULL, LAB_SITE("a64_fetch_sub_full(" #a ", " #v ")"))
#define a64_fetch_or_full(a, v) lab_a64_rmw((a), LAB_OR, (v), LAB_FULL, LAB_SITE("a64_fetch_or_full(" #a ", " #v ")"))
#define a64_fetch_and_full(a, v) lab_a64_rmw((a), LAB_AND, (v), LAB_FULL, LAB_SITE("a64_fetch_and_full(" #a ", " #v ")"))

#define aptr_load_relaxed(a) lab_aptr_load((a), LAB_RELAXED, LAB_SITE("aptr_load_relaxed(" #a ")"))
#define aptr_load_acquire(a) lab_aptr_load((a), LAB_ACQUIRE, LAB_SITE("aptr_load_acquire(" #a ")"))
#define aptr_store_relaxed(a, v) lab_aptr_store((a), (v), LAB_RELAXED, LAB_SITE("aptr_store_relaxed(" #a ", " #v ")"))
#define aptr_store_release(a, v) lab_aptr_store((a), (v), LAB_RELEASE, LAB_SITE("aptr_store_release(" #a ", " #v ")"))
#define aptr_xchg_full(a, v) lab_aptr_rmw((a), LAB_XCHG, (v), LAB_FULL, LAB_SITE("aptr_xchg_full(" #a ", " #v ")"))
#define aptr_cas_full(a, e, d) lab_aptr_cas((a), (e), (d), LAB_SITE("aptr_cas_full(" #a ", " #e ", " #d ")"))

/* Set by sync_heavy_barrier_force_fallback(): as on a kernel without membarrier. */
extern bool port_no_membarrier;

#define fence_full() lab_mem_fence(LAB_SITE("fence_full()"))
#define fence_after_call() ((void)0) /* system calls are steps of their own here, and full barriers */
#define fence_light() port_fence_light(LAB_SITE("fence_light()"))
#define sync_heavy_barrier() port_heavy_barrier(LAB_SITE("sync_heavy_barrier()"))
#define sync_relax() lab_mem_relax(LAB_SITE("sync_relax()"))

/* Signal handlers of the same fiber do not run in the lab. */
static inline void fence_signal(void)
{
	__asm__ volatile("" ::: "memory");
}

void port_fence_light(const struct lab_site *site);
void port_heavy_barrier(const struct lab_site *site);
int port_await32(const struct uhmm_a32 *word, sync_pred32 pred, const void *arg, uint64_t deadline_ns,
		 const struct lab_site *site);

#define sync_await32(w, p, a, d) port_await32((w), (p), (a), (d), LAB_SITE("sync_await32(" #w ", " #p ")"))
#define sync_wake32(w) lab_mem_wake((w), LAB_SITE("sync_wake32(" #w ")"))

#include <port_lock.h> /* struct sync_lock */

#endif
