/* SPDX-License-Identifier: MIT */
/* watch_top.h: the live view: the whole terminal, drawn again in place. */
#ifndef TOOLS_WATCH_TOP_H
#define TOOLS_WATCH_TOP_H

#include <stdbool.h>
#include <stdio.h>

#include "watch_session.h"

struct symbols;

struct top {
	FILE *out; /* the terminal */
	const char *command;
	struct session *session;
	struct symbols *symbols;
	struct totals before;
	uint64_t drawn_ns;
	int capture_fd; /* what COMMAND writes to the terminal meanwhile; -1: it writes elsewhere */
};

/* False has complained: there is no terminal. */
bool top_begin(struct top *t);
void top_draw(struct top *t);
/* Leaves the terminal as it was, and lets out what was held back. */
void top_end(struct top *t);

#endif
