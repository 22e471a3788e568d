/* SPDX-License-Identifier: MIT */
#include "lab/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *lab_program = "uhmm races";

enum { JOBS_MAX = 64, DEPTH_MAX = 16, DEVICES_MAX = 4, SEED = 1, DEPTH = 3 };
static const double seconds_max = 31536000;

int lab_complain(const char *format, ...)
{
	char line[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (char *c = line; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	/* One write, so that lines of several processes do not mix. */
	fprintf(stderr, "%s: %s\n", lab_program, line);
	return LAB_STATUS_USAGE;
}

/* A whole decimal number in [min, max], nothing around it. */
static bool whole_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	uint64_t n = 0;
	bool ok = *text != '\0';

	for (const char *c = text; ok && *c; c++) {
		ok = *c >= '0' && *c <= '9' && !__builtin_mul_overflow(n, (uint64_t)10, &n) &&
		     !__builtin_add_overflow(n, (uint64_t)(*c - '0'), &n);
	}
	if (!ok || n < min || n > max) {
		lab_complain("%s: '%s' is not a whole number between %llu and %llu", option, text, (unsigned long long)min,
			     (unsigned long long)max);
		return false;
	}
	*value = n;
	return true;
}

static bool small_number(const char *option, const char *text, uint32_t min, uint32_t max, uint32_t *value)
{
	uint64_t n;

	if (!whole_number(option, text, min, max, &n))
		return false;
	*value = (uint32_t)n;
	return true;
}

/* Digits with or without a fraction; not what strtod() takes beside: "inf", "0x1p3", the locale's point. */
static bool number_of_seconds(const char *option, const char *text, double *value)
{
	size_t digits = strspn(text, "0123456789");
	size_t fraction = text[digits] == '.' ? strspn(text + digits + 1, "0123456789") : 0;
	size_t used = digits + (text[digits] == '.' ? 1 + fraction : 0);
	double seconds = seconds_max + 1;

	if (digits + fraction > 0 && text[used] == '\0' && used < 32)
		seconds = strtod(text, NULL);
	if (seconds > seconds_max) {
		lab_complain("%s: '%s' is not a number of seconds", option, text);
		return false;
	}
	*value = seconds;
	return true;
}

/* Options without a value. False: it is none of them. */
static bool take_flag(const char *name, struct lab_options *o)
{
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		o->mode = LAB_MODE_HELP;
	else if (strcmp(name, "--list") == 0)
		o->mode = LAB_MODE_LIST;
	else if (strcmp(name, "--json") == 0)
		o->json = true;
	else if (strcmp(name, "--markdown") == 0)
		o->markdown = true;
	else if (strcmp(name, "--weak") == 0)
		o->weak = true;
	else if (strcmp(name, "--all") == 0)
		o->all = true;
	else if (strcmp(name, "--ci") == 0)
		o->plan = LAB_PLAN_CI;
	else if (strcmp(name, "--full") == 0)
		o->plan = LAB_PLAN_FULL;
	else
		return false;
	return true;
}

static bool take_race(const char *id, struct lab_options *o)
{
	if (o->race_count == LAB_NAMES_MAX) {
		lab_complain("more than %u races", LAB_NAMES_MAX);
		return false;
	}
	o->races[o->race_count++] = id;
	return true;
}

enum value_option {
	OPT_SHOW,
	OPT_MODEL,
	OPT_REPLAY,
	OPT_SVG,
	OPT_STATE,
	OPT_BOUND,
	OPT_DEVICES,
	OPT_INVALIDATORS,
	OPT_SECONDS,
	OPT_PCT,
	OPT_SEED,
	OPT_DEPTH,
	OPT_JOBS,
	OPT_NONE
};

static enum value_option value_option(const char *name)
{
	static const char *const names[] = {"--show",  "--model",   "--replay",       "--svg",     "--state",
					    "--bound", "--devices", "--invalidators", "--seconds", "--pct",
					    "--seed",  "--depth",   "--jobs"};
	size_t i = 0;

	while (i < OPT_NONE && strcmp(name, names[i]) != 0)
		i++;
	return (enum value_option)i;
}

static bool take_value(enum value_option option, const char *name, const char *value, struct lab_options *o)
{
	switch (option) {
	case OPT_SHOW:
		o->mode = LAB_MODE_SHOW;
		return take_race(value, o);
	case OPT_REPLAY:
		o->mode = LAB_MODE_REPLAY;
		o->replay = value;
		return true;
	case OPT_MODEL:
		o->model = value;
		return true;
	case OPT_SVG:
		o->svg = value;
		return true;
	case OPT_STATE:
		o->state = value;
		return true;
	case OPT_BOUND:
		o->bound_given = true;
		return small_number(name, value, 0, LAB_BOUND_MAX, &o->bound);
	case OPT_DEVICES:
		return small_number(name, value, 1, DEVICES_MAX, &o->devices);
	case OPT_INVALIDATORS:
		return small_number(name, value, 1, DEVICES_MAX, &o->invalidators);
	case OPT_SECONDS:
		o->seconds_given = true;
		return number_of_seconds(name, value, &o->seconds);
	case OPT_PCT:
		return whole_number(name, value, 1, UINT32_MAX, &o->pct_runs);
	case OPT_SEED:
		return whole_number(name, value, 0, UINT64_MAX, &o->seed);
	case OPT_DEPTH:
		return small_number(name, value, 1, DEPTH_MAX, &o->depth);
	case OPT_JOBS:
		return small_number(name, value, 1, JOBS_MAX, &o->jobs);
	case OPT_NONE:
		break;
	}
	return false;
}

static bool check_search(const struct lab_options *o)
{
	bool by_hand = o->devices || o->invalidators || o->weak || o->bound_given || o->all || o->pct_runs;

	if (by_hand && (o->plan != LAB_PLAN_QUICK || o->markdown))
		lab_complain("--ci, --full and --markdown say themselves what is searched");
	else if (o->plan == LAB_PLAN_FULL && (o->mode != LAB_MODE_TABLE || o->markdown))
		lab_complain("--full goes with the table");
	else if (o->all && (o->bound_given || o->weak || o->pct_runs))
		lab_complain("--all goes without --bound, --weak and --pct");
	else if (!o->pct_runs && (o->seed != SEED || o->depth != DEPTH))
		lab_complain("--seed and --depth go with --pct");
	else
		return true;
	return false;
}

/* Options that would be ignored in silence. */
static bool check_together(const struct lab_options *o)
{
	bool one = o->mode == LAB_MODE_SHOW || o->mode == LAB_MODE_REPLAY;

	if (o->svg && !one)
		lab_complain("--svg goes with --show or --replay");
	else if (o->mode == LAB_MODE_SHOW && o->race_count != 1)
		lab_complain("--show takes one race");
	else if (o->mode == LAB_MODE_REPLAY && (o->race_count || o->model))
		lab_complain("--replay takes race and model from the schedule: RACE/MODEL/...");
	else if (one && o->markdown)
		lab_complain("--markdown goes with the table");
	else if (o->markdown && o->json)
		lab_complain("--markdown or --json, not both");
	else if (o->state && o->plan != LAB_PLAN_FULL)
		lab_complain("--state goes with --full");
	else if (o->markdown && o->seconds_given && o->seconds > 0)
		lab_complain("--markdown takes as long as it takes: its contents must not depend on --seconds");
	else
		return check_search(o);
	return false;
}

bool lab_options_parse(int argc, char **argv, struct lab_options *o)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	*o = (struct lab_options){.seed = SEED, .depth = DEPTH};
	o->jobs = processors > 0 && processors < JOBS_MAX ? (uint32_t)processors : 1;
	for (int i = 1; i < argc; i++) {
		enum value_option option = value_option(argv[i]);

		if (option != OPT_NONE) {
			if (++i == argc) {
				lab_complain("%s needs a value", argv[i - 1]);
				return false;
			}
			if (!take_value(option, argv[i - 1], argv[i], o))
				return false;
		} else if (argv[i][0] != '-') {
			if (!take_race(argv[i], o))
				return false;
		} else if (!take_flag(argv[i], o)) {
			lab_complain("unknown option '%s'; try '%s --help'", argv[i], lab_program);
			return false;
		}
		if (o->mode == LAB_MODE_HELP)
			return true;
	}
	return check_together(o);
}

