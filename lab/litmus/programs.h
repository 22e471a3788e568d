/* SPDX-License-Identifier: MIT */
/* programs.h: how the programs are written down. Included at the end of the includes of each source that has some. */
#ifndef LAB_LITMUS_PROGRAMS_H
#define LAB_LITMUS_PROGRAMS_H

#include "lab/litmus/litmus.h"
#include "lab/memory.h"

/* A thread, and what memory holds in the end. */
#define THREAD(name, body)                                                                                                     \
	static void name(struct litmus_words *w, uint32_t *r)                                                                  \
	{                                                                                                                      \
		(void)r;                                                                                                       \
		body                                                                                                           \
	}
#define FINALLY(name, body)                                                                                                    \
	static void name(const struct litmus_words *w, uint32_t *r)                                                            \
	{                                                                                                                      \
		body                                                                                                           \
	}

/* rlx: relaxed, acq: acquire, rel: release. */
#define LOAD_RLX(word) lab_load_relaxed(&w->word)
#define LOAD_ACQ(word) lab_load_acquire(&w->word)
#define STORE_RLX(word, v) lab_store_relaxed(&w->word, v)
#define STORE_REL(word, v) lab_store_release(&w->word, v)
#define ADD_RLX(word, v) lab_a32_rmw(&w->word, LAB_ADD, v, LAB_RELAXED, LAB_SITE("fetch_add_relaxed"))
#define ADD(word, v) lab_fetch_add(&w->word, v)
#define CAS(word, expected, v) lab_a32_cas(&w->word, expected, v, LAB_SITE("cas"))
#define FENCE lab_fence()
#define LIGHT lab_mem_light(LAB_SITE("fence_light"))
#define HEAVY lab_mem_heavy(LAB_SITE("heavy barrier"))
#define LOCK(n) lab_lock(&w->lock[n])
#define UNLOCK(n) lab_unlock(&w->lock[n])
#define MEMORY(word) (w->word.private_value)

#endif
