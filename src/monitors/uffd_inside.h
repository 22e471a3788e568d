/* SPDX-License-Identifier: MIT */
/* uffd_inside.h: what the parts of the userfaultfd witness share. */
#ifndef MONITORS_UFFD_INSIDE_H
#define MONITORS_UFFD_INSIDE_H

#include <assert.h>

#include "core/core.h"
#include "monitors/uffd.h"
#include "monitors/watchset.h"
#include "monitors/witness.h"
#include "port/inject.h"
#include "port/thread.h"
#include "port/uffd.h"

enum uffd_state {
	UFFD_CLOSED,
	UFFD_RUNNING,
	UFFD_DEAD, /* the reader has gone: nothing is witnessed, and nothing waits, until the last address space closes */
};

/* One address space that listens. */
struct uffd_listener {
	struct core_watch_hook hook; /* first */
	struct uhmm_mm *mm;          /* NULL: free */
	bool hooked, files;
};

struct uffd {
	struct uhmm_a32 state; /* enum uffd_state */
	struct uhmm_a32 fd;    /* in UFFD_DEAD: of something harmless */
	int maps;              /* for PROCMAP_QUERY; negative: an older kernel */
	int spare;             /* given up when a fork's event needs a descriptor and there is none */
	void *bell;            /* a watched page of ours: unmapping it wakes the reader */
	bool forks;            /* the descriptor delivers them */
	struct uhmm_a32 rung;  /* the reader has read that, and is to end */
	struct uhmm_a32 stop;  /* the guard is to end, which it does after the reader */
	struct uhmm_a32 up;    /* the reader has begun its life */
	struct uhmm_a32 left;  /* pieces that hooked calls have left unwatched, about */
	struct watchset set;
	struct witness witness;
	struct thread_life life; /* the reader's */
	struct thread_service reader, guard;
};
extern struct uffd uffd;

static inline int uffd_fd(void)
{
	return (int)a32_load_acquire(&uffd.fd);
}

static inline bool uffd_runs(void)
{
	return a32_load_acquire(&uffd.state) == UFFD_RUNNING;
}

/* uffd.c: in a forked child, what the parent had is made anew on the first use; false: it cannot be. */
bool uffd_ready(void);

/*
 * uffd_watch.c. True: every page of the range is mapped and watched. trust: what the list says is believed, which costs no
 * system call; it is wrong where a call that sends no event has been made.
 */
bool uffd_watch_range(uintptr_t start, uintptr_t end, bool files, bool trust);
void uffd_watch_init(void); /* what kinds of mappings there are */

/* uffd_lift.c: whether hooked calls may keep their events back. */
void uffd_lift_allow(bool allow);
void uffd_lift_fork_child(void);

/* uffd.c: an event of fork is one that the fork's handlers have announced. */
bool uffd_fork_is_known(void);

void uffd_reader_main(void *arg);
void uffd_guard_main(void *arg);

#endif
