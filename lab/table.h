/* SPDX-License-Identifier: MIT */
/*
 * table.h: which model runs which race in which configuration, and what came of it.
 *
 * A pair is a scenario and a model of which the scenario says that it holds or loses. A pair that must hold is searched in each
 * configuration of the plan. One that must lose is searched in small configurations first, until it has lost; what is found
 * is minimised. Every search is a job; jobs run in processes of their own (workers.c).
 */
#ifndef LAB_TABLE_H
#define LAB_TABLE_H

#include "lab/control.h"
#include "lab/options.h"
#include "lab/search.h"
#include "uhmm/lab.h"

#define LAB_REGISTRY_MAX 96u
#define LAB_PAIR_JOBS 16u
#define LAB_LOSS_MAX 10000u /* a losing model must have lost within so many schedules */

struct lab_registry {
	const struct lab_scenario *scenarios[LAB_REGISTRY_MAX];
	const struct lab_model *models[LAB_REGISTRY_MAX];
	size_t scenario_count, model_count;
	size_t own_scenarios, own_models; /* the first so many are the caller's, not built in */
};

/* The caller's, then the built-in ones. False: one of them is not as <uhmm/lab.h> says; has complained. */
bool lab_registry_fill(struct lab_registry *r, const struct lab_scenario *const *scenarios,
		       const struct lab_model *const *models);
const struct lab_scenario *lab_find_scenario(const struct lab_registry *r, const char *id);
const struct lab_model *lab_find_model(const struct lab_registry *r, const char *name);

enum lab_expect { LAB_MUST_HOLD, LAB_MUST_LOSE, LAB_MAY_EITHER /* asked for by name; nobody says */ };
enum lab_pair_state {
	LAB_PAIR_RUN,
	LAB_PAIR_NOT_BUILT, /* the scenario expects something of a model that there is not */
	LAB_PAIR_UNABLE,    /* the model lacks what the scenario needs (attach_late, detach) */
};

struct lab_pair {
	const struct lab_scenario *scenario;
	const struct lab_model *model; /* NULL: not built, or a scenario without models */
	char model_name[32];
	enum lab_expect expect;
	enum lab_pair_state state;
	size_t first_job, job_count;
};

enum lab_search {
	LAB_SEARCH_BOUND,
	LAB_SEARCH_ALL,
	LAB_SEARCH_PCT,
	LAB_SEARCH_LADDER /* until it loses */,
	LAB_SEARCH_CONTROL
};
enum lab_job_state { LAB_JOB_WAITING, LAB_JOB_RUNNING, LAB_JOB_DONE, LAB_JOB_DIED };

/* What a worker sends back. */
struct lab_finding {
	struct lab_config config; /* of the loss, for a ladder; its pointers are not the sender's own */
	struct lab_result result;
	struct lab_control control;
	double seconds;
};

struct lab_job {
	size_t pair; /* SIZE_MAX: the control */
	enum lab_search search;
	struct lab_config config;
	enum lab_job_state state;
	int died_of;       /* signal, or exit status negated */
	uint64_t progress; /* schedules so far */
	uint32_t progress_bound;
	double seconds;         /* its limit; 0: none */
	uint64_t schedules_max; /* likewise: the same on every machine */
	char resume_file[512];  /* "": none */
	struct lab_finding found;
};

struct lab_table {
	const struct lab_options *options;
	struct lab_registry *registry;
	struct lab_pair *pairs;
	struct lab_job *jobs;
	size_t pair_count, job_count;
	lab_control_fn *control;
};

/* 0: fine. LAB_STATUS_USAGE: has complained (nothing matches). */
int lab_table_make(struct lab_table *t, struct lab_registry *r, const struct lab_options *options, lab_control_fn *control);
void lab_table_free(struct lab_table *t);
/* In a worker. */
void lab_job_run(const struct lab_table *t, const struct lab_job *job, void (*progress)(void *, uint64_t, uint32_t), void *arg,
		 struct lab_finding *out);

/* A job has ended as it must. Searches cut short by time have, if nothing was lost. */
bool lab_job_expected(const struct lab_table *t, const struct lab_job *job);
/* Held or lost, by all that was tried. */
bool lab_pair_expected(const struct lab_table *t, const struct lab_pair *pair);
/* The job with the loss, the one with the fewest preemptions; NULL: none. */
const struct lab_job *lab_pair_loss(const struct lab_table *t, const struct lab_pair *pair);

/* Budgets and limits for a scenario; devices and invalidators as far as it can use them. */
void lab_config_make(struct lab_config *out, const struct lab_scenario *s, const struct lab_model *m, uint32_t devices,
		     uint32_t invalidators, bool weak, uint32_t bound);

/*
 * Schedules in their printed form name their configuration: "R7/start_only/1+1/b2/0x12.1x3"; w2 instead of b2: weak memory;
 * b-: no bound. Reading complains about what it cannot place.
 */
#define LAB_NAME_MAX (LAB_SCHEDULE_MAX + 128)
void lab_schedule_name(char *out, size_t size, const struct lab_config *config, const char *schedule);
bool lab_schedule_of_name(const struct lab_registry *r, const char *name, struct lab_config *config, char *schedule);

#endif
