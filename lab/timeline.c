/* SPDX-License-Identifier: MIT */
/*
 * timeline.c: from what was told to rows.
 *
 * A counterexample of a few dozen operations that matter is told in hundreds. Left out is what commutes with everything
 * else: uses of a word or lock that one fiber alone uses, beginnings and ends of fibers, and, under sequential
 * consistency, fences. What the simulated machine says about a step stands for the step.
 */
#include "lab/timeline.h"

#include <stdlib.h>
#include <string.h>

#include "uhmm/lab.h"

/* One thing that was told. */
struct event {
	enum lab_tell_kind kind;
	enum lab_op_kind op;
	uint32_t fiber, depth, step;
	const void *object;
	const char *function; /* that made the operation; NULL: the simulated machine */
	bool shown;
	char *text; /* NULL: a call is left, or nothing to say */
};

struct lab_timeline {
	struct event *events;
	size_t count, room;
	uint32_t step;
	uint32_t depth[LAB_FIBERS]; /* calls that each fiber is in */
	uint32_t lane_of[LAB_FIBERS], fiber_of[LAB_FIBERS], lanes;
	char names[LAB_FIBERS][16];
	struct lab_row *rows;
	size_t row_count;
	uint32_t folded;
	char verdict[600];
	bool out_of_memory;
};

static void format_value(char *out, size_t size, uint64_t v)
{
	uint64_t page = (v - LAB_BASE) / 4096;
	uint64_t offset = (v - LAB_BASE) % 4096;

	if (v >= LAB_BASE && page <= LAB_PAGES)
		snprintf(out, size, offset ? "page %u+%#x" : "page %u", (unsigned)page, (unsigned)offset);
	else if (v == UINT64_MAX)
		snprintf(out, size, "-1");
	else
		snprintf(out, size, v >> 32 ? "%#llx" : "%llu", (unsigned long long)v);
}

static const char *const kind_names[LAB_OP_KINDS] = {
	[LAB_OP_LOAD] = "load",
	[LAB_OP_STORE] = "store",
	[LAB_OP_RMW] = "read-modify-write",
	[LAB_OP_FENCE] = "full fence",
	[LAB_OP_LIGHT] = "light fence",
	[LAB_OP_HEAVY] = "heavy barrier",
	[LAB_OP_LOCK] = "lock",
	[LAB_OP_TRYLOCK] = "trylock",
	[LAB_OP_UNLOCK] = "unlock",
	[LAB_OP_FUTEX_WAIT] = "sleep",
	[LAB_OP_FUTEX_WAKE] = "wake",
	[LAB_OP_STEP] = "step",
	[LAB_OP_FLUSH] = "buffered store reaches memory",
	[LAB_OP_SPAWN] = "spawn",
	[LAB_OP_JOIN] = "join",
	[LAB_OP_EXIT] = "exit",
	[LAB_OP_YIELD] = "gives way",
};

/* The operation as in the source, without the prefix that keeps people's hands off the fields; then its values. */
static char *op_text(const struct lab_tell *t)
{
	static const char hidden[] = "private_";
	char source[160], value[32], old[32], text[240];
	const char *from = t->site && t->site->text ? t->site->text : kind_names[t->op];
	size_t n = 0;

	while (*from && n + 1 < sizeof(source)) {
		if (strncmp(from, hidden, sizeof(hidden) - 1) == 0)
			from += sizeof(hidden) - 1;
		else
			source[n++] = *from++;
	}
	source[n] = '\0';
	format_value(value, sizeof(value), t->value);
	format_value(old, sizeof(old), t->old_value);
	if (!t->has_value)
		snprintf(text, sizeof(text), "%s", source);
	else if (t->op == LAB_OP_STORE || t->op == LAB_OP_RMW || t->op == LAB_OP_FLUSH)
		snprintf(text, sizeof(text), "%s [%s -> %s]", source, old, value);
	else
		snprintf(text, sizeof(text), "%s = %s", source, value);
	return strdup(text);
}

/* Widths are counted in bytes: what is not printable ASCII is a question mark. */
static char *plain(char *text)
{
	for (char *c = text; c && *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	return text;
}

struct lab_timeline *lab_timeline_new(void)
{
	return calloc(1, sizeof(struct lab_timeline));
}

static struct event *append(struct lab_timeline *t)
{
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 256;
		struct event *events = realloc(t->events, room * sizeof(*events));

		if (!events) {
			t->out_of_memory = true;
			return NULL;
		}
		t->events = events;
		t->room = room;
	}
	memset(&t->events[t->count], 0, sizeof(*t->events));
	return &t->events[t->count++];
}

