/* SPDX-License-Identifier: MIT */
/*
 * engine.c: one thread changes a page, another gets it all the time; R31, R32 and R33 on top.
 *
 *	changer                                   getter (never waits)
 *	wait until try k-1 was checked            k' = published
 *	replace the page, one to three times      get: identity
 *	retire the old identities at k            stale if that was retired at k' or before
 *	published = k                             put; checked = k'
 *
 * Several changes a try, because a getter registers anew right after a change: the next one then comes while it does.
 *
 * A getter that has looked LOOKS times at the same k gives the processor away. With a core for each it gets it back at once,
 * and has still looked all the time that a change takes. On one core, or beside other work, the changer would wait for whole
 * time slices of hits otherwise: a thousand times what a try takes.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "races.h"

#define CHANGES_MAX 3u
#define LOOKS 256u

struct engine {
	struct race_cache *c;
	struct race_ledger ledger;
	void *page;
	uint64_t tries, stale, busy; /* the last two the getter's */
	_Alignas(64) _Atomic uint64_t checked;
	atomic_bool done;
};

static void *getter(void *arg)
{
	struct engine *e = arg;
	uint64_t counted = UINT64_MAX, last = UINT64_MAX;
	unsigned looks = 0;
	void *reg;

	while (!atomic_load_explicit(&e->done, memory_order_relaxed)) {
		uint64_t k = atomic_load_explicit(&e->ledger.published, memory_order_acquire), identity;
		int rc = e->c->get(e->c, e->page, &reg, &identity);

		/* Between an unmap and a map there is nothing to get; a busy answer is a documented one. */
		if (rc == -EFAULT || rc == -EBUSY) {
			e->busy += rc == -EBUSY;
			continue;
		}
		if (rc)
			race_die("get: %s", strerror(-rc));
		if (counted != k && race_is_stale(&e->ledger, identity, k)) {
			counted = k; /* a try is lost once, however often the getter looks */
			e->stale++;
		}
		e->c->put(e->c, reg);
		atomic_store_explicit(&e->checked, k, memory_order_release);
		looks = k == last ? looks + 1 : 0;
		last = k;
		if (looks == LOOKS) {
			looks = 0;
			sched_yield();
		}
	}
	return NULL;
}

static void one_try(struct engine *e, uint64_t k, const enum race_change *kinds, unsigned n_kinds, uint64_t *seed)
{
	uint64_t changes = 1 + race_random(seed) % CHANGES_MAX, old;

	for (uint64_t i = 0; i < changes; i++) {
		race_delay(256 + e->c->reg_turns_max, seed);
		old = race_identity(e->page);
		e->c->change(e->c, e->page, kinds[race_random(seed) % n_kinds]);
		race_retire(&e->ledger, old, k);
	}
	atomic_store_explicit(&e->ledger.published, k, memory_order_release);
}

uint64_t race_changer_and_getter(struct race_cache *c, uint64_t tries, const enum race_change *kinds, unsigned n_kinds,
				 uint64_t seed)
{
	struct engine e = { .c = c, .page = race_map_page(), .tries = tries };
	pthread_t t;

	race_ledger_init(&e.ledger, CHANGES_MAX * tries);
	if (pthread_create(&t, NULL, getter, &e))
		race_die("no thread");
	for (uint64_t k = 1; k <= tries; k++) {
		one_try(&e, k, kinds, n_kinds, &seed);
		for (unsigned spins = 0; atomic_load_explicit(&e.checked, memory_order_acquire) < k;)
			race_pause(&spins);
		race_progress();
	}
	atomic_store(&e.done, true);
	pthread_join(t, NULL);
	race_ledger_free(&e.ledger);
	return e.stale;
}

struct plan {
	const enum race_change *kinds;
	unsigned n;
	enum race_mistake mistake;
	const char *model;
	uint64_t reg_turns_max; /* the same for both sides */
	bool needs_hooks;
};

static void run(const struct race_params *p, struct race_result *r, const struct plan *plan)
{
	struct race_cache c;

	r->tries = p->tries;
	r->loss = "stale";
	r->model = plan->model;
	race_catch_faults();
	for (uint64_t round = 0; round < RACE_CONTROL_ROUNDS && !r->control; round++) {
		race_open_model(&c, plan->mistake, plan->reg_turns_max);
		r->control = race_changer_and_getter(&c, race_control_tries(p), plan->kinds, plan->n, p->seed + round);
		c.close(&c);
	}
	if ((plan->needs_hooks && p->explicit_calls) || !race_open_library(&c, p, plan->reg_turns_max)) {
		r->skip = RACE_NEEDS_HOOKS;
		return;
	}
	r->lost = race_changer_and_getter(&c, p->tries, plan->kinds, plan->n, p->seed);
	c.close(&c);
}

/* A raw unmap nobody saw, then the address is handed out again through libc. Needs hooks: nothing else sees that. */
void race_r31(const struct race_params *p, struct race_result *r)
{
	static const enum race_change kinds[] = { RACE_RAW_UNMAP };
	static const struct plan plan = { kinds, 1, RACE_TRUST_UNMAP_ONLY, "trust_unmap_only", 0, true };

	run(p, r, &plan);
}

/* The event comes before the call only, and the getter registers the doomed page in between. */
void race_r32(const struct race_params *p, struct race_result *r)
{
	static const enum race_change kinds[] = { RACE_DISCARD, RACE_REPLACE, RACE_UNMAP_MAP, RACE_MOVE_ONTO };
	static const struct plan plan = { kinds, 4, RACE_ANNOUNCE_BEFORE, "announce_before", 0, false };

	run(p, r, &plan);
}

/* An event between registering and inserting. A registration that takes a while makes room for it, on both sides. */
void race_r33(const struct race_params *p, struct race_result *r)
{
	static const enum race_change kinds[] = { RACE_DISCARD, RACE_REPLACE };
	static const struct plan plan = { kinds, 2, RACE_INSERT_AFTER_REGISTER, "insert_after_register", 4000, false };

	run(p, r, &plan);
}
