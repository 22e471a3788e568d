/* SPDX-License-Identifier: MIT */
/*
 * protocol.h: the shipped protocol and three that lose, each of which an existing registration cache uses or has used.
 *
 * The losing ones live in this tool alone. They differ from the shipped one in the one thing that their name says; delays and
 * everything else are the same for all.
 */
#ifndef TOOLS_PROTOCOL_H
#define TOOLS_PROTOCOL_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uhmm/uhmm.h>

/* What the thread that changes a mapping says about it. */
enum announce {
	ANNOUNCE_HOOKS,   /* nothing: the hooks on libc's mapping calls say it */
	ANNOUNCE_BRACKET, /* start before, end after, itself: where hooks cannot be had */
	ANNOUNCE_BEFORE,  /* start and end before the call, and nothing after it (R32) */
	ANNOUNCE_NEVER
};

/* The library's calls, or the same compiled again with a change. */
struct uring_calls {
	int (*attach)(struct uhmm_mm *mm, struct io_uring *ring, uint64_t reg_delay_ns, struct uhmm_uring **u);
	int (*prep_read)(struct uhmm_uring *u, struct io_uring_sqe *sqe, int fd, void *buf, unsigned len, uint64_t offset,
			 uint64_t user_data);
	int (*prep_write)(struct uhmm_uring *u, struct io_uring_sqe *sqe, int fd, const void *buf, unsigned len,
			  uint64_t offset, uint64_t user_data);
	bool (*owns)(const struct uhmm_uring *u, const struct io_uring_cqe *cqe);
	uint64_t (*complete)(struct uhmm_uring *u, const struct io_uring_cqe *cqe);
	int (*detach)(struct uhmm_uring *u);
};

struct protocol {
	const char *name;
	const char *summary;
	enum announce announce;
	bool sound;
	const struct uring_calls *calls;
};

/* By name ("sound" is "interval"), or NULL. */
const struct protocol *protocol_find(const char *name);
/* The i-th, or NULL. The first is the default. */
const struct protocol *protocol_at(size_t i);

/* src/devices and src/regcache once more, with uhmm_read_retry() answering false (no_retry.h). */
extern const struct uring_calls uring_calls_no_retry;

/*
 * An address space that hears of changes as the protocol wants it. Where it wants hooks and there are none, or hooks are not
 * wanted, the chaos threads announce both ends of each change themselves: *announce says what it came to.
 */
int protocol_open_mm(const struct protocol *p, bool hooks, struct uhmm_mm **mm, enum announce *announce);

#endif
