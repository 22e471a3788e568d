/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run.h"
#include "units.h"

enum { BAR = 30 };

void progress_begin(struct progress *p, const struct run *run)
{
	const char *terminal = getenv("TERM");

	*p = (struct progress){.run = run, .begin_ns = now_ns()};
	p->shown = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
}

/* By time, if a time was asked for; the last pass may then still take a while. */
static double share_done(const struct run *run, uint64_t bytes, double seconds)
{
	double by_bytes = (double)bytes / (double)run->input.bytes;
	double share = run->options->seconds > 0 ? seconds / run->options->seconds : by_bytes;

	return share < 1 ? share : 1;
}

void progress_draw(const struct progress *p)
{
	const struct counters *c = &p->run->counters;
	uint64_t bytes = counted(&c->bytes);
	double seconds = (double)(now_ns() - p->begin_ns) / 1e9;
	double share = share_done(p->run, bytes, seconds);
	char bar[BAR + 1], amount[UNITS_SIZE], rate[UNITS_SIZE];

	if (!p->shown)
		return;
	memset(bar, '.', BAR);
	memset(bar, '#', (size_t)(share * BAR));
	bar[BAR] = '\0';
	fprintf(stderr, "\r\033[K[%s] %3.0f %%  %s  %s", bar, share * 100, bytes_text(bytes, amount),
		rate_text((double)bytes / seconds, rate));
	if (p->run->options->chaos)
		fprintf(stderr, "  stale %llu  lost %llu", (unsigned long long)counted(&c->stale_reads),
			(unsigned long long)counted(&c->lost_writes));
}

void progress_end(const struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
}
