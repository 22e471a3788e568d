/* SPDX-License-Identifier: MIT */
/*
 * refcount_naive: counts users in one word and marks the dead in another (R30).
 *
 *	put                                      change
 *	users-- (now 0)
 *	                                         dead = 1
 *	dead? yes: dereg
 *	                                         users == 0? yes: dereg, the second time
 *
 * and the other way round:
 *
 *	get                                      change
 *	there is one, not dead
 *	                                         dead = 1; users == 0? yes: dereg
 *	users++: on what is deregistered
 */
#include "lab/models/models.h"
#include "lab/process.h"
#include "lab/registrant.h"

struct naive {
	struct uhmm_reg reg;
	struct uhmm_a32 users, dead;
};

struct cache {
	struct lab_listener listener;
	struct lab_device *device;
	struct lab_lock lock; /* of cached, seq and active: that part is right */
	struct naive *cached[LAB_PAGES];
	uint32_t seq, active;
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct cache *c = (struct cache *)l;
	struct naive *gone[LAB_PAGES] = {NULL};

	lab_lock(&c->lock);
	c->seq++;
	c->active++;
	for (uint32_t page = 0; page < LAB_PAGES; page++) {
		if (!model_overlaps(event, LAB_ADDR(page), LAB_ADDR(page + 1)))
			continue;
		gone[page] = c->cached[page];
		c->cached[page] = NULL;
	}
	lab_unlock(&c->lock);
	for (uint32_t page = 0; page < LAB_PAGES; page++) {
		if (!gone[page])
			continue;
		lab_store_release(&gone[page]->dead, 1);
		if (lab_fetch_add(&gone[page]->users, 0) == 0)
			registrant_dereg(c->device, &gone[page]->reg);
	}
	return 0;
}

static void end(struct lab_listener *l, const struct uhmm_event *event, bool changed)
{
	struct cache *c = (struct cache *)l;

	(void)event;
	(void)changed;
	lab_lock(&c->lock);
	c->active--;
	lab_unlock(&c->lock);
}

static void put(struct cache *c, struct naive *n)
{
	if (lab_fetch_add(&n->users, UINT32_MAX) == 1 && lab_load_acquire(&n->dead))
		registrant_dereg(c->device, &n->reg);
}

/* NULL: nothing is cached, and *seq is from when nothing was under way. */
static struct naive *look(struct cache *c, uint32_t page, uint32_t *seq)
{
	struct naive *n;

	lab_lock(&c->lock);
	while (!(n = c->cached[page]) && c->active) {
		lab_unlock(&c->lock);
		lab_relax();
		lab_lock(&c->lock);
	}
	*seq = c->seq;
	lab_unlock(&c->lock);
	return n;
}

/* A registration of the caller's own; true: it is cached now. */
static bool keep(struct cache *c, struct naive *n, uint32_t page, uint32_t seq)
{
	bool good;

	lab_lock(&c->lock);
	good = c->seq == seq && !c->cached[page];
	if (good)
		c->cached[page] = n;
	lab_unlock(&c->lock);
	return good;
}

static int get(struct cache *c, uint32_t page, struct naive **out)
{
	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		uint32_t seq;
		struct naive *n = look(c, page, &seq);
		int err;

		if (n && lab_load_acquire(&n->dead))
			continue;
		if (n) {
			lab_fetch_add(&n->users, 1); /* the mistake, with the one in put(): users and dead are two words */
			*out = n;
			return 0;
		}
		n = lab_alloc_zeroed(sizeof(*n));
		n->reg = (struct uhmm_reg){.addr = (void *)LAB_ADDR(page), .len = 4096, .access = LAB_READ | LAB_WRITE};
		lab_store_relaxed(&n->users, 1);
		err = registrant_reg(c->device, &n->reg);
		if (err)
			return err;
		*out = n;
		if (keep(c, n, page, seq))
			return 0;
		registrant_dereg(c->device, &n->reg);
	}
	return -EBUSY;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct cache *c = lab_device_state(d);
	struct registrant_get began = registrant_get_begins();
	struct naive *n;
	int err = get(c, page, &n);

	if (err)
		return err;
	registrant_use(d, n->reg.handle, page, access, value, &began);
	put(c, n);
	return 0;
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	struct cache *c = lab_device_state(d);

	(void)range_start;
	(void)range_end;
	c->device = d;
	c->listener.start = start;
	c->listener.end = end;
	lab_listen(&c->listener);
}

static void detach(struct lab_device *d)
{
	const struct uhmm_event all = {.start = LAB_ADDR(0), .end = LAB_ADDR(LAB_PAGES)};
	struct cache *c = lab_device_state(d);

	start(&c->listener, &all);
	end(&c->listener, &all, true);
	if (registrant_live())
		lab_fail("%u registrations are left", registrant_live());
}

const struct lab_model lab_model_refcount_naive = {
	.name = "refcount_naive",
	.about = "a cache that counts users in one word and marks the dead in another",
	.state_size = sizeof(struct cache),
	.attach = attach,
	.use = use,
	.detach = detach,
};
