/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h: random everything: several threads use the whole interface at random, with oracles that decide without timing.
 *
 *   pages   mapping calls on single pages of an arena and gets of ranges of it: no get that begins after a change is complete
 *           yields a page from before it; every registration is deregistered once (identities as in tests/races/races.h)
 *   core    notifiers, readers and explicit invalidations on an address space of their own: under the driver lock what is
 *           programmed is what is there
 *   other   address spaces and caches come and go, threads come and go, forks, signals whose handler changes mappings
 *
 * The seeds of all threads follow from one number, which is printed first.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "races/races.h"

struct fuzz_counts {
	_Atomic uint64_t gets, hits_refused, changes, reads, invalidations, refused, forks, opens, threads, signals;
};
extern struct fuzz_counts fuzz_counts;

static inline uint64_t fuzz_pick(uint64_t *seed, uint64_t n)
{
	return race_random(seed) % n;
}

/* Once, before and after the threads. Each close checks that nothing is left. */
void fuzz_pages_open(uint64_t seconds);
void fuzz_pages_close(void);
void fuzz_core_open(void);
void fuzz_core_close(void);

/* One random step. `held` is the thread's own. */
struct fuzz_held {
	struct held_reg {
		struct uhmm_reg *reg;
		unsigned cache;
	} regs[6];
	unsigned n;
};
void fuzz_pages_step(struct fuzz_held *h, uint64_t *seed);
void fuzz_pages_let_go(struct fuzz_held *h);
void fuzz_core_step(uint64_t *seed);
void fuzz_other_step(uint64_t *seed);

/* In a forked child: a few gets and puts, those of the parent's included. */
void fuzz_pages_in_child(struct fuzz_held *h);
/* Sends a signal to the calling thread whose handler maps and unmaps. */
void fuzz_signal_self(void);
void fuzz_other_open(void);

#endif
