/* SPDX-License-Identifier: MIT */
#ifndef MONITORS_FORK_H
#define MONITORS_FORK_H

/* Once per process, with the first address space: what happens around libc's fork(). -ENOMEM. */
int fork_watch(void);

#endif
