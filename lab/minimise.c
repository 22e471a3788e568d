/* SPDX-License-Identifier: MIT */
/*
 * minimise.c: a counterexample with fewer preemptions. Each try changes the schedule in one place, lets it run as far as it can
 * be followed, and is kept if the same invariant is violated at less cost. Tries, until none helps:
 *
 *   a preempted fiber goes on at once with what it did next    1x5.2x3.1x4  ->  1x9.2x3
 *   or does all of it later                                    1x5.2x3.1x4  ->  2x3.1x9
 *   an answer of memory, a sleeper, a deadline, ... is the usual one
 *   a store is not flushed at that place
 *   the end is cut off                                         who is left goes on by itself
 */
#include <stdlib.h>
#include <string.h>

#include "lab/replay.h"
#include "lab/run.h"

struct candidate {
	struct lab_schedule schedule;
	uint32_t preemptions, deviations, steps;
};

static struct candidate best, now;
static int invariant;

static bool less(const struct candidate *a, const struct candidate *b)
{
	if (a->preemptions != b->preemptions)
		return a->preemptions < b->preemptions;
	if (a->deviations != b->deviations)
		return a->deviations < b->deviations;
	if (a->schedule.runs != b->schedule.runs)
		return a->schedule.runs < b->schedule.runs;
	return a->steps < b->steps;
}

/* Runs the schedule and records what really happened. True: it lost in the same way. */
static bool attempt(const struct lab_schedule *schedule, struct candidate *result)
{
	const struct lab_teller to = { .record = &result->schedule };

	lab_schedule_clear(&result->schedule);
	lab_tell_begin(&to);
	lab_replay_once(schedule, false);
	lab_tell_begin(NULL);
	lab_schedule_trim(&result->schedule);
	result->preemptions = lab_run.verdict.preemptions;
	result->steps = lab_run.verdict.steps;
	result->deviations = result->schedule.choices;
	for (uint32_t i = 0; i < result->schedule.runs; i++)
		result->deviations += result->schedule.run[i].is_flush;
	return lab_run.verdict.outcome == LAB_LOST && lab_run.verdict.invariant == invariant && !result->schedule.overflow;
}

static bool better(const struct lab_schedule *schedule)
{
	if (!attempt(schedule, &now) || !less(&now, &best))
		return false;
	best = now;
	return true;
}

static void drop_run(struct lab_schedule *s, uint32_t i)
{
	memmove(&s->run[i], &s->run[i + 1], (s->runs - i - 1) * sizeof(s->run[0]));
	s->runs--;
}

/* Run i and the next one of the same fiber become one, at the place of the first or of the second. */
static bool try_joined(uint32_t i, bool early)
{
	static struct lab_schedule s;
	uint32_t next = i + 1;

	while (next < best.schedule.runs &&
	       (best.schedule.run[next].is_flush || best.schedule.run[next].fiber != best.schedule.run[i].fiber))
		next++;
	if (next == best.schedule.runs)
		return false;
	s = best.schedule;
	s.run[early ? i : next].count += s.run[early ? next : i].count;
	drop_run(&s, early ? next : i);
	return better(&s);
}

static bool try_without_run(uint32_t i)
{
	static struct lab_schedule s;

	s = best.schedule;
	drop_run(&s, i);
	return better(&s);
}

static bool try_cut(uint32_t runs)
{
	static struct lab_schedule s;

	s = best.schedule;
	s.runs = runs;
	return better(&s);
}

static bool try_usual(uint32_t i)
{
	static struct lab_schedule s;

	s = best.schedule;
	s.choice[i].taken = 0;
	return better(&s);
}

static bool improve(void)
{
	for (uint32_t i = 0; i < best.schedule.runs; i++) {
		if (best.schedule.run[i].is_flush ? try_without_run(i) : try_joined(i, true) || try_joined(i, false))
			return true;
	}
	for (uint32_t i = 0; i < best.schedule.choices; i++) {
		if (try_usual(i))
			return true;
	}
	for (uint32_t i = 1; i <= best.schedule.runs && i <= 4; i++) {
		if (try_cut(best.schedule.runs - i))
			return true;
	}
	return false;
}

void lab_minimise(const struct lab_config *config, char *schedule)
{
	static struct lab_schedule given;
	char text[LAB_SCHEDULE_MAX];
	size_t at;

	if (lab_schedule_parse(schedule, &given, &at) || !lab_run_setup(config))
		return;
	lab_replay_once(&given, false);
	invariant = lab_run.verdict.invariant;
	if (lab_run.verdict.outcome != LAB_LOST || !attempt(&given, &best))
		return;
	while (improve()) {
		;
	}
	if (lab_schedule_print(&best.schedule, text, sizeof(text)))
		strcpy(schedule, text);
}
