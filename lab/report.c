/* SPDX-License-Identifier: MIT */
/* report.c: the table as text. */
#include "lab/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lab/timeline.h"

const char *lab_count_text(uint64_t n, char out[LAB_COUNT_SIZE])
{
	char digits[LAB_COUNT_SIZE];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n), at = 0;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
	return out;
}

const char *lab_config_text(const struct lab_config *c, char out[LAB_COUNT_SIZE])
{
	snprintf(out, LAB_COUNT_SIZE, "%u+%u%s", c->devices, c->invalidators, c->weak ? " weak" : "");
	return out;
}

const char *lab_job_word(const struct lab_job *job)
{
	if (job->state == LAB_JOB_WAITING || job->state == LAB_JOB_RUNNING)
		return "not run";
	if (job->state == LAB_JOB_DIED)
		return "died";
	return job->found.result.outcome == LAB_LOST ? "lost" : "held";
}

static void lost_text(const struct lab_job *job, char *out, size_t size)
{
	const struct lab_result *r = &job->found.result;
	char count[LAB_COUNT_SIZE];

	snprintf(out, size, "after %s schedule%s, %u preemption%s: %s", lab_count_text(r->schedules_to_loss, count),
		 r->schedules_to_loss == 1 ? "" : "s", r->verdict.preemptions, r->verdict.preemptions == 1 ? "" : "s",
		 lab_invariant_text(r->verdict.invariant));
}

static void held_text(const struct lab_table *t, const struct lab_job *job, char *out, size_t size)
{
	const struct lab_result *r = &job->found.result;
	const struct lab_config *c = &job->found.config;
	char count[LAB_COUNT_SIZE];

	lab_count_text(r->schedules, count);
	if (job->search == LAB_SEARCH_PCT)
		snprintf(out, size, "%s random schedules (seed %" PRIu64 ", depth %u)", count, t->options->seed,
			 t->options->depth);
	else if (job->search == LAB_SEARCH_LADDER)
		snprintf(out, size, "%s schedules in several configurations", count);
	else if (job->search == LAB_SEARCH_ALL)
		snprintf(out, size, r->exhaustive ? "exhaustive: %s schedules" : "%s schedules of all, stopped", count);
	else if (r->exhaustive)
		snprintf(out, size, "bound %u: all %s schedules", c->bound, count);
	else if (r->reached == 0)
		snprintf(out, size, "bound 0: %s schedules, stopped", count);
	else
		snprintf(out, size, "bound %u: %s schedules, stopped; bound %u: all", r->reached, count, r->reached - 1);
}

void lab_job_text(const struct lab_table *t, const struct lab_job *job, char *out, size_t size)
{
	*out = '\0';
	if (job->state == LAB_JOB_DIED)
		snprintf(out, size, job->died_of > 0 ? "of signal %d (%s)" : "with exit status %d%s", abs(job->died_of),
			 job->died_of > 0 ? strsignal(job->died_of) : "");
	else if (job->state == LAB_JOB_DONE && job->found.result.outcome == LAB_LOST)
		lost_text(job, out, size);
	else if (job->state == LAB_JOB_DONE)
		held_text(t, job, out, size);
	else if (job->config.bound == UINT32_MAX)
		snprintf(out, size, "every schedule");
	else
		snprintf(out, size, "bound %u", job->config.bound);
}

/* ---- the list ---- */

void lab_report_list(const struct lab_registry *r, FILE *out)
{
	for (size_t i = 0; i < r->scenario_count; i++) {
		const struct lab_scenario *s = r->scenarios[i];

		fprintf(out, "%-5s %s\n      devices %u, invalidators %u; holds: %s; loses: %s\n", s->id, s->title,
			s->devices_max ? s->devices_max : 1, s->invalidators_max ? s->invalidators_max : 1,
			s->expected && *s->expected ? s->expected : "-", s->losers && *s->losers ? s->losers : "-");
	}
	fputc('\n', out);
	for (size_t i = 0; i < r->model_count; i++)
		fprintf(out, "%-22s %s\n", r->models[i]->name, r->models[i]->about);
}

/* ---- the table ---- */

static const char *must(const struct lab_pair *pair)
{
	return pair->expect == LAB_MUST_LOSE ? "  <-- MUST LOSE" : "  <-- MUST HOLD";
}