/* Runs on the fiber's own small stack: no big locals. */
void lab_timeline_tell(void *timeline, const struct lab_tell *tell)
{
	struct lab_timeline *t = timeline;
	struct event *e;
	uint32_t *depth;

	if (tell->kind == LAB_TELL_VERDICT || tell->fiber >= LAB_FIBERS)
		return;
	e = append(t);
	if (!e)
		return;
	if (tell->kind == LAB_TELL_OP)
		t->step++;
	*e = (struct event){.kind = tell->kind, .op = tell->op, .fiber = tell->fiber, .step = t->step, .object = tell->object};
	depth = &t->depth[tell->fiber];
	e->depth = *depth;
	if (tell->kind == LAB_TELL_CALL)
		*depth = tell->text ? *depth + 1 : *depth ? *depth - 1 : 0;
	if (tell->kind == LAB_TELL_OP && tell->op != LAB_OP_STEP && tell->site)
		e->function = tell->site->function;
	if (tell->kind == LAB_TELL_OP)
		e->text = plain(op_text(tell));
	else if (tell->text)
		e->text = plain(strdup(tell->text));
	if (tell->fiber_name && !t->names[tell->fiber][0])
		snprintf(t->names[tell->fiber], sizeof(t->names[0]), "%.11s", tell->fiber_name);
	plain(t->names[tell->fiber]);
}

/* Does another fiber use the object of this event too? */
static bool is_shared(const struct lab_timeline *t, const struct event *e)
{
	if (!e->object)
		return true;
	for (size_t i = 0; i < t->count; i++) {
		const struct event *other = &t->events[i];

		if (other->kind == LAB_TELL_OP && other->object == e->object && other->fiber != e->fiber)
			return true;
	}
	return false;
}

/* Was something said about this operation: a note of the same fiber, before its previous or next operation? */
static bool has_note(const struct lab_timeline *t, size_t at)
{
	uint32_t fiber = t->events[at].fiber;

	for (int direction = -1; direction <= 1; direction += 2) {
		for (size_t i = at + (size_t)direction; i < t->count; i += (size_t)direction) {
			const struct event *e = &t->events[i];

			if (e->fiber != fiber)
				continue;
			if (e->kind == LAB_TELL_NOTE)
				return true;
			if (e->kind == LAB_TELL_OP)
				break;
		}
	}
	return false;
}

static bool is_shown(const struct lab_timeline *t, size_t at, bool weak)
{
	const struct event *e = &t->events[at];

	if (e->kind != LAB_TELL_OP)
		return e->text || e->kind == LAB_TELL_PREEMPT;
	switch (e->op) {
	case LAB_OP_SPAWN:
	case LAB_OP_JOIN:
	case LAB_OP_EXIT:
	case LAB_OP_YIELD:
		return false;
	case LAB_OP_FENCE:
	case LAB_OP_LIGHT:
		return weak;
	case LAB_OP_STEP:
		return !has_note(t, at);
	case LAB_OP_HEAVY:
	case LAB_OP_FLUSH:
		return true;
	default:
		return is_shared(t, e);
	}
}

/* Fibers that have something to show, in the order of their creation. */
static void find_lanes(struct lab_timeline *t)
{
	for (uint32_t fiber = 0; fiber < LAB_FIBERS; fiber++) {
		bool used = false;

		for (size_t i = 0; i < t->count && !used; i++)
			used = t->events[i].fiber == fiber && t->events[i].shown && t->events[i].kind != LAB_TELL_PREEMPT;
		if (!used)
			continue;
		t->lane_of[fiber] = t->lanes;
		t->fiber_of[t->lanes++] = fiber;
		if (!t->names[fiber][0])
			snprintf(t->names[fiber], sizeof(t->names[0]), "fiber %u", fiber);
	}
}

enum {
	CALLS_MAX = 8,
	PERIOD_MAX = 200, /* rows of a loop's turn */
	LOOP_MIN = 6,     /* rows that are worth folding */
	TURNS_MIN = 3,
	TURNS_MIN_OTHER = 8, /* with other numbers in each turn */
	ROWS_MAX = 400,
	ROWS_HEAD = 300,
};

static struct lab_row *new_row(struct lab_timeline *t, enum lab_row_kind kind, uint32_t lane, uint32_t step)
{
	struct lab_row *row = &t->rows[t->row_count++];

	*row = (struct lab_row){.kind = kind, .lane = lane, .to = lane, .step = step};
	return row;
}

