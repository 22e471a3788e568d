/* SPDX-License-Identifier: MIT */
/*
 * r26.c: the witness's two races: its events come at the wrong time. The changes are inline system calls, which nobody sees but
 * userfaultfd, alone and beside the hooks.
 *
 *	R26: REMOVE comes before the change and has no end     R34: UNMAP comes after the change, and after the reuse
 *
 *	changer          reader         getter                 changer          reader         getter
 *	posts REMOVE                                           page goes
 *	                 reads it                              posts UNMAP
 *	                 drops                                                  reads it
 *	                                get: registers         goes on: mmap() gives
 *	                                the doomed page        the address out
 *	page goes                                                               (not yet)      get: the old page
 *	                                get: hit on it                          drops
 */
#include "races.h"

#define NO_WITNESS "no userfaultfd of this kind here, or it is forbidden"

struct plan {
	enum race_change kind;
	enum race_uffd_mistake mistake;
	const char *model;
	void (*change)(struct race_cache *c, void *page, enum race_change kind); /* NULL: the library's own, as programs do */
	uint64_t reg_turns_max;
};

static void raw_change(struct race_cache *c, void *page, enum race_change kind)
{
	(void)c;
	race_change_raw(page, kind);
}

static void run(const struct race_params *p, struct race_result *r, const struct plan *plan)
{
	struct race_params witnessed = *p;
	struct race_cache c;

	if (!witnessed.monitors)
		witnessed.monitors = UHMM_MONITOR_UFFD;
	r->tries = p->tries;
	r->loss = "stale";
	r->model = plan->model;
	race_catch_faults();
	for (uint64_t round = 0; round < RACE_CONTROL_ROUNDS && !r->control; round++) {
		if (!race_open_uffd_model(&c, plan->mistake, plan->reg_turns_max)) {
			r->skip = NO_WITNESS;
			return;
		}
		r->control = race_changer_and_getter(&c, race_control_tries(p), &plan->kind, 1, p->seed + round);
		c.close(&c);
	}
	if (!race_open_library(&c, &witnessed, plan->reg_turns_max)) {
		r->skip = NO_WITNESS;
		return;
	}
	if (plan->change)
		c.change = plan->change;
	r->lost = race_changer_and_getter(&c, p->tries, &plan->kind, 1, p->seed);
	c.close(&c);
}

void race_r26(const struct race_params *p, struct race_result *r)
{
	static const struct plan plan = { RACE_DISCARD, RACE_DROP_BEFORE_ZAP, "drop_before_zap", raw_change, 0 };

	run(p, r, &plan);
}

/* Unmapped raw, given out again by libc's mmap. */
void race_r34(const struct race_params *p, struct race_result *r)
{
	static const struct plan plan = { RACE_RAW_UNMAP, RACE_EVENT_AFTER_REUSE, "event_after_reuse", NULL, 0 };

	run(p, r, &plan);
}
