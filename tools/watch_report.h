/* SPDX-License-Identifier: MIT */
/* watch_report.h: what was seen, for people (80 columns) and as JSON. */
#ifndef TOOLS_WATCH_REPORT_H
#define TOOLS_WATCH_REPORT_H

#include <stdio.h>

#include "watch_session.h"

struct symbols;

struct report {
	const char *command;
	const struct session *session;
	const struct totals *totals;
	struct symbols *symbols;
	double seconds;
	int status;         /* as waitpid() gives it */
	const char *unseen; /* why COMMAND could not be watched, or NULL */
	size_t left_running;
	const char *trace; /* its path, or NULL */
};

void watch_report_text(const struct report *r, FILE *out);
void watch_report_json(const struct report *r, FILE *out);

/* Parts of the text that the live view shows as well; each line at most 80 columns wide. */
struct lines {
	FILE *out;
	unsigned left; /* lines that may still be written */
	const char *end;
	bool reverse; /* heads of tables */
};
void lines_put(struct lines *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* before: what there was `seconds` ago; NULL: nothing. At most `most` kinds, those with most calls. */
void watch_lines_kinds(struct lines *l, const struct totals *t, const struct totals *before, double seconds, unsigned most);
void watch_lines_sites(struct lines *l, const struct totals *t, struct symbols *symbols, unsigned most);
/* causes: also what stale uses came of. */
void watch_lines_shadow(struct lines *l, const struct totals *t, bool causes);

#endif
