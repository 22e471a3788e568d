/* SPDX-License-Identifier: MIT */
/*
 * run_tell.c: recording an execution as a schedule, and telling it to somebody. An operation is told when it has been
 * performed, since only then its values are known; notes made meanwhile wait for it.
 */
#include <stdio.h>
#include <string.h>

#include "lab/choice.h"
#include "lab/run.h"

#define NOTES 16
#define NOTE_SIZE 200

bool lab_telling;

static struct {
	struct lab_teller to;
	uint32_t held[LAB_FIBERS]; /* operations before a fiber's first turn: they count with it */
	uint32_t depth[LAB_FIBERS];
	uint32_t speaker;          /* whose operation is open; 0: nobody's */
	struct lab_op op;
	bool has_value;
	uint64_t value, old_value;
	uint32_t notes;
	char note[NOTES][NOTE_SIZE];
} teller;

void lab_tell_begin(const struct lab_teller *to)
{
	memset(&teller, 0, sizeof(teller));
	if (to)
		teller.to = *to;
	lab_telling = teller.to.tell != NULL;
	lab_run.slow = to != NULL;
}

static void tell(struct lab_tell *t, uint32_t fiber)
{
	if (lab_run.untold && t->kind != LAB_TELL_VERDICT)
		return;
	t->fiber = fiber;
	t->fiber_name = fiber ? lab_run.fiber[fiber].name : "";
	teller.to.tell(teller.to.arg, t);
}

void lab_tell_turn(uint32_t fiber)
{
	lab_run.fiber[fiber].turns++;
	if (!teller.to.record)
		return;
	teller.held[fiber]++;
	if (lab_run.starter == LAB_NOBODY || lab_run.prologue)
		lab_tell_held(fiber);
}

void lab_tell_held(uint32_t fiber)
{
	if (teller.to.record && teller.held[fiber])
		lab_schedule_turn(teller.to.record, fiber, teller.held[fiber],
				  lab_run.usual && lab_run.starter == LAB_NOBODY && !lab_run.prologue);
	teller.held[fiber] = 0;
}

void lab_tell_op(uint32_t fiber, const struct lab_op *op)
{
	teller.op = *op;
	teller.speaker = lab_run.untold ? 0 : fiber;
	teller.has_value = false;
}

void lab_tell_done(void)
{
	const uint32_t fiber = teller.speaker;
	const struct lab_op *const op = &teller.op;
	struct lab_tell t = { .kind = LAB_TELL_OP, .site = op->site, .op = op->kind, .object = op->object };

	if (!fiber)
		return;
	teller.speaker = 0;
	if (!lab_telling)
		return;
	t.has_value = teller.has_value;
	t.value = teller.value;
	t.old_value = teller.old_value;
	tell(&t, fiber);
	for (uint32_t i = 0; i < teller.notes; i++)
		tell(&(struct lab_tell){ .kind = LAB_TELL_NOTE, .text = teller.note[i] }, fiber);
	teller.notes = 0;
}

void lab_tell_flush(uint32_t fiber, uint32_t i)
{
	if (teller.to.record)
		lab_schedule_flush(teller.to.record, fiber, i);
	if (!lab_telling)
		return;
	tell(&(struct lab_tell){ .kind = LAB_TELL_OP, .op = LAB_OP_FLUSH }, fiber);
	for (uint32_t k = 0; k < teller.notes; k++)
		tell(&(struct lab_tell){ .kind = LAB_TELL_NOTE, .text = teller.note[k] }, fiber);
	teller.notes = 0;
}

void lab_tell_choice(enum lab_choice_kind kind, uint32_t taken)
{
	if (teller.to.record)
		lab_schedule_choice(teller.to.record, kind, lab_run.now, taken, lab_run.fiber[lab_run.now].turns);
}

void lab_tell_preempted(uint32_t fiber)
{
	if (lab_telling)
		tell(&(struct lab_tell){ .kind = LAB_TELL_PREEMPT }, fiber);
}

void lab_tell_words(uint32_t fiber, const char *words)
{
	if (lab_telling)
		tell(&(struct lab_tell){ .kind = LAB_TELL_NOTE, .text = words }, fiber);
}

void lab_tell_verdict(void)
{
	const struct lab_verdict *const v = &lab_run.verdict;

	lab_tell_done();
	if (lab_telling)
		tell(&(struct lab_tell){ .kind = LAB_TELL_VERDICT,
					 .has_value = true,
					 .value = (uint64_t)v->invariant,
					 .text = v->outcome == LAB_LOST ? v->text : "held" },
		     lab_run.last);
}

void lab_told_values(uint64_t value, uint64_t old_value)
{
	teller.value = value;
	teller.old_value = old_value;
	teller.has_value = true;
}

void lab_note(const char *format, ...)
{
	char *text;
	va_list args;

	if (!lab_telling || teller.notes == NOTES)
		return;
	text = teller.note[teller.notes];
	va_start(args, format);
	vsnprintf(text, NOTE_SIZE, format, args);
	va_end(args);
	if (teller.speaker)
		teller.notes++;
	else
		lab_tell_words(lab_run.now, text);
}

void lab_call_enter(const char *format, ...)
{
	const uint32_t fiber = lab_run.now;
	char text[NOTE_SIZE];
	va_list args;

	if (!lab_telling)
		return;
	lab_tell_done();
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	tell(&(struct lab_tell){ .kind = LAB_TELL_CALL, .value = ++teller.depth[fiber], .text = text }, fiber);
}

void lab_call_leave(void)
{
	const uint32_t fiber = lab_run.now;

	if (!lab_telling)
		return;
	lab_tell_done();
	if (teller.depth[fiber])
		teller.depth[fiber]--;
	tell(&(struct lab_tell){ .kind = LAB_TELL_CALL, .value = teller.depth[fiber], .text = NULL }, fiber);
}
