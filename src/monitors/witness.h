/* SPDX-License-Identifier: MIT */
/*
 * witness.h: what the userfaultfd witness decides, free of system calls: the gate, the taints, who is told. uffd.c feeds it
 * with what the kernel says; the race lab feeds it with what a simulated kernel says, and runs the same code.
 *
 * The kernel's word comes at the wrong time. UNMAP and REMAP come after the change and REMOVE before it; whoever made the call
 * goes on as soon as the event has been *read*, and nothing says that the pages of a REMOVE have gone. Hence:
 *
 *   The gate (R34). Before anything is read, an invalidation of unknown range becomes active in every address space: seqs are
 *   stale, hits are refused, read_begin waits. Once the events are known it is narrowed to their ranges, which stay active
 *   until the core's service thread has run the callbacks.
 *
 *	caller of munmap()          reader                                   get
 *	the pages go
 *	UNMAP is posted; sleeps
 *	                            polls: there is something
 *	                            witness_shut(): queued, floor raised
 *	                            read()
 *	returns; mmap() gives the                                            hit refused, read_begin waits
 *	address out again
 *	                            witness_open(): [start, end) queued      waits, if it overlaps
 *	                            (service thread: callbacks, ends)        goes on, finds nothing cached
 *
 *   The taint (R26). What a REMOVE names is torn down like the rest and then stays doubtful: until every thread that may have
 *   made the call has been seen elsewhere, what is looked up there may be a page about to go. witness_vouches() says false,
 *   so read_begin answers UHMM_SEQ_DEAD and the cache hands out registrations for one use. Then comes a second invalidation
 *   of the range, and with it active the taint is taken away.
 *
 * Threads. The reader calls witness_shut() and witness_open() with its own walker and takes no lock on the way, for whoever
 * holds one may be waiting for the reader in a mapping call. The guard calls witness_untaint() and witness_die() with
 * another. Everything else may be called by any thread.
 *
 * In the lab:    witness_init(&w); witness_attach(&w, mm) before the address space is used; a core_watch_hook whose `vouches`
 * returns witness_vouches(&w, start, end); a fiber that does { wait for an event; witness_shut(&w, &w.reader); read it;
 * witness_open(&w, &w.reader, &event, 1); }, one that does { await w.taints != 0; witness_take(&w, &taken); wait until every
 * thread has been seen outside of madvise; witness_untaint(&w, &w.guard, &taken); }.
 */
#ifndef MONITORS_WITNESS_H
#define MONITORS_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"

#define WITNESS_MMS 64u
#define WITNESS_TAINTS 32u
#define WITNESS_EVENTS 4u  /* at most in one witness_open() */

enum witness_kind {
	WITNESS_UNMAP,  /* [start, end) has gone */
	WITNESS_REMAP,  /* [start, end) has moved to `to`; what `to` had before has gone */
	WITNESS_REMOVE, /* the pages of [start, end) are about to go, the mapping stays */
	WITNESS_FORK,   /* a child has been made of everything */
};

struct witness_event {
	enum witness_kind kind;
	uintptr_t start, end, to;
	/* The list of what is watched has lost it already; otherwise the service thread calls core_watch_hook.gone first. */
	bool forgotten;
};

/* One who goes through the address spaces, so that witness_detach() can wait until that is over. */
struct witness_walker {
	struct uhmm_a32 rounds; /* odd: on its way */
	uint32_t shut, opened;  /* how many of mm[] are shut, and how many of those are open again */
	struct uhmm_mm *mm[WITNESS_MMS];
	struct core_queue_entry *gate[WITNESS_MMS];
};

struct witness_taint {
	struct uhmm_a32 set; /* how often; written last when set, first when taken away */
	struct uhmm_a64 start, end;
};

struct witness {
	struct uhmm_aptr mm[WITNESS_MMS];
	struct witness_walker reader, guard;
	struct uhmm_a32 waiters; /* in witness_detach() */
	struct uhmm_a32 turns;   /* they sleep on it */
	struct uhmm_a32 taints;  /* how many are set */
	struct uhmm_a32 work;    /* changes with each new taint; the guard sleeps on it */
	struct uhmm_a32 cleared; /* changes when taints have gone; readers sleep on it */
	struct uhmm_a32 dead;
	/* When every entry is taken, the last one grows until it is empty again. */
	struct witness_taint taint[WITNESS_TAINTS];
};

/* Everything as in a new process; also in a forked child, where address spaces stay attached. */
void witness_init(struct witness *w);
void witness_fork_child(struct witness *w);

/* -ENOMEM: too many. After the return events reach mm; after that of the second nobody uses mm. */
int witness_attach(struct witness *w, struct uhmm_mm *mm);
void witness_detach(struct witness *w, struct uhmm_mm *mm);

/*
 * The reader: before a read that will, or may, let callers go on; and after it, with what was read (n may be 0). True: it calls
 * core_service_wake() soon, see core_gate_open().
 */
void witness_shut(struct witness *w, struct witness_walker *walker);
bool witness_open(struct witness *w, struct witness_walker *walker, const struct witness_event *events, uint32_t n);

bool witness_is_dead(const struct witness *w);
/* False: what is looked up in the range now may be about to go, or nobody would say so. */
bool witness_vouches(const struct witness *w, uintptr_t start, uintptr_t end);

/* True: it is tainted. Sleeps until some taint has gone, or until the deadline; then a reader asks again, with a new seq. */
bool witness_await_untaint(const struct witness *w, uintptr_t start, uintptr_t end, uint64_t deadline_ns);

/*
 * The guard: takes down the taints there are now (false: none); and gives them up, once their callers have been seen
 * elsewhere.
 */
struct witness_taken {
	uint32_t set[WITNESS_TAINTS];
};
bool witness_take(const struct witness *w, struct witness_taken *taken);
void witness_untaint(struct witness *w, struct witness_walker *walker, const struct witness_taken *taken);

/*
 * Nobody reads any more. From the return on witness_vouches() is false for ever and everything that was looked up is being torn
 * down; then callers that wait for their events may be let go. What the reader may have left half done is ended as well.
 */
void witness_die(struct witness *w);

#endif
