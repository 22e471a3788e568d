/* SPDX-License-Identifier: MIT */
#include "lab/models/small_cache.h"

#include <errno.h>

#include "lab/registrant.h"
#include "lab/search.h"

static struct small_cache *hooked; /* written in set-up, or before any entry is patched */

struct small_cache *small_cache_make(struct lab_device *d)
{
	struct small_cache *c = lab_device_state(d);

	c->device = d;
	c->reg = registrant_reg;
	c->dereg = registrant_dereg;
	return c;
}

/* ---- regions ---- */

static void dereg_all(struct small_cache *c, struct small_region *r)
{
	for (; r; r = r->next)
		c->dereg(c->device, &r->reg);
}

/* Under the lock: nobody finds it any more; the last user deregisters it. */
static void drop(struct small_cache *c, uint32_t page, struct small_region **unused)
{
	struct small_region *r = c->cached[page];

	c->cached[page] = NULL;
	if (!r)
		return;
	r->dropped = true;
	if (!r->users) {
		r->next = *unused;
		*unused = r;
	}
}

void small_put(struct small_cache *c, struct small_region *r)
{
	bool last;

	lab_lock(&c->lock);
	last = --r->users == 0 && r->dropped;
	lab_unlock(&c->lock);
	if (last)
		c->dereg(c->device, &r->reg);
}

/* ---- events ---- */

void small_start(struct small_cache *c, uint32_t page, uint32_t count)
{
	struct small_region *unused = NULL;

	lab_lock(&c->lock);
	c->seq++;
	c->active += !c->forgets_active;
	for (uint32_t i = page; i < page + count; i++)
		drop(c, i, &unused);
	lab_unlock(&c->lock);
	dereg_all(c, unused);
}

void small_end(struct small_cache *c)
{
	if (c->forgets_active)
		return;
	lab_lock(&c->lock);
	c->active--;
	lab_unlock(&c->lock);
}

/* ---- hooks ---- */

static long bracket(enum process_entry entry, long a, long b, long c, long d, long e, long f)
{
	uint32_t page, count;
	bool any = process_range(entry, a, b, c, d, &page, &count);
	long result;

	if (any)
		small_start(hooked, page, count);
	result = process_original(entry, a, b, c, d, e, f);
	if (any)
		small_end(hooked);
	return result;
}

#define HOOK(name, entry)                                                                                                   \
	static long name(long a, long b, long c, long d, long e, long f)                                                    \
	{                                                                                                                   \
		return bracket(entry, a, b, c, d, e, f);                                                                    \
	}

HOOK(on_munmap, PROCESS_MUNMAP)
HOOK(on_mmap, PROCESS_MMAP)
HOOK(on_madvise, PROCESS_MADVISE)
HOOK(on_mprotect, PROCESS_MPROTECT)

/* Two ranges: the pages that go, and the place where they go to. */
static long on_mremap(long a, long b, long c, long d, long e, long f)
{
	uint32_t pages = (uint32_t)(b / 4096);
	long result;

	small_start(hooked, LAB_PAGE_OF(a), pages);
	small_start(hooked, LAB_PAGE_OF(e), pages);
	result = process_original(PROCESS_MREMAP, a, b, c, d, e, f);
	small_end(hooked);
	small_end(hooked);
	return result;
}

static const process_fn hooks[PROCESS_ENTRIES] = {on_munmap, on_mmap, on_mremap, on_madvise, on_mprotect};

void small_hook_all(struct small_cache *c)
{
	hooked = c;
	for (uint32_t entry = 0; entry < PROCESS_ENTRIES; entry++)
		process_patch(entry, hooks[entry]);
}

/* ---- gets ---- */

/* Under the lock, which it drops. */
static struct small_region *found(struct small_cache *c, uint32_t page)
{
	struct small_region *r = c->cached[page];

	if (r)
		r->users++;
	return r;
}

static uint32_t wait_quiet(struct small_cache *c, uint32_t page, struct small_region **out)
{
	uint32_t seen;

	lab_lock(&c->lock);
	while (!(*out = found(c, page)) && c->active) {
		lab_unlock(&c->lock);
		lab_relax();
		lab_lock(&c->lock);
	}
	seen = c->seq;
	lab_unlock(&c->lock);
	return seen;
}

/* Keeps the region, or (last try) hands it out without keeping it. False: it is stale. */
static bool settle(struct small_cache *c, struct small_region *r, uint32_t page, uint32_t seen, bool last)
{
	bool good;

	lab_lock(&c->lock);
	good = (c->seq == seen || c->forgets_seq) && !c->cached[page];
	if (good)
		c->cached[page] = r;
	else
		r->dropped = true;
	r->users = 1;
	lab_unlock(&c->lock);
	return good || last;
}

int small_get(struct small_cache *c, uint32_t page, struct small_region **out)
{
	for (uint32_t tries = 1;; tries++) {
		uint32_t seen = wait_quiet(c, page, out);
		struct small_region *r;
		int err;

		if (*out)
			return 0;
		r = lab_alloc_zeroed(sizeof(*r));
		r->reg = (struct uhmm_reg){.addr = (void *)LAB_ADDR(page), .len = 4096, .access = LAB_READ | LAB_WRITE};
		err = c->reg(c->device, &r->reg);
		if (err)
			return err;
		if (settle(c, r, page, seen, tries >= SMALL_TRIES && !c->for_ever)) {
			*out = r;
			return 0;
		}
		small_put(c, r);
	}
}

int small_use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct small_cache *c = lab_device_state(d);
	struct registrant_get get = registrant_get_begins();
	struct small_region *r;
	int err;

	if (lab_telling)
		lab_call_enter("get(%u)", page);
	err = small_get(c, page, &r);
	if (lab_telling)
		lab_call_leave();
	if (err)
		return err;
	registrant_use(d, r->reg.handle, page, access, value, &get);
	small_put(c, r);
	return 0;
}

void small_detach(struct lab_device *d)
{
	small_start(lab_device_state(d), 0, LAB_PAGES);
	small_end(lab_device_state(d));
	if (registrant_live())
		lab_fail("%u registrations are left", registrant_live());
}
