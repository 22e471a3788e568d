/* SPDX-License-Identifier: MIT */
/*
 * hunt.c: for scripts/lab_mutants.py. Searches configurations, each named as in a schedule without its last part:
 *
 *	lab_hunt SCHEDULES SECONDS R7/interval/1+2/b2 ...      b2: up to 2 preemptions; w1: weak memory; b-: all
 *	lab_hunt --list                                        races and models that hold them: "R7/interval 2+2"
 *
 * and prints a line for each: "R7/interval/1+2/b2 held 1234 all", "... held 200000 some", "... lost 17 INVARIANT TEXT". Exit
 * status 0 whatever they were, 2 for a bad call. Code under test that goes round for ever without an operation ends it by
 * SIGALRM.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lab/table.h"

#define SILENCE_S 6u

static struct lab_registry registry;

static void list(void)
{
	for (size_t i = 0; i < registry.scenario_count; i++) {
		const struct lab_scenario *s = registry.scenarios[i];
		uint32_t devices = s->devices_max ? s->devices_max : 1;
		uint32_t invalidators = s->invalidators_max ? s->invalidators_max : 1;

		if (s->core_only)
			printf("%s/- %u+%u\n", s->id, devices, invalidators);
		for (size_t k = 0; k < registry.model_count && s->expected && !s->core_only; k++)
			if (strstr(s->expected, registry.models[k]->name))
				printf("%s/%s %u+%u\n", s->id, registry.models[k]->name, devices, invalidators);
	}
}

/* Called every few hundred executions. */
static void goes_on(void *arg, uint64_t schedules, uint32_t bound)
{
	(void)arg;
	(void)schedules;
	(void)bound;
	alarm(SILENCE_S);
}

static bool search(const char *name, const struct lab_limits *limits)
{
	static char schedule[LAB_SCHEDULE_MAX], with_slash[256];
	static struct lab_result result;
	struct lab_config config;

	snprintf(with_slash, sizeof(with_slash), "%s/", name);
	if (!lab_schedule_of_name(&registry, with_slash, &config, schedule))
		return false;
	alarm(SILENCE_S);
	if (config.bound == UINT32_MAX)
		lab_search_all(&config, limits, true, &result);
	else
		lab_search_bound(&config, limits, &result);
	if (result.outcome == LAB_LOST)
		printf("%s lost %llu %d %s\n", name, (unsigned long long)result.schedules_to_loss, result.verdict.invariant,
		       result.verdict.text);
	else
		printf("%s held %llu %s\n", name, (unsigned long long)result.schedules, result.exhaustive ? "all" : "some");
	alarm(0);
	fflush(stdout);
	return true;
}

int main(int argc, char **argv)
{
	struct lab_limits limits = {.progress = goes_on};

	if (!lab_registry_fill(&registry, NULL, NULL))
		return 2;
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		list();
		return 0;
	}
	if (argc < 4)
		return 2;
	limits.schedules = strtoull(argv[1], NULL, 10);
	limits.seconds = strtod(argv[2], NULL);
	for (int i = 3; i < argc; i++)
		if (!search(argv[i], &limits))
			return 2;
	return 0;
}
