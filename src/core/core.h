/* SPDX-License-Identifier: MIT */
/*
 * core.h: what the rest of the library uses of the core besides the public notifier calls.
 *
 * Lock nesting, outermost first: driver lock -> address-space lock (mm->lock). Neither is held while a callback runs by the
 * core itself; a callback takes the driver lock.
 */
#ifndef CORE_CORE_H
#define CORE_CORE_H

#include <uhmm/mm.h>
#include <uhmm/notifier.h>

#include "core/thread.h"
#include "port/sync.h"

struct uhmm_mm;

/* An address space without monitors. On failure *mm is untouched. -ENOMEM. */
int core_mm_create(struct uhmm_mm **mm);
/* No notifier is inserted, no invalidation active. */
void core_mm_destroy(struct uhmm_mm *mm);

/* Where monitors keep their bits and their state; set before the address space is handed out. */
void core_mm_set_monitors(struct uhmm_mm *mm, uint32_t bits);
uint32_t core_mm_get_monitors(const struct uhmm_mm *mm);

/* Which life of the address space: 1, and one more after each fork, in the child. */
uint32_t core_mm_life(const struct uhmm_mm *mm);

/*
 * A monitor that began late cannot yet vouch for calls that were under way when it began (R25): while an address space is
 * unsettled, nothing that is looked up may be kept. Set by monitors, asked by caches.
 */
void core_mm_set_unsettled(struct uhmm_mm *mm, bool unsettled);
bool core_mm_is_settled(const struct uhmm_mm *mm);

/*
 * uhmm_read_begin() that waits no longer than deadline_ns (CLOCK_MONOTONIC, or SYNC_FOREVER).
 * 0 with *seq set; -ETIMEDOUT; -EOWNERDEAD for what uhmm_read_begin() answers UHMM_SEQ_DEAD.
 */
int core_read_begin(struct uhmm_notifier *n, uint64_t deadline_ns, uint64_t *seq);

/* A word that is not zero while an invalidation is queued (G12, or at a monitor's gate): what is watched may be stale then. */
const struct uhmm_a32 *core_mm_queued(const struct uhmm_mm *mm);

/* The thread id of the core's own service thread, which makes no mapping calls through libc. Waits until it runs. */
uint32_t core_service_thread(void);

/* True while the calling thread runs a protocol callback, or itself holds an invalidation of mm open that covers the range. */
bool core_in_callback(void);
bool core_thread_invalidates(struct uhmm_mm *mm, uintptr_t start, uintptr_t end);

/* True if an invalidation that overlaps [start, end) is active now; only a hint for look-ups that are not yet watched. */
bool core_range_is_active(struct uhmm_mm *mm, uintptr_t start, uintptr_t end);

enum core_stat {
	CORE_STAT_RETRIES, /* counted by uhmm_read_retry() itself */
	CORE_STAT_DEFERRED,
	CORE_STAT_CACHE_HITS,
	CORE_STAT_CACHE_MISSES,
	CORE_STAT_CACHE_EVICTIONS,
	CORE_STATS
};
/* Adds to a counter that uhmm_mm_stats() reports. A shared line: not for hot paths. */
void core_stat_add(struct uhmm_mm *mm, enum core_stat which, uint64_t n);

/*
 * A source of counts that are kept elsewhere (per thread, say) and summed only on request. `add` is called under the
 * address-space lock by uhmm_mm_stats(). Register once; remove before the memory goes.
 */
struct core_stat_source {
	void (*add)(struct core_stat_source *s, struct uhmm_stats *out);
	struct core_stat_source *next;
};
void core_stat_source_add(struct uhmm_mm *mm, struct core_stat_source *s);
void core_stat_source_remove(struct uhmm_mm *mm, struct core_stat_source *s);

/*
 * fork, called by whoever registers fork handlers (src/monitors/fork.c). prepare leaves an invalidation of the whole address
 * space (UHMM_EVENT_RELEASE) active in every live address space and holds no lock when it returns; parent ends it
 * (changed = true); child begins a new life of every address space without taking a lock.
 */
void core_fork_prepare(void);
void core_fork_parent(void);
void core_fork_child(void);
/*
 * fn(arg, mm) in the child, after the new life has begun, for state that hangs on an address space. Kept in the caller's
 * memory.
 */
struct core_fork_hook {
	void (*child)(struct core_fork_hook *h);
	struct core_fork_hook *next;
};
void core_fork_hook_add(struct uhmm_mm *mm, struct core_fork_hook *h);
void core_fork_hook_remove(struct uhmm_mm *mm, struct core_fork_hook *h);

/*
 * A monitor that has to be told what to watch. Added before the address space is handed out. No lock is held in any of these.
 *
 * watch     called by an insert or resize for the range that the notifier is to cover, in the calling thread, before anybody
 *           can find the notifier there: what changes from its return on must be announced, or looked-up pages must not be kept
 *           (core_mm_set_unsettled(), or vouches). It may block and make system calls. A range that was watched may be asked
 *           for again, and may hold no mapping.
 * vouches   optional. Called when read_begin has taken its seq, before the caller looks pages up; may do what watch may. False:
 *           what is looked up now may not be kept, and read_begin answers UHMM_SEQ_DEAD.
 * passes    optional. The doubt of vouches, is it one that passes? False: no. Otherwise it waits for that, some milliseconds at
 *           most, for no lock and no callback. Asked only in the name of a reader that is not in a hurry (SYNC_FOREVER).
 * gone      optional. Called by the core's service thread, for a range given to core_gate_open() with `tell`, before any
 *           callback: what was mapped there is not any more.
 */
struct core_watch_hook {
	void (*watch)(struct core_watch_hook *h, uintptr_t start, uintptr_t end);
	bool (*vouches)(struct core_watch_hook *h, uintptr_t start, uintptr_t end);
	bool (*passes)(struct core_watch_hook *h, uintptr_t start, uintptr_t end);
	void (*gone)(struct core_watch_hook *h, uintptr_t start, uintptr_t end);
	struct core_watch_hook *next;
};
void core_watch_hook_add(struct uhmm_mm *mm, struct core_watch_hook *h);

/*
 * A monitor that is about to learn of changes that have happened already, or happen at any moment. core_gate_shut() makes an
 * invalidation of everything active: every seq is stale, hits are refused, read_begin waits. core_gate_open() narrows it to
 * `ranges`, each of which stays active until the service thread has run its callbacks and end(changed = true); none: it was
 * nothing. Neither takes a lock, sleeps or runs a callback.
 *
 * True: there is something for the service thread, and core_service_wake() is to be called soon. Whoever has to wait for it
 * meanwhile calls it himself, so that this may be left until those have gone on who wait for the monitor.
 */
struct core_queue_entry;
struct core_gate_range {
	uintptr_t start, end;
	enum uhmm_event_kind kind;
	bool tell; /* core_watch_hook.gone is to be called */
};
struct core_queue_entry *core_gate_shut(struct uhmm_mm *mm);
bool core_gate_open(struct uhmm_mm *mm, struct core_queue_entry *gate, const struct core_gate_range *ranges, uint32_t n);

#endif
