/* SPDX-License-Identifier: MIT */
#include "lab/hunt.h"

#include <string.h>
#include <time.h>

#define LOOK_EVERY 256u            /* executions; a clock costs little, but not nothing */
#define REPORT_EVERY_NS 100000000u

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool lab_hunt_begin(struct lab_hunt *h, const char *search, const struct lab_config *config, const struct lab_limits *limits,
		    struct lab_result *out)
{
	static const struct lab_limits none;

	memset(h, 0, sizeof(*h));
	memset(out, 0, sizeof(*out));
	h->search = search;
	h->config = config;
	h->limits = limits ? limits : &none;
	h->out = out;
	h->started_ns = now_ns();
	if (lab_run_setup(config))
		return true;
	out->outcome = lab_run.verdict.outcome;
	out->verdict = lab_run.verdict;
	return false;
}

/* The execution once more, word for word, to have its schedule. */
static void record(struct lab_hunt *h, const struct lab_mode *mode, uint32_t bound, void (*again)(void))
{
	static struct lab_schedule schedule;
	const struct lab_teller to = { .record = &schedule };
	struct lab_result *const out = h->out;

	if (out->verdict.invariant == 9)
		return;
	lab_schedule_clear(&schedule);
	again();
	lab_tell_begin(&to);
	lab_run_once(mode, bound);
	lab_tell_begin(NULL);
	if (lab_run.verdict.outcome != LAB_LOST || lab_run.verdict.invariant != out->verdict.invariant) {
		strcpy(out->verdict.text, "not deterministic: the same choices once lost and once did not");
		out->verdict.invariant = 9;
		return;
	}
	lab_schedule_trim(&schedule);
	lab_schedule_print(&schedule, out->schedule, sizeof(out->schedule));
}

static bool limits_reached(struct lab_hunt *h)
{
	const struct lab_limits *const l = h->limits;
	uint64_t now;

	if (l->schedules && h->sitting >= l->schedules)
		return true;
	if (++h->unlooked < LOOK_EVERY)
		return false;
	h->unlooked = 0;
	now = now_ns();
	if (l->progress && now - h->reported_ns >= REPORT_EVERY_NS) {
		h->reported_ns = now;
		l->progress(l->arg, h->total, h->bound);
	}
	return l->seconds > 0 && (double)(now - h->started_ns) >= l->seconds * 1e9;
}

bool lab_hunt_account(struct lab_hunt *h, const struct lab_mode *mode, uint32_t bound, void (*again)(void))
{
	const struct lab_verdict *const v = &lab_run.verdict;
	struct lab_result *const out = h->out;

	if (v->outcome != LAB_ABANDONED) {
		h->total++;
		h->sitting++;
		out->schedules++;
		lab_digest_set_add(&h->digests, v->outcome == LAB_LOST ? lab_mix((uint64_t)v->invariant) : v->digest);
	}
	if (v->outcome == LAB_LOST && out->outcome != LAB_LOST) {
		out->outcome = LAB_LOST;
		out->verdict = *v;
		out->schedules_to_loss = h->total;
		record(h, mode, bound, again);
		h->stopped = lab_hunt_stops_at_loss(h);
	}
	if (limits_reached(h))
		h->stopped = true;
	return !h->stopped;
}

bool lab_hunt_superseded(struct lab_hunt *h)
{
	h->total++;
	h->sitting++;
	h->stopped = limits_reached(h);
	return h->stopped;
}

void lab_hunt_cut_short(void)
{
	if (lab_run.verdict.invariant == 9)
		return;
	lab_run.verdict.outcome = LAB_HELD;
	lab_not_deterministic("not deterministic: this execution ended before it had made the choices of one that began alike");
}

bool lab_hunt_stops_at_loss(const struct lab_hunt *h)
{
	return h->out->outcome == LAB_LOST && (!h->limits->go_on || h->out->verdict.invariant == 9);
}

void lab_hunt_restart(struct lab_hunt *h, uint32_t bound)
{
	h->bound = bound;
	h->out->schedules = 0;
	lab_digest_set_free(&h->digests);
}

void lab_hunt_end(struct lab_hunt *h)
{
	h->out->reached = h->bound;
	h->out->digests = h->digests.count;
	h->out->digest_of_set = lab_digest_set_hash(&h->digests);
	lab_digest_set_free(&h->digests);
}
