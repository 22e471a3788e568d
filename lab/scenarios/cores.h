/* SPDX-License-Identifier: MIT */
/*
 * cores.h: races of the shipped core alone (C1 to C10): no model, no simulated machine, only what the protocol promises.
 *
 * A page table is a word for each page, read and written relaxed: a look-up without a lock, as gup_fast makes it, with nothing
 * to put it in order but the protocol itself. A driver's mapping is a copy of such a word, under the driver's lock:
 *
 *	reader                                   CPU
 *	seq = uhmm_read_begin()                  uhmm_invalidate_start()
 *	value = word (relaxed)                     callback: lock; mapping = 0; unlock
 *	lock                                     word = new (relaxed)
 *	uhmm_read_retry(seq)? again              uhmm_invalidate_end()
 *	mapping = value
 *	unlock
 *
 * Whatever the order, in the end the mapping is 0 or what the word holds.
 */
#ifndef LAB_SCENARIOS_CORES_H
#define LAB_SCENARIOS_CORES_H

#include <errno.h>

#include <uhmm/lab.h>

#include "lab/scenarios/scenarios.h"

#define CORE_PAGES 8u
#define CORE_DRIVERS 2u
#define CORE_TRIES 12u

struct core_driver {
	struct uhmm_notifier notifier;    /* first */
	struct lab_lock lock;
	uint32_t page, mapping;           /* under the lock */
	uint32_t starts, ends;            /* callbacks, under the lock */
	bool polite;                      /* refuses rather than waits */
};

struct core_race {
	struct uhmm_mm *mm;
	struct uhmm_a32 word[CORE_PAGES]; /* the page table */
	struct core_driver driver[CORE_DRIVERS];
};

/* Of the configuration that was set up last. */
extern struct core_race *core_race;

/* Set-up: an address space in which nothing is watched; every word holds 1. */
void core_race_begin(void);
/* Set-up or fiber: driver i watches [page, page + count), and maps page `maps` of it. */
void core_race_insert(uint32_t i, uint32_t page, uint32_t count, uint32_t maps);
/* Fiber: driver i maps its page; false: its notifier is dead. */
bool core_race_map(uint32_t i);
/* Fiber: driver i gives its mapping back. */
void core_race_unmap(uint32_t i);
/* Fiber: one announced change of the page's word, which the range [page, page + count) is announced for. */
void core_race_change(uint32_t page, uint32_t count, uint32_t value);
void core_race_must(int err, const char *what);
struct uhmm_event core_race_event(uint32_t page, uint32_t count, uint32_t flags);
/* Check: driver i's mapping is 0 or current. */
void core_race_check(uint32_t i);
/* Check: nothing is left of any change: driver i can map its page at once, and leave. */
void core_race_leave(uint32_t i);

#endif
