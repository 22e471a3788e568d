/* SPDX-License-Identifier: MIT */
/* port_sync.h, native backend: the compiler's atomics, pthread mutexes, futexes. Documented in ../sync.h. */
#ifndef PORT_NATIVE_SYNC_H
#define PORT_NATIVE_SYNC_H

#include <port_order.h> /* ORDER_RELAXED..: what each name costs; native_seqcst makes all of them seq_cst */

#define PORT_ATOMIC_LOAD_STORE(name, type, word)                                                                            \
	static inline type name##_load_relaxed(const struct word *a)                                                        \
	{                                                                                                                   \
		return __atomic_load_n(&a->private_value, ORDER_RELAXED);                                                   \
	}                                                                                                                   \
	static inline type name##_load_acquire(const struct word *a)                                                        \
	{                                                                                                                   \
		return __atomic_load_n(&a->private_value, ORDER_ACQUIRE);                                                   \
	}                                                                                                                   \
	static inline void name##_store_relaxed(struct word *a, type v)                                                     \
	{                                                                                                                   \
		__atomic_store_n(&a->private_value, v, ORDER_RELAXED);                                                      \
	}                                                                                                                   \
	static inline void name##_store_release(struct word *a, type v)                                                     \
	{                                                                                                                   \
		__atomic_store_n(&a->private_value, v, ORDER_RELEASE);                                                      \
	}                                                                                                                   \
	static inline type name##_xchg_full(struct word *a, type v)                                                         \
	{                                                                                                                   \
		type old = __atomic_exchange_n(&a->private_value, v, __ATOMIC_SEQ_CST);                                     \
                                                                                                                            \
		fence_after_rmw();                                                                                          \
		return old;                                                                                                 \
	}                                                                                                                   \
	static inline bool name##_cas_full(struct word *a, type expected, type desired)                                     \
	{                                                                                                                   \
		for (;;) {                                                                                                  \
			type seen = expected;                                                                               \
			bool done = __atomic_compare_exchange_n(&a->private_value, &seen, desired, false, __ATOMIC_SEQ_CST, \
								__ATOMIC_SEQ_CST);                                          \
                                                                                                                            \
			fence_after_rmw();                                                                                  \
			if (done || FAILED_CAS_IS_FULL || __atomic_load_n(&a->private_value, ORDER_RELAXED) != expected)    \
				return done;                                                                                \
		}                                                                                                           \
	}

#define PORT_ATOMIC_ARITHMETIC(name, type, word)                                                                            \
	static inline type name##_fetch_add_relaxed(struct word *a, type v)                                                 \
	{                                                                                                                   \
		return __atomic_fetch_add(&a->private_value, v, ORDER_RELAXED);                                             \
	}                                                                                                                   \
	static inline type name##_fetch_add_full(struct word *a, type v)                                                    \
	{                                                                                                                   \
		type old = __atomic_fetch_add(&a->private_value, v, __ATOMIC_SEQ_CST);                                      \
                                                                                                                            \
		fence_after_rmw();                                                                                          \
		return old;                                                                                                 \
	}                                                                                                                   \
	static inline type name##_fetch_sub_full(struct word *a, type v)                                                    \
	{                                                                                                                   \
		type old = __atomic_fetch_sub(&a->private_value, v, __ATOMIC_SEQ_CST);                                      \
                                                                                                                            \
		fence_after_rmw();                                                                                          \
		return old;                                                                                                 \
	}                                                                                                                   \
	static inline type name##_fetch_or_full(struct word *a, type v)                                                     \
	{                                                                                                                   \
		type old = __atomic_fetch_or(&a->private_value, v, __ATOMIC_SEQ_CST);                                       \
                                                                                                                            \
		fence_after_rmw();                                                                                          \
		return old;                                                                                                 \
	}                                                                                                                   \
	static inline type name##_fetch_and_full(struct word *a, type v)                                                    \
	{                                                                                                                   \
		type old = __atomic_fetch_and(&a->private_value, v, __ATOMIC_SEQ_CST);                                      \
                                                                                                                            \
		fence_after_rmw();                                                                                          \
		return old;                                                                                                 \
	}

PORT_ATOMIC_LOAD_STORE(a32, uint32_t, uhmm_a32)
PORT_ATOMIC_LOAD_STORE(a64, uint64_t, uhmm_a64)
PORT_ATOMIC_LOAD_STORE(aptr, void *, uhmm_aptr)
PORT_ATOMIC_ARITHMETIC(a32, uint32_t, uhmm_a32)
PORT_ATOMIC_ARITHMETIC(a64, uint64_t, uhmm_a64)

static inline void fence_signal(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

extern bool port_no_membarrier; /* written before threads rely on it, see sync_heavy_barrier_setup() */

static inline void fence_light(void)
{
	if (__builtin_expect(port_no_membarrier, 0))
		fence_full();
	else
		fence_signal();
}

static inline void sync_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#else
	fence_signal();
#endif
}

#include <port_lock.h> /* struct sync_lock */

#endif
