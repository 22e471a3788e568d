/* SPDX-License-Identifier: MIT */
/*
 * test_scenarios.c: the races R1-R13 and their models, in small configurations.
 *
 *	lost      every losing model loses its race within 10,000 schedules
 *	held      the holding models hold them, with every schedule within the bound tried
 *	happens   a race that cannot happen is held by anybody: over the search of a holding model the device has used the page
 *	          before the change and after it, and has been overtaken by it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lab/models/models.h"
#include "lab/scenarios/common.h"
#include "lab/search.h"

#define LOSS_MAX 10000u

static const struct lab_scenario *find_scenario(const char *id)
{
	for (size_t i = 0; lab_scenarios[i]; i++)
		if (strcmp(lab_scenarios[i]->id, id) == 0)
			return lab_scenarios[i];
	fail_msg("no scenario %s", id);
	return NULL;
}

static const struct lab_model *find_model(const char *name)
{
	for (size_t i = 0; lab_models[i]; i++)
		if (strcmp(lab_models[i]->name, name) == 0)
			return lab_models[i];
	return NULL;
}

static struct lab_config config_of(const struct lab_scenario *s, const struct lab_model *m, uint32_t devices,
				   uint32_t invalidators, bool weak, uint32_t bound)
{
	return (struct lab_config){
		.scenario = s,
		.model = m,
		.devices = devices,
		.invalidators = invalidators,
		.weak = weak,
		.bound = bound,
		.spurious = 1,
		.timeouts = 1,
		.failures = s->failures,
	};
}

/* ---- lost ---- */

static const struct {
	uint32_t devices, invalidators, bound;
} ladder[] = {{1, 1, 1}, {1, 1, 2}, {1, 2, 1}, {2, 1, 1}, {2, 2, 1}, {1, 2, 2}, {2, 1, 2}};

static void loses(const char *id, const char *name)
{
	const struct lab_scenario *s = find_scenario(id);
	const struct lab_model *m = find_model(name);
	uint64_t tried = 0;

	assert_non_null(m);
	for (size_t i = 0; i < sizeof(ladder) / sizeof(ladder[0]) && tried <= LOSS_MAX; i++) {
		struct lab_config c = config_of(s, m, ladder[i].devices, ladder[i].invalidators, m->weak, ladder[i].bound);
		struct lab_limits limits = {.schedules = LOSS_MAX - tried + 1};
		struct lab_verdict again;
		struct lab_result r;

		lab_search_bound(&c, &limits, &r);
		if (r.outcome != LAB_LOST) {
			tried += r.schedules;
			continue;
		}
		tried += r.schedules_to_loss;
		print_message("%s/%s: lost after %llu schedules at %u+%u bound %u by %d: %s\n", id, name,
			      (unsigned long long)tried, c.devices, c.invalidators, r.bound, r.verdict.invariant,
			      r.verdict.text);
		assert_in_range(tried, 1, LOSS_MAX);
		assert_in_range(r.verdict.invariant, 1, 8);
		/* What is printed can be played again. */
		assert_int_equal(lab_replay(&c, r.schedule, NULL, NULL, &again), 0);
		assert_int_equal(again.outcome, LAB_LOST);
		assert_int_equal(again.invariant, r.verdict.invariant);
		return;
	}
	fail_msg("%s holds %s in %llu schedules", name, id, (unsigned long long)tried);
}

static void each_of(const char *id, const char *list, void (*fn)(const char *id, const char *name))
{
	char word[32];

	while (*list) {
		size_t len = strcspn(list, " ");

		assert_true(len > 0 && len < sizeof(word));
		memcpy(word, list, len);
		word[len] = '\0';
		fn(id, word);
		list += len + (list[len] == ' ');
	}
}

static void losers_lose(void **state)
{
	const char *id = *state;

	each_of(id, find_scenario(id)->losers, loses);
}

/* ---- held ---- */

static void holds(const char *id, const char *name)
{
	static const struct {
		bool weak;
		uint32_t bound;
	} modes[] = {{false, 2}, {true, 1}};

	for (size_t i = 0; i < 2; i++) {
		struct lab_config c = config_of(find_scenario(id), find_model(name), 1, 1, modes[i].weak, modes[i].bound);
		struct lab_limits limits = {0};
		struct lab_result r;

		assert_non_null(c.model);
		lab_search_bound(&c, &limits, &r);
		if (r.outcome != LAB_HELD)
			fail_msg("%s loses %s%s: %s\n%s", name, id, c.weak ? " (weak)" : "", r.verdict.text, r.schedule);
		assert_true(r.exhaustive);
		print_message("%s/%s%s: held, %llu schedules\n", id, name, c.weak ? " (weak)" : "",
			      (unsigned long long)r.schedules);
	}
}

static void holders_hold(void **state)
{
	const char *id = *state;

	each_of(id, find_scenario(id)->expected, holds);
}

