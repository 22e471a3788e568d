/* SPDX-License-Identifier: MIT */
#include "lab/table.h"

#include <stdlib.h>
#include <string.h>

/* ---- plans ---- */

enum { ANY_BOUND = UINT32_MAX };

struct step {
	uint32_t devices, invalidators;
	bool weak;
	uint32_t bound;     /* ANY_BOUND: every schedule, by reduction; sequential consistency */
	uint64_t schedules; /* stop after so many, wherever that is; 0: no limit */
};

/* Enough to see the beginning of what is too large for a test: as many on every machine. */
#define SOME 40000u

/* Of the core: the first that give a picture within a minute, what every change has to pass, what takes hours. */
static const struct step core_steps[][10] = {
	[LAB_PLAN_QUICK] = {{1, 1, false, 2, 0}, {1, 1, true, 1, 0}, {2, 2, false, 1, 0}, {2, 2, false, 2, 0}},
	[LAB_PLAN_CI] = {{2, 2, false, 2, 0},
			 {1, 2, false, 3, 0},
			 {2, 1, false, 3, 0},
			 {2, 2, true, 1, 0},
			 {1, 2, true, 1, 0},
			 {2, 1, true, 1, 0}},
	[LAB_PLAN_FULL] = {{1, 1, false, ANY_BOUND, 0},
			   {2, 2, true, 2, 0},
			   {1, 2, true, 2, 0},
			   {2, 1, true, 2, 0},
			   {1, 2, false, ANY_BOUND, 0},
			   {2, 1, false, ANY_BOUND, 0},
			   {2, 2, false, 3, 0},
			   {1, 1, true, 3, 0},
			   {2, 2, false, ANY_BOUND, 0}},
};
/*
 * Of what is built on the core, the cache, the hooks and the witness: executions are ten times as long, and there is one of
 * each side.
 */
static const struct step upper_steps[][10] = {
	[LAB_PLAN_QUICK] = {{1, 1, false, 1, 0}, {1, 1, false, 2, 0}},
	[LAB_PLAN_CI] = {{1, 1, false, 2, SOME}, {1, 1, true, 1, SOME}},
	[LAB_PLAN_FULL] = {{1, 1, false, 2, 0}, {1, 1, true, 1, 0}, {1, 1, false, 3, 0}, {1, 1, false, ANY_BOUND, 0}},
};
/* Models that hold and are not shipped: for comparison. */
static const struct step other_steps[] = {{1, 1, false, 2, 0}, {2, 2, false, 1, 0}, {0}};

static const struct step *steps_of(const struct lab_options *o, const struct lab_pair *pair)
{
	enum lab_plan plan = o->markdown ? LAB_PLAN_CI : o->plan;

	if (strcmp(pair->model_name, "kvm") == 0)
		return other_steps;
	if (pair->scenario->core_only || (pair->scenario->devices_max < 2 && pair->scenario->invalidators_max < 2) ||
	    strncmp(pair->model_name, "witness", strlen("witness")) == 0)
		return upper_steps[plan];
	return core_steps[plan];
}

/* ---- pairs ---- */

/* The next word of a space-separated list; false at the end. */
static bool next_word(const char **list, char *word, size_t size)
{
	size_t len;

	if (!*list)
		return false;
	*list += strspn(*list, " ");
	len = strcspn(*list, " ");
	if (!len || len >= size)
		return false;
	memcpy(word, *list, len);
	word[len] = '\0';
	*list += len;
	return true;
}

static bool is_listed(const char *list, const char *name)
{
	char word[32];

	while (next_word(&list, word, sizeof(word))) {
		if (strcmp(word, name) == 0)
			return true;
	}
	return false;
}

static bool is_wanted(const struct lab_options *o, const struct lab_scenario *s, const char *model_name)
{
	bool wanted = o->race_count == 0;

	for (size_t i = 0; i < o->race_count; i++)
		wanted = wanted || strcmp(o->races[i], s->id) == 0;
	return wanted && (!o->model || strcmp(o->model, model_name) == 0);
}

