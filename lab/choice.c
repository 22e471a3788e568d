/* SPDX-License-Identifier: MIT */
#include "lab/choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab/run.h"

static const char letters[LAB_CHOICE_KINDS] = { [LAB_CHOICE_LOAD] = 'L',     [LAB_CHOICE_BUFFER] = 'B',
						[LAB_CHOICE_SPURIOUS] = 'S', [LAB_CHOICE_TIMEOUT] = 'T',
						[LAB_CHOICE_FAIL] = 'E',     [LAB_CHOICE_DATA] = 'D' };
static const char *const kind_names[LAB_CHOICE_KINDS] = {
	[LAB_CHOICE_FIBER] = "whose turn it is",  [LAB_CHOICE_LOAD] = "what a load returns",
	[LAB_CHOICE_BUFFER] = "a store buffer",   [LAB_CHOICE_SPURIOUS] = "a wake-up for nothing",
	[LAB_CHOICE_TIMEOUT] = "a deadline",      [LAB_CHOICE_FAIL] = "a failure",
	[LAB_CHOICE_DATA] = "the scenario's data",
};

/* ---- the stack ---- */

static const struct lab_site *site_of(uint32_t fiber)
{
	static const struct lab_site start = { "the start", "", "", 0 };
	const struct lab_site *const site = fiber ? lab_run.fiber[fiber].op.site : &start;

	return site ? site : &start;
}

uint32_t lab_stack_mismatch(struct lab_stack *s, enum lab_choice_kind kind, uint32_t fiber, uint32_t alternatives)
{
	const struct lab_choice *const was = &s->at[s->depth];
	const struct lab_site *const there = s->where[s->depth], *const here = site_of(fiber);

	lab_not_deterministic("not deterministic: choice %u was %s among %u by fiber %u at %s:%u, and is %s among %u by fiber "
			      "%u at %s:%u",
			      s->depth, kind_names[was->kind], was->alternatives, was->fiber, there ? there->file : "?",
			      there ? there->line : 0, kind_names[kind], alternatives, fiber, here->file, here->line);
	return 0;
}

uint32_t lab_stack_push(struct lab_stack *s, enum lab_choice_kind kind, uint32_t fiber, uint32_t alternatives)
{
	if (s->length == LAB_CHOICES_MAX) {
		lab_lost(5, "livelock: more than %u choices and no end", LAB_CHOICES_MAX);
		return 0;
	}
	s->at[s->length] = (struct lab_choice){ (uint8_t)kind, (uint8_t)fiber, (uint8_t)alternatives, 0, lab_place(fiber) };
	s->where[s->length] = site_of(fiber);
	s->depth = ++s->length;
	return 0;
}

void lab_stack_read(struct lab_stack *s)
{
	for (uint32_t i = 0; i < s->length; i++) {
		s->at[i].place = 0;
		s->where[i] = NULL;
	}
}

bool lab_stack_next(struct lab_stack *s, uint32_t floor)
{
	while (s->length > floor) {
		struct lab_choice *const last = &s->at[s->length - 1];

		if (last->taken + 1 < last->alternatives) {
			last->taken++;
			return true;
		}
		s->length--;
	}
	return false;
}

/* ---- recording ---- */

void lab_schedule_clear(struct lab_schedule *s)
{
	s->runs = s->choices = 0;
	s->overflow = s->beyond = false;
}

void lab_schedule_turn(struct lab_schedule *s, uint32_t fiber, uint32_t count, bool usual)
{
	struct lab_schedule_run *last = s->runs ? &s->run[s->runs - 1] : NULL;

	if (last && !last->is_flush && last->fiber == fiber && !s->beyond) {
		last->count += count;
		return;
	}
	if (s->runs == LAB_RUNS_MAX) {
		/* A fiber goes on that is not in the table: dispensable if all is usual from there to the end. */
		s->beyond = true;
		s->overflow = s->overflow || !usual;
		return;
	}
	s->run[s->runs++] = (struct lab_schedule_run){ .fiber = (uint8_t)fiber, .count = count, .usual = usual };
}

