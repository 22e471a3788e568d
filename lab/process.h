/* SPDX-License-Identifier: MIT */
/*
 * process.h: the process around the shipped hooks, for scenarios in which threads change mappings through libc.
 *
 *	thread                    libc's entry                    the simulated machine
 *	process_munmap(2, 1)  ->  as it was: the bare call    ->  port_syscall() ->  lab_cpu_munmap()
 *	                      ->  patched: the shipped hook,  ->  port_syscall() ->  lab_cpu_munmap()
 *	                          or a model's own
 *
 * Patching itself is outside the lab: patch_install() leads the entries to the shipped hooks in one step, one entry at a time.
 * Everything that the hooks and their settle logic ask the process (/proc, mincore, ids) is answered here from the simulated
 * machine. Where the hooks are the only ones to tell, the model calls lab_silence(true).
 *
 * A call has *returned* once its number is published; a thread that has seen that number and then looks a page up must not be
 * given what the call took away. That is what registrant.h checks: threads that order nothing between them are owed nothing.
 */
#ifndef LAB_PROCESS_H
#define LAB_PROCESS_H

#include <uhmm/lab.h>

/* ---- set-up ---- */

struct process_options {
	uint32_t max_regions;  /* of the models' caches; 0: no bound */
	uint32_t cache_flags;  /* UHMM_REGCACHE_* */
	bool cold;             /* the first get makes the cache's tables; else one that finds nothing has, before the race */
	bool late;             /* attach() does not listen yet: attach_late() does, when the race has begun (R25) */
	bool reg_discards;     /* the registrant changes the very range that it registers (R27) */
	bool unpinned;         /* the registrant looks pages up and holds no reference: a mirror (R24) */
	bool fork_child;       /* process_fork() also goes on as the child */
	bool single_issuer;    /* the ring takes table updates from one thread only (R28) */
	bool looked_at;        /* process_is_discarding() will be called */
	bool reader_dies;      /* userfaultfd's, at any point */
	bool awaits_dereg;     /* registrant_await_none() will be called */
	bool untold;           /* some changes have no start: what gets are owed begins when a call has returned (R25, R31) */
};

/* First thing in a set-up: nothing is patched, nobody is in a call. */
void process_begin(const struct process_options *options);
const struct process_options *process_options(void);
/* Deadlines pass before their time in this configuration, so a get may give up. */
bool process_has_deadlines(void);
/* A thread of the program, known to /proc. Set-up only. */
void process_spawn(const char *name, void (*fn)(void *arg), void *arg);
/*
 * A fiber calls fn before any thread begins, in a prologue: for what waits, and so cannot be done in a set-up. Several are
 * called in this order; without any just the threads of the library get as far as they can.
 */
void process_open_with(void (*fn)(void *arg), void *arg);

/* ---- calls of threads, through libc. 0 or a negative errno ---- */

int process_munmap(uint32_t page, uint32_t count);
int process_mmap(uint32_t page, uint32_t count);       /* at a hint: -EEXIST if something is there */
int process_mmap_fixed(uint32_t page, uint32_t count); /* anonymous, replaces what is there */
int process_mremap(uint32_t from, uint32_t count, uint32_t to);
int process_dontneed(uint32_t page, uint32_t count);
int process_madv_free(uint32_t page, uint32_t count);
int process_protect(uint32_t page, uint32_t count, uint32_t prot);
/* By an inline system call: no entry of libc sees it. Nobody publishes the return of the first. */
int process_raw_munmap(uint32_t page, uint32_t count);
int process_inline_munmap(uint32_t page, uint32_t count);
int process_inline_dontneed(uint32_t page, uint32_t count);
int process_inline_mremap(uint32_t from, uint32_t count, uint32_t to);
/* free() of something large: the discard, with the malloc arena's lock held. */
int process_free(uint32_t page, uint32_t count);
/*
 * fork(): the handlers given to thread_atfork(), malloc's lock, the copy. True: this is the child, which has one thread, and
 * every lock as it was in the parent.
 */
bool process_fork(void);

/* How many calls have returned: acquire. Also a word to wait on. */
uint32_t process_returned(void);
void process_await_returned(uint32_t count);
/* No step: frames that are gone from these pages are `retired` as of this number; see registrant.c. */
extern void (*process_on_return)(uint32_t page, uint32_t count, uint32_t number);

/* ---- entries: for models with hooks of their own ---- */

enum process_entry { PROCESS_MUNMAP, PROCESS_MMAP, PROCESS_MREMAP, PROCESS_MADVISE, PROCESS_MPROTECT, PROCESS_ENTRIES };
typedef long (*process_fn)(long a, long b, long c, long d, long e, long f);
/* The entry leads to fn from now on; NULL: to libc again. */
void process_patch(enum process_entry entry, process_fn fn);
/* What libc's own function does: the system call. Negative errno. */
long process_original(enum process_entry entry, long a, long b, long c, long d, long e, long f);
/* The pages that a call is about to change: false, none. */
bool process_range(enum process_entry entry, long a, long b, long c, long d, uint32_t *page, uint32_t *count);

/* Thread i of the process is inside madvise(), as /proc shows it; process_options()->looked_at. A step. */
bool process_is_discarding(uint32_t i);
uint32_t process_threads(void);

/* ---- the kernel: lab_syscall() of lab/port_lab.h, and ---- */

/*
 * In the call, whoever made it: after the pages have gone, or moved, or (DISCARDS) before. NULL: nobody is told. `to` is
 * that of REMAPS.
 */
enum process_change { PROCESS_UNMAPS, PROCESS_REMAPS, PROCESS_DISCARDS };
extern void (*process_on_change)(enum process_change change, uint32_t page, uint32_t count, uint32_t to);

/* io_uring_register() of a simulated ring; NULL: -ENOSYS. */
extern long (*process_ring_register)(long fd, long opcode, long arg, long count);

#endif
