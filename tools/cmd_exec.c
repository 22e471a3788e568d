/* SPDX-License-Identifier: MIT */
/* cmd_exec.c: uhmm exec KERNEL FILE... */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chaos.h"
#include "cmd.h"
#include "complain.h"
#include "exec_report.h"
#include "run.h"

static const char verb[] = "exec";

enum {
	OPTION_DEVICE = 256,
	OPTION_CHAOS,
	OPTION_SECONDS,
	OPTION_PROTOCOL,
	OPTION_MONITOR,
	OPTION_REG_DELAY,
	OPTION_OUTPUT,
	OPTION_JSON,
	OPTION_HELP
};

static const struct option long_options[] = {
	{"device", required_argument, NULL, OPTION_DEVICE},
	{"chaos", required_argument, NULL, OPTION_CHAOS},
	{"seconds", required_argument, NULL, OPTION_SECONDS},
	{"protocol", required_argument, NULL, OPTION_PROTOCOL},
	{"monitor", required_argument, NULL, OPTION_MONITOR},
	{"reg-delay", required_argument, NULL, OPTION_REG_DELAY},
	{"output", required_argument, NULL, OPTION_OUTPUT},
	{"json", no_argument, NULL, OPTION_JSON},
	{"help", no_argument, NULL, OPTION_HELP},
	{NULL, 0, NULL, 0},
};

/* With chaos: long enough for a change to begin and end within a registration, however busy the machine is. */
#define CHAOS_REG_DELAY_NS 20000u
#define CHAOS_SECONDS 3.0

/* What the command line said, before the defaults that depend on other options. */
struct request_line {
	struct exec_options options;
	bool chaos_given, seconds_given, delay_given;
};

static int help(void)
{
	printf("Usage: uhmm exec KERNEL FILE... [OPTION]...\n"
	       "Streams the files through a device that works on this process's ordinary memory, and\n"
	       "compares what the device computed with what the CPU computes from plain reads.\n\n"
	       "Kernels:\n");
	for (size_t i = 0; kernel_at(i); i++)
		printf("  %-16s %s\n", kernel_at(i)->name, kernel_at(i)->summary);
	printf("\nOptions:\n"
	       "  --device NAME    the device: uring, io_uring with fixed buffers (default)\n"
	       "  --chaos N        N threads that unmap, replace, discard and move the memory that the\n"
	       "                   device is about to use, legally; and forks (0 to %d; default 0, and\n"
	       "                   1 with a sabotaged protocol)\n"
	       "  --seconds S      stream the input again until S seconds have passed; 0: once\n"
	       "                   (default 0, and 3 with chaos)\n"
	       "  --protocol NAME  how the registration cache learns of changes (default interval)\n"
	       "  --monitor NAME   who tells it of them: hooks, on libc's mapping calls (default), or\n"
	       "                   explicit, the chaos threads themselves\n"
	       "  --reg-delay US   make every registration take US microseconds longer, whatever the\n"
	       "                   protocol (default 0, and 20 with chaos)\n"
	       "  --output FILE    where copy writes\n"
	       "  --json           one JSON object on the last line instead of text\n"
	       "  --help           print this\n\n"
	       "Protocols:\n",
	       CHAOS_THREADS_MAX);
	for (size_t i = 0; protocol_at(i); i++)
		printf("  %-16s %s\n", protocol_at(i)->name, protocol_at(i)->summary);
	printf("\nExit status: 0 the answer is right and nothing stale was seen, 1 the work failed,\n2 the call was wrong.\n");
	return flush_output(verb) ? STATUS_DONE : STATUS_FAILED;
}

static bool set_protocol(struct exec_options *o, const char *name)
{
	o->protocol = protocol_find(name);
	if (!o->protocol)
		complain(verb, "unknown protocol '%s'; try 'uhmm exec --help'", name);
	return o->protocol != NULL;
}

static bool set_device(const char *name)
{
	if (strcmp(name, "uring") == 0)
		return true;
	complain(verb, "unknown device '%s'; there is uring", name);
	return false;
}

static bool set_monitor(struct exec_options *o, const char *name)
{
	o->hooks = strcmp(name, "hooks") == 0;
	if (o->hooks || strcmp(name, "explicit") == 0)
		return true;
	complain(verb, "unknown monitor '%s'; there are hooks and explicit", name);
	return false;
}

static bool set_option(struct request_line *line, int option, const char *value)
{
	struct exec_options *o = &line->options;
	uint64_t n = 0;
	bool ok;

	switch (option) {
	case OPTION_DEVICE:
		return set_device(value);
	case OPTION_CHAOS:
		ok = line->chaos_given = parse_number(verb, "--chaos", value, 0, CHAOS_THREADS_MAX, &n);
		o->chaos = (unsigned)n;
		return ok;
	case OPTION_SECONDS:
		ok = line->seconds_given = parse_seconds(verb, "--seconds", value, &o->seconds);
		return ok;
	case OPTION_PROTOCOL:
		return set_protocol(o, value);
	case OPTION_MONITOR:
		return set_monitor(o, value);
	case OPTION_REG_DELAY:
		ok = line->delay_given = parse_number(verb, "--reg-delay", value, 0, 1000000, &n);
		o->reg_delay_ns = n * 1000;
		return ok;
	case OPTION_OUTPUT:
		o->output = value;
		return true;
	case OPTION_JSON:
		o->json = true;
		return true;
	default:
		return false;
	}
}

