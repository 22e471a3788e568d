/* SPDX-License-Identifier: MIT */
/*
 * r25.c: late monitor. A thread is inside a mapping call when watching begins; that change has no start.
 *
 *	changer                              opener
 *	madvise(DONTNEED) begins             mm_open, cache
 *	                                     get: registers the page that is about to go
 *	the page goes; nobody is told
 *	published                            get: the same registration?        must not be
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "races.h"

#define PAGES 64 /* a call that takes some microseconds */
#define HEAD_START 20000u /* turns that the changer has before watching begins, at most */

struct late {
	struct race_cache *c;
	struct race_ledger ledger;
	unsigned char *arena; /* the page raced for is the last one */
	bool model;
	uint64_t tries, spread; /* turns of delay before the change, at most: as long as opening takes */
	_Alignas(64) _Atomic uint64_t go, awake; /* numbers of tries: asked for, and the changer is running */
};

static void *page_of(struct late *l)
{
	return l->arena + (PAGES - 1) * RACE_PAGE;
}

static void *changer(void *arg)
{
	struct late *l = arg;
	uint64_t seed = 17, old = race_identity(page_of(l));

	for (uint64_t k = 1; k <= l->tries; k++) {
		unsigned spins = 0;

		for (int i = 0; i < PAGES - 1; i++)
			l->arena[(size_t)i * RACE_PAGE] = 1;
		while (atomic_load_explicit(&l->go, memory_order_acquire) < k)
			race_pause(&spins);
		atomic_store_explicit(&l->awake, k, memory_order_release);
		race_spin(race_random(&seed) % l->spread);
		if (l->model)
			l->c->change(l->c, page_of(l), RACE_DISCARD);
		else if (madvise(l->arena, PAGES * RACE_PAGE, MADV_DONTNEED))
			race_die("madvise: %s", strerror(errno));
		race_retire(&l->ledger, old, k);
		old = race_identity(page_of(l));
		atomic_store_explicit(&l->ledger.published, k, memory_order_release);
	}
	return NULL;
}

/* True if stale. */
static bool get_and_look(struct late *l, uint64_t k)
{
	uint64_t identity;
	bool stale;
	void *reg;
	int rc;

	do
		rc = l->c->get(l->c, page_of(l), &reg, &identity);
	while (rc == -EBUSY);
	if (rc)
		race_die("get: %s", strerror(-rc));
	stale = race_is_stale(&l->ledger, identity, k);
	l->c->put(l->c, reg);
	return stale;
}

/* Opens, registers, waits for the change to be over, gets again. */
static uint64_t one_try(struct late *l, const struct race_params *p, uint64_t k, uint64_t seed)
{
	unsigned spins = 0;
	uint64_t stale;

	atomic_store_explicit(&l->go, k, memory_order_release);
	while (atomic_load_explicit(&l->awake, memory_order_acquire) < k)
		race_pause(&spins);
	race_spin(seed % HEAD_START);
	if (l->model)
		race_model_watch(l->c);
	else if (!race_open_library(l->c, p, 0))
		race_die("hooks were there and are not any more");
	(void)get_and_look(l, k - 1);
	while (atomic_load_explicit(&l->ledger.published, memory_order_acquire) < k)
		race_pause(&spins);
	stale = get_and_look(l, k);
	if (l->model)
		race_model_unwatch(l->c);
	else
		l->c->close(l->c);
	race_progress();
	return stale;
}

static uint64_t all_tries(struct race_cache *c, bool model, const struct race_params *p, uint64_t spread)
{
	struct late l = { .c = c, .model = model, .tries = p->tries, .spread = spread };
	uint64_t stale = 0, seed = p->seed;
	pthread_t t;

	l.arena = mmap(NULL, PAGES * RACE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (l.arena == MAP_FAILED)
		race_die("no memory");
	madvise(l.arena, PAGES * RACE_PAGE, MADV_NOHUGEPAGE);
	race_ledger_init(&l.ledger, l.tries);
	if (pthread_create(&t, NULL, changer, &l))
		race_die("no thread");
	for (uint64_t k = 1; k <= l.tries; k++) {
		stale += one_try(&l, p, k, race_random(&seed));
	}
	pthread_join(t, NULL);
	race_ledger_free(&l.ledger);
	munmap(l.arena, PAGES * RACE_PAGE);
	return stale;
}

/* Turns of race_spin() that one opening takes. */
static uint64_t turns_of_opening(const struct race_params *p)
{
	struct timespec t[3];
	struct race_cache c;
	double ns[2];

	clock_gettime(CLOCK_MONOTONIC, &t[0]);
	race_spin(1000000);
	clock_gettime(CLOCK_MONOTONIC, &t[1]);
	if (!race_open_library(&c, p, 0))
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &t[2]);
	c.close(&c);
	for (int i = 0; i < 2; i++)
		ns[i] = (double)(t[i + 1].tv_sec - t[i].tv_sec) * 1e9 + (double)(t[i + 1].tv_nsec - t[i].tv_nsec);
	return HEAD_START + (uint64_t)(1e6 * ns[1] / ns[0]);
}

void race_r25(const struct race_params *p, struct race_result *r)
{
	struct race_params more = *p;
	struct race_cache c;
	uint64_t spread;

	r->tries = p->tries;
	r->loss = "stale";
	r->model = "open_no_wait";
	race_catch_faults();
	/* The model opens in an instant, so that its changer is inside a call less often: more tries make up for it. */
	more.tries = 5000;
	race_open_model(&c, RACE_OPEN_NO_WAIT, 0);
	for (int round = 0; round < RACE_CONTROL_ROUNDS && !r->control; round++)
		r->control = all_tries(&c, true, &more, HEAD_START);
	c.close(&c);
	spread = p->explicit_calls ? 0 : turns_of_opening(p);
	if (!spread) {
		r->skip = RACE_NEEDS_HOOKS;
		return;
	}
	r->lost = all_tries(&c, false, p, spread);
}
