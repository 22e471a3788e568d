/* SPDX-License-Identifier: MIT */
/* run_replay.c: following a schedule, to the letter or as far as it can be. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lab/choice.h"
#include "lab/replay.h"
#include "lab/run.h"

static struct {
	const struct lab_schedule *schedule;
	bool to_the_letter;
	uint32_t run, done;             /* the current run, and how many of its operations had their turn */
	uint32_t choice[LAB_FIBERS];    /* where to look for each fiber's next choice */
	bool parted;
} follow;

static void part(const char *why, uint32_t fiber)
{
	char text[200];

	follow.parted = true;
	snprintf(text, sizeof(text), "the schedule does not fit: element %u: fiber %u %s", follow.run + 1, fiber, why);
	lab_not_deterministic("%s", text);
}

static const char *why_not(uint32_t fiber)
{
	const uint32_t bit = UINT32_C(1) << fiber;

	if (!(lab_run.all & bit))
		return "does not exist";
	if (lab_run.ended & bit)
		return "has ended";
	return lab_run.sleeping & bit ? "is asleep" : "waits for a lock, or for a fiber to end";
}

/* The element that says what happens now; NULL: the schedule is at its end. */
static const struct lab_schedule_run *current(void)
{
	const struct lab_schedule *const s = follow.schedule;

	while (follow.run < s->runs && !s->run[follow.run].is_flush && follow.done == s->run[follow.run].count) {
		follow.run++;
		follow.done = 0;
	}
	return follow.run < s->runs ? &s->run[follow.run] : NULL;
}

static void next_element(void)
{
	follow.run++;
	follow.done = 0;
}

static uint32_t replay_pick(uint32_t candidates, bool on)
{
	const struct lab_schedule_run *r;

	while ((r = current())) {
		if (lab_run.forced && !r->is_flush && (candidates >> r->fiber & 1))
			return r->fiber;
		if (r->is_flush && r->count < lab_flushable(r->fiber)) {
			next_element();
			return LAB_FLUSH(r->fiber, r->count);
		}
		if (!r->is_flush && lab_enabled(r->fiber)) {
			follow.done++;
			return r->fiber;
		}
		if (follow.to_the_letter) {
			part(r->is_flush ? "has no such buffered store" : why_not(r->fiber), r->fiber);
			return lab_run.now;
		}
		next_element();
	}
	return lab_pick_usual(candidates, on);
}

static uint32_t replay_choose(enum lab_choice_kind kind, uint32_t n)
{
	const struct lab_schedule *const s = follow.schedule;
	const uint32_t self = lab_run.now, turns = lab_run.fiber[self].turns;

	for (uint32_t *i = &follow.choice[self]; *i < s->choices; ++*i) {
		const struct lab_schedule_choice *const c = &s->choice[*i];

		if (c->fiber != self || c->turns < turns)
			continue;
		if (c->turns > turns)
			return 0;
		++*i;
		if (c->kind == kind && c->taken < n)
			return c->taken;
		if (follow.to_the_letter)
			part("has no such choice there", self);
		return 0;
	}
	return 0;
}

static const struct lab_mode replay_mode = { .pick = replay_pick, .choose = replay_choose, .each_turn = true, .exact = true };

bool lab_replay_once(const struct lab_schedule *schedule, bool to_the_letter)
{
	memset(&follow, 0, sizeof(follow));
	follow.schedule = schedule;
	follow.to_the_letter = to_the_letter;
	lab_run_once(&replay_mode, LAB_UNLIMITED);
	if (follow.parted)
		return false;
	if (to_the_letter && lab_run.verdict.outcome == LAB_HELD && current()) {
		snprintf(lab_run.verdict.text, sizeof(lab_run.verdict.text),
			 "the schedule does not fit: the execution has ended, and element %u is still to come", follow.run + 1);
		return false;
	}
	return true;
}

int lab_replay(const struct lab_config *config, const char *schedule, void (*tell)(void *arg, const struct lab_tell *t),
	       void *arg, struct lab_verdict *verdict)
{
	static struct lab_schedule parsed;
	const struct lab_teller to = { .tell = tell, .arg = arg };
	const char *wrong;
	size_t at = 0;
	bool fits = true;

	memset(verdict, 0, sizeof(*verdict));
	wrong = lab_schedule_parse(schedule, &parsed, &at);
	if (wrong) {
		snprintf(verdict->text, sizeof(verdict->text), "not a schedule, at character %zu: %s", at + 1, wrong);
		return -EINVAL;
	}
	if (lab_run_setup(config)) {
		lab_tell_begin(&to);
		fits = lab_replay_once(&parsed, true);
		lab_tell_begin(NULL);
	}
	*verdict = lab_run.verdict;
	if (fits && verdict->outcome == LAB_HELD)
		verdict->text[0] = '\0';
	return fits ? 0 : -EINVAL;
}
