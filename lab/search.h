/* SPDX-License-Identifier: MIT */
/*
 * search.h: executions in bulk, and one execution told step by step. Used by the command, the tests and the generator of
 * docs/races.md; implemented by search_*.c, minimise.c and run.c.
 *
 * All are deterministic: the same configuration gives the same number of schedules and the same counterexample on every
 * machine. Only limits in seconds cut a search short at a place that differs from run to run; the result says so.
 */
#ifndef LAB_SEARCH_H
#define LAB_SEARCH_H

#include "lab/engine.h"

#define LAB_SCHEDULE_MAX 8192u

struct lab_limits {
	uint64_t schedules;      /* 0: no limit */
	double seconds;          /* 0: no limit */
	const char *resume_file; /* NULL: none. Read if it is there, written when a limit ends the search, removed at its end */
	bool go_on;              /* count all losses and their digests instead of stopping at the first */
	/* Called now and then (about ten times a second). May be NULL. */
	void (*progress)(void *arg, uint64_t schedules, uint32_t bound);
	void *arg;
};

struct lab_result {
	enum lab_outcome outcome;
	uint64_t schedules;        /* executions, of the last (largest) bound for a bounded search */
	uint64_t schedules_to_loss; /* over all bounds, until the first loss */
	uint32_t bound;            /* the largest finished; UINT32_MAX: none, that is all schedules */
	uint32_t reached;          /* the bound in which it ended or was stopped; `schedules` are of this one */
	bool exhaustive;           /* the search ended by itself: every schedule (within the bound, if any) was tried */
	struct lab_verdict verdict; /* of the first loss */
	char schedule[LAB_SCHEDULE_MAX]; /* of the first loss; "" if held */
	uint64_t digests;          /* how many different final states were seen */
	uint64_t digest_of_set;    /* an order-independent hash of the set of them */
};

/* Bounds from 0 to config->bound in turn. */
void lab_search_bound(const struct lab_config *config, const struct lab_limits *limits, struct lab_result *out);
/* Every schedule up to equivalence. `reduce` false, or weak memory: every schedule, which is for checking the reduction. */
void lab_search_all(const struct lab_config *config, const struct lab_limits *limits, bool reduce, struct lab_result *out);
/* `runs` random executions with `depth` - 1 priority changes each. */
void lab_search_pct(const struct lab_config *config, const struct lab_limits *limits, uint64_t seed, uint32_t depth,
		    uint64_t runs, struct lab_result *out);

/*
 * Replaces *schedule (LAB_SCHEDULE_MAX bytes) by one with as few preemptions as can be found that loses by the same
 * invariant.
 */
void lab_minimise(const struct lab_config *config, char *schedule);

/* ---- one execution, told ---- */

enum lab_tell_kind {
	LAB_TELL_OP,       /* an operation of a fiber was performed */
	LAB_TELL_NOTE,     /* words by the simulated machine about what the operation did: "page 3: frame 7 -> 9" */
	LAB_TELL_CALL,     /* a fiber entered (text) or left (text NULL) a call: "munmap(2, 1)"; `value`: calls around it */
	LAB_TELL_PREEMPT,  /* another fiber goes on although this one (`fiber`) could */
	LAB_TELL_VERDICT,  /* of the execution, by the fiber that ended it; value: the invariant, 0: held */
};

struct lab_tell {
	enum lab_tell_kind kind;
	uint32_t fiber;
	const char *fiber_name;
	const struct lab_site *site; /* LAB_TELL_OP; NULL where there is none */
	enum lab_op_kind op;
	const void *object;          /* as in struct lab_op, to tell what one fiber alone uses; NULL: unknown */
	bool has_value;
	uint64_t value, old_value;   /* what a load returned, what a store or read-modify-write wrote and replaced */
	const char *text;            /* notes, calls, the verdict; valid during the call */
};

/*
 * Runs one schedule and tells it. 0; -EINVAL: not a schedule, or not one of this configuration (the verdict's text says where
 * it parts). With tell NULL just the verdict.
 */
int lab_replay(const struct lab_config *config, const char *schedule, void (*tell)(void *arg, const struct lab_tell *t),
	       void *arg, struct lab_verdict *verdict);

/* For the layers above run.c: tells a note or a call if somebody listens; costs a test otherwise. */
extern bool lab_telling;
void lab_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void lab_call_enter(const char *format, ...) __attribute__((format(printf, 1, 2)));
void lab_call_leave(void);
/* memory.c and the simulated machine, after performing an operation: the values for the next LAB_TELL_OP of this fiber. */
void lab_told_values(uint64_t value, uint64_t old_value);

#endif
