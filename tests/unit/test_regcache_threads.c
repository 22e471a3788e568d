/* SPDX-License-Identifier: MIT */
/*
 * test_regcache_threads.c: the registration cache and several threads. Nothing here is timed: where one thread has to be inside
 * something while another does something else, they meet at a flag.
 */
#include "regcache_fixture.h"

#define PAGES 64u

struct meeting {
	_Atomic int inside, go;
};

static void wait_for(_Atomic int *flag, int value)
{
	while (atomic_load(flag) < value)
		sched_yield();
}

static void stay_in_reg(struct fixture *f, struct uhmm_reg *reg)
{
	struct meeting *m = f->user;
	(void)reg;

	atomic_fetch_add(&m->inside, 1);
	wait_for(&m->go, 1);
}

static void *get_page_1(void *arg)
{
	return get(arg, 1, 1, RW);
}

static bool waits(struct fixture *f, uint32_t count)
{
	uint32_t waiters;

	cache_lock(f->cache);
	waiters = f->cache->waiters;
	cache_unlock(f->cache);
	return waiters == count;
}

static void two_threads_register_once(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct meeting m = {0};
	void *reg[2];
	pthread_t t[2];
	(void)state;

	f->user = &m;
	f->in_reg = stay_in_reg;
	pthread_create(&t[0], NULL, get_page_1, f);
	wait_for(&m.inside, 1);
	pthread_create(&t[1], NULL, get_page_1, f);
	while (!waits(f, 1))
		sched_yield();
	atomic_store(&m.go, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], &reg[i]);
	assert_ptr_equal(reg[0], reg[1]);
	assert_int_equal(f->regs, 1);
	/* Both were got by threads that are gone; this one puts them. */
	change(f, 1, 1);
	uhmm_regcache_put(f->cache, reg[0]);
	uhmm_regcache_flush(f->cache);
	assert_int_equal(f->deregs, 0);
	uhmm_regcache_put(f->cache, reg[1]);
	assert_true(eventually(&f->deregs, 1));
	uhmm_regcache_put(f->cache, reg[1]); /* one too many: reported */
	fixture_end(f);
}

/* A hit, a drop and a put go on while another thread is inside reg() or dereg(). */
static void nobody_waits_for_another_registration(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct meeting m = {0};
	void *reg;
	pthread_t t;
	(void)state;

	get_put(f, 7, 1, RW);
	f->user = &m;
	f->in_reg = stay_in_reg;
	pthread_create(&t, NULL, get_page_1, f);
	wait_for(&m.inside, 1);
	f->in_reg = NULL;
	for (int i = 0; i < 1000; i++)
		assert_false(misses(f, 7));
	change(f, 7, 1);
	assert_true(misses(f, 7));
	f->in_dereg = stay_in_reg;
	change(f, 7, 1);
	wait_for(&m.inside, 2);
	for (int i = 0; i < 1000; i++)
		get_put(f, 7, 1, RW);
	change(f, 1, 1); /* the registration under way: again */
	f->in_dereg = NULL;
	atomic_store(&m.go, 1);
	pthread_join(t, &reg);
	uhmm_regcache_put(f->cache, reg);
	assert_false(misses(f, 1));
	fixture_end(f);
}

/* ---- references that change hands ---- */

struct handover {
	struct fixture *f;
	_Atomic(struct uhmm_reg *) reg;
	unsigned int rounds;
};

static void *put_what_comes(void *arg)
{
	struct handover *h = arg;

	for (unsigned int i = 0; i < h->rounds; i++) {
		struct uhmm_reg *reg;

		while (!(reg = atomic_exchange(&h->reg, NULL)))
			sched_yield();
		uhmm_regcache_put(h->f->cache, reg);
	}
	return NULL;
}

/* One thread only gets, another only puts, while the pages change under them: every registration ends, none too early. */
static void another_thread_puts(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct handover h = {.f = f, .rounds = 20000};
	pthread_t t;
	(void)state;

	pthread_create(&t, NULL, put_what_comes, &h);
	for (unsigned int i = 0; i < h.rounds; i++) {
		struct uhmm_reg *reg = get(f, i % PAGES, 1, RW);

		assert_int_equal(f->registered[reg->handle % HANDLES], 1);
		atomic_store(&h.reg, reg);
		while (atomic_load(&h.reg))
			sched_yield();
		if (i % 16 == 0)
			change(f, i % PAGES, 1);
	}
	pthread_join(t, NULL);
	change(f, 0, PAGES);
	assert_true(eventually(&f->deregs, f->regs));
	fixture_end(f);
}

static void *put_one(void *arg)
{
	struct handover *h = arg;

	uhmm_regcache_put(h->f->cache, atomic_load(&h->reg));
	return NULL;
}

