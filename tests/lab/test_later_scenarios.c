/* SPDX-License-Identifier: MIT */
/*
 * test_later_scenarios.c: R14 to R24, R26 and R34: those whose holding side comes with parts that are not built, and the
 * witness's.
 *
 *	lost       every losing model loses its race within 10,000 schedules, and what is printed can be played again
 *	not built  a name that is expected to hold and is no model yet is nobody's success
 *	can hold   a race that everybody loses proves nothing: somebody right holds it, with every schedule within the bound
 *	           tried; or, where only the missing part could (R18, R26), it is not lost without a preemption
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lab/models/models.h"
#include "lab/scenarios/scenarios.h"
#include "lab/search.h"
#include "programs_mended.h"

#define LOSS_MAX 10000u

static const struct lab_scenario *find_scenario(const char *id)
{
	for (size_t i = 0; lab_scenarios[i]; i++)
		if (strcmp(lab_scenarios[i]->id, id) == 0)
			return lab_scenarios[i];
	fail_msg("no scenario %s", id);
	return NULL;
}

static const struct lab_model *find_model(const char *name, size_t len)
{
	for (size_t i = 0; lab_models[i]; i++)
		if (strlen(lab_models[i]->name) == len && strncmp(lab_models[i]->name, name, len) == 0)
			return lab_models[i];
	return NULL;
}

static struct lab_config config_of(const char *id, const struct lab_model *m, bool weak, uint32_t bound)
{
	return (struct lab_config){
		.scenario = find_scenario(id),
		.model = m,
		.devices = 1,
		.invalidators = 1,
		.weak = weak,
		.bound = bound,
		.spurious = 1,
		.timeouts = 1,
	};
}

/* ---- lost ---- */

static void loses(const char *id, const struct lab_model *m)
{
	struct lab_config c = config_of(id, m, m->weak, 2);
	struct lab_limits limits = {.schedules = LOSS_MAX + 1};
	struct lab_verdict again;
	struct lab_result r;

	lab_search_bound(&c, &limits, &r);
	if (r.outcome != LAB_LOST)
		fail_msg("%s holds %s in %llu schedules", m->name, id, (unsigned long long)r.schedules);
	print_message("%s/%s: lost after %llu schedules by %d: %s\n", id, m->name, (unsigned long long)r.schedules_to_loss,
		      r.verdict.invariant, r.verdict.text);
	assert_in_range(r.schedules_to_loss, 1, LOSS_MAX);
	assert_int_equal(lab_replay(&c, r.schedule, NULL, NULL, &again), 0);
	assert_int_equal(again.outcome, LAB_LOST);
	assert_int_equal(again.invariant, r.verdict.invariant);
}

static const char *const ids[] = {"R14", "R15", "R16", "R17", "R18", "R19", "R20", "R21", "R22", "R23", "R24", "R26", "R34",
				  "R34d"};

static void losers_lose(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		const char *list = find_scenario(ids[i])->losers;
		uint32_t n = 0;

		for (size_t len; (len = strcspn(list, " ")) != 0; list += len + (list[len] == ' '), n++) {
			assert_non_null(find_model(list, len));
			loses(ids[i], find_model(list, len));
		}
		assert_true(n > 0);
	}
}

/* ---- can hold ---- */

static void holds(const char *id, const struct lab_model *m)
{
	for (uint32_t weak = 0; weak < 2; weak++) {
		struct lab_config c = config_of(id, m, weak, weak ? 1 : 2);
		struct lab_limits limits = {0};
		struct lab_result r;

		lab_search_bound(&c, &limits, &r);
		if (r.outcome != LAB_HELD)
			fail_msg("%s loses %s%s: %s\n%s", m->name, id, weak ? " (weak)" : "", r.verdict.text, r.schedule);
		assert_true(r.exhaustive);
		print_message("%s/%s%s: held, %llu schedules\n", id, m->name, weak ? " (weak)" : "",
			      (unsigned long long)r.schedules);
	}
}

/* A mirror that is right holds no reference and takes no lock across an allocation: it has nothing to fear from these. */
static void right_mirror_holds(void **state)
{
	static const char *const of_mirrors[] = {"R15", "R16", "R17", "R20", "R21", "R22"};

	(void)state;
	for (size_t i = 0; i < sizeof(of_mirrors) / sizeof(of_mirrors[0]); i++)
		holds(of_mirrors[i], find_model("interval", 8));
	holds("R24", find_model("interval_populate", 17));
}

static void mended_models_hold(void **state)
{
	(void)state;
	holds("R14", &mended_evictable);
	holds("R19", &mended_vram);
	holds("R23", &mended_exclusive);
	/* The one that loses R26 has the gate that R34 is about. */
	holds("R34", find_model("drop_before_zap", 15));
}

/* The shipped witness and, where there are any, the hooks beside it; `uhmm races` goes further. */
static void witness_holds(void **state)
{
	static const char *const pairs[][2] = {{"R26", "witness"}, {"R34", "witness"}, {"R34b", "witness"}, {"R34d", "witness"},
					       {"R26", "witness_hooks"}, {"R34", "witness_hooks"}, {"R34a", "witness_hooks"}};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const struct lab_model *m = find_model(pairs[i][1], strlen(pairs[i][1]));
		struct lab_config c = config_of(pairs[i][0], m, false, 0);
		struct lab_limits limits = {0};
		struct lab_result r;

		if (!m)
			continue; /* a machine without hooks */
		lab_search_bound(&c, &limits, &r);
		if (r.outcome != LAB_HELD)
			fail_msg("%s loses %s: %s\n%s", pairs[i][1], pairs[i][0], r.verdict.text, r.schedule);
		assert_true(r.exhaustive);
	}
}

static void not_lost_by_itself(void **state)
{
	static const char *const pairs[][2] = {{"R18", "shared_atomics"}, {"R26", "drop_before_zap"}};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct lab_config c = config_of(pairs[i][0], find_model(pairs[i][1], strlen(pairs[i][1])), false, 0);
		struct lab_limits limits = {0};
		struct lab_result r;

		c.spurious = 0;
		c.timeouts = 0;
		lab_search_bound(&c, &limits, &r);
		if (r.outcome != LAB_HELD)
			fail_msg("%s without a preemption: %s", pairs[i][0], r.verdict.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(losers_lose),
		cmocka_unit_test(right_mirror_holds),
		cmocka_unit_test(mended_models_hold),
		cmocka_unit_test(witness_holds),
		cmocka_unit_test(not_lost_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
