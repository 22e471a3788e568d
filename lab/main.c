/* SPDX-License-Identifier: MIT */
/* main.c: `uhmm races`, and lab_main() for people with models and races of their own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "lab/report.h"
#include "lab/state.h"
#include "lab/timeline.h"
#include "lab/workers.h"

enum { BAR = 20 };

static const double quick_s = 48; /* of the table without options */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool flush_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	lab_complain("cannot write the report: %s", strerror(errno));
	return false;
}

/* ---- while it works ---- */

struct show {
	const struct lab_table *t;
	bool rows;   /* print the table's rows as soon as they are complete */
	bool bar;    /* draw on standard error */
	size_t next; /* the first pair that is not printed */
};

static void erase(const struct show *s)
{
	if (s->bar)
		fputs("\r\033[K", stderr);
}

/* Of a full run that was ended by hand nothing more comes. */
static bool is_complete(const struct lab_table *t, const struct lab_pair *pair)
{
	if (t->options->plan == LAB_PLAN_FULL)
		return true;
	for (size_t i = 0; i < pair->job_count; i++) {
		if (t->jobs[pair->first_job + i].state < LAB_JOB_DONE)
			return false;
	}
	return true;
}

static void print_rows(struct show *s)
{
	const struct lab_table *t = s->t;

	for (; s->next < t->pair_count && is_complete(t, &t->pairs[s->next]); s->next++) {
		const struct lab_pair *pair = &t->pairs[s->next];

		erase(s);
		lab_report_pair(t, pair, s->next == 0 || pair->scenario != pair[-1].scenario, stdout);
	}
	fflush(stdout);
}

/* The oldest search that is running stands for all. */
static void draw(const struct show *s)
{
	const struct lab_table *t = s->t;
	const struct lab_job *running = NULL;
	char bar[BAR + 1], config[LAB_COUNT_SIZE], count[LAB_COUNT_SIZE];
	size_t done = 0;

	for (size_t i = t->job_count; i > 0; i--) {
		if (t->jobs[i - 1].state == LAB_JOB_RUNNING)
			running = &t->jobs[i - 1];
		done += t->jobs[i - 1].state >= LAB_JOB_DONE;
	}
	memset(bar, '.', BAR);
	memset(bar, '#', t->job_count ? BAR * done / t->job_count : 0);
	bar[BAR] = '\0';
	fprintf(stderr, "\r\033[K[%s] %zu/%zu", bar, done, t->job_count);
	if (running && running->pair != SIZE_MAX)
		fprintf(stderr, "  %s %s %s: %s schedules", running->config.scenario->id, t->pairs[running->pair].model_name,
			lab_config_text(&running->config, config), lab_count_text(running->progress, count));
}

static void watch_jobs(void *arg, const struct lab_job *job)
{
	struct show *s = arg;

	if (job && s->rows)
		print_rows(s);
	if (!job && s->bar)
		draw(s);
}

static bool run_table(struct lab_table *t, bool rows)
{
	const struct lab_options *o = t->options;
	const char *terminal = getenv("TERM");
	struct show show = {.t = t, .rows = rows};
	struct lab_watch watch = {.tell = watch_jobs, .arg = &show};
	bool by_hand = o->bound_given || o->all || o->pct_runs;
	double seconds = o->seconds_given ? o->seconds : o->plan == LAB_PLAN_QUICK && !o->markdown && !by_hand ? quick_s : 0;
	bool ok;

	show.bar = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
	/* A full run prints once, at its end: its rows change with each round. */
	if (o->plan == LAB_PLAN_FULL) {
		show.rows = false;
		ok = lab_state_run(t, o->state, seconds, &watch);
	} else {
		ok = lab_workers_run(t, o->jobs, seconds, &watch);
	}
	erase(&show);
	if (ok && rows)
		print_rows(&show);
	return ok;
}

/* ---- what was asked for ---- */

static int status_of(bool expected)
{
	if (!flush_output())
		return LAB_STATUS_OTHER;
	if (expected)
		return LAB_STATUS_EXPECTED;
	lab_complain("not all is as expected");
	return LAB_STATUS_OTHER;
}

static int table(struct lab_table *t)
{
	const struct lab_options *o = t->options;
	double begin = now();

	if (!run_table(t, !o->json && !o->markdown))
		return LAB_STATUS_OTHER;
	if (o->json)
		lab_report_json(t, now() - begin, stdout);
	else if (o->markdown && !lab_report_markdown(t, stdout))
		return LAB_STATUS_OTHER;
	else if (!o->markdown)
		lab_report_end(t, stdout);
	return status_of(lab_all_expected(t));
}

static uint32_t terminal_columns(void)
{
	struct winsize w;

	if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col)
		return w.ws_col;
	return 100;
}

static bool write_svg(const struct lab_options *o, const struct lab_timeline *timeline, const struct lab_config *config,
		      const char *name)
{
	static char caption[LAB_NAME_MAX + 64];
	char title[200];
	FILE *f = fopen(o->svg, "we");
	bool ok;

	if (!f) {
		lab_complain("%s: %s", o->svg, strerror(errno));
		return false;
	}
	snprintf(title, sizeof(title), "%s %s: %s", config->scenario->id, config->model ? config->model->name : "",
		 config->scenario->title);
	snprintf(caption, sizeof(caption), "%s --replay %s", lab_program, name);
	lab_timeline_svg(timeline, f, title, caption);
	ok = !ferror(f);
	ok = fclose(f) == 0 && ok;
	if (!ok)
		lab_complain("%s: %s", o->svg, strerror(errno));
	return ok;
}