static void report_job(const struct lab_table *t, const struct lab_pair *pair, const struct lab_job *job, bool first, FILE *out)
{
	const struct lab_config *c = job->state == LAB_JOB_DONE ? &job->found.config : &job->config;
	char config[LAB_COUNT_SIZE], text[400];

	lab_job_text(t, job, text, sizeof(text));
	fprintf(out, "      %-22s %-7s %-9s %s%s\n", first ? pair->model_name : "", lab_job_word(job),
		lab_config_text(c, config), text, lab_job_expected(t, job) ? "" : must(pair));
	if (job->state == LAB_JOB_DONE && job->found.result.outcome == LAB_LOST && !lab_job_expected(t, job)) {
		char *name = malloc(LAB_NAME_MAX);

		if (name) {
			lab_schedule_name(name, LAB_NAME_MAX, &job->found.config, job->found.result.schedule);
			fprintf(out, "      %s\n      %s --replay %s\n", job->found.result.verdict.text, lab_program, name);
		}
		free(name);
	}
}

void lab_report_pair(const struct lab_table *t, const struct lab_pair *pair, bool first, FILE *out)
{
	if (first)
		fprintf(out, "%-5s %s\n", pair->scenario->id, pair->scenario->title);
	if (pair->state != LAB_PAIR_RUN)
		fprintf(out, "      %-22s %s\n", pair->model_name,
			pair->state == LAB_PAIR_NOT_BUILT ? "not built" : "not run: it lacks what this race needs");
	for (size_t i = 0; i < pair->job_count; i++)
		report_job(t, pair, &t->jobs[pair->first_job + i], i == 0, out);
}

static const struct lab_job *control_of(const struct lab_table *t)
{
	for (size_t i = 0; i < t->job_count; i++) {
		if (t->jobs[i].pair == SIZE_MAX)
			return &t->jobs[i];
	}
	return NULL;
}

static void report_control(const struct lab_table *t, FILE *out)
{
	const struct lab_job *job = control_of(t);
	const struct lab_control *c;
	char count[LAB_COUNT_SIZE], text[100];

	if (!job)
		return;
	c = &job->found.control;
	lab_job_text(t, job, text, sizeof(text));
	if (job->state == LAB_JOB_DONE)
		fprintf(out, "Control, the core with a mistake (%s): %s%s after %s schedules%s\n", c->mistake,
			c->lost ? "lost " : "HELD", c->scenario, lab_count_text(c->schedules, count),
			c->lost ? "" : "  <-- MUST LOSE: this lab sees nothing");
	else
		fprintf(out, "Control: %s %s\n", lab_job_word(job), text);
}

bool lab_all_expected(const struct lab_table *t)
{
	bool ok = true;

	for (size_t i = 0; i < t->job_count; i++)
		ok = ok && lab_job_expected(t, &t->jobs[i]);
	return ok;
}

static bool has_waiting(const struct lab_table *t, const struct lab_pair *pair)
{
	for (size_t i = 0; i < pair->job_count; i++) {
		if (t->jobs[pair->first_job + i].state == LAB_JOB_WAITING)
			return true;
	}
	return false;
}

bool lab_report_end(const struct lab_table *t, FILE *out)
{
	size_t held = 0, lost = 0, not_built = 0, other = 0, unfinished = 0;

	for (size_t i = 0; i < t->pair_count; i++) {
		const struct lab_pair *pair = &t->pairs[i];

		if (pair->state == LAB_PAIR_NOT_BUILT)
			not_built++;
		else if (pair->state == LAB_PAIR_RUN && !lab_pair_expected(t, pair))
			other++;
		else if (pair->state == LAB_PAIR_RUN && lab_pair_loss(t, pair))
			lost++;
		else if (pair->state == LAB_PAIR_RUN && has_waiting(t, pair))
			unfinished++;
		else if (pair->state == LAB_PAIR_RUN)
			held++;
	}
	fputs("2+1: two devices, one invalidator. Bound n: up to n preemptions, and if weak n stale loads or late stores.\n",
	      out);
	report_control(t, out);
	fprintf(out, "%zu pair%s: %zu lost as they must, %zu held, %zu not built, %zu not as expected", t->pair_count,
		t->pair_count == 1 ? "" : "s", lost, held, not_built, other);
	if (unfinished)
		fprintf(out, ", %zu not finished; the same call goes on", unfinished);
	fputc('\n', out);
	return lab_all_expected(t);
}

/* ---- timelines ---- */

struct lab_timeline *lab_timeline_of(const struct lab_config *config, const char *schedule, struct lab_verdict *verdict)
{
	struct lab_timeline *t = lab_timeline_new();

	memset(verdict, 0, sizeof(*verdict));
	if (!t) {
		snprintf(verdict->text, sizeof(verdict->text), "out of memory");
		return NULL;
	}
	if (lab_replay(config, schedule, lab_timeline_tell, t, verdict) == 0) {
		lab_timeline_fold(t, config->weak, verdict);
		return t;
	}
	lab_timeline_free(t);
	return NULL;
}
