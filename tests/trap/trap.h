/* SPDX-License-Identifier: MIT */
/*
 * trap.h: the experiments behind docs/trap.md. Each shows what Linux does to a process that has its own mapping calls
 * intercepted in one of the ways there are, beside a control that does the same without. They use nothing of the library.
 *
 *   way           the call is stopped by                         and somebody told by
 *   TRAP          a seccomp filter, SECCOMP_RET_TRAP             SIGSYS in the calling thread
 *   TRAP_MASKS    the same, rt_sigprocmask too, which then       the same
 *                 never blocks SIGSYS
 *   DISPATCH      syscall user dispatch                          the same
 *   (notify.c)    a seccomp filter, SECCOMP_RET_USER_NOTIF       a thread or process that reads a file descriptor
 *
 * An interceptor makes the call itself, from the gate, whose address the filter lets pass.
 */
#ifndef TESTS_TRAP_H
#define TESTS_TRAP_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "../bare.h"

#define PAGE ((size_t)4096)

/* ---- how an experiment ends (main.c) ---- */

enum { PASSED = 0, FAILED = 1, SKIPPED = 77 };

/* What became of a process: its exit status, or KILLED plus a signal. */
#define KILLED 0x100
#define STUCK 0x200 /* still there after a while; ended by us */

/* Runs fn(arg) in a forked process and says what became of it. What it intercepts dies with it. */
int fate_of(int (*fn)(const void *arg), const void *arg);
int fate_of_pid(pid_t pid);
const char *fate_text(int fate);

/* Prints what was found; false if it is not what is claimed. */
bool claim_fate(const char *what, int found, int claimed);
bool claim_long(const char *what, long found, long claimed);
bool claim(const char *what, bool found);
int skip(const char *why);

/* This program again, as `--child WORD`, with an environment as usual; never returns. See child_main(). */
_Noreturn void exec_self(const char *word);
const char *self_path(void);

struct experiment {
	const char *name;
	const char *claims; /* one line for people */
	int (*run)(void);
};
extern const struct experiment sigsys_experiments[], notify_experiments[], notify_call_experiments[], dispatch_experiments[],
	other_experiments[];

/* ---- gate and filters (filter.c) ---- */

long gate_call(long number, long a, long b, long c, long d, long e, long f);
extern char gate_start[], gate_end[], gate_sigreturn[];

struct filter_spec {
	unsigned action;       /* SECCOMP_RET_* */
	unsigned flags;        /* SECCOMP_FILTER_FLAG_* */
	const long *numbers;   /* ends with -1 */
	bool only_own_text;    /* intercept only what is called from this program's own text */
	bool no_gate;          /* somebody else's filter: our gate means nothing to it */
};
extern const long mapping_calls[];        /* munmap, madvise, mremap, mmap */
extern const long mapping_and_mask_calls[];
extern const long munmap_only[];

/* The descriptor of a listener, else 0; or a negative errno. Sets no_new_privs first, as everybody without privilege must. */
int filter_install(const struct filter_spec *spec);

/* ---- interception by SIGSYS (sigsys.c) ---- */

enum way { NO_WAY, TRAP, TRAP_MASKS, TRAP_OWN_TEXT, DISPATCH };

/* What the handler saw; `before` and `after` are the first byte at the address when the call began and ended, -1: no page. */
struct sighting {
	volatile unsigned long all, calls; /* calls: those among mapping_calls */
	volatile long number;
	volatile int before, after;
};
extern struct sighting seen;
extern bool look_at_pages; /* false: no sightings, for those who measure */

int byte_at(const void *page); /* -1 where there is no page */
/* A handler that returns through the gate: libc's own return is intercepted by dispatch like everything else. */
int set_action(int sig, void (*fn)(int, siginfo_t *, void *), int flags, uint64_t mask);
int send_self(int sig);
int intercept(enum way way);
void dispatch_pause(bool pause);

/* Runs the body in a process of its own that is intercepted this way. SETUP_FAILED: it could not be. */
int fate(enum way way, int (*body)(void));
bool is_here(enum way way);
#define SETUP_FAILED 99
#define NEEDS(way)                                                        \
	do {                                                              \
		if (!is_here(way))                                        \
			return skip("the kernel does not offer it here"); \
	} while (0)

/* Bodies. 0 where nothing is wrong. */
int look_at_four_calls(void);
int unmap_with_all_blocked(void);
int handler_with_full_mask(void);
int fork_and_exec(void); /* 40: the child was killed by SIGSYS */
int exec_in_place(void);

/* ---- inline calls ---- */

char *map_inline(size_t len, int fill); /* private anonymous memory, filled */
long unmap_inline(void *at, size_t len);
bool block_all_signals(void);

#endif