void lab_options_help(void)
{
	printf("Usage: %s [OPTION]... [RACE]...\n"
	       "Runs drivers' ways of keeping device mappings right through the races that they can\n"
	       "lose, under every schedule up to a bound, and says who loses which.\n\n"
	       "  --list             the races and models, and who must hold and lose\n"
	       "  --model NAME       this model only\n"
	       "  --show RACE        a losing schedule as a timeline, a column for each fiber\n"
	       "  --replay SCHEDULE  the schedule that a table or timeline named, as a timeline\n"
	       "  --svg FILE         draws the timeline of --show or --replay into a file\n\n",
	       lab_program);
	printf("What is searched; without these, as much as a minute allows:\n"
	       "  --ci               the part of the table that must hold at every change (minutes)\n"
	       "  --full             larger bounds, and no bound (hours); goes on where it was stopped\n"
	       "  --state DIR        where --full keeps what it has done\n"
	       "  --bound N          up to N preemptions (0 to %u)\n"
	       "  --all              every schedule up to equivalence, however many preemptions\n"
	       "  --weak             stale loads and store buffers: up to N of them as well\n"
	       "  --devices N --invalidators N\n"
	       "                     of each so many (1 to %d), as far as the race knows what to do with them\n"
	       "  --pct RUNS         random schedules instead; --seed N, --depth N (default 1 and 3)\n"
	       "  --seconds S        stop after S seconds; 0: no limit (default 48; none with --ci, --full)\n"
	       "  --jobs N           processes at a time (default: one for each processor)\n\n",
	       LAB_BOUND_MAX, DEVICES_MAX);
	printf("  --json             one JSON object on the last line instead of text\n"
	       "  --markdown         table and timelines of --ci as docs/races.md\n"
	       "  --help             print this\n\n"
	       "Exit status: 0 all as expected, 1 not, 2 the call was wrong.\n");
}
