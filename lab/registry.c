/* SPDX-License-Identifier: MIT */
/* registry.c: the races and models there are, the caller's and the built-in ones; schedules by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab/models/models.h"
#include "lab/scenarios/scenarios.h"
#include "lab/table.h"

const struct lab_scenario *lab_find_scenario(const struct lab_registry *r, const char *id)
{
	for (size_t i = 0; i < r->scenario_count; i++) {
		if (strcmp(r->scenarios[i]->id, id) == 0)
			return r->scenarios[i];
	}
	return NULL;
}

const struct lab_model *lab_find_model(const struct lab_registry *r, const char *name)
{
	for (size_t i = 0; i < r->model_count; i++) {
		if (strcmp(r->models[i]->name, name) == 0)
			return r->models[i];
	}
	return NULL;
}

/* Names stand in schedules and in lists: letters, digits and underscores. */
static bool is_name(const char *name, size_t longest)
{
	size_t len = name ? strlen(name) : 0;

	return len > 0 && len <= longest &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == len;
}

static bool add_scenarios(struct lab_registry *r, const struct lab_scenario *const *list)
{
	for (size_t i = 0; list && list[i]; i++) {
		const struct lab_scenario *s = list[i];

		if (!is_name(s->id, 15) || !s->title || !s->setup) {
			lab_complain("scenario %zu: id (letters, digits, at most 15), title and setup are required", i);
			return false;
		}
		if (lab_find_scenario(r, s->id) || r->scenario_count == LAB_REGISTRY_MAX) {
			lab_complain("scenario %s: %s", s->id,
				     r->scenario_count == LAB_REGISTRY_MAX ? "too many" : "the id is taken");
			return false;
		}
		r->scenarios[r->scenario_count++] = s;
	}
	return true;
}

static bool add_models(struct lab_registry *r, const struct lab_model *const *list)
{
	for (size_t i = 0; list && list[i]; i++) {
		const struct lab_model *m = list[i];

		if (!is_name(m->name, 31) || !m->about || !m->attach || !m->use) {
			lab_complain("model %zu: name (letters, digits, at most 31), about, attach and use are required", i);
			return false;
		}
		if (lab_find_model(r, m->name) || r->model_count == LAB_REGISTRY_MAX) {
			lab_complain("model %s: %s", m->name,
				     r->model_count == LAB_REGISTRY_MAX ? "too many" : "the name is taken");
			return false;
		}
		r->models[r->model_count++] = m;
	}
	return true;
}

bool lab_registry_fill(struct lab_registry *r, const struct lab_scenario *const *scenarios,
		       const struct lab_model *const *models)
{
	memset(r, 0, sizeof(*r));
	/* The built-in ones are checked by the same rules, and cannot be shadowed. */
	if (!add_scenarios(r, scenarios) || !add_models(r, models))
		return false;
	r->own_scenarios = r->scenario_count;
	r->own_models = r->model_count;
	return add_scenarios(r, lab_scenarios) && add_models(r, lab_models);
}

void lab_config_make(struct lab_config *out, const struct lab_scenario *s, const struct lab_model *m, uint32_t devices,
		     uint32_t invalidators, bool weak, uint32_t bound)
{
	uint32_t devices_max = s->devices_max ? s->devices_max : 1;
	uint32_t invalidators_max = s->invalidators_max ? s->invalidators_max : 1;

	*out = (struct lab_config){
		.scenario = s,
		.model = m,
		.devices = devices < devices_max ? devices : devices_max,
		.invalidators = invalidators < invalidators_max ? invalidators : invalidators_max,
		.weak = weak,
		.bound = bound,
		/* A wake-up for nothing makes ten schedules of one: where there are few. */
		.spurious = devices + invalidators <= 2,
		/* One deadline passes while others could run; any number do when nobody can. */
		.timeouts = 1,
		.failures = s->failures,
	};
}

void lab_schedule_name(char *out, size_t size, const struct lab_config *config, const char *schedule)
{
	char bound[16] = "-";

	if (config->bound != UINT32_MAX)
		snprintf(bound, sizeof(bound), "%u", config->bound);
	snprintf(out, size, "%s/%s/%u+%u/%c%s/%s", config->scenario->id, config->model ? config->model->name : "-",
		 config->devices, config->invalidators, config->weak ? 'w' : 'b', bound, schedule);
}

/* The part up to the next slash. */
static bool take_part(const char **from, char *out, size_t size)
{
	size_t len = strcspn(*from, "/");

	if ((*from)[len] != '/' || len >= size)
		return false;
	memcpy(out, *from, len);
	out[len] = '\0';
	*from += len + 1;
	return true;
}

static bool parse_size(const char *text, uint32_t *devices, uint32_t *invalidators)
{
	if (strlen(text) != 3 || text[0] < '1' || text[0] > '4' || text[1] != '+' || text[2] < '1' || text[2] > '4')
		return false;
	*devices = (uint32_t)(text[0] - '0');
	*invalidators = (uint32_t)(text[2] - '0');
	return true;
}

static bool parse_bound(const char *text, bool *weak, uint32_t *bound)
{
	size_t digits = *text ? strspn(text + 1, "0123456789") : 0;

	*weak = *text == 'w';
	if (*text != 'w' && *text != 'b')
		return false;
	*bound = UINT32_MAX;
	if (strcmp(text + 1, "-") == 0)
		return true;
	*bound = digits > 0 && digits < 3 && text[1 + digits] == '\0' ? (uint32_t)strtoul(text + 1, NULL, 10) : UINT32_MAX;
	return *bound <= LAB_BOUND_MAX;
}

bool lab_schedule_of_name(const struct lab_registry *r, const char *name, struct lab_config *config, char *schedule)
{
	char id[32], model_name[48], size[8], bound_text[8];
	const char *at = name;
	const struct lab_scenario *s;
	const struct lab_model *m;
	uint32_t devices, invalidators, bound;
	bool weak;

	if (!take_part(&at, id, sizeof(id)) || !take_part(&at, model_name, sizeof(model_name)) ||
	    !take_part(&at, size, sizeof(size)) || !take_part(&at, bound_text, sizeof(bound_text)) ||
	    !parse_size(size, &devices, &invalidators) || !parse_bound(bound_text, &weak, &bound) ||
	    strlen(at) >= LAB_SCHEDULE_MAX) {
		lab_complain("'%.60s' is not a schedule; one looks like R7/start_only/1+1/b2/...", name);
		return false;
	}
	s = lab_find_scenario(r, id);
	m = lab_find_model(r, model_name);
	if (!s || (!m && !s->core_only)) {
		lab_complain("schedule: unknown %s '%s'; try '%s --list'", s ? "model" : "race", s ? model_name : id,
			     lab_program);
		return false;
	}
	lab_config_make(config, s, m, devices, invalidators, weak, bound);
	if (config->devices != devices || config->invalidators != invalidators) {
		lab_complain("schedule: %s has at most %u+%u, not %s", id, config->devices, config->invalidators, size);
		return false;
	}
	strcpy(schedule, at);
	return true;
}
