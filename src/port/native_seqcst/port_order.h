/* SPDX-License-Identifier: MIT */
/*
 * port_order.h, for ThreadSanitizer: it models neither fences nor membarrier, so every access is seq_cst and a fence is a
 * read-modify-write of one word. This checks for data races, not for orders: orders are the race lab's.
 */
#ifndef PORT_ORDER_H
#define PORT_ORDER_H

#define ORDER_RELAXED __ATOMIC_SEQ_CST
#define ORDER_ACQUIRE __ATOMIC_SEQ_CST
#define ORDER_RELEASE __ATOMIC_SEQ_CST

extern uint32_t port_fence_word;

static inline void fence_full(void)
{
	__atomic_fetch_add(&port_fence_word, 0, __ATOMIC_SEQ_CST);
}

#define FAILED_CAS_IS_FULL true

static inline void fence_after_rmw(void) { }

static inline void fence_after_call(void)
{
	fence_full();
}

/*
 * ThreadSanitizer takes notice of the program's mmap() and not of ours. An address that the program had before would come with
 * the history of what was there, so ours are addresses that nobody ever has: one after the other from a part of the address
 * space where the kernel puts nothing by itself.
 */
extern uint64_t port_map_next;

static inline long port_map_hint(unsigned long len)
{
	return (long)__atomic_fetch_add(&port_map_next, (len + 0xffff) & ~0xfffful, __ATOMIC_SEQ_CST);
}

#endif
