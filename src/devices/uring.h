/* SPDX-License-Identifier: MIT */
/*
 * uring.h: what the tool and the tests may set of an attachment beyond the public interface. Nothing here is exported.
 *
 * uring.c has no global state but a counter, and the only external names it defines are the uhmm_uring_* calls and the one
 * below, so that it can be compiled a second time with renamed symbols against another registration cache.
 */
#ifndef DEVICES_URING_H
#define DEVICES_URING_H

#include <uhmm/uring.h>

struct uring_tuning {
	uint32_t slots;        /* of the table; 0: URING_SLOTS */
	uint64_t max_bytes;    /* that stay registered; 0: from the machine's limits */
	uint64_t reg_delay_ns; /* slept after the pages were taken and before the registration is published */
	bool always_fixed;     /* register every size, and go on when every buffer is used once only */
	/* Asked before each registration call; what it answers, if not 0, is the call's error. flags are those of the call. */
	int (*refuse)(void *arg, unsigned opcode, unsigned flags);
	void *refuse_arg;
};

/* uhmm_uring_attach() with that; NULL: all as usual. */
int uring_attach_with(struct uhmm_mm *mm, struct io_uring *ring, const struct uring_tuning *tuning, struct uhmm_uring **u);

#endif
