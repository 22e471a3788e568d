/* SPDX-License-Identifier: MIT */
/*
 * test_timeline.c: timelines from canned streams.
 *
 *	fold       what commutes with everything is left out, what others can notice stays, a note stands for its step
 *	columns    every fiber's words stand in its column, whatever the width, the number of fibers and the length of the words
 *	arrows     one for each preemption, pointing at who goes on
 *	loops      drawn once
 *	verdict    last, with the violated step marked
 *	picture    well-formed, and no text leaves it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lab/timeline.h"
#include "uhmm/lab.h"

static char names[LAB_FIBERS][16];
static const struct lab_verdict lost = {
	.outcome = LAB_LOST, .invariant = 2, .text = "gpu0 wrote 42 to frame 7 of page 2 after its callback had returned"};
static const struct lab_verdict held = {.outcome = LAB_HELD};

static void op(struct lab_timeline *t, uint32_t fiber, enum lab_op_kind kind, const char *text, const void *object)
{
	struct lab_site site = {.file = "x.c", .function = "f", .text = text, .line = 1};

	lab_timeline_tell(t, &(struct lab_tell){.kind = LAB_TELL_OP,
						.fiber = fiber,
						.fiber_name = names[fiber],
						.site = text ? &site : NULL,
						.op = kind,
						.object = object});
}

static void value(struct lab_timeline *t, uint32_t fiber, enum lab_op_kind kind, const char *text, uint64_t v, uint64_t old)
{
	struct lab_site site = {.file = "x.c", .function = "f", .text = text, .line = 1};

	lab_timeline_tell(t, &(struct lab_tell){.kind = LAB_TELL_OP,
						.fiber = fiber,
						.fiber_name = names[fiber],
						.site = &site,
						.op = kind,
						.has_value = true,
						.value = v,
						.old_value = old});
}

static void words(struct lab_timeline *t, uint32_t fiber, enum lab_tell_kind kind, const char *text, uint64_t depth)
{
	lab_timeline_tell(
		t, &(struct lab_tell){.kind = kind, .fiber = fiber, .fiber_name = names[fiber], .text = text, .value = depth});
}

/* What was drawn; the caller frees it. */
static char *drawn(struct lab_timeline *t, uint32_t columns, bool svg)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	if (svg)
		lab_timeline_svg(t, f, "R1 start_only: <a> & \"b\"", "uhmm races --replay R1/start_only/1+1/b2/0x12.1x3");
	else
		lab_timeline_print(t, f, columns);
	fclose(f);
	return text;
}

/* A race as it is told: two fibers, calls, a lock, two preemptions. */
static struct lab_timeline *race(void)
{
	struct lab_timeline *t = lab_timeline_new();
	int lock, seq, own;

	assert_non_null(t);
	strcpy(names[1], "cpu0");
	strcpy(names[2], "gpu0");
	words(t, 1, LAB_TELL_CALL, "munmap(2, 1)", 0);
	op(t, 1, LAB_OP_STORE, "a64_store_release(&n->private_seq, seq)", &seq);
	op(t, 1, LAB_OP_LOAD, "a32_load_relaxed(&own)", &own);
	words(t, 1, LAB_TELL_CALL, "start_only: start", 1);
	op(t, 1, LAB_OP_LOCK, "lock(&s->lock)", &lock);
	words(t, 1, LAB_TELL_NOTE, "entry of page 2 cleared", 0);
	op(t, 1, LAB_OP_STEP, "unmap", NULL);
	op(t, 1, LAB_OP_UNLOCK, "unlock(&s->lock)", &lock);
	words(t, 1, LAB_TELL_CALL, NULL, 1);
	words(t, 1, LAB_TELL_PREEMPT, NULL, 0);
	words(t, 2, LAB_TELL_CALL, "use(2)", 0);
	op(t, 2, LAB_OP_LOAD, "a64_load_acquire(&n->private_seq)", &seq);
	op(t, 2, LAB_OP_LOCK, "lock(&s->lock)", &lock);
	op(t, 2, LAB_OP_FENCE, "fence_full()", NULL);
	words(t, 2, LAB_TELL_PREEMPT, NULL, 0);
	op(t, 1, LAB_OP_STEP, "page table", NULL);
	op(t, 1, LAB_OP_EXIT, NULL, NULL);
	op(t, 2, LAB_OP_STEP, NULL, NULL);
	words(t, 2, LAB_TELL_NOTE, "gpu0 writes 42 to frame 7", 0);
	return t;
}