/* Can this model be run there at all? */
static bool is_able(const struct lab_scenario *s, const struct lab_model *m)
{
	uint32_t needs = s->needs;

	if ((needs & LAB_NEEDS_LATE && !m->attach_late) || (needs & LAB_NEEDS_DETACH && !m->detach))
		return false;
	if ((needs & LAB_NEEDS_ATOMIC && !m->atomic_add) || (needs & LAB_NEEDS_EVICT && (!m->evict || !m->restore)))
		return false;
	return !(needs & LAB_NEEDS_NAMED) || is_listed(s->expected, m->name) || is_listed(s->losers, m->name);
}

static bool add_pair(struct lab_table *t, const struct lab_scenario *s, const char *model_name, enum lab_expect expect)
{
	const struct lab_model *m = s->core_only ? NULL : lab_find_model(t->registry, model_name);
	struct lab_pair *pairs;

	if (!is_wanted(t->options, s, model_name))
		return true;
	pairs = realloc(t->pairs, (t->pair_count + 1) * sizeof(*pairs));
	if (!pairs) {
		lab_complain("out of memory");
		return false;
	}
	t->pairs = pairs;
	pairs += t->pair_count++;
	*pairs = (struct lab_pair){.scenario = s, .model = m, .expect = expect};
	strncpy(pairs->model_name, model_name, sizeof(pairs->model_name) - 1);
	if (!m && !s->core_only)
		pairs->state = LAB_PAIR_NOT_BUILT;
	else if (m && !is_able(s, m))
		pairs->state = LAB_PAIR_UNABLE;
	return true;
}

static bool add_listed(struct lab_table *t, const struct lab_scenario *s, const char *list, enum lab_expect expect)
{
	char word[32];

	while (next_word(&list, word, sizeof(word))) {
		if (!add_pair(t, s, word, expect))
			return false;
	}
	return true;
}

/* Of a caller's model, where no scenario names it: it is to hold, unless a scenario of the caller's says that it loses. */
static enum lab_expect of_own(const struct lab_registry *r, const char *name)
{
	for (size_t i = 0; i < r->own_scenarios; i++) {
		if (is_listed(r->scenarios[i]->losers, name))
			return LAB_MAY_EITHER;
	}
	return LAB_MUST_HOLD;
}

/*
 * Of a scenario: first who must lose, then who must hold. A caller's own models are to hold wherever no scenario says
 * otherwise; with models or scenarios of the caller's, the built-in ones among themselves are left out unless asked for.
 */
static bool add_pairs_of(struct lab_table *t, size_t index)
{
	const struct lab_registry *r = t->registry;
	const struct lab_scenario *s = r->scenarios[index];
	size_t before = t->pair_count;
	bool builtin_only = index >= r->own_scenarios && (r->own_scenarios || r->own_models);

	if (!builtin_only || t->options->race_count || t->options->model) {
		if (!add_listed(t, s, s->losers, LAB_MUST_LOSE) || !add_listed(t, s, s->expected, LAB_MUST_HOLD))
			return false;
	}
	/* The shipped parts are in the scenario itself. */
	if (s->core_only && t->pair_count == before && !builtin_only)
		return add_pair(t, s, "shipped", LAB_MUST_HOLD);
	for (size_t i = 0; i < r->own_models && !s->core_only; i++) {
		const char *name = r->models[i]->name;

		if (!is_able(s, r->models[i]) && !t->options->race_count)
			continue;
		if (!is_listed(s->losers, name) && !is_listed(s->expected, name) && !add_pair(t, s, name, of_own(r, name)))
			return false;
	}
	/* A race and a model by name: they are put together even if no scenario has thought of it. */
	return t->pair_count > before || !t->options->race_count || !t->options->model || s->core_only ||
	       !lab_find_model(r, t->options->model) || add_pair(t, s, t->options->model, LAB_MAY_EITHER);
}

