/* SPDX-License-Identifier: MIT */
/* report_json.c: the same for programs, as one object on one line. */
#include <string.h>

#include "lab/report.h"
#include "lab/timeline.h"
#include "tools/json.h"

static void put_loss(struct json *j, const struct lab_job *job)
{
	const struct lab_result *r = &job->found.result;
	static char name[LAB_NAME_MAX];

	lab_schedule_name(name, sizeof(name), &job->found.config, r->schedule);
	json_uint(j, "schedules_to_loss", r->schedules_to_loss);
	json_uint(j, "invariant", (uint64_t)r->verdict.invariant);
	json_string(j, "reason", r->verdict.text);
	json_uint(j, "preemptions", r->verdict.preemptions);
	json_uint(j, "steps", r->verdict.steps);
	json_string(j, "schedule", name);
}

static void put_job(struct json *j, const struct lab_table *t, const struct lab_job *job)
{
	static const char *const searches[] = {"bound", "all", "pct", "ladder", "control"};
	const struct lab_config *c = &job->found.config;
	char text[400];

	lab_job_text(t, job, text, sizeof(text));
	json_open(j, NULL, '{');
	json_string(j, "search", searches[job->search]);
	json_string(j, "result", lab_job_word(job));
	json_bool(j, "as_expected", lab_job_expected(t, job));
	if (job->state == LAB_JOB_DONE) {
		json_uint(j, "devices", c->devices);
		json_uint(j, "invalidators", c->invalidators);
		json_bool(j, "weak", c->weak);
		if (c->bound != UINT32_MAX) {
			json_uint(j, "bound", c->bound);
			json_uint(j, "bound_reached", job->found.result.reached);
		}
		json_uint(j, "schedules", job->found.result.schedules);
		json_bool(j, "exhaustive", job->found.result.exhaustive && c->bound == UINT32_MAX);
		json_bool(j, "complete", job->found.result.exhaustive);
		json_double(j, "seconds", job->found.seconds);
		if (job->found.result.outcome == LAB_LOST)
			put_loss(j, job);
	}
	json_string(j, "text", text);
	json_close(j, '}');
}

static const char *pair_word(const struct lab_table *t, const struct lab_pair *pair)
{
	if (pair->state != LAB_PAIR_RUN)
		return pair->state == LAB_PAIR_NOT_BUILT ? "not built" : "not run";
	for (size_t i = 0; i < pair->job_count; i++) {
		if (t->jobs[pair->first_job + i].state != LAB_JOB_DONE)
			return lab_job_word(&t->jobs[pair->first_job + i]);
	}
	return lab_pair_loss(t, pair) ? "lost" : "held";
}

static void put_pair(struct json *j, const struct lab_table *t, const struct lab_pair *pair)
{
	static const char *const expectations[] = {"held", "lost", "either"};

	json_open(j, NULL, '{');
	json_string(j, "race", pair->scenario->id);
	json_string(j, "title", pair->scenario->title);
	json_string(j, "model", pair->model_name);
	json_string(j, "expected", expectations[pair->expect]);
	json_string(j, "result", pair_word(t, pair));
	json_bool(j, "as_expected", lab_pair_expected(t, pair));
	json_open(j, "searches", '[');
	for (size_t i = 0; i < pair->job_count; i++)
		put_job(j, t, &t->jobs[pair->first_job + i]);
	json_close(j, ']');
	json_close(j, '}');
}

static void put_control(struct json *j, const struct lab_job *job)
{
	json_open(j, "control", '{');
	json_string(j, "result", job->state != LAB_JOB_DONE ? "died" : job->found.control.lost ? "lost" : "held");
	json_string(j, "mistake", job->found.control.mistake);
	json_string(j, "race", job->found.control.scenario);
	json_uint(j, "schedules", job->found.control.schedules);
	json_string(j, "reason", job->found.control.text);
	json_close(j, '}');
}

void lab_report_json(const struct lab_table *t, double seconds, FILE *out)
{
	struct json j = {.out = out};

	json_open(&j, NULL, '{');
	json_open(&j, "pairs", '[');
	for (size_t i = 0; i < t->pair_count; i++)
		put_pair(&j, t, &t->pairs[i]);
	json_close(&j, ']');
	for (size_t i = 0; i < t->job_count; i++) {
		if (t->jobs[i].pair == SIZE_MAX)
			put_control(&j, &t->jobs[i]);
	}
	json_double(&j, "seconds", seconds);
	json_bool(&j, "as_expected", lab_all_expected(t));
	json_close(&j, '}');
	fputc('\n', out);
}

void lab_report_list_json(const struct lab_registry *r, FILE *out)
{
	struct json j = {.out = out};

	json_open(&j, NULL, '{');
	json_open(&j, "races", '[');
	for (size_t i = 0; i < r->scenario_count; i++) {
		const struct lab_scenario *s = r->scenarios[i];

		json_open(&j, NULL, '{');
		json_string(&j, "race", s->id);
		json_string(&j, "title", s->title);
		json_string(&j, "holds", s->expected ? s->expected : "");
		json_string(&j, "loses", s->losers ? s->losers : "");
		json_uint(&j, "devices", s->devices_max ? s->devices_max : 1);
		json_uint(&j, "invalidators", s->invalidators_max ? s->invalidators_max : 1);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_open(&j, "models", '[');
	for (size_t i = 0; i < r->model_count; i++) {
		json_open(&j, NULL, '{');
		json_string(&j, "model", r->models[i]->name);
		json_string(&j, "about", r->models[i]->about);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_close(&j, '}');
	fputc('\n', out);
}

void lab_report_timeline_json(const struct lab_timeline *t, const struct lab_config *config, const char *schedule,
			      const struct lab_verdict *verdict, FILE *out)
{
	static const char *const kinds[] = {"call", "operation", "note", "preempted", "switch"};
	static char name[LAB_NAME_MAX];
	struct json j = {.out = out};

	lab_schedule_name(name, sizeof(name), config, schedule);
	json_open(&j, NULL, '{');
	json_string(&j, "race", config->scenario->id);
	json_string(&j, "model", config->model ? config->model->name : "");
	json_string(&j, "schedule", name);
	json_string(&j, "result", verdict->outcome == LAB_LOST ? "lost" : "held");
	json_uint(&j, "invariant", (uint64_t)verdict->invariant);
	json_string(&j, "reason", verdict->text);
	json_uint(&j, "preemptions", verdict->preemptions);
	json_open(&j, "rows", '[');
	for (size_t i = 0; i < lab_timeline_rows(t); i++) {
		const struct lab_row *row = lab_timeline_row(t, i);

		json_open(&j, NULL, '{');
		json_string(&j, "kind", kinds[row->kind]);
		json_string(&j, "fiber", lab_timeline_lane(t, row->lane));
		json_uint(&j, "step", row->step);
		if (row->text) {
			json_uint(&j, "depth", row->depth);
			json_string(&j, "text", row->text);
			json_bool(&j, "violated", row->violated);
		} else {
			json_string(&j, "to", lab_timeline_lane(t, row->to));
		}
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_close(&j, '}');
	fputc('\n', out);
}
