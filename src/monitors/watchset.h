/* SPDX-License-Identifier: MIT */
/*
 * watchset.h: which pages are watched, as far as is known. Free of system calls but for its own memory.
 *
 * The list never says more than is true, but for what somebody is just about to take out of it: ranges whose event has been
 * read and is queued (nobody gets past the queue before they are out), and ranges that a hook has taken off the kernel's
 * list inside its own bracket, and places where a call was made that sends no event, until somebody looks (uffd_watch.c). It
 * may say less: what is asked for again is registered again, which the kernel takes for done.
 *
 * What keeps it so is an epoch: everything that takes away raises it *before* the kernel's list or an event says so, and an
 * addition names the epoch from before its registration.
 *
 *	watcher                                  reader, or a hook
 *	epoch e
 *	registers [a, b)
 *	                                         epoch e+1; reads "[a, b) has gone"; takes [a, b) out, which is not in
 *	adds [a, b) of epoch e: refused, again
 *
 * Look-ups take no lock: a version that is odd while somebody writes. Writers take one, for a few dozen instructions and
 * one move of the ranges behind; the reader of the events only tries to.
 */
#ifndef MONITORS_WATCHSET_H
#define MONITORS_WATCHSET_H

#include <stdbool.h>
#include <stdint.h>

#include "port/sync.h"

#define WATCHSET_RANGES 131072u /* the kernel's usual limit is 65,530 mappings */

struct watchset_range {
	struct uhmm_a64 start, end;
};

struct watchset {
	struct sync_lock lock;
	struct uhmm_a32 version, count;
	struct uhmm_a64 epoch;
	struct watchset_range *range; /* sorted; they neither overlap nor touch */
};

int watchset_init(struct watchset *s); /* -ENOMEM; again: empties it */
void watchset_destroy(struct watchset *s);
/* In a forked child: empty; whoever held the lock is not here. */
void watchset_fork_child(struct watchset *s);

/* The whole range, or any page of it, is in the list; if that cannot be told at once, watchset_any() says true. */
bool watchset_covers(struct watchset *s, uintptr_t start, uintptr_t end);
bool watchset_any(const struct watchset *s, uintptr_t start, uintptr_t end);

uint64_t watchset_epoch(const struct watchset *s);
void watchset_doubt(struct watchset *s); /* raises it */

/* False: the epoch is not that any more, or there is no room. Not where the calling thread may hold the lock (see below). */
bool watchset_add(struct watchset *s, uintptr_t start, uintptr_t end, uint64_t epoch);

/* Takes out whatever of the range is there, or (touching) every range that has a page of it, with the rest of it. Raises the
 * epoch. try: false if somebody has the lock; then nothing was done. */
void watchset_forget(struct watchset *s, uintptr_t start, uintptr_t end);
void watchset_forget_touching(struct watchset *s, uintptr_t start, uintptr_t end);
bool watchset_try_forget_touching(struct watchset *s, uintptr_t start, uintptr_t end);

/* Takes out the first pages of the range that are there in one piece; false: none. Raises the epoch if so. */
bool watchset_take(struct watchset *s, uintptr_t start, uintptr_t end, uintptr_t *piece_start, uintptr_t *piece_end);

#endif
