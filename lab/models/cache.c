/* SPDX-License-Identifier: MIT */
#include "lab/models/cache.h"

#include <errno.h>

#include "lab/process.h"
#include "lab/search.h"
#include "regcache/cache.h"

/* Written here, in code that the lab watches: whoever gets the region reads it, without a lock. */
static int reg(void *ctx, struct uhmm_reg *out)
{
	struct uhmm_reg made = *out;
	int err = registrant_reg(ctx, &made);

	out->handle = made.handle;
	return err;
}

struct uhmm_regcache *lab_cache_create(struct uhmm_mm *mm, struct lab_device *d)
{
	static const struct uhmm_regcache_ops ops = {.reg = reg, .dereg = registrant_dereg};
	const struct uhmm_regcache_options options = {
		.size = sizeof(options),
		.max_regions = process_options()->max_regions,
		.flags = process_options()->cache_flags,
	};
	struct uhmm_regcache *cache;

	if (uhmm_regcache_create(mm, &ops, d, &options, &cache) != 0) {
		lab_fail("no cache");
		return NULL;
	}
	return cache;
}

int lab_cache_get(struct uhmm_regcache *cache, uint32_t page, uint32_t access, struct uhmm_reg **reg,
		  struct registrant_get *get)
{
	int err;

	if (lab_telling)
		lab_call_enter("get(%u)", page);
	*get = registrant_get_begins();
	err = uhmm_regcache_get(cache, (void *)LAB_ADDR(page), 4096, access, reg);
	if (!err)
		registrant_hold((*reg)->handle, page, get);
	if (lab_telling)
		lab_call_leave();
	return err;
}

void lab_cache_put(struct uhmm_regcache *cache, struct uhmm_reg *reg)
{
	if (lab_telling)
		lab_call_enter("put(%u)", (uint32_t)LAB_PAGE_OF(reg->addr));
	registrant_let_go(reg->handle);
	uhmm_regcache_put(cache, reg);
	if (lab_telling)
		lab_call_leave();
}

int lab_cache_use(struct uhmm_regcache *cache, struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct registrant_get get;
	struct uhmm_reg *reg;
	int err = lab_cache_get(cache, page, access, &reg, &get);

	if (!err) {
		registrant_access(d, reg->handle, page, access, value, &get);
		lab_cache_put(cache, reg);
	} else if (err != -EFAULT && err != -EBUSY && (err != -ENOSPC || !process_options()->max_regions)) {
		lab_fail("get(%u) answers %d", page, err);
	}
	return err;
}

void lab_cache_flush(struct uhmm_regcache *cache)
{
	int err;

	if (lab_telling)
		lab_call_enter("flush");
	err = uhmm_regcache_flush(cache);
	if (err)
		lab_fail("flush answers %d", err);
	cache_lock(cache);
	if (cache->regions != registrant_live())
		lab_fail("%u regions, %u registrations after the flush", (uint32_t)cache->regions, registrant_live());
	cache_unlock(cache);
	if (lab_telling)
		lab_call_leave();
}

void lab_cache_destroy(struct uhmm_regcache *cache)
{
	int err;

	if (lab_telling)
		lab_call_enter("destroy");
	err = uhmm_regcache_destroy(cache);
	if (err)
		lab_fail("destroy answers %d", err);
	if (registrant_live())
		lab_fail("%u registrations are left", registrant_live());
	if (lab_telling)
		lab_call_leave();
}
