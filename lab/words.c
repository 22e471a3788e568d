/* SPDX-License-Identifier: MIT */
/* words.c: locks, words and waiting, as models and scenarios use them. */
#include <uhmm/lab.h>

#include "lab/memory.h"

_Static_assert(sizeof(struct lab_mutex) <= sizeof(struct lab_lock), "a lock has room for ours");

static struct lab_mutex *mutex_of(struct lab_lock *l)
{
	return (struct lab_mutex *)(void *)l;
}

void lab_lock_at(struct lab_lock *l, const struct lab_site *site)
{
	lab_mem_lock(mutex_of(l), site);
}

bool lab_trylock_at(struct lab_lock *l, const struct lab_site *site)
{
	return lab_mem_trylock(mutex_of(l), site);
}

void lab_unlock_at(struct lab_lock *l, const struct lab_site *site)
{
	lab_mem_unlock(mutex_of(l), site);
}

uint32_t lab_load_relaxed_at(const struct uhmm_a32 *a, const struct lab_site *site)
{
	return lab_a32_load(a, LAB_RELAXED, site);
}

uint32_t lab_load_acquire_at(const struct uhmm_a32 *a, const struct lab_site *site)
{
	return lab_a32_load(a, LAB_ACQUIRE, site);
}

void lab_store_relaxed_at(struct uhmm_a32 *a, uint32_t v, const struct lab_site *site)
{
	lab_a32_store(a, v, LAB_RELAXED, site);
}

void lab_store_release_at(struct uhmm_a32 *a, uint32_t v, const struct lab_site *site)
{
	lab_a32_store(a, v, LAB_RELEASE, site);
}

uint32_t lab_fetch_add_at(struct uhmm_a32 *a, uint32_t v, const struct lab_site *site)
{
	return lab_a32_rmw(a, LAB_ADD, v, LAB_FULL, site);
}

void lab_fence_at(const struct lab_site *site)
{
	lab_mem_fence(site);
}

void lab_await_at(struct uhmm_a32 *a, uint32_t value, const struct lab_site *site)
{
	while (lab_a32_load(a, LAB_ACQUIRE, site) != value)
		lab_mem_await_change(a, value, site);
}
