/* SPDX-License-Identifier: MIT */
/*
 * test_cache_scenarios.c: R25 and R27 to R33 with the shipped registration cache, hooks and fixed buffers.
 *
 *	lost      every losing model loses its race within 10,000 schedules, and what is printed can be played again
 *	held      the shipped parts hold them: every schedule within a bound that is small enough to be searched here, with weak
 *	          memory too; `uhmm races` goes further
 *	happens   a race that cannot happen is held by anybody: in some schedules a get hits where in others it registers
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lab/models/models.h"
#include "lab/registrant.h"
#include "lab/scenarios/scenarios.h"
#include "lab/search.h"

#define LOSS_MAX 10000u

struct row {
	const char *id, *model; /* model NULL: the scenario brings what it needs */
	uint32_t bound, weak_bound; /* holders only */
};

static const struct row losers[] = {
	{.id = "R25", .model = "open_no_wait"},
	{.id = "R27", .model = "retry_forever"},
	{.id = "R28", .model = "slot_reuse"},
	{.id = "R29", .model = "prepare_holds_lock"},
	{.id = "R30", .model = "refcount_naive"},
	{.id = "R31", .model = "trust_unmap_only"},
	{.id = "R32", .model = "announce_before"},
	{.id = "R33", .model = "insert_after_register"},
};

static const struct row holders[] = {
	{"R27", "regcache", 1, 0},
	{"R29", "regcache", 1, 0},
	{"R30", "regcache", 2, 1},
	{"R31", "regcache", 2, 0},
	{"R32", "regcache", 1, 0},
	{"R33", "regcache", 2, 1},
	{"R33a", "regcache", 1, 0},
#ifdef __x86_64__
	{"R25", "hooks", 1, 0},
	{"R27", "hooks", 1, 0},
	{"R29", "hooks", 1, 0},
	{"R30", "hooks", 2, 0},
	{"R31", "hooks", 2, 1},
	{"R32", "hooks", 1, 0},
	{"R33", "hooks", 2, 0},
	{"R33a", "hooks", 1, 0},
#endif
	{"R28", "uring", 1, 0},
	{"R28a", "uring", 1, 0},
	{"R30a", NULL, 1, 0},
	{"R30b", NULL, 1, 0},
	{"R30c", NULL, 1, 0},
	{"R30d", NULL, 1, 0},
	{"R30e", NULL, 1, 0},
	{"R30f", NULL, 1, 0},
	{"R30g", NULL, 2, 1},
	{"R30h", NULL, 1, 0},
	{"R30i", NULL, 1, 0},
	{"R30j", NULL, 0, 0},
#ifdef __x86_64__
	{"R30k", NULL, 2, 1},
#endif
	{"R34c", NULL, 2, 1},
};

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
	for (size_t i = 0; name && lab_models[i]; i++)
		if (strcmp(lab_models[i]->name, name) == 0)
			return lab_models[i];
	return NULL;
}

static struct lab_config config_of(const struct row *row, bool weak, uint32_t bound)
{
	return (struct lab_config){
		.scenario = find_scenario(row->id),
		.model = find_model(row->model),
		.devices = 1,
		.invalidators = 1,
		.weak = weak,
		.bound = bound,
		.timeouts = strcmp(row->id, "R25") == 0, /* what has not settled within a millisecond */
	};
}

/* ---- lost ---- */

static void loses(void **state)
{
	const struct row *row = *state;
	struct lab_config c = config_of(row, false, 2);
	const struct lab_limits limits = {.schedules = LOSS_MAX};
	struct lab_verdict again;
	struct lab_result r;

	assert_non_null(c.model);
	lab_search_bound(&c, &limits, &r);
	if (r.outcome != LAB_LOST)
		fail_msg("%s holds %s in %llu schedules", row->model, row->id, (unsigned long long)r.schedules);
	print_message("%s/%s: lost after %llu schedules by %d: %s\n", row->id, row->model,
		      (unsigned long long)r.schedules_to_loss, r.verdict.invariant, r.verdict.text);
	assert_in_range(r.schedules_to_loss, 1, LOSS_MAX);
	/* Not by the lab's own doing: a data race, or an exception of the simulated machine. */
	assert_int_not_equal(r.verdict.invariant, 7);
	assert_int_equal(lab_replay(&c, r.schedule, NULL, NULL, &again), 0);
	assert_int_equal(again.outcome, LAB_LOST);
	assert_int_equal(again.invariant, r.verdict.invariant);
}

