/* SPDX-License-Identifier: MIT */
/*
 * test_conformance.c: the simulated machine and the kernel, on the same operations: what is stated in sequences.c holds on
 * both, and what is not stated is the same: results, values, which pages have an entry, which the zero page, and that a page
 * that the simulation leaves where it is stays where it is. Then all pairs of operations on three pages, of each kind, seen
 * after every step and again only at the end, since looking maps pages too.
 *
 * The negative control: machines that do one thing wrong must be noticed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "collapse.h"
#include "conformance.h"
#include "on_simmm.h"

#define TRIES 3u /* the kernel moves pages on its own account, seldom */

static bool quiet; /* differences are what is hoped for */

static void tell(const struct op *ops, size_t count, size_t at, const char *what)
{
	char text[40];

	if (quiet)
		return;
	for (size_t i = 0; i < count; i++) {
		print_op(&ops[i], text, sizeof(text));
		fprintf(stderr, "%s%s", i == at ? " >> " : " ", text);
	}
	fprintf(stderr, ": %s\n", what);
}

static bool result_is(const struct op *op, int error, uint32_t value)
{
	if (op->expected && op->error == 0 && op_reads(op))
		return error == 0 && value == op->value;
	return !op->expected || error == op->error;
}

/* After these nothing is said of entries: the kernel may have done nothing at all. */
static bool blurs(enum op_kind kind)
{
	return kind == OP_RECLAIM || kind == OP_WRITEBACK || kind == OP_MIGRATE || kind == OP_REPLACE ||
	       kind == OP_DROP;
}

static bool same_entries(const struct seen *sim, const struct seen *real, size_t i, char *what, size_t size)
{
	for (uint32_t page = 0; page < PAGES; page++) {
		const struct sight *s = &sim[i].page[page], *r = &real[i].page[page];

		snprintf(what, size, "page %u: %s and %s", page,
			 s->zero      ? "zero page"
			 : s->present ? "present"
				      : "absent",
			 r->zero      ? "zero page"
			 : r->present ? "present"
				      : "absent");
		if (s->present != r->present || (kernel_sees_frames() && s->zero != r->zero))
			return false;
		snprintf(what, size, "page %u: moved by the kernel only", page);
		if (i > 0 && s->present && s->frame == sim[i - 1].page[page].frame && r->frame != real[i - 1].page[page].frame)
			return false;
	}
	return true;
}

/* The index of the first difference, or count. */
static size_t compare(const struct op *ops, size_t count, const struct seen *sim, const struct seen *real, char *what,
		      size_t size)
{
	bool blurred = false;

	for (size_t i = 0; i < count; i++) {
		snprintf(what, size, "simulated: %d, %u; real: %d, %u", sim[i].error, sim[i].value, real[i].error,
			 real[i].value);
		if (!result_is(&ops[i], sim[i].error, sim[i].value) || !result_is(&ops[i], real[i].error, real[i].value))
			return i;
		if (sim[i].error != real[i].error || sim[i].value != real[i].value)
			return i;
		blurred = blurred || blurs(ops[i].kind);
		if (!blurred && !same_entries(sim, real, i, what, size))
			return i;
	}
	return count;
}

static bool conforms(const struct op *ops, size_t count)
{
	static struct seen sim[OPS_MAX], real[OPS_MAX];
	char what[120] = "cannot be run";
	size_t at = 0;

	for (uint32_t i = 0; i < TRIES; i++) {
		if (!run_on_simmm(ops, count, sim) || !run_on_kernel(ops, count, real))
			break;
		at = compare(ops, count, sim, real, what, sizeof(what));
		if (at == count)
			return true;
		if (quiet)
			break;
	}
	tell(ops, count, at, what);
	return false;
}

static uint32_t run_table(void)
{
	uint32_t wrong = 0;

	for (size_t i = 0; i < sequence_count; i++) {
		struct op ops[OPS_MAX];
		size_t count = parse(sequences[i].text, ops);

		if (conforms(ops, count))
			continue;
		wrong++;
		if (!quiet)
			fprintf(stderr, "... in \"%s\"\n", sequences[i].about);
	}
	return wrong;
}