struct layout {
	bool preempted, any;
	uint32_t lane;                             /* whose row was the last */
	struct event *call[LAB_FIBERS][CALLS_MAX]; /* entered, nothing shown in them yet */
	uint32_t calls[LAB_FIBERS];
	const char *function[LAB_FIBERS]; /* named last */
};

/* The function's name goes before its first operation, so that the reader finds the place in the source. */
static void name_function(struct layout *l, struct event *e)
{
	char *text;
	size_t size;

	if (!e->function || !e->text || (l->function[e->fiber] && strcmp(l->function[e->fiber], e->function) == 0))
		return;
	l->function[e->fiber] = e->function;
	size = strlen(e->function) + strlen(e->text) + 3;
	text = malloc(size);
	if (!text)
		return;
	snprintf(text, size, "%s: %s", e->function, e->text);
	free(e->text);
	e->text = text;
}

static void put_row(struct lab_timeline *t, struct layout *l, struct event *e, uint32_t step)
{
	static const enum lab_row_kind kinds[] = {
		[LAB_TELL_OP] = LAB_ROW_OP, [LAB_TELL_NOTE] = LAB_ROW_NOTE, [LAB_TELL_CALL] = LAB_ROW_CALL};
	uint32_t lane = t->lane_of[e->fiber];
	struct lab_row *row;

	if (l->any && lane != l->lane) {
		row = new_row(t, l->preempted ? LAB_ROW_PREEMPT : LAB_ROW_SWITCH, l->lane, step);
		row->to = lane;
	}
	l->preempted = false;
	l->any = true;
	l->lane = lane;
	name_function(l, e);
	row = new_row(t, kinds[e->kind], lane, step);
	row->depth = e->depth;
	row->text = e->text;
}

/*
 * A row for each event that is shown, and one between two events of different lanes. A fiber enters a call before it gives way
 * for the first operation in it; the call is drawn with that operation.
 */
static void make_rows(struct lab_timeline *t)
{
	struct layout l = {0};

	for (size_t i = 0; i < t->count; i++) {
		struct event *e = &t->events[i];
		uint32_t *calls = &l.calls[e->fiber];

		if (e->kind == LAB_TELL_PREEMPT) {
			/* Of a fiber that has shown nothing since it went on: no news. */
			l.preempted = l.preempted || (l.any && t->lane_of[e->fiber] == l.lane);
		} else if (e->kind == LAB_TELL_CALL && e->text && *calls < CALLS_MAX) {
			l.call[e->fiber][(*calls)++] = e;
		} else if (e->shown || (e->kind == LAB_TELL_CALL && *calls)) {
			for (uint32_t k = 0; k < *calls; k++)
				put_row(t, &l, l.call[e->fiber][k], e->step);
			*calls = 0;
			if (e->shown)
				put_row(t, &l, e, e->step);
		}
	}
}

/* ---- what comes again and again ---- */

/* Equal but for numbers: each turn of a loop has other sequence numbers. */
static bool same_words(const char *a, const char *b)
{
	static const char digits[] = "0123456789";

	for (;;) {
		size_t other = strcspn(a, digits);

		if (strncmp(a, b, other) != 0)
			return false;
		a += other;
		b += other;
		if (!*a || !strspn(b, digits))
			return *a == *b;
		a += strspn(a, digits);
		b += strspn(b, digits);
	}
}

static bool same_row(const struct lab_row *a, const struct lab_row *b, bool exactly)
{
	if (a->kind != b->kind || a->lane != b->lane || a->to != b->to || a->depth != b->depth || !a->text != !b->text)
		return false;
	return !a->text || (exactly ? strcmp(a->text, b->text) == 0 : same_words(a->text, b->text));
}

/* How often the `period` rows from `at` on come in a row. */
static size_t times(const struct lab_timeline *t, size_t at, size_t period, bool exactly)
{
	size_t i = at + period;

	while (i < t->row_count && same_row(&t->rows[i], &t->rows[i - period], exactly))
		i++;
	return (i - at) / period;
}

/* The shortest loop that begins there, and its turns; 0: none that is worth folding. */
static size_t find_loop(const struct lab_timeline *t, size_t at, size_t *turns)
{
	for (size_t period = 1; period <= PERIOD_MAX && at + TURNS_MIN * period <= t->row_count; period++) {
		*turns = times(t, at, period, true);
		if (*turns >= TURNS_MIN && *turns * period >= LOOP_MIN)
			return period;
		*turns = times(t, at, period, false);
		if (*turns >= TURNS_MIN_OTHER)
			return period;
	}
	return 0;
}

