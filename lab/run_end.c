/* SPDX-License-Identifier: MIT */
/* run_end.c: the ways in which an execution ends early, and what is said about it. */
#include "lab/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uhmm/lab.h>

#define BIT(fiber) (UINT32_C(1) << (fiber))

/* Back to fiber 0; the running fiber is never heard of again. */
void lab_finish(void)
{
	struct lab_fiber *const f = &lab_run.fiber[lab_run.now];

	lab_run.over = true;
	lab_run.last = lab_run.now;
	if (lab_run.now == 0)
		return;
	if (lab_run.slow)
		lab_tell_done();
	lab_run.now = 0;
	lab_fiber_switch(&f->context, &lab_run.fiber[0].context);
	abort();
}

static void lose(int invariant, const char *format, va_list args)
{
	struct lab_verdict *const v = &lab_run.verdict;

	if (v->outcome == LAB_HELD) {
		v->outcome = LAB_LOST;
		v->invariant = invariant;
		vsnprintf(v->text, sizeof(v->text), format, args);
	}
}

void lab_lost(int invariant, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	lose(invariant, format, args);
	va_end(args);
	lab_finish();
}

void lab_not_deterministic(const char *format, ...)
{
	va_list args;

	lab_run.verdict.outcome = LAB_HELD;
	va_start(args, format);
	lose(9, format, args);
	va_end(args);
	lab_finish();
}

void lab_abandon(void)
{
	if (lab_run.verdict.outcome == LAB_HELD)
		lab_run.verdict.outcome = LAB_ABANDONED;
	lab_finish();
}

void lab_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	lose(8, format, args);
	va_end(args);
	lab_finish();
}

static void append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *text, size_t size, const char *format, ...)
{
	const size_t length = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + length, size - length, format, args);
	va_end(args);
}

/* "cpu waits for a lock at notifier.c:120, dev0 sleeps at sync.c:33" */
void lab_deadlock(void)
{
	char text[400] = "nobody can run:";

	for (uint32_t i = 1; i < LAB_FIBERS; i++) {
		const struct lab_fiber *const f = &lab_run.fiber[i];
		const struct lab_site *const site = f->op.site;
		const bool sleeps = lab_run.sleeping & BIT(i);
		const char *file;

		if (!((lab_run.ready | lab_run.sleeping) & BIT(i)))
			continue;
		append(text, sizeof(text), " %s %s", f->name,
		       sleeps ? "sleeps" : f->op.kind == LAB_OP_JOIN ? "waits for another's end" : "waits for a lock");
		if (site) {
			file = strrchr(site->file, '/');
			append(text, sizeof(text), " at %s:%u", file ? file + 1 : site->file, site->line);
		}
		append(text, sizeof(text), ",");
	}
	text[strlen(text) - 1] = '\0';
	lab_lost(5, "%s", text);
}
