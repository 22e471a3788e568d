/* SPDX-License-Identifier: MIT */
/* cmd_watch.c: uhmm watch [OPTION]... -- COMMAND */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "complain.h"
#include "watch_check.h"
#include "watch_report.h"
#include "watch_run.h"
#include "watch_symbols.h"
#include "watch_top.h"
#include "watch_trace.h"

#ifndef WATCH_LIBDIR
#define WATCH_LIBDIR "../lib" /* from the tool's folder to the library's; the build knows better */
#endif

static const char verb[] = "watch";

enum { STATUS_NOT_EXECUTABLE = 126, STATUS_NOT_FOUND = 127 };
enum { POLL_MS = 100, POLLS_PER_FRAME = 10 };

enum { OPTION_TOP = 256, OPTION_TRACE, OPTION_OUTPUT, OPTION_MONITOR, OPTION_JSON, OPTION_HELP };

static const struct option long_options[] = {
	{"top", no_argument, NULL, OPTION_TOP},
	{"trace", required_argument, NULL, OPTION_TRACE},
	{"output", required_argument, NULL, OPTION_OUTPUT},
	{"monitor", required_argument, NULL, OPTION_MONITOR},
	{"json", no_argument, NULL, OPTION_JSON},
	{"help", no_argument, NULL, OPTION_HELP},
	{NULL, 0, NULL, 0},
};

struct watch {
	bool show_top, json, no_hooks;
	const char *trace_path, *output_path;
	char **argv;

	struct checked checked;
	enum watchable watchable;
	char library[PATH_MAX];
	FILE *output, *trace_file;
	struct session session;
	struct symbols *symbols;
	struct trace trace;
	struct top top;
	struct child child;
	size_t left_running;
	double seconds;
};

static int help(void)
{
	printf("Usage: uhmm watch [OPTION]... [--] COMMAND [ARGUMENT]...\n"
	       "Runs COMMAND and tells how it and its children change their address spaces, from where in the\n"
	       "program, and what a registration cache of today would have gone stale on.\n\n"
	       "Options:\n"
	       "  --top            a live view of the terminal while it runs; what COMMAND writes to the\n"
	       "                   terminal is held back until it has ended\n"
	       "  --trace FILE     every change as an event, for Perfetto or chrome://tracing\n"
	       "  --output FILE    the report goes there instead of to standard error\n"
	       "  --json           the report is one JSON object on one line\n"
	       "  --monitor NAME   who tells of changes: hooks (default), or none, to see that nothing is\n"
	       "                   seen then\n"
	       "  --help           print this\n\n"
	       "Exit status: COMMAND's; where a signal kills it, that signal kills this as well. 1 it could not\n"
	       "be started or watched, 2 the call was wrong, 126 COMMAND is not executable, 127 it was not found.\n");
	return flush_output(verb) ? STATUS_DONE : STATUS_FAILED;
}

/* ---- the call ---- */

static bool set_option(struct watch *w, int option, const char *value)
{
	switch (option) {
	case OPTION_TOP:
		w->show_top = true;
		return true;
	case OPTION_TRACE:
		w->trace_path = value;
		return true;
	case OPTION_OUTPUT:
		w->output_path = value;
		return true;
	case OPTION_JSON:
		w->json = true;
		return true;
	default:
		w->no_hooks = strcmp(value, "none") == 0;
		if (w->no_hooks || strcmp(value, "hooks") == 0)
			return true;
		complain(verb, "unknown monitor '%s'; there are hooks and none", value);
		return false;
	}
}

/* STATUS_DONE: go on; -1: help was asked for. */
static int parse(struct watch *w, int argc, char **argv)
{
	int option;

	opterr = 0;
	optind = 1;
	while ((option = getopt_long(argc, argv, "+:", long_options, NULL)) != -1) {
		if (option == OPTION_HELP)
			return -1;
		if (option == ':') {
			complain(verb, "%s needs a value", argv[optind - 1]);
			return STATUS_USAGE;
		}
		if (option == '?') {
			complain(verb, "unknown option '%s'; try 'uhmm watch --help'", argv[optind - 1]);
			return STATUS_USAGE;
		}
		if (!set_option(w, option, optarg))
			return STATUS_USAGE;
	}
	if (optind >= argc) {
		complain(verb, "no command given; try 'uhmm watch --help'");
		return STATUS_USAGE;
	}
	w->argv = argv + optind;
	return STATUS_DONE;
}

/* Before COMMAND runs: it would be run in vain. */
static bool open_file(FILE **out, const char *path)
{
	if (!path)
		return true;
	*out = fopen(path, "we");
	if (!*out)
		complain(verb, "%s: %s", path, strerror(errno));
	return *out != NULL;
}

/* ---- the library ---- */