static void test_fold(void **state)
{
	struct lab_timeline *t = race();
	uint32_t folded;
	char *text;

	(void)state;
	lab_timeline_fold(t, false, &lost);
	text = drawn(t, 100, false);
	assert_null(strstr(text, "&own"));
	assert_null(strstr(text, "private_"));
	assert_null(strstr(text, "fence"));
	assert_null(strstr(text, "exit"));
	assert_null(strstr(text, " unmap")); /* its note is there instead */
	assert_non_null(strstr(text, "entry of page 2 cleared"));
	assert_non_null(strstr(text, "page table"));
	assert_non_null(strstr(text, "a64_load_acquire(&n->seq)"));
	assert_int_equal(lab_timeline_steps(t, &folded), 11);
	assert_int_equal(folded, 3);
	free(text);
	lab_timeline_free(t);

	t = race();
	lab_timeline_fold(t, true, &lost);
	text = drawn(t, 100, false);
	assert_non_null(strstr(text, "fence_full()"));
	free(text);
	lab_timeline_free(t);
}

static void test_values(void **state)
{
	struct lab_timeline *t = lab_timeline_new();
	char *text;

	(void)state;
	strcpy(names[1], "cpu0");
	value(t, 1, LAB_OP_LOAD, "a", 7, 0);
	value(t, 1, LAB_OP_STORE, "b", UINT64_MAX, 3);
	value(t, 1, LAB_OP_RMW, "c", LAB_ADDR(2), LAB_ADDR(1) + 16);
	value(t, 1, LAB_OP_LOAD, "d", UINT64_C(0x123456789abc), 0);
	lab_timeline_fold(t, false, &held);
	text = drawn(t, 80, false);
	assert_non_null(strstr(text, "a = 7\n"));
	assert_non_null(strstr(text, "b [3 -> -1]\n"));
	assert_non_null(strstr(text, "c [page 1+0x10 -> page 2]\n"));
	assert_non_null(strstr(text, "d = 0x123456789abc\n"));
	free(text);
	lab_timeline_free(t);
}

static void test_arrows_and_verdict(void **state)
{
	struct lab_timeline *t = race();
	char *text, *right, *left, *mark, *verdict;

	(void)state;
	lab_timeline_fold(t, false, &lost);
	text = drawn(t, 100, false);
	right = strstr(text, "-- preempted ---");
	left = strstr(text, "--- preempted --\n");
	assert_true(right && left && right < left);
	assert_non_null(strchr(right, '>'));
	assert_int_equal(*strpbrk(left - 80, "<"), '<');
	/* gpu0 goes on because cpu0 has ended: no arrow for that. */
	assert_null(strstr(left + 20, "preempted"));
	mark = strchr(text, '!');
	verdict = strstr(text, "LOST, invariant 2: ");
	assert_true(mark && verdict && mark < verdict);
	assert_memory_equal(mark + 1 + strspn(mark + 1, " "), "gpu0 writes 42", 14);
	assert_null(strchr(mark + 1, '!'));
	free(text);
	lab_timeline_free(t);

	t = race();
	lab_timeline_fold(t, false, &held);
	assert_string_equal(lab_timeline_verdict(t), "");
	text = drawn(t, 100, false);
	assert_null(strchr(text, '!'));
	free(text);
	lab_timeline_free(t);
}

/* Six fibers that say long things, with and without places to break, and what is not ASCII. */
static struct lab_timeline *crowd(void)
{
	static const char *const sayings[] = {
		"a32_store_release(&notifier->private_active, a32_load_relaxed(&notifier->private_active)+2)",
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
		"short",
		"words and words and words and words and more words",
		"caf\xc3\xa9 \x1b[31m",
		"x"};
	struct lab_timeline *t = lab_timeline_new();

