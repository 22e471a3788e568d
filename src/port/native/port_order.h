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

/* A seq_cst read-modify-write is no barrier for later loads by the language's rules; what is named full is one. */
static inline void fence_after_rmw(void)
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