/* ---- happens ---- */

static const struct lab_scenario *inner;
static bool (*wanted)(void);

/* To be reached is to be lost: the search then says how soon. */
static void check_reached(const struct lab_setup *s)
{
	bool reached = wanted(); /* before the check, which may change things */

	if (inner->check)
		inner->check(s);
	if (reached)
		lab_fail("reached");
}

static bool all_changed(void)
{
	for (uint32_t i = 0; i < scenario_run->cpus; i++)
		if (scenario_run->cpu[i].err)
			return false;
	return true;
}

static lab_frame final_entry(void)
{
	uint32_t access;

	return lab_mapped(scenario_run->user[0].device, scenario_run->user[0].page, &access);
}

static bool used_before(void)
{
	return all_changed() && !scenario_run->user[0].err[0] && !final_entry();
}

static bool used_after(void)
{
	return all_changed() && !scenario_run->user[0].err[scenario_run->user[0].uses - 1] && final_entry();
}

static bool found_nothing(void)
{
	return all_changed() && scenario_run->user[0].err[0] == -EFAULT;
}

static bool read_zeroes(void)
{
	return all_changed() && !scenario_run->user[0].err[0] && scenario_run->user[0].value[0] == 0;
}

static bool read_old(void)
{
	return all_changed() && !scenario_run->user[0].err[0] && scenario_run->user[0].value[0] == SCENARIO_OLD;
}

static bool first_try_failed(void)
{
	return all_changed() && scenario_run->second_tries;
}

/* Of the shipped core alone: some look-up was overtaken by a change and begun again. */
static bool retried(void)
{
	struct uhmm_stats stats = {.size = sizeof(stats)};

	return uhmm_mm_stats(lab_mm(), &stats) == 0 && stats.retries > 0;
}

static void reach(const char *id, const char *name, const char *what, bool (*fn)(void))
{
	struct lab_scenario outer;
	struct lab_config c;
	struct lab_limits limits = {0};
	struct lab_result r;

	inner = find_scenario(id);
	wanted = fn;
	outer = *inner;
	outer.check = check_reached;
	c = config_of(&outer, find_model(name), 1, 1, false, 2);
	lab_search_bound(&c, &limits, &r);
	if (r.outcome != LAB_LOST || strcmp(r.verdict.text, "reached") != 0)
		fail_msg("%s/%s: \"%s\" does not happen (%s)", id, name, what, r.verdict.text);
}

static const struct {
	const char *id, *what;
	bool (*fn)(void);
} happenings[] = {
	{"R1", "used before", used_before},     {"R1", "used after", used_after},
	{"R2", "used before", used_before},     {"R2", "found nothing", found_nothing},
	{"R3", "used before", used_before},     {"R3", "used after", used_after},
	{"R4", "used before", used_before},     {"R4", "used after", used_after},
	{"R5", "used before", used_before},     {"R5", "found nothing", found_nothing},
	{"R6", "used before", used_before},     {"R6", "used after", used_after},
	{"R7", "used before", used_before},     {"R7", "used after", used_after},
	{"R7cow", "used before", used_before},  {"R7cow", "used after", used_after},
	{"R8", "used before", used_before},     {"R8", "used after", used_after},
	{"R8", "tried twice", first_try_failed},
	{"R9", "used before", used_before},     {"R9", "used after", used_after},
	{"R10", "used before", used_before},    {"R10", "used after", used_after},
	{"R11", "used before", used_before},    {"R11", "used after", used_after},
	{"R12", "read the old", read_old},      {"R12", "read the new", read_zeroes},
	{"R13", "used before", used_before},    {"R13", "used after", used_after},
	{"R13", "refused first", first_try_failed},
};

static void orders_happen(void **state)
{
	const char *id = *state;

	for (size_t i = 0; i < sizeof(happenings) / sizeof(happenings[0]); i++) {
		if (strcmp(happenings[i].id, id) != 0)
			continue;
		reach(id, "interval", happenings[i].what, happenings[i].fn);
		reach(id, "kvm", happenings[i].what, happenings[i].fn);
	}
	reach(id, "interval", "a retry", retried);
}

#define RACE(id) \
	cmocka_unit_test_prestate(losers_lose, (void *)(uintptr_t)(id)), \
	cmocka_unit_test_prestate(holders_hold, (void *)(uintptr_t)(id)), \
	cmocka_unit_test_prestate(orders_happen, (void *)(uintptr_t)(id))

int main(void)
{
	const struct CMUnitTest tests[] = {
		RACE("R1"), RACE("R2"), RACE("R3"), RACE("R4"), RACE("R5"), RACE("R6"), RACE("R7"),
		RACE("R7cow"), RACE("R8"), RACE("R9"), RACE("R10"), RACE("R11"), RACE("R12"), RACE("R13"),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