/* The ticket that another thread's put left behind is not mistaken for a reference. */
static void a_put_too_many_after_another_threads_put(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct handover h = {.f = f};
	struct uhmm_reg *reg = get(f, 1, 1, RW);
	pthread_t t;
	(void)state;

	atomic_store(&h.reg, reg);
	pthread_create(&t, NULL, put_one, &h);
	pthread_join(t, NULL);
	assert_int_equal(a32_load_relaxed(&f->cache->debts), 1);
	uhmm_regcache_put(f->cache, reg); /* reported */
	assert_int_equal(a32_load_relaxed(&f->cache->debts), 0);
	assert_ptr_equal(get(f, 1, 1, RW), reg);
	change(f, 1, 1);
	uhmm_regcache_flush(f->cache);
	assert_int_equal(f->deregs, 0);
	uhmm_regcache_put(f->cache, reg);
	assert_true(eventually(&f->deregs, 1));
	fixture_end(f);
}

/* "Nobody uses it" is said only of a region that nobody can hit; it is found again afterwards. */
static void not_in_use_is_not_guessed(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct uhmm_reg *reg = get(f, 1, 1, RW);
	struct region *r = (struct region *)((uintptr_t)reg - offsetof(struct region, reg));
	bool used;
	(void)state;

	cache_lock(f->cache);
	used = seats_use(f->cache, r) && region_state(r) == REGION_VALID;
	cache_unlock(f->cache);
	assert_true(used);
	uhmm_regcache_put(f->cache, reg);
	cache_lock(f->cache);
	used = seats_use(f->cache, r) || region_state(r) == REGION_VALID;
	cache_unlock(f->cache);
	assert_false(used);
	assert_false(misses(f, 1));
	fixture_end(f);
}

static void *get_and_pass_on(void *arg)
{
	struct handover *h = arg;

	for (unsigned int i = 0; i < h->rounds; i++) {
		struct uhmm_reg *reg = get(h->f, 1, 1, RW);

		while (atomic_load(&h->reg))
			sched_yield();
		atomic_store(&h->reg, reg);
	}
	return NULL;
}

