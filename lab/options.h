/* SPDX-License-Identifier: MIT */
/* options.h: the command line of `uhmm races`, checked. */
#ifndef LAB_OPTIONS_H
#define LAB_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAB_NAMES_MAX 64u
#define LAB_BOUND_MAX 16u

enum { LAB_STATUS_EXPECTED = 0, LAB_STATUS_OTHER = 1, LAB_STATUS_USAGE = 2 };

/* What to do. */
enum lab_mode { LAB_MODE_TABLE, LAB_MODE_LIST, LAB_MODE_SHOW, LAB_MODE_REPLAY, LAB_MODE_HELP };
/* How much of it. */
enum lab_plan { LAB_PLAN_QUICK, LAB_PLAN_CI, LAB_PLAN_FULL };

struct lab_options {
	enum lab_mode mode;
	enum lab_plan plan;
	const char *races[LAB_NAMES_MAX]; /* empty: all */
	size_t race_count;
	const char *model; /* NULL: all */
	const char *replay;
	const char *svg;   /* file */
	const char *state; /* directory of the full plan */
	bool json, markdown, weak, all;
	bool bound_given;
	uint32_t bound, devices, invalidators; /* numbers of devices and invalidators: 0: as the plan says */
	double seconds;                        /* 0: no limit */
	bool seconds_given;
	uint64_t pct_runs, seed; /* runs 0: no random search */
	uint32_t depth, jobs;
};

/* One line on standard error, "PROGRAM: text"; control characters in it become '?'. Returns LAB_STATUS_USAGE. */
int lab_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The name that complaints and hints begin with: "uhmm races". */
extern const char *lab_program;

/* False: has complained. */
bool lab_options_parse(int argc, char **argv, struct lab_options *out);
/* The help text on standard output. */
void lab_options_help(void);

#endif
