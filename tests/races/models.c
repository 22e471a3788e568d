/* SPDX-License-Identifier: MIT */
/*
 * models.c: registration caches with one mistake each: the controls.
 *
 * One cache of one region under one mutex, right but for the mistake that it was opened with. Its "hooks" are the brackets in
 * model_change(), around the same system calls.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "races.h"

struct model {
	pthread_mutex_t lock;
	enum race_mistake mistake;
	bool valid;      /* the rest under lock */
	uint64_t handle;
	unsigned active; /* changes announced and not ended */
	uint64_t seq;
	atomic_bool watching;
};

static void announce(struct model *m)
{
	pthread_mutex_lock(&m->lock);
	m->valid = false;
	m->seq++;
	if (m->mistake != RACE_ANNOUNCE_BEFORE)
		m->active++;
	pthread_mutex_unlock(&m->lock);
}

static void over(struct model *m)
{
	if (m->mistake == RACE_ANNOUNCE_BEFORE)
		return; /* the mistake: nobody learns when the change is done, so none can wait for it */
	pthread_mutex_lock(&m->lock);
	m->active--;
	pthread_mutex_unlock(&m->lock);
}

static void model_change(struct race_cache *c, void *page, enum race_change kind)
{
	static _Thread_local uint64_t seed = 98;
	struct model *m = c->model;
	/* RACE_OPEN_NO_WAIT: who was under way when watching began tells nobody, here or at the end. */
	bool seen = atomic_load(&m->watching);

	/* RACE_TRUST_UNMAP_ONLY: an unmap that nobody saw, and a mapping that is no event. */
	if (m->mistake == RACE_TRUST_UNMAP_ONLY && kind == RACE_RAW_UNMAP)
		seen = false;
	if (seen) {
		announce(m);
		race_delay(RACE_CHANGE_TURNS_MAX, &seed);
	}
	race_change_raw(page, kind);
	if (seen)
		over(m);
}

static int model_get(struct race_cache *c, void *addr, void **reg, uint64_t *handle)
{
	static _Thread_local uint64_t seed = 99;
	struct model *m = c->model;
	unsigned spins = 0;
	uint64_t seq, h;

	*reg = m;
	for (;;) {
		pthread_mutex_lock(&m->lock);
		if (m->valid) {
			*handle = m->handle;
			pthread_mutex_unlock(&m->lock);
			return 0;
		}
		seq = m->seq;
		if (m->active) {
			pthread_mutex_unlock(&m->lock);
			race_pause(&spins);
			continue;
		}
		pthread_mutex_unlock(&m->lock);
		h = race_identity(addr);
		if (!h)
			return -EFAULT;
		race_delay(c->reg_turns_max, &seed);
		pthread_mutex_lock(&m->lock);
		/* RACE_INSERT_AFTER_REGISTER: what happened since the page was looked up is not asked. */
		if (m->mistake == RACE_INSERT_AFTER_REGISTER || m->seq == seq) {
			m->valid = true;
			m->handle = h;
		}
		pthread_mutex_unlock(&m->lock);
	}
}

static void model_put(struct race_cache *c, void *reg)
{
	(void)c;
	(void)reg;
}

static void model_close(struct race_cache *c)
{
	struct model *m = c->model;

	pthread_mutex_destroy(&m->lock);
	free(m);
}

void race_open_model(struct race_cache *c, enum race_mistake mistake, uint64_t reg_turns_max)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		race_die("no memory");
	m->mistake = mistake;
	pthread_mutex_init(&m->lock, NULL);
	atomic_store(&m->watching, mistake != RACE_OPEN_NO_WAIT);
	*c = (struct race_cache){ .get = model_get, .put = model_put, .change = model_change, .close = model_close,
				  .reg_turns_max = reg_turns_max, .model = m };
}

void race_model_watch(struct race_cache *c)
{
	struct model *m = c->model;

	pthread_mutex_lock(&m->lock);
	m->valid = false;
	pthread_mutex_unlock(&m->lock);
	atomic_store(&m->watching, true);
}

void race_model_unwatch(struct race_cache *c)
{
	struct model *m = c->model;

	atomic_store(&m->watching, false);
}

/*
 * R30, refcount_naive. The two sides each look at the other's word after writing their own:
 *
 *	put                          invalidate
 *	refs-- (now 0)
 *	                             dead = true
 *	dead? yes: dereg
 *	                             refs == 0? yes: dereg          the second time
 *
 * and a get may look at `dead`, be overtaken by invalidate, and take its reference on what was deregistered.
 */
struct naive {
	atomic_int refs, deregs;
	atomic_bool dead;
};

static struct naive naive_region;
static atomic_uint_fast64_t naive_wrong, naive_round, naive_done;
static atomic_bool naive_stop;