/* References in both directions at once: none is lost in a scan that sees neither end of a move. */
static void references_that_cross_are_not_lost(void **state)
{
	struct fixture *f = fixture_make(NULL);
	struct handover away = {.f = f, .rounds = 20000}, back = away;
	pthread_t t[2];
	(void)state;

	pthread_create(&t[0], NULL, put_what_comes, &away);
	pthread_create(&t[1], NULL, get_and_pass_on, &back);
	for (unsigned int i = 0; i < away.rounds; i++) {
		struct uhmm_reg *reg = get(f, 1, 1, RW);

		while (atomic_load(&away.reg))
			sched_yield();
		atomic_store(&away.reg, reg);
		while (!(reg = atomic_exchange(&back.reg, NULL)))
			sched_yield();
		uhmm_regcache_put(f->cache, reg);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	fixture_end(f); /* -EBUSY if one was */
}

static void *come_and_go(void *arg)
{
	struct fixture *f = arg;

	for (unsigned int i = 0; i < PAGES; i++)
		get_put(f, i, 1, RW);
	return get(f, 3, 1, RW);
}

/* What a thread leaves behind counts; what it sat on is used again. */
static void threads_come_and_go(void **state)
{
	enum { THREADS = 300 };
	struct fixture *f = fixture_make(NULL);
	void *reg[THREADS];
	pthread_t t;
	(void)state;

	for (int i = 0; i < THREADS; i++) {
		pthread_create(&t, NULL, come_and_go, f);
		pthread_join(t, &reg[i]);
	}
	assert_true(a32_load_relaxed(&f->cache->seats_count) < 64);
	assert_int_equal(uhmm_regcache_destroy(f->cache), -EBUSY);
	change(f, 3, 1);
	for (int i = 0; i < THREADS; i++) {
		uhmm_regcache_flush(f->cache);
		assert_int_equal(f->deregs, 0);
		uhmm_regcache_put(f->cache, reg[i]);
	}
	assert_true(eventually(&f->deregs, 1));
	fixture_end(f);
}

/* ---- everything at once, against an oracle ---- */

/*
 * generation[p] is what a page's contents are; it is raised inside an invalidation, as an unmap and map would. reg() looks the
 * generations up, and the registration carries them in its handle's record. A get that began when the generation was g must
 * yield g or newer.
 */
#define THREADS 8
#define ROUNDS 6000u
#define RECORDS (1u << 20)

struct oracle {
	struct fixture *f;
	_Atomic uint64_t generation[PAGES];
	_Atomic uint64_t seen[RECORDS][4]; /* per registration, of its first 4 pages */
	_Atomic uint64_t stale, dead, nospace;
	_Atomic uint32_t seed;
};

static int oracle_reg(void *ctx, struct uhmm_reg *reg)
{
	struct oracle *o = ctx;
	unsigned int first = (unsigned int)(((uintptr_t)reg->addr - BASE) / PAGE);
	int err = fixture_reg(o->f, reg);

	for (unsigned int i = 0; i < 4 && i < reg->len / PAGE; i++)
		atomic_store(&o->seen[reg->handle % RECORDS][i], atomic_load(&o->generation[first + i]));
	return err;
}

static void oracle_dereg(void *ctx, struct uhmm_reg *reg)
{
	struct oracle *o = ctx;

	fixture_dereg(o->f, reg);
}

static uint32_t draw(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static void use(struct oracle *o, uint32_t *seed)
{
	unsigned int pages = 1 + draw(seed) % 4, first = draw(seed) % (PAGES - pages);
	uint64_t before[4];
	struct uhmm_reg *reg;
	int err;

	for (unsigned int i = 0; i < pages; i++)
		before[i] = atomic_load(&o->generation[first + i]);
	err = uhmm_regcache_get(o->f->cache, page(first), pages * PAGE, draw(seed) % 3 + 1, &reg);
	if (err == -ENOSPC) {
		atomic_fetch_add(&o->nospace, 1);
		return;
	}
	if (err)
		abort();
	if (atomic_load(&o->f->registered[reg->handle % HANDLES]) != 1)
		atomic_fetch_add(&o->dead, 1);
	for (unsigned int i = 0; i < pages; i++) {
		uintptr_t at = ((uintptr_t)page(first + i) - (uintptr_t)reg->addr) / PAGE;

		if (at < 4 && atomic_load(&o->seen[reg->handle % RECORDS][at]) < before[i])
			atomic_fetch_add(&o->stale, 1);
	}
	if (draw(seed) % 8 == 0)
		sched_yield();
	if (atomic_load(&o->f->registered[reg->handle % HANDLES]) != 1)
		atomic_fetch_add(&o->dead, 1);
	uhmm_regcache_put(o->f->cache, reg);
}

static void disturb(struct oracle *o, uint32_t *seed)
{
	unsigned int pages = 1 + draw(seed) % 3, first = draw(seed) % (PAGES - pages);
	bool fails = draw(seed) % 3 == 0;
	struct uhmm_invalidation inv;

	start(o->f, &inv, first, pages);
	if (fails) {
		uhmm_invalidate_abort(&inv);
		return;
	}
	for (unsigned int i = 0; i < pages; i++)
		atomic_fetch_add(&o->generation[first + i], 1);
	uhmm_invalidate_end(&inv);
}

static void *stress(void *arg)
{
	struct oracle *o = arg;
	uint32_t seed = atomic_fetch_add(&o->seed, 0x9e3779b9);

	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint32_t what = draw(&seed) % 16;

		if (what == 0)
			disturb(o, &seed);
		else if (what == 1 && i % 64 == 0)
			uhmm_regcache_flush(o->f->cache);
		else
			use(o, &seed);
	}
	return NULL;
}

static void run_stress(const struct uhmm_regcache_options *options)
{
	const struct uhmm_regcache_ops ops = {.reg = oracle_reg, .dereg = oracle_dereg};
	struct oracle *o = calloc(1, sizeof(*o));
	struct fixture *f = fixture_make(options);
	pthread_t t[THREADS];

	assert_non_null(o);
	o->f = f;
	o->seed = 12345;
	assert_int_equal(uhmm_regcache_destroy(f->cache), 0);
	assert_int_equal(uhmm_regcache_create(f->mm, &ops, o, options, &f->cache), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, stress, o);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(o->stale, 0);
	assert_int_equal(o->dead, 0);
	assert_true(options || !o->nospace);
	assert_true(f->regs > 0 && f->regs < THREADS * ROUNDS);
	fixture_end(f);
	free(o);
}

static void stress_without_bounds(void **state)
{
	(void)state;
	run_stress(NULL);
}

static void stress_with_eviction(void **state)
{
	struct uhmm_regcache_options o = {.size = sizeof(o), .max_regions = 24};
	(void)state;

	run_stress(&o);
	o.max_regions = 0;
	o.max_bytes = 40 * PAGE;
	run_stress(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_threads_register_once),
		cmocka_unit_test(nobody_waits_for_another_registration),
		cmocka_unit_test(another_thread_puts),
		cmocka_unit_test(a_put_too_many_after_another_threads_put),
		cmocka_unit_test(not_in_use_is_not_guessed),
		cmocka_unit_test(references_that_cross_are_not_lost),
		cmocka_unit_test(threads_come_and_go),
		cmocka_unit_test(stress_without_bounds),
		cmocka_unit_test(stress_with_eviction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
