/* SPDX-License-Identifier: MIT */
/*
 * timeline.h: one execution as people draw races: a column for each fiber, time downwards.
 *
 * lab_replay() tells an execution to lab_timeline_tell(); lab_timeline_fold() then makes rows out of what was told and
 * leaves out what no other fiber can have noticed. Text and SVG are two drawings of the same rows.
 */
#ifndef LAB_TIMELINE_H
#define LAB_TIMELINE_H

#include <stdio.h>

#include "lab/search.h"

#define LAB_COLUMNS_MIN 80u
#define LAB_COLUMNS_MAX 140u

enum lab_row_kind {
	LAB_ROW_CALL,    /* a call is entered */
	LAB_ROW_OP,      /* an operation, with its values */
	LAB_ROW_NOTE,    /* what it did to the simulated machine */
	LAB_ROW_PREEMPT, /* lane could go on, but `to` does */
	LAB_ROW_SWITCH,  /* lane waits, gives way or has ended; `to` goes on */
};

struct lab_row {
	enum lab_row_kind kind;
	uint32_t lane, to; /* indices into the lanes */
	uint32_t depth;    /* calls around it */
	uint32_t step;     /* operations of all fibers up to this one */
	bool violated;     /* after this row the execution had lost */
	char *text;        /* NULL in preemptions and switches */
};

struct lab_timeline;

struct lab_timeline *lab_timeline_new(void);
/* The tell argument of lab_replay(); `timeline` is a struct lab_timeline. */
void lab_timeline_tell(void *timeline, const struct lab_tell *tell);
/* Once, after the replay and before everything below. `weak`: fences are of interest. */
void lab_timeline_fold(struct lab_timeline *t, bool weak, const struct lab_verdict *verdict);
void lab_timeline_free(struct lab_timeline *t);

uint32_t lab_timeline_lanes(const struct lab_timeline *t);
const char *lab_timeline_lane(const struct lab_timeline *t, uint32_t lane);
size_t lab_timeline_rows(const struct lab_timeline *t);
const struct lab_row *lab_timeline_row(const struct lab_timeline *t, size_t i);
/* Operations performed, and those of them that have no row. */
uint32_t lab_timeline_steps(const struct lab_timeline *t, uint32_t *folded);
/* "LOST, invariant 1: a valid device entry ...: words of the verdict"; "" if it held. */
const char *lab_timeline_verdict(const struct lab_timeline *t);

/* Draws it as text, at most `columns` wide (brought into the bounds above). */
void lab_timeline_print(const struct lab_timeline *t, FILE *out, uint32_t columns);
/* Draws it as SVG; title on top, caption (how to run it again) at the bottom. */
void lab_timeline_svg(const struct lab_timeline *t, FILE *out, const char *title, const char *caption);

/* What an invariant of <uhmm/lab.h> says, in a few words. */
const char *lab_invariant_text(int invariant);
/* How many bytes of text go on a line of `width`: up to the last good place to break, at least one. */
size_t lab_wrap(const char *text, size_t width);

#endif
