/* SPDX-License-Identifier: MIT */
/*
 * main.c: one race as a program.   r32 [TRIES] [--explicit] [--hooks-too] [--seed N]
 *
 * Exit status 0 if the library lost nothing and the control did lose, 1 otherwise, 77 where the race cannot be run. RACE is the
 * race's function, NAME its number; both come from the build.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "races.h"

#ifndef RACE_TRIES
#define RACE_TRIES 20000
#endif

static uint64_t number(const char *s)
{
	char *end;
	unsigned long long v = strtoull(s, &end, 10);

	if (*end || end == s || v == 0) {
		fprintf(stderr, "not a number of tries: '%s'\n", s);
		exit(2);
	}
	return v;
}

int main(int argc, char **argv)
{
	struct race_params p = { .tries = RACE_TRIES, .seed = 1 };
	struct race_result r = { .lost = 0 };

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--explicit") == 0)
			p.explicit_calls = true;
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			p.seed = number(argv[++i]);
		else if (strcmp(argv[i], "--hooks-too") == 0)
			p.monitors = UHMM_MONITOR_HOOKS | UHMM_MONITOR_UFFD;
		else
			p.tries = number(argv[i]);
	}
	if (RACE_TSAN && (strcmp(NAME, "R32") == 0 || strcmp(NAME, "R34") == 0)) {
		printf("skipped: ThreadSanitizer cannot follow a jump out of a SIGSEGV handler, as here\n");
		return 77;
	}
	race_watchdog(30);
	RACE(&p, &r);
	race_watchdog_off();
	if (r.skip) {
		printf("%s skipped: %s (control %s: %s %llu)\n", NAME, r.skip, r.model, r.loss, (unsigned long long)r.control);
		return 77;
	}
	printf("%s tries %llu %s %llu (control %s: %s %llu)%s%s\n", NAME, (unsigned long long)r.tries, r.loss,
	       (unsigned long long)r.lost, r.model, r.loss, (unsigned long long)r.control, r.note[0] ? "; " : "", r.note);
	if (!r.control)
		printf("%s: the control did not lose, so that this run proves nothing\n", NAME);
	return r.lost || !r.control;
}
