/* SPDX-License-Identifier: MIT */
/*
 * memory.h: the operations that fibers share words, locks and fences by. src/port/lab makes the seam's names of them, lab.h
 * what models use; both by macros, so that each place in the source has its struct lab_site.
 *
 * Each publishes itself by lab_point() and is performed when it is the fiber's turn. The word itself always holds the newest
 * value in memory, so that looking at it without an operation (a check after the execution, a debugger) sees that.
 */
#ifndef LAB_MEMORY_H
#define LAB_MEMORY_H

#include <uhmm/notifier.h>

#include "lab/engine.h"

enum lab_order { LAB_RELAXED, LAB_ACQUIRE, LAB_RELEASE, LAB_FULL };
enum lab_rmw { LAB_XCHG, LAB_ADD, LAB_SUB, LAB_OR, LAB_AND };

/* This place in the source, `words` being the operation as written there. */
#define LAB_SITE(words)                                                                                                     \
	(__extension__({                                                                                                    \
		static const struct lab_site lab_site_here_ = {__FILE__, __func__, words, __LINE__};                        \
		&lab_site_here_;                                                                                            \
	}))

/* Words of 4 or 8 bytes, naturally aligned. */
uint64_t lab_mem_load(const void *word, uint32_t size, enum lab_order order, const struct lab_site *site);
void lab_mem_store(void *word, uint32_t size, uint64_t value, enum lab_order order, const struct lab_site *site);
/* Returns the old value. RELAXED or FULL. */
uint64_t lab_mem_rmw(void *word, uint32_t size, enum lab_rmw what, uint64_t operand, enum lab_order order,
		     const struct lab_site *site);
/* Strong, a full barrier; one that fails reads the newest value. */
bool lab_mem_cas(void *word, uint32_t size, uint64_t expected, uint64_t desired, const struct lab_site *site);

void lab_mem_fence(const struct lab_site *site);
void lab_mem_light(const struct lab_site *site);
void lab_mem_heavy(const struct lab_site *site);

/* A lock that sleeps. Zeroed: free. */
struct lab_mutex {
	uint32_t holder;  /* fiber + 1 */
	uint32_t readers; /* those who hold it together */
};
void lab_mem_lock(struct lab_mutex *l, const struct lab_site *site);
bool lab_mem_trylock(struct lab_mutex *l, const struct lab_site *site);
void lab_mem_unlock(struct lab_mutex *l, const struct lab_site *site);
/* Held by any number of fibers together, or by one that has taken it by lab_mem_lock(). Readers overtake waiting writers. */
void lab_mem_lock_shared(struct lab_mutex *l, const struct lab_site *site);
void lab_mem_unlock_shared(struct lab_mutex *l, const struct lab_site *site);

/* As futex(2): false if the deadline passed; true after a wake, for nothing, or because the word is not `expected` any more. */
bool lab_mem_wait(const struct uhmm_a32 *word, uint32_t expected, bool has_deadline, const struct lab_site *site);
void lab_mem_wake(const struct uhmm_a32 *word, const struct lab_site *site);

/* Sleeps while memory does not hold the value; any store to the word wakes. For models, which need no wake of their own. */
void lab_mem_await_change(const struct uhmm_a32 *word, uint32_t value, const struct lab_site *site);

/* One turn of a spin: not again before another fiber has made a step. */
void lab_mem_relax(const struct lab_site *site);

/* With the types of the words, so that the wrong one does not compile. */
#define LAB_TYPED(name, type, word, to_word, from_word)                                                                    \
	static inline type lab_##name##_load(const struct word *a, enum lab_order o, const struct lab_site *s)              \
	{                                                                                                                   \
		return from_word lab_mem_load(a, sizeof(*a), o, s);                                                         \
	}                                                                                                                   \
	static inline void lab_##name##_store(struct word *a, type v, enum lab_order o, const struct lab_site *s)           \
	{                                                                                                                   \
		lab_mem_store(a, sizeof(*a), to_word v, o, s);                                                              \
	}                                                                                                                   \
	static inline type lab_##name##_rmw(struct word *a, enum lab_rmw w, type v, enum lab_order o,                       \
					    const struct lab_site *s)                                                       \
	{                                                                                                                   \
		return from_word lab_mem_rmw(a, sizeof(*a), w, to_word v, o, s);                                            \
	}                                                                                                                   \
	static inline bool lab_##name##_cas(struct word *a, type expected, type desired, const struct lab_site *s)          \
	{                                                                                                                   \
		return lab_mem_cas(a, sizeof(*a), to_word expected, to_word desired, s);                                    \
	}

LAB_TYPED(a32, uint32_t, uhmm_a32, , (uint32_t))
LAB_TYPED(a64, uint64_t, uhmm_a64, , )
LAB_TYPED(aptr, void *, uhmm_aptr, (uint64_t)(uintptr_t), (void *)(uintptr_t))

#endif
