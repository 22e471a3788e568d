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
	uint64_t dev;    /* as stat() numbers devices; some file systems show another one there */
	bool write, exec, sysv;
	bool file;      /* it has a path that can be opened, and the caller's buffer held it */
};

/*
 * The first mapping that ends above addr. path, if not NULL, receives the name. -ENOENT: none; or what opening
 * /proc/self/maps answered.
 */
int proc_mapping_find(uintptr_t addr, struct proc_mapping *out, char *path, size_t path_size);

/*
 * Calls fn for every mapping in the order of addresses until it returns false; name is the path as it is shown, which may be
 * cut, escaped or end in " (deleted)". 0, or what opening or reading /proc/self/maps answered.
 */
int proc_mappings_each(bool (*fn)(const struct proc_mapping *m, const char *name, void *arg), void *arg);

/*
 * The same for the mappings of files that overlap [start, end), without names and without reading the others. proc_query_open()
 * returns a descriptor for it, to be given to text_close(), or a negative errno. -ENOTTY: a kernel before 6.11.
 */
int proc_query_open(void);
int proc_query_files(int fd, uintptr_t start, uintptr_t end, void (*fn)(const struct proc_mapping *m, void *arg), void *arg);

/* True if a file descriptor is a pidfd of this process, or cannot be examined. */
bool proc_pidfd_is_self(int pidfd);

/* What a thread is doing, as far as the kernel tells without stopping it. */
enum proc_doing { PROC_GONE, PROC_RUNNING, PROC_IN_CALL, PROC_STOPPED_IN_USER, PROC_UNKNOWN };
struct proc_thread {
	enum proc_doing doing;
	long call;         /* PROC_IN_CALL: which system call */
	uintptr_t pc;      /* unless running: where it goes on in user mode */
};
/* PROC_UNKNOWN also where /proc speaks of another machine than this program was made for: under an emulator. */
struct proc_thread proc_thread_look(int tid);
/* Time in user mode as sampled by the clock tick, in ticks of 10 ms; UINT64_MAX: unknown. */
uint64_t proc_thread_user_ticks(int tid);

/* True: one of the kernel's own, of io_uring, which makes calls without being seen in one; *idle: it waits for work. */
bool proc_thread_is_worker(int tid, bool *idle);

/* True if the file system of a device number, as in struct proc_mapping, keeps its files in memory: tmpfs, hugetlbfs. */
bool proc_device_is_memory(uint64_t dev);

/* Calls fn for every thread of the process until it returns false. 0, or a negative errno. */
int proc_threads_each(bool (*fn)(int tid, void *arg), void *arg);

#endif
