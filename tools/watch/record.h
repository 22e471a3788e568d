/* SPDX-License-Identifier: MIT */
/*
 * record.h: what a watched process leaves for `uhmm watch`: one file for each process image, mapped shared by both.
 *
 *   $LIBUHMM_WATCH/<pid>.<n>    written by libuhmm-watch.so inside the process, read and removed by the tool
 *
 * Counters, call sites, objects and threads are never lost: what does not fit a table is counted in it as a whole. Events (only
 * if a trace was asked for) go through a ring, and those that found it full are counted. Every word is written by atomic
 * operations, because signal handlers and threads write at once and the tool reads meanwhile.
 */
#ifndef TOOLS_WATCH_RECORD_H
#define TOOLS_WATCH_RECORD_H

#include <stdatomic.h>
#include <stdint.h>

/* Not UHMM_*: what the tool does not know of those is a mistake of its caller's, also inside a watched program. */
#define WATCH_DIR_VARIABLE "LIBUHMM_WATCH"         /* the directory */
#define WATCH_OPTIONS_VARIABLE "LIBUHMM_WATCH_SET" /* WATCH_OPTION_* in decimal */
#define WATCH_LIBRARY "libuhmm-watch.so"

enum { WATCH_OPTION_TRACE = 1u << 0, WATCH_OPTION_NO_HOOKS = 1u << 1 };

#define WATCH_MAGIC UINT64_C(0x3168637461776875) /* "uhwatch1" */

/* What a call did; the order is that of watch_kinds[] in kinds.c. */
enum watch_kind {
	WATCH_MMAP,
	WATCH_MMAP_FIXED,
	WATCH_MUNMAP,
	WATCH_MREMAP_MOVE,
	WATCH_MREMAP_SIZE,
	WATCH_BRK_UP,
	WATCH_BRK_DOWN,
	WATCH_DONTNEED,
	WATCH_FREE,
	WATCH_ADVICE, /* other advice that takes pages away or exchanges them */
	WATCH_PROTECT,
	WATCH_SHMAT,
	WATCH_SHMDT,
	WATCH_REMAP_FILE,
	WATCH_DLCLOSE,
	WATCH_FORK,
	WATCH_KINDS
};

/* Why hooks that announce before the call, as caches have them today, do not save a cache from a change. */
enum watch_cause {
	WATCH_HEARD,        /* they do */
	WATCH_BY_NUMBER,    /* made through syscall() */
	WATCH_ONTO,         /* mremap() onto a range: they announce the old place only */
	WATCH_UNKNOWN_CALL, /* advice and calls that they do not know */
	WATCH_UNSEEN,       /* made inline; seen here when the address was given out again */
	WATCH_WINDOW,       /* the buffer was used, hence registered, while the change was under way */
	WATCH_CAUSES
};

#define WATCH_SIZES 4u /* up to 4 KiB, 64 KiB, 2 MiB, more */

struct watch_count {
	_Atomic uint64_t calls, failed, bytes, ns, ns_max, bytes_max, stale;
	_Atomic uint64_t sizes[WATCH_SIZES];
};

/* A cache that registers each buffer at its first use, and what would have become of it. */
struct watch_shadow {
	_Atomic uint64_t uses, registered, evicted, skipped;
	_Atomic uint64_t deaf;                 /* uses after a change that nobody announced to the cache */
	_Atomic uint64_t caused[WATCH_CAUSES]; /* uses that were stale in spite of announcements before the call */
};

#define WATCH_SITES 2048u
#define WATCH_OBJECTS 256u
#define WATCH_THREADS 512u
#define WATCH_EVENTS 16384u /* a power of two */
#define WATCH_PATH 240u
#define WATCH_NO_OBJECT UINT32_MAX

/* Where in the program a change was asked for: the first caller outside libc and libstdc++. */
struct watch_site {
	_Atomic uint32_t state; /* 0 free, 1 being written, 2 there */
	uint32_t object;        /* or WATCH_NO_OBJECT: then offset is an address */
	uint64_t offset;        /* of the return address, in the object */
	uint64_t kind;
	struct watch_count count;
};

struct watch_object {
	_Atomic uint32_t state;
	uint32_t reserved;
	uint64_t base; /* load address: run time minus link time */
	char path[WATCH_PATH];
};

struct watch_thread {
	_Atomic uint32_t state;
	uint32_t tid;
	char name[16];
};

enum { WATCH_EVENT_FAILED = 1u << 0, WATCH_EVENT_STALE_USE = 1u << 1 };

struct watch_event {
	_Atomic uint64_t turn; /* position + 1 once it is written */
	uint64_t start_ns, ns, addr, len;
	uint32_t tid, site; /* place in sites, or WATCH_SITES: none */
	uint16_t kind, flags;
	uint32_t cause;
};

struct watch_record {
	uint64_t magic;
	uint32_t pid, parent;
	_Atomic uint64_t begin_ns, end_ns; /* end: 0 while it runs, or if it did not leave by exit() */
	_Atomic uint32_t ready;            /* what is above and the texts are there */
	uint32_t hooked;
	_Atomic uint32_t overwritten; /* at exit() somebody else's patches were on top */
	char status[128];             /* of the hooks */
	char program[WATCH_PATH], command[64];
	struct watch_count kinds[WATCH_KINDS];
	struct watch_count no_site; /* changes beyond WATCH_SITES */
	struct watch_shadow shadow;
	_Atomic uint32_t sites_used, objects_used, threads_used;
	_Alignas(64) _Atomic uint64_t head; /* next position to write */
	_Atomic uint64_t tail;              /* next position to read; the tool's */
	_Atomic uint64_t dropped;
	_Alignas(4096) struct watch_site sites[WATCH_SITES];
	struct watch_object objects[WATCH_OBJECTS];
	struct watch_thread threads[WATCH_THREADS];
	_Alignas(4096) struct watch_event events[WATCH_EVENTS];
};

#endif
