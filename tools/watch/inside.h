/* SPDX-License-Identifier: MIT */
/*
 * inside.h: the parts of libuhmm-watch.so, which runs inside the watched program.
 *
 * entries.c  libc's mapping functions, patched at their entries as the library's own hooks are
 * note.c     the process's record: attaching, counting, events
 * site.c     who called
 * shadow.c   the buffers that a registration cache would hold
 * io.c       functions that take buffers, in front of libc's
 *
 * Everything here may run inside free(), in a signal handler or in a thread that is about to end: bare system calls, no
 * allocation, no lock but the shadow's, which no signal handler waits for. errno is left alone.
 */
#ifndef TOOLS_WATCH_INSIDE_H
#define TOOLS_WATCH_INSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

/* One thread's, zero at first. */
struct watch_self {
	uint64_t life; /* the image that tid was asked in: a forked child has another */
	uint32_t tid;
	uint32_t depth; /* inside the recording; more than once in a signal handler on top of it */
	bool named;
	uint64_t fork_ns; /* when its fork() began */
};
extern _Thread_local struct watch_self watch_self __attribute__((tls_model("initial-exec")));

struct watch_shadow_set;

/* In memory that a forked child, however it was made, finds zeroed. */
struct watch_state {
	_Atomic uint32_t phase; /* 0 not attached, 1 being attached, 2 attached, 3 cannot be */
	uint64_t life;
	struct watch_record *record;
	struct watch_shadow_set *shadow;
	_Atomic uint64_t usable, unusable;       /* pieces of the record that have memory, or cannot have */
	_Atomic uint16_t index[2 * WATCH_SITES]; /* hash of site and kind: place in record->sites, plus one */
	uintptr_t pc[WATCH_SITES];
};

/* The process's state with its record attached; NULL: do not record. Only after an enter that was not NULL is left. */
struct watch_state *watch_enter(struct watch_self *self);
void watch_leave(struct watch_self *self);
/* False: the file system is full; [at, at + len) of the record must not be touched. */
bool watch_usable(struct watch_state *s, const void *at, size_t len);
/* As much of the text as there is room for, and a zero. */
void watch_copy_text(char *to, const char *from, size_t size);
/* A bare system call: the kernel's own result. */
long watch_call(long number, long a, long b, long c, long d, long e, long f);

uint64_t watch_now_ns(void);

/* ---- changes ---- */

struct watch_range {
	uintptr_t start, end;
};

/* One call that has returned. */
struct watch_change {
	enum watch_kind kind;
	bool failed;
	uint64_t bytes;
	uintptr_t addr, caller; /* caller: the return address of libc's function */
	uint64_t start_ns, ns;
};

/* Counts it; the site's place, or WATCH_SITES. */
uint32_t watch_note(struct watch_state *s, struct watch_self *self, const struct watch_change *c);
/* A use that would have been stale. */
void watch_note_stale(struct watch_state *s, struct watch_self *self, uintptr_t addr, size_t len, enum watch_kind by,
		      enum watch_cause cause, uint32_t site);

/* ---- sites ---- */

/* Once, early: which objects callers are looked for beyond. */
void watch_site_setup(void);
/* The first return address outside libc and the like; caller itself if that is. */
uintptr_t watch_site_of(uintptr_t caller);
/* The object that holds pc, entered in the record; *base is its load address. WATCH_NO_OBJECT: none. */
uint32_t watch_object_of(struct watch_state *s, uintptr_t pc, uint64_t *base);
/* After dlclose(): addresses may be another object's from now on. */
void watch_forget_sites(struct watch_state *s);

/* ---- the shadow ---- */

size_t watch_shadow_size(void); /* of zeroed memory */
/* Hooks that announce before the call do so now. */
void watch_shadow_announce(struct watch_state *s, struct watch_self *self, struct watch_range range);
/* The pages have changed. site: who did it. */
void watch_shadow_changed(struct watch_state *s, struct watch_self *self, struct watch_range range, enum watch_kind kind,
			  enum watch_cause cause, uint32_t site);
/* A buffer is given to a call. */
void watch_shadow_use(struct watch_state *s, struct watch_self *self, uintptr_t addr, size_t len);

/* Finds the functions that io.c stands in front of. */
void watch_io_setup(void);

/* ---- entries ---- */

/* Finds libc's syscall(), which this library's stands in front of. */
void watch_syscall_setup(void);
/* 0 or a negative errno; *status says it in words. */
int watch_entries_install(const char **status);
/* Somebody has patched on top of it: what he does not pass on goes unseen. */
bool watch_entries_overwritten(void);

#endif
