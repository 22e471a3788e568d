/* SPDX-License-Identifier: MIT */
/*
 * uffd.h: the userfaultfd witness, as uhmm_mm_open() and the hooks see it. One descriptor for the process, whatever the
 * number of address-space objects: a mapping can have one only.
 *
 * uffd.c        who listens; opening and closing; fork
 * uffd_watch.c  which mappings are put on the kernel's list, and when
 * uffd_reader.c the thread that reads the events
 * uffd_guard.c  the thread that notices its death, and that waits for the end of what has none (R26)
 * uffd_lift.c   how a hooked call keeps its own events from being sent
 * witness.c     what is decided; watchset.c what is watched: both free of system calls
 */
#ifndef MONITORS_UFFD_H
#define MONITORS_UFFD_H

#include <stdbool.h>
#include <stdint.h>

#include "port/sync.h"

struct uhmm_mm;

/*
 * From the return on, what is watched for mm is witnessed. hooked: mm hears of hooked calls from the hooks; files: mappings of
 * page-cache files are watched as well. -EPERM, -EOPNOTSUPP, -EMFILE, -ENFILE, -ENOMEM as in <uhmm/mm.h>.
 */
int uffd_attach(struct uhmm_mm *mm, bool hooked, bool files);
/* Nobody uses mm any more once this has returned. With the last one everything is unwatched and closed. */
void uffd_detach(struct uhmm_mm *mm);
/* Around fork(): after core_fork_prepare(), before core_fork_parent(), and in the child after core_fork_child(). */
void uffd_fork_prepare(void);
void uffd_fork_parent(void);
void uffd_fork_child(void);

/*
 * A hooked call inside its own bracket, on pages that may be watched. Before it: they are taken off the kernel's list, so
 * that the call sends no event. After it, before the bracket ends: they are out of our list too, whoever put them there
 * meanwhile; what is still mapped is watched again by the next look-up, or now if there are many such pieces. Both true:
 * the range is to count as changed, whatever the call said, for others' changes of it were not witnessed meanwhile.
 *
 *	this thread                              another thread: munmap() by an inline system call
 *	start: [s, e) counts as active
 *	[s, e) is off the list
 *	                                         [s, e) goes, without an event
 *	madvise(s, e): fails
 *	end(changed = true), because of this
 */
extern struct uhmm_a32 uffd_lifting; /* not zero: worth asking */
bool uffd_lift(uintptr_t start, uintptr_t end);
void uffd_lifted(uintptr_t start, uintptr_t end, bool stays);

#endif
