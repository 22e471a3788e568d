/* SPDX-License-Identifier: MIT */
/* cache.h: the shipped registration cache as models and scenarios use it, in front of the registrant that pins. */
#ifndef LAB_MODELS_CACHE_H
#define LAB_MODELS_CACHE_H

#include <uhmm/lab.h>
#include <uhmm/regcache.h>

#include "lab/registrant.h"

/* With the bounds and flags of process_options(). A set-up or a fiber. */
struct uhmm_regcache *lab_cache_create(struct uhmm_mm *mm, struct lab_device *d);
/* get, one access of the device, put. 0, -EFAULT, -EBUSY, or -ENOSPC from a cache with a bound; anything else is lost. */
int lab_cache_use(struct uhmm_regcache *cache, struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value);
/* The two halves. */
int lab_cache_get(struct uhmm_regcache *cache, uint32_t page, uint32_t access, struct uhmm_reg **reg,
		  struct registrant_get *get);
void lab_cache_put(struct uhmm_regcache *cache, struct uhmm_reg *reg);
/* Nobody uses it any more: what was dropped has been deregistered when this returns, and what is registered is in the cache. */
void lab_cache_flush(struct uhmm_regcache *cache);
/* The same, and the cache goes, and with it every registration, exactly once. */
void lab_cache_destroy(struct uhmm_regcache *cache);

#endif