void lab_schedule_flush(struct lab_schedule *s, uint32_t fiber, uint32_t i)
{
	if (s->runs == LAB_RUNS_MAX) {
		s->beyond = s->overflow = true;
		return;
	}
	s->run[s->runs++] = (struct lab_schedule_run){ .fiber = (uint8_t)fiber, .is_flush = true, .count = i };
}

void lab_schedule_choice(struct lab_schedule *s, uint32_t kind, uint32_t fiber, uint32_t taken, uint32_t turns)
{
	if (s->choices == LAB_RUNS_MAX) {
		s->overflow = true;
		return;
	}
	s->choice[s->choices++] = (struct lab_schedule_choice){
		.kind = (uint8_t)kind, .fiber = (uint8_t)fiber, .taken = (uint8_t)taken, .turns = turns
	};
}

/* A 0 is needed only where another answer follows that the same fiber gives without an operation in between. */
static bool choice_needed(const struct lab_schedule *s, uint32_t i)
{
	const struct lab_schedule_choice *const c = &s->choice[i];

	for (uint32_t k = i; k < s->choices; k++) {
		if (s->choice[k].fiber == c->fiber && s->choice[k].turns == c->turns && s->choice[k].taken)
			return true;
	}
	return false;
}

/* After its turn number `from`, up to and with `to`; or before its first. */
static bool chooses_in(const struct lab_schedule *s, uint32_t fiber, uint32_t from, uint32_t to)
{
	for (uint32_t i = 0; i < s->choices; i++) {
		const struct lab_schedule_choice *const c = &s->choice[i];

		if (c->fiber == fiber && (c->turns > from || from == 0) && c->turns <= to)
			return true;
	}
	return false;
}

void lab_schedule_trim(struct lab_schedule *s)
{
	uint32_t kept = 0, turns[LAB_FIBERS] = { 0 };

	for (uint32_t i = 0; i < s->choices; i++) {
		if (choice_needed(s, i))
			s->choice[kept++] = s->choice[i];
	}
	s->choices = kept;
	if (s->overflow)
		return;
	for (uint32_t i = 0; i < s->runs; i++) {
		if (!s->run[i].is_flush)
			turns[s->run[i].fiber] += s->run[i].count;
	}
	for (uint32_t i = 0; i < s->choices && s->beyond; i++) {
		if (s->choice[i].turns > turns[s->choice[i].fiber]) {
			s->overflow = true; /* all was usual there, but for this */
			return;
		}
	}
	while (s->runs && s->run[s->runs - 1].usual && !s->run[s->runs - 1].is_flush) {
		const struct lab_schedule_run *const last = &s->run[s->runs - 1];

		if (chooses_in(s, last->fiber, turns[last->fiber] - last->count, turns[last->fiber]))
			break;
		turns[last->fiber] -= last->count;
		s->runs--;
	}
}

/* ---- text ---- */

struct printer {
	char *text;
	size_t size, length;
	bool full;
};

static void put(struct printer *p, const char *format, uint32_t a, uint32_t b)
{
	const int n = snprintf(p->text + p->length, p->size - p->length, format, a, b);

	if (n < 0 || (size_t)n >= p->size - p->length)
		p->full = true;
	else
		p->length += (size_t)n;
}

/* The fiber's choices after `turns` operations. */
static void put_choices(struct printer *p, const struct lab_schedule *s, uint32_t fiber, uint32_t turns)
{
	char format[] = ".?%u";

	for (uint32_t i = 0; i < s->choices && !p->full; i++) {
		if (s->choice[i].fiber != fiber || s->choice[i].turns != turns)
			continue;
		format[1] = letters[s->choice[i].kind];
		put(p, format, s->choice[i].taken, 0);
	}
}

static bool chooses_at(const struct lab_schedule *s, uint32_t fiber, uint32_t turns)
{
	for (uint32_t i = 0; i < s->choices; i++) {
		if (s->choice[i].fiber == fiber && s->choice[i].turns == turns)
			return true;
	}
	return false;
}

static void put_part(struct printer *p, const struct lab_schedule *s, uint32_t fiber, uint32_t from, uint32_t to)
{
	put(p, p->length ? ".%ux%u" : "%ux%u", fiber, to - from);
	put_choices(p, s, fiber, to);
}

