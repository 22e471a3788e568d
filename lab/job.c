/* SPDX-License-Identifier: MIT */
/* job.c: one search, in a process of its own; and the control, which is a search in the other copy of the lab. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lab/models/models.h"
#include "lab/scenarios/scenarios.h"
#include "lab/table.h"

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What must lose is tried small before large, with few preemptions before many: the first loss is the easiest to understand. */
static const struct rung {
	uint32_t devices, invalidators, bound;
} ladder[] = {{1, 1, 1}, {1, 1, 2}, {1, 2, 1}, {2, 1, 1}, {2, 2, 1}, {1, 2, 2},
	      {2, 1, 2}, {2, 2, 2}, {1, 1, 3}, {1, 2, 3}, {2, 1, 3}, {2, 2, 3}};

#define RUNGS (sizeof(ladder) / sizeof(ladder[0]))

/* The scenario cannot use that many: an earlier rung was the same. */
static bool is_repeated(const struct lab_config *c, const struct rung *rung)
{
	return c->devices != rung->devices || c->invalidators != rung->invalidators;
}

/* Climbs until something is lost or so many schedules were tried. */
static void climb(const struct lab_config *base, struct lab_limits limits, uint64_t schedules_max, struct lab_finding *out)
{
	uint64_t tried = 0;

	for (size_t i = 0; i < RUNGS && tried < schedules_max; i++) {
		struct lab_config c;

		lab_config_make(&c, base->scenario, base->model, ladder[i].devices, ladder[i].invalidators, base->weak,
				ladder[i].bound);
		if (is_repeated(&c, &ladder[i]))
			continue;
		limits.schedules = schedules_max - tried;
		lab_search_bound(&c, &limits, &out->result);
		out->config = c;
		if (out->result.outcome == LAB_LOST) {
			out->result.schedules_to_loss += tried;
			return;
		}
		tried += out->result.schedules;
	}
	out->result.schedules = tried;
}

/* The counterexample that people see; the figures of the search stay as they are. */
static void make_readable(struct lab_finding *f)
{
	static const char flaw[] = " (but a replay holds: something in it is not deterministic)";
	static char minimised[LAB_SCHEDULE_MAX];
	struct lab_verdict verdict;
	size_t len;

	if (f->result.outcome != LAB_LOST)
		return;
	strcpy(minimised, f->result.schedule);
	lab_minimise(&f->config, minimised);
	if (lab_replay(&f->config, minimised, NULL, NULL, &verdict) == 0 && verdict.outcome == LAB_LOST) {
		f->result.verdict = verdict;
		strcpy(f->result.schedule, minimised);
		return;
	}
	len = strlen(f->result.verdict.text);
	if (len > sizeof(f->result.verdict.text) - sizeof(flaw))
		len = sizeof(f->result.verdict.text) - sizeof(flaw);
	strcpy(f->result.verdict.text + len, flaw);
}

void lab_job_run(const struct lab_table *t, const struct lab_job *job, void (*progress)(void *, uint64_t, uint32_t), void *arg,
		 struct lab_finding *out)
{
	struct lab_limits limits = {.schedules = job->schedules_max, .seconds = job->seconds, .progress = progress, .arg = arg};
	double begin = now();

	memset(out, 0, sizeof(*out));
	out->config = job->config;
	if (job->resume_file[0])
		limits.resume_file = job->resume_file;
	switch (job->search) {
	case LAB_SEARCH_BOUND:
		lab_search_bound(&job->config, &limits, &out->result);
		break;
	case LAB_SEARCH_ALL:
		lab_search_all(&job->config, &limits, true, &out->result);
		break;
	case LAB_SEARCH_PCT:
		lab_search_pct(&job->config, &limits, t->options->seed, t->options->depth, t->options->pct_runs, &out->result);
		break;
	case LAB_SEARCH_LADDER:
		climb(&job->config, limits, 100 * (uint64_t)LAB_LOSS_MAX, out);
		break;
	case LAB_SEARCH_CONTROL:
		t->control(&out->control);
		break;
	}
	make_readable(out);
	out->seconds = now() - begin;
}

void lab_control(struct lab_control *out)
{
	const struct lab_model *model = NULL;
	static struct lab_finding f;
	size_t count = 0;

	while (lab_scenarios[count])
		count++;
	*out = (struct lab_control){0};
	snprintf(out->mistake, sizeof(out->mistake), "%s",
		 lab_sabotage_words ? lab_sabotage_words : "none: this is the sound copy");
	for (size_t i = 0; lab_models[i]; i++) {
		if (strcmp(lab_models[i]->name, "interval") == 0)
			model = lab_models[i];
	}
	/* Weak memory after all races without it: a missing barrier loses nothing before. */
	for (size_t k = 0; model && k < 2 * count; k++) {
		size_t i = k % count;
		struct lab_config base;

		if (lab_scenarios[i]->core_only || !lab_scenarios[i]->expected ||
		    !strstr(lab_scenarios[i]->expected, "interval"))
			continue;
		lab_config_make(&base, lab_scenarios[i], model, 1, 1, k >= count, 1);
		climb(&base, (struct lab_limits){0}, LAB_LOSS_MAX, &f);
		if (f.result.outcome == LAB_LOST) {
			out->lost = true;
			out->schedules += f.result.schedules_to_loss;
			snprintf(out->scenario, sizeof(out->scenario), "%s", lab_scenarios[i]->id);
			snprintf(out->text, sizeof(out->text), "%.*s", (int)sizeof(out->text) - 1, f.result.verdict.text);
			return;
		}
		out->schedules += f.result.schedules;
	}
}