/* ---- jobs ---- */

static struct lab_job *add_job(struct lab_table *t, size_t pair, enum lab_search search)
{
	struct lab_job *jobs = realloc(t->jobs, (t->job_count + 1) * sizeof(*jobs));

	if (!jobs)
		return NULL;
	t->jobs = jobs;
	jobs += t->job_count++;
	memset(jobs, 0, sizeof(*jobs));
	jobs->pair = pair;
	jobs->search = search;
	if (pair != SIZE_MAX && !t->pairs[pair].job_count++)
		t->pairs[pair].first_job = t->job_count - 1;
	return jobs;
}

/* A search without bound covers none with a bound: it may never end. */
static bool covers(const struct lab_config *a, const struct lab_config *b)
{
	return a->devices == b->devices && a->invalidators == b->invalidators && a->weak == b->weak &&
	       (a->bound == b->bound || (a->bound > b->bound && a->bound != ANY_BOUND));
}

static bool add_step(struct lab_table *t, size_t pair, const struct lab_config *config, uint64_t schedules,
		     enum lab_search search)
{
	const struct lab_pair *p = &t->pairs[pair];
	struct lab_job *job;

	/* A scenario that cannot use as many makes some steps the same as earlier ones. */
	for (size_t i = 0; i < p->job_count; i++) {
		if (covers(&t->jobs[p->first_job + i].config, config))
			return true;
	}
	job = add_job(t, pair, search);
	if (job) {
		job->config = *config;
		job->schedules_max = schedules;
	}
	return job;
}

/* In a quick plan a larger bound comes after a smaller one, because time may end between them; elsewhere it replaces it. */
static bool add_steps(struct lab_table *t, size_t pair, const struct step *steps, bool quick)
{
	const struct lab_pair *p = &t->pairs[pair];
	struct lab_config config[LAB_PAIR_JOBS];
	size_t count = 0;

	for (; steps[count].devices; count++)
		lab_config_make(&config[count], p->scenario, p->model, steps[count].devices, steps[count].invalidators,
				steps[count].weak, steps[count].bound);
	for (size_t i = 0; i < count; i++) {
		bool covered = false;

		for (size_t k = i + 1; k < count && !quick; k++)
			covered = covered || covers(&config[k], &config[i]);
		if (!covered && !add_step(t, pair, &config[i], steps[i].schedules,
					  steps[i].bound == ANY_BOUND ? LAB_SEARCH_ALL : LAB_SEARCH_BOUND))
			return false;
	}
	return true;
}

/* One configuration, by hand. What is not said is as small as it can be: one device, one invalidator, bound 2. */
static bool add_asked_for(struct lab_table *t, size_t pair)
{
	const struct lab_options *o = t->options;
	uint32_t bound = o->all ? ANY_BOUND : o->bound_given ? o->bound : o->weak ? 1 : 2;
	struct lab_config config;

	lab_config_make(&config, t->pairs[pair].scenario, t->pairs[pair].model, o->devices ? o->devices : 1,
			o->invalidators ? o->invalidators : 1, o->weak, bound);
	return add_step(t, pair, &config, 0, o->pct_runs ? LAB_SEARCH_PCT : o->all ? LAB_SEARCH_ALL : LAB_SEARCH_BOUND);
}

static bool add_jobs_of(struct lab_table *t, size_t pair)
{
	const struct lab_options *o = t->options;
	struct lab_pair *p = &t->pairs[pair];
	bool by_hand = o->devices || o->invalidators || o->weak || o->bound_given || o->all || o->pct_runs;

	if (p->state != LAB_PAIR_RUN)
		return true;
	if (by_hand)
		return add_asked_for(t, pair);
	if (p->expect != LAB_MUST_HOLD) {
		struct lab_job *job = add_job(t, pair, LAB_SEARCH_LADDER);

		if (job)
			lab_config_make(&job->config, p->scenario, p->model, 1, 1, p->model && p->model->weak, 1);
		return job;
	}
	return add_steps(t, pair, steps_of(o, p), o->plan == LAB_PLAN_QUICK && !o->markdown);
}

