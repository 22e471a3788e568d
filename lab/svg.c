/* SPDX-License-Identifier: MIT */
/*
 * svg.c: a timeline as a picture: a swim-lane for each fiber, a box for each row, arrows where another fiber goes on.
 *
 * Text is set in whatever monospaced font the viewer has, so every box is measured with characters a little wider than those
 * of the usual ones, and broken into lines before it is drawn: nothing depends on the viewer's own layout.
 */
#include <string.h>

#include "lab/timeline.h"

enum {
	CHAR = 8, /* width of a character at FONT; the usual monospaced fonts have 0.60 to 0.61 of their size */
	FONT = 13,
	LINE = 17, /* height of a line of text */
	PAD = 5,   /* inside a box */
	ROW_GAP = 4,
	LANE_GAP = 28,
	LEFT = 58, /* the number of the step */
	RIGHT = 16,
	TOP = 86, /* title and heads */
	INDENT = 14,
	LANE_CHARS_MIN = 24,
	LANE_CHARS_MAX = 46,
	WIDTH_MIN = 720,
	ARROW = 24, /* height of a preemption's row, and of a mere switch */
	ARROW_THIN = 12,
	LEGEND = 66, /* three lines at most */
};

struct drawing {
	const struct lab_timeline *t;
	FILE *out;
	uint32_t lane_width, width, height;
};

static void put_escaped(FILE *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '<')
			fputs("&lt;", out);
		else if (c == '>')
			fputs("&gt;", out);
		else if (c == '&')
			fputs("&amp;", out);
		else if (c == '"')
			fputs("&quot;", out);
		else
			fputc(c < ' ' || c > '~' ? '?' : c, out);
	}
}

static uint32_t lane_x(const struct drawing *d, uint32_t lane)
{
	return LEFT + lane * (d->lane_width + LANE_GAP);
}

static uint32_t lane_middle(const struct drawing *d, uint32_t lane)
{
	return lane_x(d, lane) + d->lane_width / 2;
}

/* Lines that the text takes in a box of that width; draws them if the class is given. */
static uint32_t put_lines(const struct drawing *d, const char *text, uint32_t width, const char *class, uint32_t x, uint32_t y)
{
	uint32_t lines = 0;

	while (*text) {
		size_t n = lab_wrap(text, (width - 2 * PAD) / CHAR);

		if (class) {
			fprintf(d->out, "<text class=\"%s\" x=\"%u\" y=\"%u\">", class, x + PAD, y + PAD + FONT + lines * LINE);
			put_escaped(d->out, text, n);
			fputs("</text>\n", d->out);
		}
		lines++;
		text += n;
		text += strspn(text, " ");
	}
	return lines;
}

static uint32_t indent_of(const struct drawing *d, const struct lab_row *row)
{
	uint32_t most = d->lane_width / 3;

	return row->depth * INDENT < most ? row->depth * INDENT : most;
}

static uint32_t box_height(uint32_t lines)
{
	return lines * LINE + 2 * PAD - 2;
}

static uint32_t row_height(const struct drawing *d, const struct lab_row *row)
{
	if (row->kind == LAB_ROW_PREEMPT)
		return ARROW;
	if (row->kind == LAB_ROW_SWITCH)
		return ARROW_THIN;
	return box_height(put_lines(d, row->text, d->lane_width - indent_of(d, row), NULL, 0, 0)) + ROW_GAP;
}

static void draw_arrow(const struct drawing *d, const struct lab_row *row, uint32_t y)
{
	bool preempt = row->kind == LAB_ROW_PREEMPT;
	uint32_t from = lane_middle(d, row->lane), to = lane_middle(d, row->to);
	uint32_t at = y + (preempt ? ARROW - 9 : ARROW_THIN / 2);
	const char *class = preempt ? "preempt" : "switch";

	fprintf(d->out, "<path class=\"%s\" d=\"M%u %uH%u\" marker-end=\"url(#%s)\"/>\n", class, from, at,
		from < to ? to - 8 : to + 8, class);
	if (preempt)
		fprintf(d->out, "<text class=\"label\" x=\"%u\" y=\"%u\" text-anchor=\"%s\">preempted</text>\n",
			from < to ? from + 8 : from - 8, at - 5, from < to ? "start" : "end");
}

