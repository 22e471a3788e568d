/* SPDX-License-Identifier: MIT */
/* races.c: the race programs of tests/races with many tries, one process each, as rows of the table. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "races/races.h"

#define STUCK_S 60u

static const struct entry {
	const char *name, *what;
	void (*fn)(const struct race_params *p, struct race_result *r);
	uint64_t quick, usual, soak;
} entries[] = {
	{ "R25", "late monitor", race_r25, 100, 500, 10000 },
	{ "R26", "witness: looked up between event and change", race_r26, 2000, 20000, 1000000 },
	{ "R27", "self-invalidating registration", race_r27, 500, 1000, 10000 },
	{ "R29", "fork beside free", race_r29, 200, 1000, 10000 },
	{ "R30", "put beside invalidate beside evict", race_r30, 5000, 50000, 1000000 },
	{ "R31", "unmap nobody saw, address reused", race_r31, 2000, 20000, 1000000 },
	{ "R32", "registered between event and change", race_r32, 2000, 20000, 1000000 },
	{ "R33", "event between registering and inserting", race_r33, 2000, 20000, 1000000 },
	{ "R34", "witness: event after the reuse", race_r34, 2000, 20000, 1000000 },
};

/* The losing model's figure is in the note: a race that even the model wins proves nothing, which fails the case. */
static void one(const struct entry *e, const struct bench_opts *o)
{
	struct race_params p = { .tries = o->soak ? e->soak : o->quick ? e->quick : e->usual, .seed = 1 };
	struct race_result r = { .lost = 0 };
	int fd[2], status = 0;
	char name[72];
	ssize_t n;
	pid_t pid;

	if (pipe(fd) || (pid = fork()) < 0)
		bench_die("no process: %s", strerror(errno));
	if (!pid) {
		race_watchdog(STUCK_S);
		e->fn(&p, &r);
		_exit(write(fd[1], &r, sizeof(r)) == sizeof(r) ? 0 : 1);
	}
	close(fd[1]);
	n = read(fd[0], &r, sizeof(r));
	close(fd[0]);
	waitpid(pid, &status, 0);
	snprintf(name, sizeof(name), "%s, %s: lost", e->name, e->what);
	if (n != (ssize_t)sizeof(r))
		bench_die("%s ended without a result", e->name);
	if (r.skip)
		bench_skip(name, r.skip);
	else if (!r.control)
		bench_die("%s: the control (%s) did not lose", e->name, r.model);
	else
		bench_row(name, (double)r.lost, "", 0, NULL, 0, "%llu tries; %s lost %llu; %.60s", (unsigned long long)r.tries,
			  r.model, (unsigned long long)r.control, r.note);
}

void bench_races(const struct bench_opts *o)
{
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		one(&entries[i], o);
}