static void test_table(void **state)
{
	(void)state;
	assert_true(sequence_count >= 60);
	if (!kernel_sees_frames())
		print_message("frames are not compared: reading them needs CAP_SYS_ADMIN\n");
	assert_int_equal(run_table(), 0);
}

/* ---- pairs ---- */

static const char *const beginnings[] = {
	"anon(0,3)",
	"anon(0,3) write(0,1) write(1,2) write(2,3)",
	"anon(0,3) read(0) read(1) write(2,3)",
	"shared(0,3) write(0,1) read(1)",
	"private(0,3) write(0,1) read(1)",
	"shared(0,1) write(0,1) anon(1,1) write(1,2) private(2,1)",
	"anon(0,3) write(0,1) write(1,2) fork()",
	"private(0,3) write(0,1) read(1) fork()",
};
static const char *const changes[] = {
	"unmap(0,1)",      "unmap(1,2)",    "anon(0,2)",    "shared(1,1)",   "private(0,1)",   "private(1,1,r)",
	"dontneed(0,2)",   "dontneed(1,2)", "free(0,2)",    "free(1,1)",     "protect(0,2,r)", "protect(1,1,none)",
	"protect(0,3,rw)", "remap(0,1,4)",  "remap(1,1,0)", "truncate(0,1)", "truncate(1,2)",  "fork()",
	"write(0,11)",     "write(1,12)",   "read(1)",      "writeback(0)",  "migrate(0)",     "replace(1)",
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
static const char looks[] = " read(0) read(1) read(2) read(4)";
static const char writes[] = " write(0,21) write(1,22) write(2,23) read(0) read(1) read(2) read(4)";

static bool pair_conforms(const char *beginning, const char *first, const char *second, bool each)
{
	struct op ops[OPS_MAX];
	char text[400];

	snprintf(text, sizeof(text), "%s %s%s %s%s%s", beginning, first, each ? looks : "", second, each ? looks : "", writes);
	return conforms(ops, parse(text, ops));
}

static void test_pairs(void **state)
{
	uint32_t wrong = 0, count = 0;

	(void)state;
	for (size_t b = 0; b < COUNT(beginnings); b++) {
		for (size_t i = 0; i < COUNT(changes) * COUNT(changes) * 2; i++) {
			const char *first = changes[i / 2 / COUNT(changes)], *second = changes[i / 2 % COUNT(changes)];

			count++;
			wrong += !pair_conforms(beginnings[b], first, second, i & 1u);
			assert_true(wrong < 10);
		}
	}
	print_message("%u generated sequences, %u of them different\n", count, wrong);
	assert_int_equal(wrong, 0);
}

static void test_huge_pages(void **state)
{
	(void)state;
	for (int referenced = 0; referenced < 2; referenced++) {
		enum collapsed real = collapse_for_real(referenced), simulated = collapse_simulated(referenced);

		assert_int_equal(simulated, referenced ? COLLAPSE_REFUSED : COLLAPSE_DONE);
		if (real == COLLAPSE_CANNOT)
			print_message("no huge page can be put together here\n");
		else
			assert_int_equal(real, simulated);
	}
}

/* ---- the negative control ---- */

static void test_wrong_machines_are_noticed(void **state)
{
	(void)state;
	quiet = true;
	for (uint32_t wrong = LAB_SIM_RIGHT + 1; wrong < LAB_SIM_FAULTS; wrong++) {
		uint32_t noticed;

		simmm_wrong = (enum lab_sim_fault)wrong;
		noticed = run_table();
		print_message("machine %u: %u sequences differ\n", wrong, noticed);
		assert_true(noticed > 0);
	}
	simmm_wrong = LAB_SIM_RIGHT;
	quiet = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_huge_pages),
		cmocka_unit_test(test_wrong_machines_are_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
