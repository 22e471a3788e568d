/* SPDX-License-Identifier: MIT */
/*
 * r30.c: put beside invalidate beside evict. Two threads get and put pages of a cache that holds fewer regions than there are
 * pages, a third replaces pages all the time. Each registration is a slot in the device's table with a state of its own: a
 * deregistration of what is not live, and a slot that dies while a user holds its registration, are counted; so are stale gets.
 * At the end every slot is dead: each registration was deregistered exactly once.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "races.h"

#define PAGES 4u
#define REGIONS 2u /* fewer than pages: every other get evicts */
#define SLOTS 256u
#define USERS 2u
#define MORE 8u

struct slot {
	_Atomic uint64_t state; /* registration number shifted by 1, bit 0: live */
	_Atomic uint64_t identity;
};

static struct slot slots[SLOTS];
static struct race_ledger ledger;
static unsigned char *pages[PAGES];
static struct race_cache cache;
static atomic_uint_fast64_t numbers, doubles, under_user, stale, gets, full;
static atomic_bool stop;

/* The handle names the slot and the registration, so that a later registration in the same slot is told apart. */
static int reg_slot(void *ctx, struct uhmm_reg *reg)
{
	uint64_t number = atomic_fetch_add(&numbers, 1) + 1, identity = race_identity(reg->addr);

	(void)ctx;
	if (!identity)
		return -EFAULT;
	for (uint64_t i = 0; i < SLOTS; i++) {
		struct slot *s = &slots[(number + i) % SLOTS];
		uint64_t old = atomic_load(&s->state);

		if (!(old & 1) && atomic_compare_exchange_strong(&s->state, &old, number << 1 | 1)) {
			atomic_store(&s->identity, identity);
			reg->handle = number * SLOTS + (number + i) % SLOTS;
			return 0;
		}
	}
	return -ENOSPC;
}

static void dereg_slot(void *ctx, struct uhmm_reg *reg)
{
	uint64_t expected = reg->handle / SLOTS << 1 | 1;

	(void)ctx;
	if (!atomic_compare_exchange_strong(&slots[reg->handle % SLOTS].state, &expected, expected & ~UINT64_C(1)))
		atomic_fetch_add(&doubles, 1);
}

static bool is_live(uint64_t handle)
{
	return atomic_load(&slots[handle % SLOTS].state) == (handle / SLOTS << 1 | 1);
}

static void use_one(uint64_t *seed)
{
	uint64_t k = atomic_load_explicit(&ledger.published, memory_order_acquire), identity;
	struct uhmm_reg *reg;
	int rc = uhmm_regcache_get(cache.cache, pages[race_random(seed) % PAGES], RACE_PAGE, PROT_READ | PROT_WRITE, &reg);
	bool lived;

	if (rc == -EFAULT || rc == -EBUSY || rc == -ENOSPC) {
		atomic_fetch_add(&full, rc == -ENOSPC);
		return;
	}
	if (rc)
		race_die("get: %s", strerror(-rc));
	lived = is_live(reg->handle);
	identity = atomic_load(&slots[reg->handle % SLOTS].identity);
	race_spin(race_random(seed) % 64);
	if (!lived || !is_live(reg->handle))
		atomic_fetch_add(&under_user, 1);
	else if (race_is_stale(&ledger, identity, k))
		atomic_fetch_add(&stale, 1);
	uhmm_regcache_put(cache.cache, reg);
	atomic_fetch_add_explicit(&gets, 1, memory_order_relaxed);
	race_progress();
}

static void *user(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		use_one(&seed);
	return NULL;
}

/* So many changes, and more of them until the users have had as many gets. */
static void change_pages(uint64_t tries, uint64_t seed)
{
	uint64_t old[PAGES];

	for (unsigned i = 0; i < PAGES; i++)
		old[i] = race_identity(pages[i]);
	for (uint64_t k = 1; k <= tries || (atomic_load(&gets) < tries && k < MORE * tries); k++) {
		unsigned i = (unsigned)(race_random(&seed) % PAGES);

		race_spin(race_random(&seed) % 1024);
		cache.change(&cache, pages[i], race_random(&seed) % 2 ? RACE_DISCARD : RACE_REPLACE);
		race_retire(&ledger, old[i], k);
		old[i] = race_identity(pages[i]);
		atomic_store_explicit(&ledger.published, k, memory_order_release);
	}
}

static bool open_small(const struct race_params *p)
{
	static const struct uhmm_regcache_ops ops = { .reg = reg_slot, .dereg = dereg_slot };
	struct uhmm_regcache_options o = { .size = sizeof(o), .max_regions = REGIONS };
	int rc;

	if (!race_open_library(&cache, p, 0))
		return false;
	rc = uhmm_regcache_destroy(cache.cache); /* one of our own ops and bounds in its place */
	if (!rc)
		rc = uhmm_regcache_create(cache.mm, &ops, NULL, &o, &cache.cache);
	if (rc)
		race_die("cannot create the cache: %s", strerror(-rc));
	return true;
}

static void run(const struct race_params *p)
{
	pthread_t t[USERS];

	for (unsigned i = 0; i < PAGES; i++)
		pages[i] = race_map_page();
	race_ledger_init(&ledger, MORE * p->tries);
	for (unsigned i = 0; i < USERS; i++)
		if (pthread_create(&t[i], NULL, user, (void *)(uintptr_t)(i + 1)))
			race_die("no thread");
	change_pages(p->tries, p->seed);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < USERS; i++)
		pthread_join(t[i], NULL);
	cache.close(&cache);
	race_ledger_free(&ledger);
}

void race_r30(const struct race_params *p, struct race_result *r)
{
	uint64_t leaked = 0;

	r->tries = p->tries;
	r->loss = "wrong";
	r->model = "refcount_naive";
	race_catch_faults();
	for (int round = 0; round < RACE_CONTROL_ROUNDS && !r->control; round++)
		r->control = race_model_refcount_naive(10000);
	if (!open_small(p)) {
		r->skip = RACE_NEEDS_HOOKS;
		return;
	}
	run(p);
	for (unsigned i = 0; i < SLOTS; i++)
		leaked += atomic_load(&slots[i].state) & 1;
	r->lost = doubles + under_user + stale + leaked;
	snprintf(r->note, sizeof(r->note), "%llu gets: %llu double, %llu under a user, %llu stale, %llu leaked, %llu no space",
		 (unsigned long long)gets, (unsigned long long)doubles, (unsigned long long)under_user,
		 (unsigned long long)stale, (unsigned long long)leaked, (unsigned long long)full);
}
