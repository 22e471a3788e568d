/* SPDX-License-Identifier: MIT */
/*
 * supervisor.h: who answers for calls that a filter with SECCOMP_RET_USER_NOTIF has stopped. For its own memory it makes the
 * call in the caller's place, and writes into `seen` what it saw; for others it lets the kernel go on.
 */
#ifndef TESTS_TRAP_SUPERVISOR_H
#define TESTS_TRAP_SUPERVISOR_H

#include <linux/seccomp.h>

#include "port/linux_new.h"
#include "trap.h"

#define ALL_THREADS (SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH)
#define KILLABLE SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV

/* The kernel's may be larger than the headers'. */
union request {
	struct seccomp_notif n;
	char room[512];
};

/* Through the gate; 0 or a negative errno. */
int receive(int listener, union request *request);
int reply(int listener, uint64_t id, long result);
int let_go_on(int listener, uint64_t id);

/* Is a call waiting to be received, at the latest after so long? */
bool is_waiting(int listener, int timeout_ms);

/* By kcmp(). */
bool same_memory(pid_t pid);

/* Receives and answers one call. */
int serve(int listener);

#define A_WHILE_MS 300 /* for what must not happen */
#define LONG_MS 60000  /* for what must */

/* The listener, or a negative errno. */
int notify_install(const long *numbers, unsigned flags);
/* All threads, all mapping calls, with a supervisor thread. The listener, or a negative errno. */
int supervised(void);

bool notify_is_here(void);
#define NEEDS_NOTIFY()                                                                                                         \
	do {                                                                                                                   \
		if (!notify_is_here())                                                                                         \
			return skip("no SECCOMP_RET_USER_NOTIF with WAIT_KILLABLE_RECV (5.19), or no kcmp(), here");           \
	} while (0)
static inline int fate_here(int (*body)(const void *arg))
{
	return fate_of(body, NULL);
}

#endif