static void naive_dereg(struct naive *n)
{
	if (atomic_fetch_add(&n->deregs, 1) != 0)
		atomic_fetch_add(&naive_wrong, 1);
}

static void naive_get_put(struct naive *n, uint64_t delay)
{
	atomic_fetch_add(&n->refs, 1);
	race_spin(delay);
	if (atomic_load(&n->deregs))
		atomic_fetch_add(&naive_wrong, 1); /* deregistered under a user */
	if (atomic_fetch_sub(&n->refs, 1) == 1 && atomic_load(&n->dead))
		naive_dereg(n);
}

static void *naive_user(void *arg)
{
	uint64_t seed = 5, round = 0;
	unsigned spins = 0;

	(void)arg;
	while (!atomic_load(&naive_stop)) {
		if (atomic_load(&naive_round) == round) {
			race_pause(&spins);
			continue;
		}
		while (!atomic_load(&naive_region.dead))
			naive_get_put(&naive_region, race_random(&seed) % 32);
		atomic_store(&naive_done, ++round);
	}
	return NULL;
}

uint64_t race_model_refcount_naive(uint64_t tries)
{
	struct naive *n = &naive_region;
	uint64_t seed = 6;
	pthread_t t;

	atomic_store(&naive_wrong, 0);
	atomic_store(&naive_stop, false);
	atomic_store(&naive_done, 0);
	atomic_store(&naive_round, 0);
	if (pthread_create(&t, NULL, naive_user, NULL))
		race_die("no thread");
	for (uint64_t i = 1; i <= tries; i++) {
		unsigned spins = 0;

		atomic_store(&n->refs, 0);
		atomic_store(&n->deregs, 0);
		atomic_store(&n->dead, false);
		atomic_store(&naive_round, i);
		race_spin(race_random(&seed) % 2048);
		atomic_store(&n->dead, true);
		if (atomic_load(&n->refs) == 0)
			naive_dereg(n);
		while (atomic_load(&naive_done) < i)
			race_pause(&spins);
		race_progress();
	}
	atomic_store(&naive_stop, true);
	pthread_join(t, NULL);
	return atomic_load(&naive_wrong);
}

/*
 * R29, prepare_holds_lock. fork() runs the prepare handlers and then takes malloc's locks; free() holds a malloc lock and calls
 * madvise, whose hook takes the cache's:
 *
 *	fork                          free
 *	prepare: lock(cache)
 *	                              lock(arena)
 *	lock(arena): waits            hook: lock(cache): waits          for ever
 *
 * `arena` stands for malloc's lock. Both sides give up after a while, so that the control can end.
 */
static pthread_mutex_t arena_lock = PTHREAD_MUTEX_INITIALIZER, cache_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both;

static bool lock_or_give_up(pthread_mutex_t *m)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 1;
	return pthread_mutex_timedlock(m, &t) == 0;
}

static void *freeing_thread(void *arg)
{
	bool *got = arg;

	pthread_mutex_lock(&arena_lock);
	pthread_barrier_wait(&both);
	*got = lock_or_give_up(&cache_lock);
	if (*got)
		pthread_mutex_unlock(&cache_lock);
	pthread_mutex_unlock(&arena_lock);
	return NULL;
}

uint64_t race_model_prepare_holds_lock(void)
{
	bool got_cache = false, got_arena;
	pthread_t t;

	pthread_barrier_init(&both, NULL, 2);
	pthread_mutex_lock(&cache_lock); /* the prepare handler */
	if (pthread_create(&t, NULL, freeing_thread, &got_cache))
		race_die("no thread");
	pthread_barrier_wait(&both);
	got_arena = lock_or_give_up(&arena_lock); /* what fork does next */
	if (got_arena)
		pthread_mutex_unlock(&arena_lock);
	pthread_mutex_unlock(&cache_lock);
	pthread_join(t, NULL);
	pthread_barrier_destroy(&both);
	return !(got_cache && got_arena);
}

/* R27, retry_forever: reg() frees memory, which discards a page of the very range, which makes the look-up begin again. */
uint64_t race_model_retry_forever(uint64_t stop_after)
{
	struct race_cache c;
	struct model *m;
	uint64_t retries = 0, seq;
	void *page = race_map_page();

	race_open_model(&c, RACE_OPEN_NO_WAIT, 0); /* the mistake of that one does not come into play */
	race_model_watch(&c);
	m = c.model;
	do {
		pthread_mutex_lock(&m->lock);
		seq = m->seq;
		pthread_mutex_unlock(&m->lock);
		(void)race_identity(page);
		model_change(&c, page, RACE_DISCARD); /* inside reg() */
		retries++;
	} while (seq != m->seq && retries < stop_after);
	c.close(&c);
	return retries == stop_after ? retries : 0;
}