/* A name in the call that matches nothing is a mistake, not an empty table. */
static bool check_names(const struct lab_table *t)
{
	const struct lab_options *o = t->options;

	for (size_t i = 0; i < o->race_count; i++) {
		if (!lab_find_scenario(t->registry, o->races[i])) {
			lab_complain("unknown race '%s'; try '%s --list'", o->races[i], lab_program);
			return false;
		}
	}
	if (o->model && !lab_find_model(t->registry, o->model)) {
		for (size_t i = 0; i < t->pair_count; i++) {
			if (strcmp(t->pairs[i].model_name, o->model) == 0)
				return true;
		}
		lab_complain("unknown model '%s'; try '%s --list'", o->model, lab_program);
		return false;
	}
	if (!t->pair_count)
		lab_complain("%s has nothing to say about %s", o->model ? o->model : "no model",
			     o->race_count ? "that race" : "any race");
	return t->pair_count > 0;
}

int lab_table_make(struct lab_table *t, struct lab_registry *r, const struct lab_options *options, lab_control_fn *control)
{
	bool ok = true;

	*t = (struct lab_table){.options = options, .registry = r, .control = control};
	for (size_t i = 0; i < r->scenario_count && ok; i++)
		ok = add_pairs_of(t, i);
	ok = ok && check_names(t);
	/* What must lose does so quickly: it comes first, and after it the control. */
	for (size_t i = 0; i < t->pair_count && ok; i++)
		ok = t->pairs[i].expect == LAB_MUST_HOLD || add_jobs_of(t, i);
	if (ok && control && options->mode == LAB_MODE_TABLE)
		ok = add_job(t, SIZE_MAX, LAB_SEARCH_CONTROL);
	for (size_t i = 0; i < t->pair_count && ok; i++)
		ok = t->pairs[i].expect != LAB_MUST_HOLD || add_jobs_of(t, i);
	return ok ? 0 : LAB_STATUS_USAGE;
}

void lab_table_free(struct lab_table *t)
{
	free(t->pairs);
	free(t->jobs);
}

/* ---- what came of it ---- */

bool lab_job_expected(const struct lab_table *t, const struct lab_job *job)
{
	bool lost = job->found.result.outcome == LAB_LOST;

	/* Hours are ended by hand: what was not tried yet says nothing. */
	if (job->state == LAB_JOB_WAITING && t->options->plan == LAB_PLAN_FULL)
		return true;
	if (job->state != LAB_JOB_DONE)
		return false;
	if (job->pair == SIZE_MAX)
		return job->found.control.lost;
	return t->pairs[job->pair].expect == LAB_MAY_EITHER || lost == (t->pairs[job->pair].expect == LAB_MUST_LOSE);
}

bool lab_pair_expected(const struct lab_table *t, const struct lab_pair *pair)
{
	for (size_t i = 0; i < pair->job_count; i++) {
		if (!lab_job_expected(t, &t->jobs[pair->first_job + i]))
			return false;
	}
	return true;
}

const struct lab_job *lab_pair_loss(const struct lab_table *t, const struct lab_pair *pair)
{
	const struct lab_job *best = NULL;

	for (size_t i = 0; i < pair->job_count; i++) {
		const struct lab_job *job = &t->jobs[pair->first_job + i];
		const struct lab_verdict *v = &job->found.result.verdict;

		if (job->state != LAB_JOB_DONE || job->found.result.outcome != LAB_LOST)
			continue;
		if (!best || v->preemptions < best->found.result.verdict.preemptions ||
		    (v->preemptions == best->found.result.verdict.preemptions && v->steps < best->found.result.verdict.steps))
			best = job;
	}
	return best;
}
