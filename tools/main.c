/* SPDX-License-Identifier: MIT */
/* main.c: finds the verb and hands over. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "complain.h"

#ifndef UHMM_VERSION
#error "UHMM_VERSION comes from the build"
#endif

static const struct verb {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{"exec", "stream files through a device while the process changes its memory", cmd_exec},
	{"doctor", "what this machine offers, and what follows from it", cmd_doctor},
	{"bench", "measure the library", cmd_bench},
	{"races", "who loses which race, under every schedule up to a bound", cmd_races},
	{"watch", "how a program changes its address space, and what would go stale", cmd_watch},
};

#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static int help(void)
{
	printf("Usage: uhmm VERB [ARGUMENT]...\n"
	       "Devices on a live process's ordinary pointers, coherently.\n\n");
	for (size_t i = 0; i < VERBS; i++)
		printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
	printf("\n  --version    print the version\n"
	       "  --help       print this; 'uhmm VERB --help' says more\n\n"
	       "Exit status: 0 done, 1 the work failed, 2 the call was wrong.\n");
	return flush_output(NULL) ? STATUS_DONE : STATUS_FAILED;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		complain(NULL, "no verb given; try 'uhmm --help'");
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return help();
	if (strcmp(argv[1], "--version") == 0) {
		printf("uhmm %s\n", UHMM_VERSION);
		return flush_output(NULL) ? STATUS_DONE : STATUS_FAILED;
	}
	for (size_t i = 0; i < VERBS; i++) {
		if (strcmp(argv[1], verbs[i].name) != 0)
			continue;
		if (!check_environment())
			return STATUS_USAGE;
		return verbs[i].run(argc - 1, argv + 1);
	}
	complain(NULL, "unknown %s '%s'; try 'uhmm --help'", argv[1][0] == '-' ? "option" : "verb", argv[1]);
	return STATUS_USAGE;
}