/* Prints, and draws, one schedule. The verdict says how it ended; false: has complained, `fits` says of what. */
static bool tell(const struct lab_options *o, const struct lab_config *config, const char *schedule, bool *fits,
		 struct lab_verdict *verdict)
{
	static char name[LAB_NAME_MAX];
	struct lab_timeline *timeline = lab_timeline_of(config, schedule, verdict);
	char size[LAB_COUNT_SIZE];
	uint32_t steps, folded;
	bool ok;

	*fits = timeline;
	if (!timeline) {
		lab_complain("schedule: %s", verdict->text);
		return false;
	}
	lab_schedule_name(name, sizeof(name), config, schedule);
	if (o->json) {
		lab_report_timeline_json(timeline, config, schedule, verdict, stdout);
	} else {
		steps = lab_timeline_steps(timeline, &folded);
		printf("%s: %s\n%s: %s\n%s, %u step%s, of which %u that no other fiber notices are not shown\n\n",
		       config->scenario->id, config->scenario->title, config->model ? config->model->name : "-",
		       config->model ? config->model->about : "", lab_config_text(config, size), steps, steps == 1 ? "" : "s",
		       folded);
		lab_timeline_print(timeline, stdout, terminal_columns());
		if (verdict->outcome != LAB_LOST)
			printf("held\n");
		printf("\n%s --replay %s\n", lab_program, name);
	}
	ok = !o->svg || write_svg(o, timeline, config, name);
	lab_timeline_free(timeline);
	return ok;
}

/* The pair that was named, or the first that loses. */
static int show(struct lab_table *t)
{
	const struct lab_job *loss = NULL;
	struct lab_verdict verdict;
	bool fits;

	if (!run_table(t, false))
		return LAB_STATUS_OTHER;
	for (size_t i = 0; i < t->pair_count && !loss; i++)
		loss = lab_pair_loss(t, &t->pairs[i]);
	if (!loss) {
		for (size_t i = 0; i < t->pair_count && !t->options->json; i++)
			lab_report_pair(t, &t->pairs[i], i == 0, stdout);
		if (t->options->json)
			lab_report_json(t, 0, stdout);
		else
			printf("No schedule loses, so there is none to show.\n");
		return status_of(lab_all_expected(t));
	}
	if (!tell(t->options, &loss->found.config, loss->found.result.schedule, &fits, &verdict))
		return LAB_STATUS_OTHER;
	return status_of(lab_all_expected(t));
}

static bool lists(const char *names, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = names ? strstr(names, name) : NULL; at; at = strstr(at + 1, name)) {
		if ((at == names || at[-1] == ' ') && (at[len] == '\0' || at[len] == ' '))
			return true;
	}
	return false;
}

/* As expected: whoever must lose the race loses it here, whoever must not does not. */
static int replay(const struct lab_registry *r, const struct lab_options *o)
{
	static char schedule[LAB_SCHEDULE_MAX];
	struct lab_verdict verdict = {0};
	struct lab_config config;
	bool fits;

	if (!lab_schedule_of_name(r, o->replay, &config, schedule))
		return LAB_STATUS_USAGE;
	if (!tell(o, &config, schedule, &fits, &verdict))
		return fits ? LAB_STATUS_OTHER : LAB_STATUS_USAGE;
	return status_of((verdict.outcome == LAB_LOST) == (config.model && lists(config.scenario->losers, config.model->name)));
}

/* Before a search that may take long: can the picture be written at all? Leaves no empty file behind. */
static bool can_write(const char *path)
{
	bool there = access(path, F_OK) == 0;
	FILE *f = fopen(path, "ae");

	if (!f) {
		lab_complain("%s: %s", path, strerror(errno));
		return false;
	}
	fclose(f);
	if (!there)
		remove(path);
	return true;
}

int lab_races(const char *program, int argc, char **argv, const struct lab_scenario *const *scenarios,
	      const struct lab_model *const *models, lab_control_fn *control)
{
	static struct lab_registry registry;
	struct lab_options options;
	struct lab_table t = {0};
	int status;

	lab_program = program;
	if (!lab_options_parse(argc, argv, &options) || !lab_registry_fill(&registry, scenarios, models))
		return LAB_STATUS_USAGE;
	if (options.mode == LAB_MODE_HELP) {
		lab_options_help();
		return status_of(true);
	}
	if (options.mode == LAB_MODE_LIST) {
		(options.json ? lab_report_list_json : lab_report_list)(&registry, stdout);
		return status_of(true);
	}
	if (options.svg && !can_write(options.svg))
		return LAB_STATUS_USAGE;
	if (options.mode == LAB_MODE_REPLAY)
		return replay(&registry, &options);
	status = lab_table_make(&t, &registry, &options, control);
	if (status == 0)
		status = options.mode == LAB_MODE_SHOW ? show(&t) : table(&t);
	lab_table_free(&t);
	return status;
}

int lab_main(int argc, char **argv, const struct lab_scenario *const *scenarios, const struct lab_model *const *models)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

	return lab_races(slash ? slash + 1 : argc > 0 ? argv[0] : "races", argc, argv, scenarios, models, NULL);
}
