/* SPDX-License-Identifier: MIT */
/* timeline_text.c: a timeline in a terminal, in a mail, or in docs/races.md. */
#include <string.h>

#include "lab/timeline.h"

enum {
	MARGIN = 6, /* the number of the step */
	GAP = 2,    /* between two columns */
	INDENT = 2, /* for each call around it */
	LANE_MIN = 10,
	LINE_MAX = LAB_COLUMNS_MAX + 1,
};

struct page {
	const struct lab_timeline *t;
	FILE *out;
	uint32_t columns;
	uint32_t x[LAB_FIBERS + 1], width[LAB_FIBERS]; /* of each column; x[lanes]: behind the last */
};

/* Values in brackets stay together: a break within them goes before them. */
static size_t outside_brackets(const char *text, size_t at)
{
	for (size_t i = at; i > 1 && text[i - 1] != ']'; i--) {
		if (text[i - 1] == '[')
			return i - 1;
	}
	return at;
}

size_t lab_wrap(const char *text, size_t width)
{
	size_t len = strlen(text), best = 0;

	if (width == 0)
		width = 1;
	if (len <= width)
		return len;
	for (size_t i = width; i > 0 && !best; i--) {
		if (text[i] == ' ' || text[i - 1] == ' ')
			best = outside_brackets(text, i);
	}
	/* A break that leaves most of the line empty is worse than one within an expression. */
	if (best && best >= width / 2)
		return best;
	for (size_t i = width; i > 0; i--) {
		if (strchr(",(&|>;:/", text[i - 1]) && i >= width / 2)
			return i;
	}
	return best ? best : width;
}

/* Indentation gives way in narrow columns. */
static uint32_t indent_of(const struct lab_row *row, uint32_t width)
{
	uint32_t indent = row->depth * INDENT;

	return indent < width / 3 ? indent : width / 3;
}

/* What a column wants so that none of its rows is broken. */
static uint32_t wanted(const struct lab_timeline *t, uint32_t lane)
{
	size_t most = strlen(lab_timeline_lane(t, lane));

	for (size_t i = 0; i < lab_timeline_rows(t); i++) {
		const struct lab_row *row = lab_timeline_row(t, i);
		size_t want = row->text ? strlen(row->text) + (size_t)(row->depth * INDENT) : 0;

		if (row->lane == lane && want > most)
			most = want;
	}
	return most < LAB_COLUMNS_MAX ? (uint32_t)most + GAP : LAB_COLUMNS_MAX;
}

/* Gives every column what it wants if the page is wide enough; otherwise the widest are cut down to one common width. */
static void lay_out(struct page *p)
{
	uint32_t lanes = lab_timeline_lanes(p->t), room = p->columns - MARGIN;
	uint32_t want[LAB_FIBERS], cap = room;
	uint32_t sum;

	for (uint32_t i = 0; i < lanes; i++)
		want[i] = wanted(p->t, i) > LANE_MIN ? wanted(p->t, i) : LANE_MIN;
	do {
		sum = 0;
		for (uint32_t i = 0; i < lanes; i++)
			sum += want[i] < cap ? want[i] : cap;
	} while (sum > room && --cap > GAP + 1);
	p->x[0] = MARGIN;
	for (uint32_t i = 0; i < lanes; i++) {
		uint32_t w = want[i] < cap ? want[i] : cap;

		p->width[i] = w - GAP;
		p->x[i + 1] = p->x[i] + w;
	}
}

static void spaces(const struct page *p, uint32_t n)
{
	fprintf(p->out, "%*s", (int)n, "");
}

static void print_heads(const struct page *p)
{
	uint32_t lanes = lab_timeline_lanes(p->t);

	for (int line = 0; line < 2; line++) {
		fprintf(p->out, "%*s", MARGIN, line ? "" : "step  ");
		for (uint32_t i = 0; i < lanes; i++) {
			const char *name = lab_timeline_lane(p->t, i);
			int width = (int)p->width[i];
			int used = (int)strlen(name) < width ? (int)strlen(name) : width;

			for (int c = 0; line && c < width; c++)
				fputc('-', p->out);
			if (!line)
				fprintf(p->out, "%.*s", used, name);
			if (i + 1 < lanes)
				spaces(p, (uint32_t)(line ? 0 : width - used) + GAP);
		}
		fputc('\n', p->out);
	}
}

static void print_row(const struct page *p, const struct lab_row *row)
{
	uint32_t indent = indent_of(row, p->width[row->lane]);
	const char *text = row->text;

	fprintf(p->out, "%4u%c ", row->step, row->violated ? '!' : ' ');
	spaces(p, p->x[row->lane] - MARGIN + indent);
	do {
		size_t n = lab_wrap(text, p->width[row->lane] - indent);
		size_t shown = n;

		while (shown && text[shown - 1] == ' ')
			shown--;
		fprintf(p->out, "%.*s\n", (int)shown, text);
		text += n;
		text += strspn(text, " ");
		/* What is continued stands a little further in. */
		if (*text && indent + INDENT + 4 < p->width[row->lane] && indent == indent_of(row, p->width[row->lane]))
			indent += INDENT;
		if (*text)
			spaces(p, p->x[row->lane] + indent);
	} while (*text);
}

/* From the column of who is preempted to the column of who goes on. */
static void print_arrow(const struct page *p, const struct lab_row *row)
{
	static const char label[] = " preempted ";
	uint32_t left = p->x[row->lane < row->to ? row->lane : row->to];
	uint32_t right = row->lane < row->to ? p->x[row->to] - 1 : p->x[row->lane] + p->width[row->lane];
	char line[LINE_MAX];
	uint32_t length;

	if (right > p->columns)
		right = p->columns;
	length = right - left;
	memset(line, '-', length);
	line[length] = '\0';
	if (length > sizeof(label) + 3)
		memcpy(line + (row->lane < row->to ? 2 : length - sizeof(label) - 1), label, sizeof(label) - 1);
	if (row->lane < row->to)
		line[length - 1] = '>';
	else
		line[0] = '<';
	spaces(p, left);
	fprintf(p->out, "%s\n", line);
}

static void print_verdict(const struct page *p)
{
	const char *text = lab_timeline_verdict(p->t);

	while (*text) {
		size_t n = lab_wrap(text, p->columns);
		size_t shown = n && text[n - 1] == ' ' ? n - 1 : n;

		fprintf(p->out, "%.*s\n", (int)shown, text);
		text += n;
		text += strspn(text, " ");
	}
}

void lab_timeline_print(const struct lab_timeline *t, FILE *out, uint32_t columns)
{
	struct page p = {.t = t, .out = out, .columns = columns};

	if (p.columns < LAB_COLUMNS_MIN)
		p.columns = LAB_COLUMNS_MIN;
	if (p.columns > LAB_COLUMNS_MAX)
		p.columns = LAB_COLUMNS_MAX;
	lay_out(&p);
	print_heads(&p);
	for (size_t i = 0; i < lab_timeline_rows(t); i++) {
		const struct lab_row *row = lab_timeline_row(t, i);

		if (row->kind == LAB_ROW_PREEMPT)
			print_arrow(&p, row);
		else if (row->kind != LAB_ROW_SWITCH)
			print_row(&p, row);
	}
	print_verdict(&p);
}