/* ---- held ---- */

static void holds_in(const struct row *row, bool weak, uint32_t bound)
{
	const char *name = row->model ? row->model : "shipped", *memory = weak ? " (weak)" : "";
	struct lab_config c = config_of(row, weak, bound);
	const struct lab_limits limits = {0};
	struct lab_result r;

	lab_search_bound(&c, &limits, &r);
	if (r.outcome != LAB_HELD)
		fail_msg("%s/%s%s is lost: %s\n%s", row->id, name, memory, r.verdict.text, r.schedule);
	assert_true(r.exhaustive);
	print_message("%s/%s%s: held, bound %u, %llu schedules\n", row->id, name, memory, bound,
		      (unsigned long long)r.schedules);
}

static void holds(void **state)
{
	const struct row *row = *state;

	if (row->model && !find_model(row->model)) {
		print_message("%s is not in this build\n", row->model);
		skip();
	}
	holds_in(row, false, row->bound);
	holds_in(row, true, row->weak_bound);
}

/* ---- happens ---- */

static uint32_t calls_min, calls_max;

static void count_calls(const struct lab_setup *s)
{
	uint32_t calls = registrant_calls();

	(void)s;
	calls_min = calls < calls_min ? calls : calls_min;
	calls_max = calls > calls_max ? calls : calls_max;
}

/* A scenario with another check; static, for the search keeps a pointer. */
static struct lab_scenario watched;

static void happens(void **state)
{
	const struct row *row = *state;
	struct lab_config c = config_of(row, false, 1);
	const struct lab_limits limits = {0};
	struct lab_result r;

	if (!c.model)
		skip();
	watched = *c.scenario;
	watched.check = count_calls;
	c.scenario = &watched;
	calls_min = UINT32_MAX;
	calls_max = 0;
	lab_search_bound(&c, &limits, &r);
	assert_int_equal(r.outcome, LAB_HELD);
	print_message("%s/%s: %u to %u registrations\n", row->id, row->model, calls_min, calls_max);
	/* Gets on one side of the change share a registration; one before and one after it do not. */
	assert_true(calls_max > calls_min);
	assert_true(calls_max >= 2);
}

static const struct row changed[] = {
	{.id = "R30", .model = "regcache"},
	{.id = "R31", .model = "regcache"},
	{.id = "R32", .model = "regcache"},
	{.id = "R33", .model = "regcache"},
	{.id = "R30", .model = "hooks"},
	{.id = "R31", .model = "hooks"},
	{.id = "R32", .model = "hooks"},
	{.id = "R33", .model = "hooks"},
};

/* ---- all of them ---- */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct CMUnitTest tests[COUNT(losers) + COUNT(holders) + COUNT(changed)];
static char names[COUNT(tests)][64];
static size_t count;

static void add(const char *what, const struct row *row, CMUnitTestFunction fn)
{
	char *name = names[count];

	strcpy(name, what);
	strcat(name, "_");
	strcat(name, row->id);
	strcat(name, "_");
	strcat(name, row->model ? row->model : "shipped");
	tests[count++] = (struct CMUnitTest){.name = name, .test_func = fn, .initial_state = (void *)(uintptr_t)row};
}

int main(void)
{
	for (size_t i = 0; i < COUNT(losers); i++)
		add("loses", &losers[i], loses);
	for (size_t i = 0; i < COUNT(holders); i++)
		add("holds", &holders[i], holds);
	for (size_t i = 0; i < COUNT(changed); i++)
		add("happens", &changed[i], happens);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