static void draw_row(const struct drawing *d, const struct lab_row *row, uint32_t y)
{
	static const char *const classes[] = {[LAB_ROW_CALL] = "call", [LAB_ROW_OP] = "op", [LAB_ROW_NOTE] = "note"};
	uint32_t indent, x, width, lines;

	if (row->kind == LAB_ROW_PREEMPT || row->kind == LAB_ROW_SWITCH) {
		draw_arrow(d, row, y);
		return;
	}
	indent = indent_of(d, row);
	x = lane_x(d, row->lane) + indent;
	width = d->lane_width - indent;
	lines = put_lines(d, row->text, width, NULL, 0, 0);
	fprintf(d->out, "<text class=\"step\" x=\"%u\" y=\"%u\">%u</text>\n", LEFT - 12, y + PAD + FONT, row->step);
	fprintf(d->out, "<rect class=\"%s\" x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" rx=\"3\"/>\n",
		row->violated ? "bad" : classes[row->kind], x, y, width, box_height(lines));
	put_lines(d, row->text, width, row->kind == LAB_ROW_CALL ? "t b" : "t", x, y);
}

static void draw_lanes(const struct drawing *d, uint32_t bottom)
{
	for (uint32_t i = 0; i < lab_timeline_lanes(d->t); i++) {
		const char *name = lab_timeline_lane(d->t, i);

		fprintf(d->out, "<rect class=\"lane\" x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\"/>\n", lane_x(d, i) - 6,
			TOP - 38, d->lane_width + 12, bottom - TOP + 38);
		fprintf(d->out, "<text class=\"head\" x=\"%u\" y=\"%u\">", lane_middle(d, i), TOP - 17);
		put_escaped(d->out, name, strlen(name));
		fprintf(d->out, "</text>\n<path class=\"life\" d=\"M%u %uV%u\"/>\n", lane_middle(d, i), TOP - 8, bottom);
	}
}

/* Samples of everything that can be in the picture. Returns where it ends. */
static uint32_t draw_legend(const struct drawing *d, uint32_t y)
{
	static const struct {
		const char *class, *text;
		uint32_t width;
	} samples[] = {
		{"call", "call", 86},
		{"op", "operation = value read [old -&gt; new]", 328},
		{"note", "what it did to the machine", 262},
		{"bad", "here it is lost", 160},
	};
	uint32_t x = LEFT, lines = 0;

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		if (x + samples[i].width > d->width - RIGHT) {
			x = LEFT;
			lines++;
		}
		fprintf(d->out, "<rect class=\"%s\" x=\"%u\" y=\"%u\" width=\"22\" height=\"14\" rx=\"3\"/>", samples[i].class,
			x, y + lines * 22);
		fprintf(d->out, "<text class=\"t\" x=\"%u\" y=\"%u\">%s</text>\n", x + 30, y + 12 + lines * 22,
			samples[i].text);
		x += samples[i].width;
	}
	lines++;
	fprintf(d->out, "<path class=\"preempt\" d=\"M%u %uh30\" marker-end=\"url(#preempt)\"/>", LEFT, y + lines * 22 + 7);
	fprintf(d->out, "<text class=\"t\" x=\"%u\" y=\"%u\">preemption: it could have gone on</text>\n", LEFT + 46,
		y + lines * 22 + 12);
	fprintf(d->out, "<path class=\"switch\" d=\"M%u %uh30\" marker-end=\"url(#switch)\"/>", LEFT + 340, y + lines * 22 + 7);
	fprintf(d->out, "<text class=\"t\" x=\"%u\" y=\"%u\">it waits or has ended</text>\n", LEFT + 386, y + lines * 22 + 12);
	return y + (lines + 1) * 22;
}