/* Beside the tool, as it is built or as it is installed. */
static bool find_library(struct watch *w)
{
	static const char *const places[] = {"watch", WATCH_LIBDIR};
	char self[PATH_MAX], path[2 * PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	if (strrchr(self, '/'))
		*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		bool absolute = places[i][0] == '/';

		snprintf(path, sizeof(path), "%s%s%s/%s", absolute ? "" : self, absolute ? "" : "/", places[i], WATCH_LIBRARY);
		if (realpath(path, w->library))
			break;
		w->library[0] = '\0';
	}
	if (!w->library[0])
		complain(verb, "%s is neither in %s/%s nor in %s/%s", WATCH_LIBRARY, self, places[0], self, places[1]);
	else if (strpbrk(w->library, " :"))
		complain(verb, "%s: a path with a space or colon cannot be preloaded", w->library);
	else
		return true;
	return false;
}

/* ---- the run ---- */

static void follow(struct watch *w)
{
	unsigned polls = 0;

	while (!w->child.over) {
		child_wait(&w->child, POLL_MS);
		if (w->watchable == WATCHABLE)
			session_poll(&w->session, false);
		if (w->show_top && polls++ % POLLS_PER_FRAME == 2)
			top_draw(&w->top);
	}
}

/* Some of it may be missing if memory was: better than nothing. */
static void collect(struct watch *w)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	w->seconds = (double)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - w->session.begin_ns) / 1e9;
	session_poll(&w->session, false);
	w->left_running = session_running(&w->session);
	session_poll(&w->session, true);
	session_unlink(&w->session);
}

static int start(struct watch *w)
{
	struct launch launch = {.argv = w->argv,
				.library = w->library,
				.capture_fd = -1,
				.options = (w->trace_file ? WATCH_OPTION_TRACE : 0u) |
					   (w->no_hooks ? WATCH_OPTION_NO_HOOKS : 0u)};
	int err;

	if (w->watchable == WATCHABLE)
		launch.directory = w->session.directory;
	if (w->show_top)
		launch.capture_fd = w->top.capture_fd;
	err = child_start(&w->child, &launch);
	if (!err)
		return STATUS_DONE;
	if (w->show_top)
		top_end(&w->top);
	complain(verb, "%s: %s", w->argv[0], strerror(err));
	return err == ENOENT ? STATUS_NOT_FOUND : err == EACCES || err == ENOEXEC ? STATUS_NOT_EXECUTABLE : STATUS_FAILED;
}

static void tell(struct watch *w)
{
	FILE *out = w->output ? w->output : stderr;
	struct report r = {.command = w->argv[0],
			   .session = &w->session,
			   .totals = &w->session.gone,
			   .symbols = w->symbols,
			   .seconds = w->seconds,
			   .status = w->child.status,
			   .left_running = w->left_running,
			   .unseen = w->watchable == RUNS_UNSEEN ? w->checked.why : NULL,
			   .trace = w->trace_path};

	if (w->trace_file && !trace_end(&w->trace, w->session.gone.dropped))
		complain(verb, "%s: %s", w->trace_path, strerror(errno));
	(w->json ? watch_report_json : watch_report_text)(&r, out);
	if (fflush(out) || ferror(out))
		complain(verb, "%s: the report could not be written", w->output_path ? w->output_path : "standard error");
}

/* While the directory is there. */
static int watch(struct watch *w)
{
	int status;

	w->symbols = symbols_open();
	if (w->trace_file) {
		trace_begin(&w->trace, w->trace_file, w->symbols, w->session.begin_ns);
		w->session.trace = &w->trace;
	}
	w->top = (struct top){.command = w->argv[0], .session = &w->session, .symbols = w->symbols};
	status = w->show_top && !top_begin(&w->top) ? STATUS_USAGE : start(w);
	if (status == STATUS_DONE) {
		follow(w);
		collect(w);
		if (w->show_top)
			top_end(&w->top);
		tell(w);
	}
	symbols_close(w->symbols);
	return status;
}

/* STATUS_DONE: go on. */
static int prepare(struct watch *w)
{
	w->watchable = check_command(w->argv[0], &w->checked);
	if (w->watchable == NOT_FOUND) {
		complain(verb, "%s: not found", w->argv[0]);
		return STATUS_NOT_FOUND;
	}
	if (w->watchable == NOT_EXECUTABLE) {
		complain(verb, "%s: not executable", w->argv[0]);
		return STATUS_NOT_EXECUTABLE;
	}
	if (!find_library(w))
		return STATUS_FAILED;
	return open_file(&w->trace_file, w->trace_path) && open_file(&w->output, w->output_path) ? STATUS_DONE : STATUS_USAGE;
}

int cmd_watch(int argc, char **argv)
{
	struct watch w = {0};
	int status = parse(&w, argc, argv), err;

	if (status < 0)
		return help();
	if (status == STATUS_DONE)
		status = prepare(&w);
	if (status != STATUS_DONE)
		return status;
	err = session_open(&w.session);
	if (err) {
		complain(verb, "%s: %s", w.session.directory, strerror(-err));
		return STATUS_FAILED;
	}
	if (w.watchable == RUNS_UNSEEN)
		complain(verb, "%s; it runs unwatched", w.checked.why);
	status = watch(&w);
	session_close(&w.session);
	return status == STATUS_DONE ? child_exit(&w.child) : status;
}
