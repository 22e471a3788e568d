/* SPDX-License-Identifier: MIT */
/*
 * uffd.h: the process's mapping calls as userfaultfd reports them, for models whose only witness it is (R26, R34).
 *
 *	madvise(DONTNEED)                        munmap, mremap, mmap over something
 *	REMOVE is posted                         the pages go
 *	sleeps until it has been read            UNMAP is posted
 *	the pages go                             sleeps until it has been read
 *	returns                                  returns
 *
 * The caller goes on when the event has been *read*, whatever the reader does then; and nothing says that the pages have gone.
 */
#ifndef LAB_MODELS_UFFD_H
#define LAB_MODELS_UFFD_H

#include <uhmm/lab.h>

/* Set-up: the process's calls are reported from now on; `reader` is the fiber that reads. */
void uffd_watch(void (*reader)(void *arg), void *arg);
/* poll(): sleeps until there is an event. */
void uffd_poll(void);
/* read(): whoever made the call goes on. */
void uffd_read(uint32_t *page, uint32_t *count);

#endif
