/* SPDX-License-Identifier: MIT */
/* port_order.h, native: each name costs what it says. */
#ifndef PORT_ORDER_H
#define PORT_ORDER_H

#define ORDER_RELAXED __ATOMIC_RELAXED
#define ORDER_ACQUIRE __ATOMIC_ACQUIRE
#define ORDER_RELEASE __ATOMIC_RELEASE

static inline void fence_full(void)
{
#if defined(__x86_64__)
	/* A locked operation on the stack: half the price of mfence, and as strong for write-back memory. */
	__asm__ volatile("lock; addl $0, -4(%%rsp)" ::: "memory", "cc");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * What is named full orders everything before it with everything after it. By the language's rules a seq_cst read-modify-write
 * does not order relaxed accesses around it, and on aarch64 it is ldaxr .. stlxr, behind which a later load may be performed
 * before the store. (Earlier accesses: stlxr comes after them, and nobody writes the word between its two halves.)
 */
static inline void fence_after_rmw(void)
{
#if !defined(__x86_64__)
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * A compare-and-swap that fails stores nothing, and on aarch64 then is a load, which may be performed before an earlier store
 * is seen. There it counts as failed once a look behind the barrier agrees.
 */
#if defined(__x86_64__)
#define FAILED_CAS_IS_FULL true
#else
#define FAILED_CAS_IS_FULL false
#endif

/*
 * What this thread loads from here on comes after what its system call did. On x86-64 the kernel has been through a locked
 * operation since; on aarch64 it gives its locks back by a release and returns by eret, and neither keeps a later load from
 * being performed before the kernel's stores are seen.
 */
static inline void fence_after_call(void)
{
#if !defined(__x86_64__)
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Where to put a mapping: anywhere. */
static inline long port_map_hint(unsigned long len)
{
	(void)len;
	return 0;
}

#endif
