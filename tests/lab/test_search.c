/* SPDX-License-Identifier: MIT */
/* The searches, on programs small enough to know the answer or to try every schedule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lab/hunt.h"
#include "programs.h"

static struct lab_config config;
static struct lab_limits limits;
static struct lab_result result, other;

static void given(const char *one, const char *two, const char *three)
{
	const struct program p = { .fiber = { one, two, three } };

	program_set(&p);
	memset(&config, 0, sizeof(config));
	memset(&limits, 0, sizeof(limits));
	config.scenario = &program_scenario;
	config.devices = config.invalidators = 1;
	config.step_max = 200;
}

/* ---- numbers ---- */

static uint64_t with_bound(uint32_t bound)
{
	config.bound = bound;
	lab_search_bound(&config, &limits, &result);
	assert_int_equal(result.outcome, LAB_HELD);
	assert_true(result.exhaustive);
	assert_int_equal(result.bound, bound);
	return result.schedules;
}

/*
 * Two fibers of n steps on one word. With b switches while both can run there are as many ways to place them as in "choose":
 * 0: who is first. 1: that, or the first is stopped at one of n - 1 places (before its first step would be the other order).
 */
static void test_bounds(void **state)
{
	(void)state;
	given("w0 w0 w0", "w0 w0 w0", NULL);
	assert_int_equal(with_bound(0), 2);
	assert_int_equal(with_bound(1), 2 + 2 * 2);
	lab_search_all(&config, &limits, false, &result);
	assert_int_equal(result.schedules, 20); /* 6 choose 3 */
	assert_int_equal(with_bound(9), 20);
	given("w0", "w0", "w0");
	assert_int_equal(with_bound(0), 6);
	given("w0", "w1", "w2"); /* nobody shares anything, so nothing is decided */
	lab_search_all(&config, &limits, true, &result);
	assert_int_equal(result.schedules, 1);
	assert_true(result.exhaustive);
}

/* Words are learnt to be shared, and the search begins again; the last count is that of the whole. */
static void test_learning(void **state)
{
	(void)state;
	given("w0 r1", "w1 r0", NULL);
	assert_int_equal(with_bound(4), 6);
	assert_int_equal(result.digests, 3); /* both 0 is impossible */
	given("r0 r1", "r0 r1", NULL);       /* never written */
	assert_int_equal(result.digests, 3);
	assert_int_equal(with_bound(0), 1);
	assert_int_equal(with_bound(4), 1);
}

static void test_data(void **state)
{
	(void)state;
	given("d d r0", "d w0", NULL);
	lab_search_all(&config, &limits, false, &result);
	assert_int_equal(result.digests, 8 * 2);
	lab_search_all(&config, &limits, true, &other);
	assert_int_equal(other.digest_of_set, result.digest_of_set);
}

/* ---- the reduced search against the full one ---- */

static void same_states(const struct program *p, uint64_t *full, uint64_t *reduced)
{
	program_set(p);
	limits.go_on = true;
	lab_search_all(&config, &limits, false, &result);
	assert_true(result.exhaustive);
	lab_search_all(&config, &limits, true, &other);
	assert_true(other.exhaustive);
	if (other.outcome != result.outcome || other.digests != result.digests || other.digest_of_set != result.digest_of_set)
		fail_msg("%s: %llu final states of %llu", program_text(p), (unsigned long long)other.digests,
			 (unsigned long long)result.digests);
	*full += result.schedules;
	*reduced += other.schedules;
}

static void test_reduced(void **state)
{
	static const char *const programs[][3] = {
		{ "w0 r1", "w1 r0", NULL },
		{ "w0 w1", "r1 r0", "r1 r0" },
		{ "w0", "w0", "r0 r0" },
		{ "r0 w1", "r1 w0", "w0 w1" },
		{ "+0 w0 -0 r1", "+0 r0 w1 -0", NULL },
		{ "+0 +1 w0 -1 -0", "+1 +0 w0 -0 -1", NULL }, /* deadlocks */
		{ "+0 w0 -0", "t0 r0", "+0 r0 -0" },
		{ "s0 r1", "w1 k0 w1", NULL },
		{ "s0 w1", "s0 w1", "k0 r1" },
		{ "s0", "s1 k0", "r0 k1 w0" },
		{ "z0 r1", "w1 k0", NULL },
		{ "y r0 w1", "w0 r1", NULL },
		{ "d w0", "r0 d", "w0" },
		{ "a0 b1", "a1 b0", "b0 b1" },
		{ "w0 +0 r1 -0", "w1 +0 r0 -0", "+0 w0 -0" },
		{ "s0 r0", "w0", "r0" }, /* never woken */
		{ "r0 f r0", "w0 w1", "+0 w0 -0" },
		{ "+0 f w0 -0", "w1 +0 r0 -0", NULL },
		{ "x0 r0 j r0", "w0 r0", NULL },
		{ "x0 j x1 r1", "x1 r0 r1", NULL },
	};
	uint64_t full = 0, reduced = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		const struct program p = { .fiber = { programs[i][0], programs[i][1], programs[i][2] } };

		given(NULL, NULL, NULL);
		config.spurious = i % 2;
		same_states(&p, &full, &reduced);
	}
	assert_true(10 * reduced < full);
}

