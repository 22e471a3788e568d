/* SPDX-License-Identifier: MIT */
/*
 * uffd.h: userfaultfd as a witness: whole mappings in asynchronous write-protect mode, in which no fault is ever delivered,
 * with the events of what happens to them. And the life of a thread as the kernel sees it. Everything returns 0 or a
 * negative errno.
 */
#ifndef PORT_UFFD_H
#define PORT_UFFD_H

#include <stdbool.h>
#include <stdint.h>

#include "port/sync.h"

/*
 * A descriptor (close-on-exec, non-blocking); *forks: events of fork are among those it delivers.
 * -EPERM: forbidden, by a filter of system calls too; -EOPNOTSUPP: no userfaultfd in this kernel, or none of this kind (before
 * 6.7); -EMFILE, -ENFILE: no descriptor left; -ENOMEM.
 */
int uffd_open(bool *forks);
void uffd_close(int fd);

/*
 * [start, end) of whole pages. -EBUSY: another userfaultfd has some of it; -EINVAL: of a kind that cannot be watched, or
 * nothing is mapped there; -ENOMEM: no memory, or (where that splits a mapping) too many mappings.
 */
int uffd_watch(int fd, uintptr_t start, uintptr_t end);
int uffd_unwatch(int fd, uintptr_t start, uintptr_t end);

/* pagemap: of /proc/self/pagemap. The mapping at addr is on the list of some userfaultfd of this kind. */
bool uffd_is_async(int pagemap, uintptr_t addr);

enum uffd_kind { UFFD_UNMAP, UFFD_REMAP, UFFD_REMOVE, UFFD_FORK, UFFD_OTHER };
struct uffd_event {
	enum uffd_kind kind;
	uintptr_t start, end;
	uintptr_t to; /* REMAP */
	int child;    /* FORK: a descriptor for the child's mappings, to be closed */
};
/*
 * Sleeps until there is something to read, or for so long (0: for ever). -ETIMEDOUT; -EBADF and the like: the descriptor is no
 * more.
 */
int uffd_poll(int fd, uint64_t timeout_ns);
/* The calling thread's short sleeps are to be as short as they say. */
void uffd_precise_sleeps(void);
/* The number of events, at most max and UFFD_READ_MAX; whoever made the calls goes on. -EAGAIN: nothing there after all. */
#define UFFD_READ_MAX 4u
int uffd_read(int fd, struct uffd_event *out, uint32_t max);

/*
 * A thread's life. thread_life_begin() by the thread itself: from then on, until thread_life_end(), the kernel itself
 * clears the word's lower bits when the thread is gone, however that came about. The words stay in place.
 */
struct thread_life {
	void *list[4]; /* the kernel's */
	void *former;  /* libc's own registration */
	struct uhmm_a32 word;
};
void thread_life_begin(struct thread_life *l);
void thread_life_end(struct thread_life *l);
/* It is gone and has not said so. */
bool thread_life_is_lost(const struct thread_life *l);
/* Sleeps until it is lost, or until *work is no longer what was seen. May come back for no reason. */
void thread_life_await(const struct thread_life *l, const struct uhmm_a32 *work, uint32_t seen);

#endif
