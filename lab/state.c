/* SPDX-License-Identifier: MIT */
#include "lab/state.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { PATH_SIZE = 512 };

static const double slice_s = 60; /* what is lost at most when the command is stopped */

/* FNV-1a over the program itself. 0: cannot be read. */
static uint64_t build_hash(void)
{
	static unsigned char block[65536];
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	FILE *f = fopen("/proc/self/exe", "re");
	size_t n;

	if (!f)
		return 0;
	while ((n = fread(block, 1, sizeof(block), f)) > 0) {
		for (size_t i = 0; i < n; i++)
			hash = (hash ^ block[i]) * UINT64_C(0x100000001b3);
	}
	fclose(f);
	return hash;
}

/* Makes the directory and those above it. */
static bool make_directories(char *path)
{
	for (char *c = path + 1; *c; c++) {
		if (*c != '/')
			continue;
		*c = '\0';
		mkdir(path, 0777);
		*c = '/';
	}
	if (mkdir(path, 0777) == 0 || errno == EEXIST)
		return true;
	lab_complain("%s: %s", path, strerror(errno));
	return false;
}

static bool find_directory(const char *asked_for, char *out, size_t size)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	uint64_t hash = build_hash();
	int n;

	if (asked_for)
		n = snprintf(out, size, "%s/%016llx", asked_for, (unsigned long long)hash);
	else if (state && *state == '/')
		n = snprintf(out, size, "%s/uhmm/races/%016llx", state, (unsigned long long)hash);
	else
		n = snprintf(out, size, "%s/.local/state/uhmm/races/%016llx", home ? home : "", (unsigned long long)hash);
	if (n < 0 || (size_t)n >= size - 96) {
		lab_complain("--state: the name is too long");
		return false;
	}
	return make_directories(out);
}

/* The file of a job: its configuration is its name. */
static void job_file(const struct lab_table *t, const struct lab_job *job, const char *directory, const char *suffix, char *out)
{
	const struct lab_config *c = &job->config;
	char bound[16] = "all";

	if (c->bound != UINT32_MAX)
		snprintf(bound, sizeof(bound), "%u", c->bound);
	if (job->pair == SIZE_MAX)
		snprintf(out, PATH_SIZE, "%s/control%s", directory, suffix);
	else
		snprintf(out, PATH_SIZE, "%s/%s-%s-%u+%u-%c%s-%d%s", directory, c->scenario->id, t->pairs[job->pair].model_name,
			 c->devices, c->invalidators, c->weak ? 'w' : 'b', bound, (int)job->search, suffix);
}

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

/* A whole finding or none: written beside and renamed. Read only by the same build, so in its own layout. */
static void save(const struct lab_table *t, const struct lab_job *job, const char *directory)
{
	char path[PATH_SIZE], beside[PATH_SIZE];
	FILE *f;
	bool ok;

	job_file(t, job, directory, ".found", path);
	job_file(t, job, directory, ".new", beside);
	f = fopen(beside, "we");
	if (!f)
		return;
	ok = fwrite(&job->found, sizeof(job->found), 1, f) == 1;
	ok = fclose(f) == 0 && ok;
	if (!ok || rename(beside, path) != 0)
		remove(beside);
}

static void load(const struct lab_table *t, struct lab_job *job, const char *directory)
{
	static struct lab_finding found;
	char path[PATH_SIZE];
	FILE *f;

	job_file(t, job, directory, ".found", path);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fread(&found, sizeof(found), 1, f) == 1) {
		/* Pointers of another process. */
		found.config.scenario = job->config.scenario;
		found.config.model = job->config.model;
		job->found = found;
		job->state = LAB_JOB_DONE;
	}
	fclose(f);
}

static bool has_ended(const struct lab_job *job)
{
	return job->state == LAB_JOB_DONE && (job->found.result.outcome == LAB_LOST || job->found.result.exhaustive ||
					      job->schedules_max || job->search >= LAB_SEARCH_PCT);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Readies what has not ended for another slice; false: all have. */
static bool next_round(struct lab_table *t, double slice)
{
	bool any = false;

	for (size_t i = 0; i < t->job_count; i++) {
		struct lab_job *job = &t->jobs[i];

		if (has_ended(job) || job->state == LAB_JOB_DIED)
			continue;
		job->state = LAB_JOB_WAITING;
		job->seconds = job->search == LAB_SEARCH_BOUND || job->search == LAB_SEARCH_ALL ? slice : 0;
		any = true;
	}
	return any;
}

bool lab_state_run(struct lab_table *t, const char *directory, double seconds, const struct lab_watch *watch)
{
	double end = now() + seconds, slice = slice_s;
	struct lab_watch stoppable = *watch;
	char place[PATH_SIZE];

	stoppable.stop = &interrupted;
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);

	if (!find_directory(directory, place, sizeof(place)))
		return false;
	for (size_t i = 0; i < t->job_count; i++) {
		load(t, &t->jobs[i], place);
		job_file(t, &t->jobs[i], place, ".state", t->jobs[i].resume_file);
	}
	if (seconds > 0) {
		/* One round at least, of all, within the time. */
		slice = seconds * t->options->jobs / (double)(t->job_count ? t->job_count : 1);
		slice = slice < slice_s ? slice : slice_s;
	}
	while (next_round(t, slice)) {
		if (!lab_workers_run(t, t->options->jobs, 0, &stoppable))
			return false;
		for (size_t i = 0; i < t->job_count; i++) {
			if (t->jobs[i].state == LAB_JOB_DONE)
				save(t, &t->jobs[i], place);
		}
		if (interrupted || (seconds > 0 && now() >= end))
			break;
	}
	return true;
}