static void test_reduced_drawn(void **state)
{
	static const char *const alphabets[] = { "rw", "rwab", "rw+-", "rw+-t", "rwsk", "rwd", "rws+-p", "rwf", "rwxj" };
	uint64_t full = 0, reduced = 0;

	(void)state;
	for (size_t a = 0; a < sizeof(alphabets) / sizeof(alphabets[0]); a++) {
		for (uint64_t seed = 1; seed <= 25; seed++) {
			given(NULL, NULL, NULL);
			same_states(program_draw(seed, 3, 3, alphabets[a]), &full, &reduced);
		}
	}
	assert_true(3 * reduced < full);
}

/* Negative control: with a mistake in the reduction the comparison fails. */
static void test_reduction_mistakes(void **state)
{
	(void)state;
	for (uint32_t mistake = 1; mistake <= 2; mistake++) {
		given("w0 r1", "w1 r0", NULL);
		lab_search_all(&config, &limits, false, &result);
		lab_dpor_mistake = mistake;
		lab_search_all(&config, &limits, true, &other);
		lab_dpor_mistake = 0;
		assert_true(other.digests < result.digests);
	}
}

/*
 * Stores that leave their buffers only where it matters reach the same states as those that leave anywhere, in fewer
 * schedules.
 */
static void test_flushes(void **state)
{
	static const char *const alphabets[] = { "ab", "absk", "ab+-" };
	uint64_t anywhere = 0, matters = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		const struct program *const p = program_draw(seed, 3, 3, alphabets[seed % 3]);

		given(NULL, NULL, NULL);
		program_set(p);
		config.weak = true;
		config.bound = 1 + seed % 2;
		limits.go_on = true;
		lab_flush_anywhere = true;
		lab_search_bound(&config, &limits, &result);
		lab_flush_anywhere = false;
		lab_search_bound(&config, &limits, &other);
		assert_true(result.exhaustive && other.exhaustive);
		if (other.outcome != result.outcome || other.digest_of_set != result.digest_of_set)
			fail_msg("%s", program_text(p));
		anywhere += result.schedules;
		matters += other.schedules;
	}
	assert_true(2 * matters < anywhere);
}

/* ---- what is found ---- */

static void replays(const char *schedule, int invariant)
{
	struct lab_verdict v;

	assert_int_equal(lab_replay(&config, schedule, NULL, NULL, &v), 0);
	assert_int_equal(v.outcome, LAB_LOST);
	assert_int_equal(v.invariant, invariant);
}

static void test_deadlock(void **state)
{
	(void)state;
	given("+0 +1 -1 -0", "+1 +0 -0 -1", NULL);
	assert_int_equal(with_bound(0), 2);
	config.bound = 3;
	lab_search_bound(&config, &limits, &result);
	assert_int_equal(result.outcome, LAB_LOST);
	assert_int_equal(result.verdict.invariant, 5);
	assert_int_equal(result.verdict.preemptions, 1);
	assert_non_null(strstr(result.verdict.text, "one waits for a lock at programs.c:"));
	assert_non_null(strstr(result.verdict.text, "two waits for a lock at programs.c:"));
	replays(result.schedule, 5);
	lab_search_all(&config, &limits, true, &result);
	assert_int_equal(result.outcome, LAB_LOST);
	replays(result.schedule, 5);
	lab_search_pct(&config, &limits, 1, 2, 1000, &result);
	assert_int_equal(result.outcome, LAB_LOST);
	replays(result.schedule, 5);
	given("+0 +1 -1 -0", "+0 +1 -1 -0", NULL); /* in one order: none */
	lab_search_all(&config, &limits, false, &result);
	assert_int_equal(result.outcome, LAB_HELD);
}

static void test_sleeps_for_ever(void **state)
{
	(void)state;
	given("s0", "r0", NULL);
	lab_search_bound(&config, &limits, &result);
	assert_int_equal(result.verdict.invariant, 5);
	assert_non_null(strstr(result.verdict.text, "one sleeps at programs.c:"));
	replays(result.schedule, 5);
	given("p0", "r0", NULL); /* with a deadline it ends, though no time-out is to be tried before somebody else goes on */
	lab_search_all(&config, &limits, false, &result);
	assert_int_equal(result.outcome, LAB_HELD);
}

