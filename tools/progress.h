/* SPDX-License-Identifier: MIT */
/* progress.h: one line on standard error that is drawn again and again, and gone in the end. Only if that is a terminal. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct run;

struct progress {
	const struct run *run;
	bool shown;
	uint64_t begin_ns;
};

void progress_begin(struct progress *p, const struct run *run);
void progress_draw(const struct progress *p);
void progress_end(const struct progress *p);

#endif