/* A run is cut behind each operation during which its fiber chose; *turns: what it has had of them so far. */
static void put_run(struct printer *p, const struct lab_schedule *s, const struct lab_schedule_run *r, uint32_t *turns)
{
	const uint32_t end = *turns + r->count;
	uint32_t from = *turns;

	if (from == 0 && chooses_at(s, r->fiber, 0))
		put_part(p, s, r->fiber, 0, 0);
	for (uint32_t to = from + 1; to <= end && !p->full; to++) {
		if (to < end && !chooses_at(s, r->fiber, to))
			continue;
		put_part(p, s, r->fiber, from, to);
		from = to;
	}
	*turns = end;
}

bool lab_schedule_print(const struct lab_schedule *s, char *text, size_t size)
{
	struct printer p = { .text = text, .size = size };
	uint32_t turns[LAB_FIBERS] = { 0 };

	text[0] = '\0';
	for (uint32_t i = 0; i < s->runs && !p.full; i++) {
		const struct lab_schedule_run *const r = &s->run[i];

		if (!r->is_flush)
			put_run(&p, s, r, &turns[r->fiber]);
		else if (r->count)
			put(&p, p.length ? ".F%u+%u" : "F%u+%u", r->fiber, r->count);
		else
			put(&p, p.length ? ".F%u" : "F%u", r->fiber, 0);
	}
	if (p.full || s->overflow)
		text[0] = '\0';
	return !p.full && !s->overflow;
}

static bool number(const char **p, uint32_t max, uint32_t *value)
{
	uint32_t n = 0;

	if (**p < '0' || **p > '9')
		return false;
	while (**p >= '0' && **p <= '9') {
		n = n * 10 + (uint32_t)(*(*p)++ - '0');
		if (n > max)
			return false;
	}
	*value = n;
	return true;
}

static const char *parse_choice(const char **p, struct lab_schedule *s, uint32_t fiber, const uint32_t *turns)
{
	const char *const letter = memchr(letters + 1, **p, LAB_CHOICE_KINDS - 1);
	uint32_t taken;

	if (!letter)
		return "neither a fiber's number nor a choice's letter (L, B, S, T, E, D, F)";
	if (fiber == 0)
		return "a choice before any fiber";
	++*p;
	if (!number(p, UINT8_MAX, &taken))
		return "a choice without a number, or too large a one";
	lab_schedule_choice(s, (uint32_t)(letter - letters), fiber, taken, turns[fiber]);
	return NULL;
}

static const char *parse_flush(const char **p, struct lab_schedule *s)
{
	uint32_t fiber, i = 0;

	++*p;
	if (!number(p, LAB_FIBERS - 1, &fiber) || fiber == 0)
		return "a flush of no fiber";
	if (**p == '+') {
		++*p;
		if (!number(p, 15, &i))
			return "a flush of no store";
	}
	lab_schedule_flush(s, fiber, i);
	return NULL;
}

static const char *parse_run(const char **p, struct lab_schedule *s, uint32_t *fiber, uint32_t *turns)
{
	uint32_t count;

	if (!number(p, LAB_FIBERS - 1, fiber) || *fiber == 0)
		return "no fiber has this number";
	if (**p != 'x')
		return "a fiber without \"x\" and a number of operations";
	++*p;
	if (!number(p, 10 * LAB_STEPS_MAX, &count))
		return "no number of operations, or too large a one";
	turns[*fiber] += count;
	lab_schedule_turn(s, *fiber, count, false);
	return NULL;
}

const char *lab_schedule_parse(const char *text, struct lab_schedule *s, size_t *at)
{
	const char *p = text, *wrong = NULL;
	uint32_t turns[LAB_FIBERS] = { 0 }, fiber = 0;

	lab_schedule_clear(s);
	while (*p && !wrong) {
		*at = (size_t)(p - text);
		if (*p == 'F')
			wrong = parse_flush(&p, s);
		else if (*p >= '0' && *p <= '9')
			wrong = parse_run(&p, s, &fiber, turns);
		else
			wrong = parse_choice(&p, s, fiber, turns);
		if (!wrong && s->overflow)
			wrong = "too long";
		if (!wrong && *p && *p++ != '.')
			wrong = "something behind an element; elements are separated by dots";
		else if (!wrong && p > text && p[-1] == '.' && !*p)
			wrong = "a dot at the end";
	}
	return wrong;
}