static void test_livelock(void **state)
{
	(void)state;
	given("z0", "r0", NULL);
	lab_search_bound(&config, &limits, &result);
	assert_int_equal(result.outcome, LAB_LOST);
	assert_int_equal(result.verdict.invariant, 5);
	assert_non_null(strstr(result.verdict.text, "livelock"));
	replays(result.schedule, 5);
	given("z0 k1", "z1", "k0"); /* two that spin do not keep the third from running */
	config.bound = 2;
	lab_search_bound(&config, &limits, &result);
	assert_int_equal(result.outcome, LAB_HELD);
	assert_true(result.exhaustive);
}

/* ---- schedules ---- */

static void test_not_this_schedule(void **state)
{
	static const struct {
		const char *schedule, *words;
	} wrong[] = {
		{ "1x1.Q2", "not a schedule, at character 5" }, { "3x1", "element 1: fiber 3 does not exist" },
		{ "1x9", "element 1: fiber 1 has ended" },	{ "1x3.2x3.1x0.2x0.F1", "has no such buffered store" },
		{ "1x3.2x3.F2", "element 3" },
	};
	struct lab_verdict v;

	(void)state;
	given("w0 r1", "w1 r0", NULL);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(lab_replay(&config, wrong[i].schedule, NULL, NULL, &v), -EINVAL);
		if (!strstr(v.text, wrong[i].words) && !strstr(v.text, "still to come"))
			fail_msg("%s: %s", wrong[i].schedule, v.text);
	}
	assert_int_equal(lab_replay(&config, "", NULL, NULL, &v), 0);
	assert_int_equal(v.outcome, LAB_HELD);
}

static void test_minimise(void **state)
{
	char schedule[LAB_SCHEDULE_MAX];
	struct lab_verdict v;

	(void)state;
	given("w0 +0 w0 +1 w0 -1 -0", "w0 +1 w0 +0 w0 -0 -1", "w0 w0 w0");
	/* In and out of everybody, as a random search might find it. */
	strcpy(schedule, "1x1.2x1.3x1.2x1.1x1.3x1.1x1.2x1.3x2.1x1.2x1");
	assert_int_equal(lab_replay(&config, schedule, NULL, NULL, &v), 0);
	assert_int_equal(v.invariant, 5);
	assert_true(v.preemptions > 4);
	lab_minimise(&config, schedule);
	assert_int_equal(lab_replay(&config, schedule, NULL, NULL, &v), 0);
	assert_int_equal(v.invariant, 5);
	assert_int_equal(v.preemptions, 1);
	/* What does not lose is left alone. */
	strcpy(schedule, "1x8.2x8");
	lab_minimise(&config, schedule);
	assert_string_equal(schedule, "1x8.2x8");
}

/* ---- resuming ---- */

static void in_pieces(bool bounded, uint64_t piece)
{
	char path[] = "/tmp/uhmm-lab-resume-XXXXXX";
	const int fd = mkstemp(path);
	uint32_t sittings = 0;

	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	limits.schedules = piece;
	limits.resume_file = path;
	do {
		if (bounded)
			lab_search_bound(&config, &limits, &other);
		else
			lab_search_all(&config, &limits, true, &other);
		assert_true(++sittings < 10000);
		assert_int_equal(access(path, F_OK) == 0, !other.exhaustive);
	} while (!other.exhaustive);
	assert_true(sittings > 3);
	assert_int_equal(other.schedules, result.schedules);
	assert_int_equal(other.digests, result.digests);
	assert_int_equal(other.digest_of_set, result.digest_of_set);
	limits.schedules = 0;
	limits.resume_file = NULL;
}

static void test_resume(void **state)
{
	(void)state;
	given("w0 r1 w0", "w1 r0 d", "w0 r1 w1");
	config.bound = 2;
	lab_search_bound(&config, &limits, &result);
	assert_true(result.exhaustive);
	in_pieces(true, 40);
	in_pieces(true, 1);
	lab_search_all(&config, &limits, true, &result);
	assert_true(result.exhaustive);
	in_pieces(false, 17);
}

/* ---- the random search ---- */

static void test_pct(void **state)
{
	(void)state;
	given("w0 r1 w0", "w1 r0", "w0 r1 w1");
	lab_search_pct(&config, &limits, 7, 3, 500, &result);
	lab_search_pct(&config, &limits, 7, 3, 500, &other);
	assert_int_equal(result.schedules, 500);
	assert_false(result.exhaustive);
	assert_int_equal(result.digest_of_set, other.digest_of_set);
	lab_search_pct(&config, &limits, 8, 3, 500, &other);
	assert_true(result.digests > 10 && other.digests > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_learning),
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_reduced),
		cmocka_unit_test(test_reduced_drawn),
		cmocka_unit_test(test_reduction_mistakes),
		cmocka_unit_test(test_flushes),
		cmocka_unit_test(test_deadlock),
		cmocka_unit_test(test_sleeps_for_ever),
		cmocka_unit_test(test_livelock),
		cmocka_unit_test(test_not_this_schedule),
		cmocka_unit_test(test_minimise),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_pct),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
