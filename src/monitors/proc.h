/* SPDX-License-Identifier: MIT */
/*
 * proc.h: what /proc says about this process, read with bare system calls and no memory but the caller's stack: also inside a
 * hook, hence inside free() or a signal handler.
 */
#ifndef MONITORS_PROC_H
#define MONITORS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proc_mapping {
	uintptr_t start, end;
	uint64_t offset; /* in the file, bytes */
	uint64_t inode;  /* 0: anonymous. Of a System V segment: its id */
	bool exec, sysv;
	bool file;      /* it has a path that can be opened, and the caller's buffer held it */
};

/*
 * The first mapping that ends above addr. path, if not NULL, receives the name. -ENOENT: none; or what opening
 * /proc/self/maps answered.
 */
int proc_mapping_find(uintptr_t addr, struct proc_mapping *out, char *path, size_t path_size);

/* True if a file descriptor is a pidfd of this process, or cannot be examined. */
bool proc_pidfd_is_self(int pidfd);

/* What a thread is doing, as far as the kernel tells without stopping it. */
enum proc_doing { PROC_GONE, PROC_RUNNING, PROC_IN_CALL, PROC_STOPPED_IN_USER, PROC_UNKNOWN };
struct proc_thread {
	enum proc_doing doing;
	long call;         /* PROC_IN_CALL: which system call */
	uintptr_t pc;      /* unless running: where it goes on in user mode */
};
struct proc_thread proc_thread_look(int tid);
/* Time in user mode as sampled by the clock tick, in ticks of 10 ms; UINT64_MAX: unknown. */
uint64_t proc_thread_user_ticks(int tid);

/* Calls fn for every thread of the process until it returns false. 0, or a negative errno. */
int proc_threads_each(bool (*fn)(int tid, void *arg), void *arg);

#endif
