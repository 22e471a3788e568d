/* SPDX-License-Identifier: MIT */
/*
 * notifier.h: interval notifiers and the collision-retry protocol.
 *
 * A driver registers a notifier for each range that it mirrors into a device. To look pages up and program the device:
 *
 *	again:  seq = uhmm_read_begin(n);
 *	        if (seq == UHMM_SEQ_DEAD) give up;
 *	        look the pages up (fault, pin, register)           no lock held; may sleep and allocate
 *	        lock(driver)
 *	        if (uhmm_read_retry(n, seq)) { unlock(driver); undo; goto again; }
 *	        program the device
 *	        unlock(driver)
 *
 * and its ops->invalidate takes the same driver lock and tears down what is programmed. Whoever changes the address space
 * brackets the change with uhmm_invalidate_start() and uhmm_invalidate_end() (or _abort, if nothing changed). The numbered
 * guarantees G1..G12 are in docs/protocol.md, each with the test that checks it.
 *
 * Stability: struct uhmm_notifier and struct uhmm_invalidation are complete so that they can be embedded or kept on a stack;
 * their fields are private and their sizes fixed within one soname.
 * Threads: any thread, except where a call says otherwise. None sets errno.
 */
#ifndef UHMM_NOTIFIER_H
#define UHMM_NOTIFIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uhmm_mm;

/* Words that several threads touch. Private: only the library reads or writes them. */
struct uhmm_a32 { uint32_t private_value; };
struct uhmm_a64 { uint64_t private_value; };
struct uhmm_aptr { void *private_value; };

enum uhmm_event_kind {
	UHMM_EVENT_UNMAP,     /* the mapping goes away or is replaced */
	UHMM_EVENT_CLEAR,     /* the pages go, the mapping stays (MADV_DONTNEED, hole punching) */
	UHMM_EVENT_PROTECT,   /* permissions change */
	UHMM_EVENT_REMAP,     /* the pages move to another address */
	UHMM_EVENT_MIGRATE,   /* the pages move to other memory; `owner` says by whom */
	UHMM_EVENT_EXCLUSIVE, /* a device takes the pages for itself */
	UHMM_EVENT_RELEASE    /* the whole address space goes or is about to be copied (exit, fork) */
};

enum { UHMM_EVENT_NONBLOCK = 1u << 0 }; /* callbacks must not sleep: those that would answer -EAGAIN */

struct uhmm_event {
	uintptr_t start, end;       /* bytes, [start, end) */
	enum uhmm_event_kind kind;
	uint32_t flags;             /* UHMM_EVENT_* */
	const void *owner;          /* who causes the event, for drivers that ignore their own; NULL: nobody in particular */
};

struct uhmm_notifier;

/*
 * What a driver is told. All three run in the invalidating thread, which may be inside munmap() or free(): no member may
 * allocate with the program's allocator, change the address space, or take a lock that is ever held around either. No core
 * lock is held. They may call uhmm_read_retry() and uhmm_lock_*(); uhmm_notifier_remove() answers -EDEADLK and
 * uhmm_read_begin() of a covered notifier UHMM_SEQ_DEAD.
 */
struct uhmm_notifier_ops {
	/* Required. Takes the driver lock, tears down what is programmed in the overlap of the event with the notifier. May
	 * sleep unless the event is NONBLOCK; then it may answer -EAGAIN, having done nothing. Returns 0 otherwise. May be
	 * called again for one event if the notifier is resized meanwhile. */
	int (*invalidate)(struct uhmm_notifier *n, const struct uhmm_event *event);
	/* Optional. Second pass after every notifier's invalidate, before start returns: the place to wait for flushes that
	 * invalidate only issued. May sleep unless NONBLOCK. May come without an invalidate before it. */
	void (*finish)(struct uhmm_notifier *n, const struct uhmm_event *event);
	/* Optional. The change happened, perhaps in part (changed), or nothing did. May come without an invalidate before it:
	 * the notifier was inserted or grown meanwhile, or a non-blocking start was refused. The range still counts as
	 * invalidating, so nothing may be revived here. Like invalidate it may be called again after a resize. */
	void (*end)(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed);
};

/* Embed it, zero it before the first insert; fields are private. */
struct uhmm_notifier {
	struct uhmm_a64 private_seq;
	struct uhmm_a32 private_active; /* covering invalidations, times two; bit 0: somebody waits */
	struct uhmm_a32 private_busy;   /* callbacks running */
	uintptr_t private_start, private_end;
	struct uhmm_mm *private_mm;
	const struct uhmm_notifier_ops *private_ops;
	void (*private_done)(struct uhmm_notifier *n); /* of uhmm_notifier_remove_deferred() */
	struct uhmm_a32 private_life;   /* which life of the address space, one for each forked child; 0: not inserted */
	uint32_t private_reserved;
};

/*
 * uhmm_notifier_insert: watch [start, start+len), byte-exact.
 *
 * n is zeroed (or removed before), the caller's, and stays in place until uhmm_notifier_remove() has returned 0; ops outlives
 * it. Before the return nothing has been called; after it every invalidation that overlaps is seen, and one that had already
 * begun counts as active (G3). On failure n is untouched. Takes no driver lock. Does not wait for invalidations.
 * Not from a callback.
 *
 *  -EINVAL   NULL, len 0, the range wraps or leaves user space, ops->invalidate is NULL, or n is inserted already
 *  -EDEADLK  called from a callback
 *  -ENOMEM   no internal memory, or (first insert in a forked child) no service thread could be made
 */
int uhmm_notifier_insert(struct uhmm_mm *mm, struct uhmm_notifier *n, const void *start, size_t len,
			 const struct uhmm_notifier_ops *ops);

