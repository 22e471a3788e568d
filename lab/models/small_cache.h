/* SPDX-License-Identifier: MIT */
/*
 * small_cache.h: a registration cache of one lock and one region a page, right as it is here: what the losing models for
 * caches and hooks have in common. Each of them replaces one of these functions by a mistake.
 *
 *	small_get                                small_start
 *	lock; there is one: users++, done        lock; seq++; active++; what is cached is dropped; unlock
 *	active? wait. seen = seq; unlock         (the change)
 *	reg()                                    small_end
 *	lock; seq == seen? keep it; else again   lock; active--; unlock
 */
#ifndef LAB_MODELS_SMALL_CACHE_H
#define LAB_MODELS_SMALL_CACHE_H

#include <uhmm/lab.h>
#include <uhmm/regcache.h>

#include "lab/process.h"

#define SMALL_TRIES 4u

struct small_region {
	struct uhmm_reg reg;
	uint32_t users;
	bool dropped;
	struct small_region *next; /* to be deregistered */
};

struct small_cache {
	struct lab_lock lock;
	struct lab_device *device;
	int (*reg)(void *ctx, struct uhmm_reg *reg);
	void (*dereg)(void *ctx, struct uhmm_reg *reg);
	struct small_region *cached[LAB_PAGES];
	uint32_t seq, active;
	bool forgets_active, forgets_seq; /* the mistakes of announce_before and insert_after_register */
	bool for_ever;                    /* that of retry_forever */
};

/* The one of this configuration; set-up. Its pages are told of by the functions below as entries of libc. */
struct small_cache *small_cache_make(struct lab_device *d);
int small_get(struct small_cache *c, uint32_t page, struct small_region **out);
void small_put(struct small_cache *c, struct small_region *r);
/* For struct lab_model. */
int small_use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value);
void small_detach(struct lab_device *d);

void small_start(struct small_cache *c, uint32_t page, uint32_t count);
void small_end(struct small_cache *c);
/* Leads all entries to hooks that do start, the call, end, for this cache. */
void small_hook_all(struct small_cache *c);

#endif
