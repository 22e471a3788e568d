/* SPDX-License-Identifier: MIT */
/*
 * settle.h: R25. A thread may have been on its way into a mapping call, past the entry, when the entry was patched:
 *
 *   thread A                                     thread B
 *   munmap(): past the entry
 *                                                patches, opens, gets a region of that range: cached
 *   the kernel unmaps it; nobody was told        another get: the stale region
 *
 * So every thread that existed when the patches were in place is looked at until it has been seen elsewhere:
 *   blocked in a system call that changes no mapping    (it may stay there for ever, which is fine)
 *   blocked outside any, with a pc outside the patched functions
 *   running, with two clock ticks of user time since    (a mapping call is kernel time but for some dozens of instructions)
 *   gone
 * A thread that was interrupted between the entry and its system call by a signal, whose handler then blocks, is taken for
 * settled although it is not; that window is a handful of instructions in the moment of the first open. So is one that is in
 * dlclose() since before, blocked in a destructor.
 *
 * A second address space that begins to listen later has nothing of that, but a hook or a dlclose() under way does not know it
 * yet: it counts as settled when every such call has returned.
 */
#ifndef MONITORS_SETTLE_H
#define MONITORS_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

struct uhmm_mm;

/* The patches are in place: take down who is there. */
void settle_begin(void);
/* mm listens as of the epoch. */
void settle_watch(struct uhmm_mm *mm, uint64_t epoch);
/* Waits a millisecond at most; what has not settled then is marked, and a service thread goes on looking. */
void settle_briefly(struct uhmm_mm *mm);
void settle_forget(struct uhmm_mm *mm);
/* mm is unsettled from here on, as is whoever comes later, until settle_resume() lets all of them settle again. */
void settle_suspend(struct uhmm_mm *mm);
void settle_resume(uint64_t epoch);
bool settle_is_suspended(void);
void settle_fork_child(void);

#endif