/*
 * uhmm_notifier_remove: stop watching (G4).
 *
 * The driver has stopped programming and dropped what it had. Readers waiting in uhmm_read_begin() get UHMM_SEQ_DEAD. Waits
 * until no callback on n is running, for nothing else; ops->end of an invalidation that is under way does not come any more.
 * After 0, n is the caller's to free or insert again. Must not be called with the driver lock held.
 *
 *  -EINVAL   n is NULL or not inserted
 *  -EDEADLK  called from a callback; nothing changed: use uhmm_notifier_remove_deferred()
 */
int uhmm_notifier_remove(struct uhmm_notifier *n);

/*
 * uhmm_notifier_remove_deferred: the same without waiting, also from a callback.
 *
 * done(n) is called exactly once, when no callback on n is running and no reader sleeps on it: before this returns, or later by
 * the thread that leaves last, under the rules of struct uhmm_notifier_ops. n is the caller's again from then on.
 *
 *  -EINVAL  n is NULL or not inserted, or done is NULL
 */
int uhmm_notifier_remove_deferred(struct uhmm_notifier *n, void (*done)(struct uhmm_notifier *n));

/*
 * uhmm_notifier_resize: watch [start, start+len) from now on, without a gap (G5).
 *
 * Every seq from before retries. The driver, under its lock, drops what a shrink gives up before the call and uses what a grow
 * adds after it. On failure nothing changed. Does not wait. Not from a callback.
 *
 *  -EINVAL   NULL, not inserted, len 0, wraps or leaves user space
 *  -EDEADLK  called from a callback
 *  -ENOMEM   no internal memory
 */
int uhmm_notifier_resize(struct uhmm_notifier *n, const void *start, size_t len);

#define UHMM_SEQ_DEAD UINT64_C(0)

/*
 * uhmm_read_begin: a sequence to hand to uhmm_read_retry().
 *
 * Waits while invalidations that overlap n are active (G2), for nothing else; under UHMM_MONITOR_UFFD also for the end of
 * discards that nobody announced, some tenths of a second at most. Returns UHMM_SEQ_DEAD when n is not inserted,
 * is removed meanwhile, belongs to the parent of a forked child, or when the calling thread would wait for itself: it holds a
 * covering invalidation open, or an announced driver lock while the range is being invalidated. Stop then, do not loop. Must
 * not be called with the driver lock held.
 */
uint64_t uhmm_read_begin(struct uhmm_notifier *n);

/*
 * uhmm_read_retry: true if what was looked up since uhmm_read_begin() may be stale (G1, G9). Called under the driver lock, and
 * what follows a false answer is programmed before the lock is dropped. UHMM_SEQ_DEAD always retries. Never blocks.
 */
bool uhmm_read_retry(struct uhmm_notifier *n, uint64_t seq);

/* The caller's storage for one invalidation, usually on its stack. Not zeroed by the caller; fields are private. */
struct uhmm_invalidation {
	struct uhmm_event private_event;
	struct uhmm_mm *private_mm;
	struct uhmm_invalidation *private_next, **private_prev;
	void *private_place;            /* where it is published or queued */
	const void *private_thread;     /* who started it */
	uint64_t private_rescan;
	uint32_t private_state;
	uint32_t private_life;
};

/*
 * uhmm_invalidate_start: [event->start, event->end) is about to change.
 *
 * Tells every overlapping notifier and returns when all have torn down; until end or abort they count as invalidating. inv is
 * the library's until then and stays in place; event is copied. Allocates nothing and waits for no reader (G7, G10). Safe in a
 * signal handler: if the handler interrupted a thread that holds a core or announced driver lock, the range is queued and that
 * thread tears down when it lets go (G12). May be nested and may overlap other invalidations. May block in callbacks, unless
 * NONBLOCK.
 *
 * After a non-zero return the invalidation is not active and is neither ended nor aborted; ops->end(changed = false) went to
 * the notifiers whose invalidate had returned 0 (and, if one was resized meanwhile, to others too, but never to the refuser).
 *
 *  -EINVAL  NULL, an empty or wrapping range, an unknown kind or flag
 *  -EAGAIN  NONBLOCK, and a notifier would have had to sleep
 */
int uhmm_invalidate_start(struct uhmm_mm *mm, struct uhmm_invalidation *inv, const struct uhmm_event *event);

/*
 * uhmm_invalidate_end: the change happened, perhaps only in part. In the thread that started it, and not with a driver lock
 * held that ops->end takes. Runs ops->end, wakes readers. Of a range that was queued (G12) a thread of the library tells the
 * notifiers later: invalidate and end(changed = true), kind UNMAP. Begun before a fork and ended in the child: nothing to do.
 */
void uhmm_invalidate_end(struct uhmm_invalidation *inv);

/* uhmm_invalidate_abort: nothing changed; as uhmm_invalidate_end() with changed = false. */
void uhmm_invalidate_abort(struct uhmm_invalidation *inv);

/*
 * uhmm_lock_acquired, uhmm_lock_released: announce a driver lock: right after taking it, and right before (or after) dropping
 * it. A program whose signal handlers change mappings announces before taking it and after dropping it, which leaves no gap.
 *
 * The lock checker (debug builds) orders it against the callbacks and against allocation; `name` is the lock's class, a string
 * that outlives the program. Release builds only count: the count is what lets an invalidation in a signal handler see that it
 * has interrupted a holder (G12). Never blocks.
 */
void uhmm_lock_acquired(const void *lock, const char *name);
void uhmm_lock_released(const void *lock);

#ifdef __cplusplus
}
#endif
#endif