	for (uint32_t i = 0; i < 6; i++)
		snprintf(names[i + 1], sizeof(names[0]), "fiber%u", i);
	for (uint32_t round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < 6; i++) {
			words(t, i + 1, LAB_TELL_CALL, sayings[(i + round) % 6], round);
			words(t, i + 1, LAB_TELL_NOTE, sayings[(i + 2 * round) % 6], 0);
			words(t, i + 1, LAB_TELL_PREEMPT, NULL, 0);
		}
	}
	return t;
}

/* Where the columns begin: the line under the names is dashes and gaps. */
static uint32_t find_columns(const char *rule, uint32_t begin[LAB_FIBERS + 1])
{
	uint32_t count = 0, at = 0;

	for (; rule[at] != '\n'; at++) {
		if (rule[at] == '-' && (at == 0 || rule[at - 1] == ' '))
			begin[count++] = at;
	}
	begin[count] = at + 2;
	return count;
}

static void check_columns(struct lab_timeline *t, uint32_t columns, uint32_t fibers)
{
	char *text = drawn(t, columns, false), *save = NULL, *line;
	uint32_t begin[LAB_FIBERS + 1] = {0}, count, line_number = 0;
	uint32_t width = columns < LAB_COLUMNS_MIN ? LAB_COLUMNS_MIN : columns > LAB_COLUMNS_MAX ? LAB_COLUMNS_MAX : columns;

	for (const char *c = text; *c; c++)
		assert_true(*c == '\n' || (*c >= ' ' && *c <= '~'));
	count = find_columns(strchr(text, '\n') + 1, begin);
	assert_int_equal(count, fibers);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), line_number++) {
		uint32_t first, lane = 0;

		assert_true(strlen(line) <= width);
		assert_true(*line == '\0' || line[strlen(line) - 1] != ' ');
		if (line_number < 2 || strstr(line, "LOST") || strstr(line, "--"))
			continue;
		if (strlen(line) <= 6 || strncmp(line, "LOST", 4) == 0 || line[0] != ' ')
			break; /* the verdict */
		first = 6 + (uint32_t)strspn(line + 6, " ");
		while (lane + 1 < count && first >= begin[lane + 1])
			lane++;
		assert_true(first >= begin[lane]);
		assert_true(strlen(line) <= begin[lane + 1] - 2);
	}
	free(text);
}

static void test_columns(void **state)
{
	static const uint32_t widths[] = {0, 80, 81, 100, 117, 140, 1000};

	(void)state;
	for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
		struct lab_timeline *t = crowd();

		lab_timeline_fold(t, false, &lost);
		check_columns(t, widths[i], 6);
		lab_timeline_free(t);
		t = race();
		lab_timeline_fold(t, false, &lost);
		check_columns(t, widths[i], 2);
		lab_timeline_free(t);
	}
}

/* Nothing is lost where lines are broken, and no piece is too long. */
static void test_wrap(void **state)
{
	static const char text[] =
		"a32_cas_full(&line->state, EMPTY, CLAIMED) and then  some 0123456789012345678901234567890123456789";

	(void)state;
	for (size_t width = 0; width < sizeof(text) + 2; width++) {
		char again[sizeof(text)] = "";
		const char *at = text;

		while (*at) {
			size_t n = lab_wrap(at, width);

			assert_true(n >= 1 && n <= (width ? width : 1));
			strncat(again, at, n);
			at += n;
		}
		assert_string_equal(again, text);
	}
	assert_int_equal(lab_wrap("", 10), 0);
}

