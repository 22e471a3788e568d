/* SPDX-License-Identifier: MIT */
/*
 * watch_session.h: what all watched processes have recorded. Their files lie in a directory of its own; poll() finds new
 * ones, hands events to the trace, and adds up and removes what processes that are gone have left.
 */
#ifndef TOOLS_WATCH_SESSION_H
#define TOOLS_WATCH_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "watch/kinds.h"

struct trace;

/* struct watch_count without atomics. */
struct tally {
	uint64_t calls, failed, bytes, ns, ns_max, bytes_max, stale;
	uint64_t sizes[WATCH_SIZES];
};

struct shadow_tally {
	uint64_t uses, registered, evicted, skipped, deaf;
	uint64_t caused[WATCH_CAUSES];
};

/* One image: a program that a process ran. */
struct image {
	uint32_t pid, parent;
	char command[64];
	uint64_t calls, bytes, stale;
	bool hooked, begun_as_fork;
};

struct site {
	char *object; /* NULL: offset is an address */
	uint64_t offset;
	enum watch_kind kind;
	struct tally tally;
};

struct sites {
	struct site *site;
	size_t count, room;
	uint32_t *index; /* hash: place + 1 */
	size_t index_room;
};

/* Everything that was recorded up to now. */
struct totals {
	struct tally kinds[WATCH_KINDS], all, no_site;
	struct shadow_tally shadow;
	struct sites sites;
	uint64_t dropped;
};

struct live; /* a file that is being watched */

struct session {
	char directory[64];
	struct trace *trace; /* NULL: none */
	uint64_t begin_ns;
	struct live *live;
	size_t live_count, live_room;
	struct image *images;
	size_t image_count, image_room;
	struct totals gone; /* of images that have ended */
	size_t blind;       /* images without hooks */
	char blind_status[128];
	size_t overwritten; /* with somebody else's patches on top */
};

/* 0 or a negative errno: no directory could be made. */
int session_open(struct session *s);
/* False: no memory; what could not be entered is missing. last: whoever is still there counts as he is. */
bool session_poll(struct session *s, bool last);
/* What has ended and what is still running, added up; the caller's to free by totals_free(). */
void session_totals(struct session *s, struct totals *t);
void totals_free(struct totals *t);
size_t session_running(const struct session *s);
/* Removes the directory: before anything is written that may fail by a signal. Processes that start later are not recorded. */
void session_unlink(struct session *s);
void session_close(struct session *s);

#endif
