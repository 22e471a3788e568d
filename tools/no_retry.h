/* SPDX-License-Identifier: MIT */
/*
 * no_retry.h: included by the compiler ahead of src/regcache, src/devices and uring_calls.c to make the protocol `no_retry` of
 * them: the same sources, except that what changed between read_begin and the driver lock goes unnoticed.
 */
#ifndef TOOLS_NO_RETRY_H
#define TOOLS_NO_RETRY_H

/* Before the name becomes a macro. */
#include <uhmm/notifier.h>

static inline bool no_retry_answer(struct uhmm_notifier *n, uint64_t seq)
{
	(void)n;
	(void)seq;
	return false;
}

#define uhmm_read_retry(n, seq) no_retry_answer(n, seq)
#define URING_CALLS uring_calls_no_retry

#endif
