/* SPDX-License-Identifier: MIT */
/*
 * queue.h: invalidations that a signal handler could not run, because it had interrupted the holder of a lock that they need
 * (G12). Pushed by compare-and-swap alone; drained by the core's service thread, which waits for the holder as anybody would.
 *
 *   handler, on top of a lock holder              service thread
 *   push: range is queued, floor raised
 *   ... the mapping changes ...
 *   ended: the entry may be drained
 *   (handler returns; holder goes on, its
 *    read_retry says yes; it drops the lock)      start: takes the driver locks, tears down
 *                                                 end(changed = true)
 *                                                 the range is no longer queued: readers go on
 *
 * The gate of a monitor that learns of changes late (core_gate_shut(), core_gate_open()) is an entry of its own kind: open, it
 * covers everything; opened, it shrinks to what changed and is drained like the rest.
 */
#ifndef CORE_QUEUE_H
#define CORE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "port/sync.h"

struct uhmm_mm;

#define QUEUE_ENTRIES 16u

enum queue_state { QUEUE_FREE, QUEUE_FILLING, QUEUE_OPEN, QUEUE_ENDED };

#define QUEUE_TELL 0x100u /* core_watch_hook.gone is to be called */

struct core_queue_entry {
	struct uhmm_a32 state;
	struct uhmm_a64 start, end;
	struct uhmm_a32 what;    /* enum uhmm_event_kind, and QUEUE_TELL */
	struct uhmm_aptr thread; /* whose handler it is; NULL: a monitor's gate */
};

/*
 * When every entry is taken, the whole address space is queued instead: `overflow_open` handlers are inside, and
 * `overflow_ended` have left since the last drain.
 */
struct core_queue {
	struct core_queue_entry entry[QUEUE_ENTRIES];
	struct uhmm_a32 overflow_open, overflow_ended;
};

/* Async-signal-safe. Makes every seq stale and returns the place that is given to core_queue_ended(); NULL: the overflow. */
struct core_queue_entry *core_queue_push(struct uhmm_mm *mm, uintptr_t start, uintptr_t end);
/* Async-signal-safe. The change has happened (or not: then nothing is torn down). */
void core_queue_ended(struct uhmm_mm *mm, struct core_queue_entry *entry, bool changed);
/* True if a range that overlaps is queued and not drained; thread not NULL: queued by that thread and not ended. */
bool core_queue_overlaps(struct uhmm_mm *mm, uintptr_t start, uintptr_t end, const void *thread);
/* Forget everything, in a forked child. */
void core_queue_reset(struct core_queue *q);

/* The service thread that drains: started with the first address space, again by the first insert in a forked child. */
int core_service_start(void);
/* Async-signal-safe: something can be drained. */
void core_service_wake(void);
/* Takes mm off the list of live address spaces; returns when no service thread and no fork is looking at it. */
void core_service_quiesce(struct uhmm_mm *mm);
void core_service_fork_child(void);

#endif
