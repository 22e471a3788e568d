/* SPDX-License-Identifier: MIT */
/*
 * uffd.h: the process's mapping calls as userfaultfd reports them (R26, R34), however they are made: by libc, hooked or not, or
 * inline.
 *
 *	madvise(DONTNEED, FREE)                  munmap, mremap, mmap over something
 *	REMOVE is posted                         the pages go
 *	sleeps until it has been read            UNMAP, or REMAP, is posted
 *	the pages go                             sleeps until it has been read
 *	returns                                  returns
 *
 * The caller goes on when the event has been *read*, whatever the reader does then; and nothing says that the pages have gone.
 */
#ifndef LAB_MODELS_UFFD_H
#define LAB_MODELS_UFFD_H

#include <uhmm/lab.h>

enum lab_uffd_kind { LAB_UFFD_UNMAP, LAB_UFFD_REMAP, LAB_UFFD_REMOVE };
struct lab_uffd_event {
	enum lab_uffd_kind kind;
	uint32_t page, count;
	uint32_t to; /* REMAP */
};

/* Set-up: the process's calls are reported from now on; `reader` is the fiber that reads. */
void lab_uffd_watch(void (*reader)(void *arg), void *arg);
/* poll(): sleeps until there is an event. */
void lab_uffd_poll(void);
/* read(): whoever made the call goes on. */
struct lab_uffd_event lab_uffd_read(void);
/* Set-up or fiber: the reader is gone, and what sleeps for it goes on: the descriptor is closed. */
void lab_uffd_close(void);

#endif