/* STATUS_DONE: go on; -1: help was asked for. */
static int parse_options(struct request_line *line, int argc, char **argv)
{
	int option;

	opterr = 0;
	optind = 1;
	while ((option = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (option == OPTION_HELP)
			return -1;
		if (option == ':') {
			complain(verb, "%s needs a value", argv[optind - 1]);
			return STATUS_USAGE;
		}
		if (option == '?') {
			complain(verb, "unknown option '%s'; try 'uhmm exec --help'", argv[optind - 1]);
			return STATUS_USAGE;
		}
		if (!set_option(line, option, optarg))
			return STATUS_USAGE;
	}
	return STATUS_DONE;
}

/* What is left are the kernel and the files. */
static bool parse_arguments(struct request_line *line, int argc, char **argv)
{
	struct exec_options *o = &line->options;

	if (argc < 1) {
		complain(verb, "no kernel given; try 'uhmm exec --help'");
		return false;
	}
	o->kernel = kernel_find(argv[0]);
	if (!o->kernel) {
		complain(verb, "unknown kernel '%s'; try 'uhmm exec --help'", argv[0]);
		return false;
	}
	if (argc < 2) {
		complain(verb, "no file given");
		return false;
	}
	o->paths = argv + 1;
	o->path_count = (unsigned)argc - 1;
	if (o->kernel->copies != (o->output != NULL)) {
		complain(verb, o->output ? "--output goes with the kernel copy" : "the kernel copy needs --output");
		return false;
	}
	/* Without changes there is nothing for a sabotaged protocol to lose. */
	if (!line->chaos_given && !o->protocol->sound)
		o->chaos = 1;
	if (!line->seconds_given && o->chaos)
		o->seconds = CHAOS_SECONDS;
	if (!line->delay_given && o->chaos)
		o->reg_delay_ns = CHAOS_REG_DELAY_NS;
	return true;
}

/* False has complained. The file is not truncated yet. */
static bool open_output(struct run *run, bool *created)
{
	const char *path = run->options->output;
	struct stat st;
	int fd;

	run->output_fd = -1;
	*created = false;
	if (!path)
		return true;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	*created = fd >= 0;
	if (fd < 0 && errno == EEXIST)
		fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st)) {
		complain(verb, "%s: %s", path, strerror(errno));
		return false;
	}
	run->output_fd = fd;
	if (!S_ISREG(st.st_mode)) {
		complain(verb, "%s: not a regular file", path);
		return false;
	}
	for (unsigned i = 0; i < run->input.files; i++) {
		const struct stat *in = &run->input.file[i].seen;

		if (in->st_dev == st.st_dev && in->st_ino == st.st_ino) {
			complain(verb, "%s: is an input as well", path);
			return false;
		}
	}
	return true;
}

/* The one line, if there is something to say. */
static int verdict(const struct run *run)
{
	uint64_t stale = counted(&run->counters.stale_reads), lost = counted(&run->counters.lost_writes);

	if (failed(&run->failure))
		complain(verb, "%s", run->failure.text);
	else if (run->interrupted)
		complain(verb, "interrupted");
	else if (stale || lost)
		complain(verb, "the device used pages that the process no longer had: %llu stale reads, %llu lost writes",
			 (unsigned long long)stale, (unsigned long long)lost);
	else if (!report_answer_ok(run))
		complain(verb, "wrong answer: %s, and the CPU says %s", run->answer, run->expected);
	else
		return STATUS_DONE;
	return STATUS_FAILED;
}

static int execute(struct run *run)
{
	bool created;
	int status;

	if (!open_output(run, &created)) {
		status = STATUS_USAGE;
	} else {
		run_execute(run);
		/* Nothing to report of a device that never began. */
		if (run->end_ns || run->options->json)
			(run->options->json ? report_json : report_text)(run);
		if (!flush_output(verb))
			status = STATUS_FAILED;
		else
			status = verdict(run);
	}
	if (run->output_fd >= 0)
		close(run->output_fd);
	if (created && status != STATUS_DONE)
		unlink(run->options->output);
	return status;
}

int cmd_exec(int argc, char **argv)
{
	struct request_line line = {.options = {.protocol = protocol_at(0), .hooks = true}};
	struct run run = {.options = &line.options};
	int status = parse_options(&line, argc, argv);

	if (status < 0)
		return help();
	if (status == STATUS_DONE && !parse_arguments(&line, argc - optind, argv + optind))
		status = STATUS_USAGE;
	if (status != STATUS_DONE)
		return status;
	if (input_open(&run.input, line.options.paths, line.options.path_count, &run.failure)) {
		status = execute(&run);
	} else {
		complain(verb, "%s", run.failure.text);
		status = STATUS_USAGE;
	}
	input_close(&run.input);
	return status;
}