/* A livelock is drawn once with the number of its turns, whatever its numbers do; what is too long loses its middle. */
static void test_loops(void **state)
{
	struct lab_timeline *t = lab_timeline_new();
	char *text;

	(void)state;
	strcpy(names[1], "cpu0");
	words(t, 1, LAB_TELL_NOTE, "before", 0);
	for (uint64_t i = 0; i < 1000; i++) {
		value(t, 1, LAB_OP_LOAD, "seq", i, 0);
		words(t, 1, LAB_TELL_NOTE, "again", 0);
	}
	words(t, 1, LAB_TELL_NOTE, "after", 0);
	lab_timeline_fold(t, false, &lost);
	/* The function is named in the first turn only, so that is not like the others. */
	assert_int_equal(lab_timeline_rows(t), 7);
	text = drawn(t, 80, false);
	assert_non_null(strstr(text, "before\n"));
	assert_non_null(strstr(text, "seq = 0\n"));
	assert_non_null(strstr(text, "999 times these 2 rows"));
	assert_non_null(strstr(text, "! after\n"));
	free(text);
	lab_timeline_free(t);

	t = lab_timeline_new();
	for (uint32_t i = 0, chaos = 1; i < 2000; i++) {
		char note[2] = "a";

		chaos = chaos * 1103515245u + 12345u;
		note[0] = (char)('a' + (chaos >> 16) % 26);
		words(t, 1, LAB_TELL_NOTE, note, 0);
	}
	words(t, 1, LAB_TELL_NOTE, "after", 0);
	lab_timeline_fold(t, false, &lost);
	assert_true(lab_timeline_rows(t) <= 400);
	text = drawn(t, 80, false);
	assert_non_null(strstr(text, "rows left out\n"));
	assert_non_null(strstr(text, "! after\n"));
	free(text);
	lab_timeline_free(t);
}

/* Nothing at all happened, or only things that nobody notices. */
static void test_empty(void **state)
{
	struct lab_timeline *t = lab_timeline_new();
	char *text;

	(void)state;
	lab_timeline_fold(t, false, &lost);
	text = drawn(t, 80, false);
	assert_non_null(strstr(text, "LOST"));
	free(text);
	text = drawn(t, 80, true);
	assert_non_null(strstr(text, "</svg>"));
	free(text);
	lab_timeline_free(t);
}

static void check_picture(struct lab_timeline *t)
{
	char *svg = drawn(t, 0, true), *save = NULL;
	unsigned width = 0, height = 0, texts = 0;
	const char *box = strstr(svg, "viewBox=\"0 0 ");

	assert_non_null(box);
	assert_int_equal(sscanf(box, "viewBox=\"0 0 %u %u\"", &width, &height), 2);
	assert_non_null(strstr(svg, "&lt;a&gt; &amp; &quot;b&quot;"));
	for (char *line = strtok_r(svg, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned x, y;
		size_t len = 0;
		char class[64];
		char *words_at = strchr(line, '>');

		if (sscanf(line, "<text class=\"%60[a-z ]\" x=\"%u\" y=\"%u\"", class, &x, &y) != 3 || !words_at)
			continue;
		/* An entity is one character. */
		for (char *c = words_at + 1; *c && *c != '<'; c++, len++) {
			if (*c == '&')
				c = strchr(c, ';');
		}
		texts++;
		assert_true(y < height);
		if (strcmp(class, "head") == 0)
			assert_true(x + len * 9 / 2 <= width && x >= len * 9 / 2);
		else if (strcmp(class, "t") == 0 || strcmp(class, "t b") == 0 || strcmp(class, "caption") == 0)
			assert_true(x + len * 8 <= width);
		else if (strcmp(class, "title") == 0)
			assert_true(x + len * 10 + len / 4 <= width);
	}
	assert_true(texts > 5);
	free(svg);
}

static void test_picture(void **state)
{
	struct lab_timeline *t = crowd();

	(void)state;
	lab_timeline_fold(t, false, &lost);
	check_picture(t);
	lab_timeline_free(t);
	t = race();
	lab_timeline_fold(t, true, &lost);
	check_picture(t);
	lab_timeline_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fold),    cmocka_unit_test(test_values),  cmocka_unit_test(test_arrows_and_verdict),
		cmocka_unit_test(test_columns), cmocka_unit_test(test_wrap),    cmocka_unit_test(test_empty),
		cmocka_unit_test(test_loops),   cmocka_unit_test(test_picture),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