static void begin(const struct drawing *d, const char *title)
{
	fprintf(d->out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" width=\"%u\" height=\"%u\">\n<title>",
		d->width, d->height, d->width, d->height);
	put_escaped(d->out, title, strlen(title));
	fprintf(d->out,
		"</title>\n<style>\n"
		"text { font: %dpx 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace;"
		" fill: #1d2733; white-space: pre }\n"
		".title { font-size: 17px; font-weight: bold }\n"
		".head { font-size: 15px; font-weight: bold; text-anchor: middle }\n"
		".b { font-weight: bold } .step { fill: #5b6876; text-anchor: end }\n"
		".caption { fill: #5b6876 } .label { fill: #a04a00; font-size: 12px }\n"
		"rect { stroke-width: 1 } .lane { fill: #f5f7f9; stroke: #d5dce3 }\n"
		".life { stroke: #c3ccd6; stroke-width: 1.5 }\n"
		".call { fill: #dfeaf7; stroke: #8fb0d6 } .op { fill: #ffffff; stroke: #b4bfca }\n"
		".note { fill: #e5f3e3; stroke: #93c08c }\n"
		".bad { fill: #fbdcdc; stroke: #c62828; stroke-width: 2.5 }\n"
		".preempt { fill: none; stroke: #d9730d; stroke-width: 2.5 }\n"
		".switch { fill: none; stroke: #8793a0; stroke-width: 1.5; stroke-dasharray: 4 3 }\n"
		"</style>\n<defs>\n",
		FONT);
	fputs("<marker id=\"preempt\" viewBox=\"0 0 8 8\" refX=\"2\" refY=\"4\" markerWidth=\"12\" markerHeight=\"12\""
	      " markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#d9730d\"/></marker>\n"
	      "<marker id=\"switch\" viewBox=\"0 0 8 8\" refX=\"2\" refY=\"4\" markerWidth=\"10\" markerHeight=\"10\""
	      " markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#8793a0\"/></marker>\n"
	      "</defs>\n",
	      d->out);
	fprintf(d->out, "<rect width=\"%u\" height=\"%u\" fill=\"#ffffff\"/>\n<text class=\"title\" x=\"%d\" y=\"30\">",
		d->width, d->height, RIGHT);
	put_escaped(d->out, title, strlen(title));
	fputs("</text>\n", d->out);
}

/* As wide as the longest row wants, within bounds; the title has to fit as well. */
static void measure(struct drawing *d, const char *title)
{
	uint32_t lanes = lab_timeline_lanes(d->t), chars = LANE_CHARS_MIN;

	for (size_t i = 0; i < lab_timeline_rows(d->t); i++) {
		const struct lab_row *row = lab_timeline_row(d->t, i);
		size_t want = row->text ? strlen(row->text) + (size_t)(row->depth * INDENT) / CHAR + 1 : 0;

		if (want > chars)
			chars = want < LANE_CHARS_MAX ? (uint32_t)want : LANE_CHARS_MAX;
	}
	d->lane_width = chars * CHAR + 2 * PAD;
	d->width = lanes ? lane_x(d, lanes - 1) + d->lane_width + RIGHT : 0;
	if (d->width < WIDTH_MIN)
		d->width = WIDTH_MIN;
	if (d->width < strlen(title) * 11 + 2 * RIGHT)
		d->width = (uint32_t)strlen(title) * 11 + 2 * RIGHT;
}

void lab_timeline_svg(const struct lab_timeline *t, FILE *out, const char *title, const char *caption)
{
	struct drawing d = {.t = t, .out = out};
	const char *verdict = lab_timeline_verdict(t);
	uint32_t y = TOP, wide, verdict_height, caption_height;

	measure(&d, title);
	wide = d.width - LEFT - RIGHT;
	for (size_t i = 0; i < lab_timeline_rows(t); i++)
		y += row_height(&d, lab_timeline_row(t, i));
	verdict_height = *verdict ? box_height(put_lines(&d, verdict, wide, NULL, 0, 0)) : 0;
	caption_height = box_height(put_lines(&d, caption, wide, NULL, 0, 0));
	d.height = y + 18 + verdict_height + 22 + LEGEND + caption_height + 14;

	begin(&d, title);
	draw_lanes(&d, y + 6);
	y = TOP;
	for (size_t i = 0; i < lab_timeline_rows(t); i++) {
		draw_row(&d, lab_timeline_row(t, i), y);
		y += row_height(&d, lab_timeline_row(t, i));
	}
	y += 18;
	if (*verdict) {
		fprintf(out, "<rect class=\"bad\" x=\"%d\" y=\"%u\" width=\"%u\" height=\"%u\" rx=\"3\"/>\n", LEFT, y, wide,
			verdict_height);
		put_lines(&d, verdict, wide, "t b", LEFT, y);
	}
	y += verdict_height + 22;
	y = draw_legend(&d, y);
	put_lines(&d, caption, wide, "caption", LEFT - PAD, y);
	fputs("</svg>\n", out);
}