static void say_instead(struct lab_timeline *t, struct lab_row *row, const struct lab_row *last, const char *format, size_t a,
			size_t b)
{
	struct event *e = append(t);
	char text[100];

	*row = (struct lab_row){.kind = LAB_ROW_NOTE, .lane = last->lane, .to = last->lane, .step = last->step};
	snprintf(text, sizeof(text), format, a, b);
	if (e)
		e->text = strdup(text);
	row->text = e ? e->text : NULL;
}

/* Livelocks: a loop is drawn once, with the number of its turns. */
static void fold_loops(struct lab_timeline *t)
{
	size_t to = 0;

	for (size_t at = 0; at < t->row_count;) {
		size_t turns = 0, period = find_loop(t, at, &turns);

		if (!period) {
			t->rows[to++] = t->rows[at++];
			continue;
		}
		memmove(&t->rows[to], &t->rows[at], period * sizeof(*t->rows));
		to += period;
		at += turns * period;
		say_instead(t, &t->rows[to++], &t->rows[at - 1], period == 1 ? "... %zu times" : "... %zu times these %zu rows",
			    turns, period);
	}
	t->row_count = to;
}

/* Longer than anybody reads: the beginning and the end. */
static void fold_middle(struct lab_timeline *t)
{
	size_t skip = t->row_count - ROWS_MAX;

	if (t->row_count <= ROWS_MAX)
		return;
	say_instead(t, &t->rows[ROWS_HEAD], &t->rows[ROWS_HEAD + skip], "... %zu rows left out%.0zu", skip, (size_t)0);
	memmove(&t->rows[ROWS_HEAD + 1], &t->rows[ROWS_HEAD + 1 + skip], (ROWS_MAX - ROWS_HEAD - 1) * sizeof(*t->rows));
	t->row_count = ROWS_MAX;
}

static void mark_violation(struct lab_timeline *t)
{
	for (size_t i = t->row_count; i > 0; i--) {
		struct lab_row *row = &t->rows[i - 1];

		if (row->text) {
			row->violated = true;
			return;
		}
	}
}

void lab_timeline_fold(struct lab_timeline *t, bool weak, const struct lab_verdict *verdict)
{
	for (size_t i = 0; i < t->count; i++)
		t->events[i].shown = is_shown(t, i, weak);
	for (size_t i = 0; i < t->count; i++)
		t->folded += t->events[i].kind == LAB_TELL_OP && !t->events[i].shown && !has_note(t, i);
	find_lanes(t);
	t->rows = calloc(2 * t->count + 1, sizeof(*t->rows));
	if (t->rows) {
		make_rows(t);
		fold_loops(t);
		fold_middle(t);
	} else {
		t->out_of_memory = true;
	}
	if (t->out_of_memory) {
		snprintf(t->verdict, sizeof(t->verdict), "(out of memory: not all is shown)");
	} else if (verdict->outcome == LAB_LOST) {
		mark_violation(t);
		snprintf(t->verdict, sizeof(t->verdict), "LOST, invariant %d: %s: %s", verdict->invariant,
			 lab_invariant_text(verdict->invariant), verdict->text);
		plain(t->verdict);
	}
}

void lab_timeline_free(struct lab_timeline *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->count; i++)
		free(t->events[i].text);
	free(t->events);
	free(t->rows);
	free(t);
}

uint32_t lab_timeline_lanes(const struct lab_timeline *t)
{
	return t->lanes;
}

const char *lab_timeline_lane(const struct lab_timeline *t, uint32_t lane)
{
	return t->names[t->fiber_of[lane]];
}

size_t lab_timeline_rows(const struct lab_timeline *t)
{
	return t->row_count;
}

const struct lab_row *lab_timeline_row(const struct lab_timeline *t, size_t i)
{
	return &t->rows[i];
}

uint32_t lab_timeline_steps(const struct lab_timeline *t, uint32_t *folded)
{
	*folded = t->folded;
	return t->step;
}

const char *lab_timeline_verdict(const struct lab_timeline *t)
{
	return t->verdict;
}

const char *lab_invariant_text(int invariant)
{
	static const char *const texts[] = {
		"",
		"a device entry names a page that the process no longer has there",
		"a device used the old page after it had been told",
		"a written byte is lost",
		"two sides believe that they own the page alone",
		"nobody can go on, or somebody goes on for ever",
		"an invalidation without its end, or an end without its start",
		"data race",
		"failed assertion",
	};

	return invariant > 0 && (size_t)invariant < sizeof(texts) / sizeof(texts[0]) ? texts[invariant] : "unknown";
}
