/* SPDX-License-Identifier: MIT */
/*
 * choice.h: the stack of choices of a depth-first search, and schedules as text.
 *
 * The stack: an execution first takes the choices that are on it, each checked to be of the recorded kind, by the recorded
 * fiber and among as many alternatives; then it pushes new ones, the usual answer (0) first. lab_stack_next() moves on to the
 * next combination: the deepest choice that has another alternative takes it, what lies above is dropped. No set of executions
 * is ever kept, and where a search stands is what is on the stack.
 *
 * Text: "1x12.2x3.L1.2x4.F1.1x9" means: 12 operations of fiber 1, three of fiber 2, the third of which (a load) took
 * alternative 1 of those that memory offered, four more of fiber 2, the oldest buffered store of fiber 1 goes to memory, nine
 * of fiber 1. All operations count, visible or not. After the end everything goes the usual way: a fiber goes on for as long
 * as it can.
 *
 *   FxN       N operations of fiber F               L B S T E D   choices of the fiber named before: Load, Buffer, Spurious
 *   FN, FN+I  flush of fiber N's store number I                   wake-up, Timeout, Error, Data; only answers other than 0,
 *                                                                 or those needed to count up to one
 */
#ifndef LAB_CHOICE_H
#define LAB_CHOICE_H

#include "lab/run.h"

#define LAB_CHOICES_MAX (2u * LAB_STEPS_MAX)

struct lab_choice {
	uint8_t kind, fiber, alternatives, taken;
	uint32_t place; /* the operation that the fiber had published, in short; 0: not known, after resuming */
};

struct lab_stack {
	uint32_t depth;  /* taken by this execution */
	uint32_t length; /* on the stack */
	struct lab_choice at[LAB_CHOICES_MAX];
	const struct lab_site *where[LAB_CHOICES_MAX]; /* the operation published at the time, for complaints */
};

/* A new execution. */
static inline void lab_stack_rewind(struct lab_stack *s)
{
	s->depth = 0;
}

static inline uint32_t lab_place(uint32_t fiber)
{
	const struct lab_op *const op = &lab_run.fiber[fiber].op;

	return (uint32_t)((uintptr_t)op->site ^ (uintptr_t)op->object << 3) | 1;
}

/* Ends the execution, see lab_not_deterministic(). */
uint32_t lab_stack_mismatch(struct lab_stack *s, enum lab_choice_kind kind, uint32_t fiber, uint32_t alternatives);
uint32_t lab_stack_push(struct lab_stack *s, enum lab_choice_kind kind, uint32_t fiber, uint32_t alternatives);
/* What was read from a file is of another program, though of the same build: its addresses mean nothing here. */
void lab_stack_read(struct lab_stack *s);

static inline uint32_t lab_stack_take(struct lab_stack *s, enum lab_choice_kind kind, uint32_t fiber, uint32_t alternatives)
{
	const struct lab_choice *c;

	if (s->depth >= s->length)
		return lab_stack_push(s, kind, fiber, alternatives);
	c = &s->at[s->depth];
	if (__builtin_expect(c->kind != kind || c->fiber != fiber || c->alternatives != alternatives ||
				     (c->place && c->place != lab_place(fiber)), 0))
		return lab_stack_mismatch(s, kind, fiber, alternatives);
	s->depth++;
	return c->taken;
}

/* After an execution: it took all the choices that it was given. */
static inline bool lab_stack_taken(const struct lab_stack *s)
{
	return s->depth == s->length;
}

/* On to the next combination of the choices above the lowest `floor`; false: there is none left, and they are gone. */
bool lab_stack_next(struct lab_stack *s, uint32_t floor);

/* ---- schedules ---- */

#define LAB_RUNS_MAX 4096u

struct lab_schedule {
	uint32_t runs, choices;
	bool overflow; /* more than fits; what is here is the beginning */
	bool beyond;   /* runs have been left out; without overflow all of them were usual */
	struct lab_schedule_run {
		uint8_t fiber;
		bool is_flush;
		bool usual;     /* recorder: this is who goes on when nothing speaks for another */
		uint32_t count; /* operations; of a flush: which store */
	} run[LAB_RUNS_MAX];
	struct lab_schedule_choice {
		uint8_t kind, fiber, taken;
		uint32_t turns; /* of the fiber, when it chose */
	} choice[LAB_RUNS_MAX];
};

/* Writes at most `size` bytes; false, and an empty string, if it does not fit. */
bool lab_schedule_print(const struct lab_schedule *s, char *text, size_t size);
/* NULL, or what is wrong with the text, with *at where. */
const char *lab_schedule_parse(const char *text, struct lab_schedule *s, size_t *at);
/* Recording. */
void lab_schedule_clear(struct lab_schedule *s);
void lab_schedule_turn(struct lab_schedule *s, uint32_t fiber, uint32_t count, bool usual);
void lab_schedule_flush(struct lab_schedule *s, uint32_t fiber, uint32_t i);
void lab_schedule_choice(struct lab_schedule *s, uint32_t kind, uint32_t fiber, uint32_t taken, uint32_t turns);
/* Drops what would happen without being said: choices of 0, and the usual turns at the end. */
void lab_schedule_trim(struct lab_schedule *s);

#endif
