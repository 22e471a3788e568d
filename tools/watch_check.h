/* SPDX-License-Identifier: MIT */
/* watch_check.h: whether COMMAND is there, and whether a preload can be had in it. */
#ifndef TOOLS_WATCH_CHECK_H
#define TOOLS_WATCH_CHECK_H

#include <limits.h>

enum watchable {
	WATCHABLE,
	NOT_FOUND,
	NOT_EXECUTABLE,
	RUNS_UNSEEN /* why says it */
};

struct checked {
	char path[PATH_MAX]; /* of COMMAND */
	char why[256];
};

enum watchable check_command(const char *command, struct checked *c);

#endif
