/* SPDX-License-Identifier: MIT */
/*
 * fabric_track.h: which of libfabric's cached registrations can be trusted.
 *
 * libfabric's cache, in one thread:
 *
 *	lock(mm_lock)   search the tree   found: valid()? -> hit        unlock
 *	register the pages                                              no lock, nobody told
 *	lock(mm_lock)   insert   subscribe()                            unlock
 *
 * A change between the registration and subscribe() is seen by nobody (R1, R33), and subscribe() does not say when the
 * registration began. So a registration is believed only where that is known:
 *
 *   - valid() was asked in the same thread about a range around this one, said no, and nothing has happened to that range
 *     since: what the thread then registers, it registers after valid(); or
 *   - the range has been watched for longer than a registration takes, and nothing has happened to it all the while.
 *
 * Any other goes into the tree all the same, and valid() says no to the next who finds it. He registers again, and is believed.
 * A change of the range takes the belief back, before it happens.
 *
 * One range may be in several caches (several domains), and valid() does not say in whose. So we count, for each range: `good`,
 * entries believed in, and `suspects`, entries that may be stale; good > 0 only while suspects is 0. What libfabric is told to
 * drop is in no cache any more.
 *
 * Locks: libfabric's mm_lock > the table's lock > nothing. The second one is a driver lock: callbacks take it inside munmap()
 * and free(), so nothing under it allocates or changes a mapping. libfabric is called with neither of the two held, by a thread
 * of ours, since its notify() takes the first; and that thread never runs callbacks' work for somebody who waits for it.
 */
#ifndef INTEGRATIONS_FABRIC_TRACK_H
#define INTEGRATIONS_FABRIC_TRACK_H

#include <stdbool.h>
#include <stddef.h>

#include <uhmm/fabric.h>
#include <uhmm/mm.h>

/* Calls libfabric's notify(); from the table's own thread, with no lock held. */
typedef void (*track_drop_fn)(const void *addr, size_t len);

/* Both from libfabric's start() and stop(), under its mm_state_lock. A table is started and stopped any number of times. */
int track_start(struct uhmm_mm *mm, track_drop_fn drop);
void track_stop(void);
/* The process ends: no call of drop() begins after this. */
void track_end(void);

/* The three are called under libfabric's mm_lock: they neither wait for an invalidation nor allocate. */
bool track_valid(const void *addr, size_t len);
void track_subscribe(const void *addr, size_t len);
void track_unsubscribe(const void *addr, size_t len);

void track_stats(struct uhmm_fabric_stats *out);

#endif
