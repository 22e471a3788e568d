/* SPDX-License-Identifier: MIT */
/*
 * lockcheck.h: the lock checker of G7. Built when UHMM_LOCKCHECK is defined (debug and test builds); else everything is
 * nothing.
 *
 * It learns which class of lock is taken while which other is held, and reports a circle when its last edge appears, with the
 * stack of every edge, whether or not any thread ever waits. Besides locks there are three pseudo-classes:
 *
 *   NOTIFIER  the inside of invalidate_start and invalidate_end, callbacks included
 *   OPEN      an invalidation between its start and its end
 *   ALLOC     an allocation
 *
 * with two edges that hold by nature: an allocation may invalidate (ALLOC -> NOTIFIER: malloc trims and maps), and whoever
 * waits for an end waits for the callbacks before it (OPEN -> NOTIFIER), as for all that is taken between start and end. So:
 *
 *   allocating in a callback                        NOTIFIER -> ALLOC -> NOTIFIER
 *   allocating under a lock that a callback takes   L -> ALLOC -> NOTIFIER -> L
 *   changing mappings under such a lock             L -> NOTIFIER -> L
 *   read_begin under such a lock                    L -> OPEN -> NOTIFIER -> L
 *   read_begin under a lock that is taken between start and end   L -> OPEN -> L
 *
 * Nothing here allocates, waits or takes a lock: state is static, edges are added with atomic operations, so that a signal
 * handler may come at any point. Tables that are full make the checker silent about what does not fit, never wrong.
 */
#ifndef CORE_LOCKCHECK_H
#define CORE_LOCKCHECK_H

#include <stdint.h>

#define LOCKCHECK_DEPTH 16u   /* return addresses kept of a stack */
#define LOCKCHECK_CLASSES 64u /* distinct lock names, pseudo-classes included */

struct lockcheck_stack {
	uint32_t depth;
	void *at[LOCKCHECK_DEPTH]; /* innermost first */
};

/* A circle of `edges` edges: name[i] was held when name[i + 1] was taken, at *stack[i]; the last one closes at name[0]. */
struct lockcheck_report {
	const char *rule; /* one line */
	uint32_t edges;
	const char *name[LOCKCHECK_CLASSES];
	const struct lockcheck_stack *stack[LOCKCHECK_CLASSES]; /* NULL: an edge that holds by nature */
};

#ifdef UHMM_LOCKCHECK

/*
 * Right after taking a lock (before is as good), and right before or after dropping it. name: the class; outlives the process.
 */
void lockcheck_acquire(const void *lock, const char *name);
void lockcheck_release(const void *lock);

/* First thing in uhmm_invalidate_start(), whichever path it takes: the address space is about to change. */
void lockcheck_invalidating(void);
/* Around the slow parts of start and of end, outside the core's own lock: callbacks run in between. Nests. */
void lockcheck_enter_notifier(void);
void lockcheck_leave_notifier(void);
/* This thread has one more invalidation open, when start has succeeded; one less, when end or abort has done its work. */
void lockcheck_opened(void);
void lockcheck_closed(void);
/* The program's allocator, or a pool, is about to be called. The pools call it by themselves. */
void lockcheck_allocating(void);
/* First thing in uhmm_read_begin(): it may wait for the end of an invalidation. */
void lockcheck_may_wait(void);

/* The calling thread will not come back: its place may be used by another. */
void lockcheck_thread_exit(void);
/* In a forked child: places of threads that are not there any more become free. */
void lockcheck_fork_child(void);

/* For tests. NULL: print to standard error and abort. The report lives as long as the call. */
void lockcheck_set_handler(void (*handler)(const struct lockcheck_report *report));
/* For tests, with no other thread about: forget every class and edge. */
void lockcheck_reset(void);

#else

static inline void lockcheck_acquire(const void *lock, const char *name)
{
	(void)lock;
	(void)name;
}

static inline void lockcheck_release(const void *lock)
{
	(void)lock;
}

static inline void lockcheck_invalidating(void) { }
static inline void lockcheck_enter_notifier(void) { }
static inline void lockcheck_leave_notifier(void) { }
static inline void lockcheck_opened(void) { }
static inline void lockcheck_closed(void) { }
static inline void lockcheck_allocating(void) { }
static inline void lockcheck_may_wait(void) { }
static inline void lockcheck_thread_exit(void) { }
static inline void lockcheck_fork_child(void) { }

#endif
#endif
