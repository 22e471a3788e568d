/* SPDX-License-Identifier: MIT */
/*
 * slot_reuse: looks a fixed buffer's slot up when it prepares a request, and forgets about it (R28).
 *
 *	submitter                                anybody else
 *	prep: page 0's buffer is in slot 0; put
 *	                                         munmap of page 0: nobody uses slot 0: emptied
 *	                                         prep of page 1: the free slot 0 is filled with it
 *	submit: slot 0 is page 1: its contents go
 *	        where page 0's should have gone
 *
 * Between prep and submission only the slot's number exists; the kernel holds the buffer from submission on.
 */
#include "lab/models/models.h"
#include "lab/models/small_cache.h"
#include "lab/ring.h"

struct state {
	struct small_cache cache; /* first: small_detach() */
	struct lab_lock slots;
	bool taken[RING_SLOTS];
};

static struct state *state; /* written in set-up */

static int fill(void *ctx, struct uhmm_reg *reg)
{
	uint32_t slot = 0;
	int err;

	(void)ctx;
	lab_lock(&state->slots);
	while (slot < RING_SLOTS && state->taken[slot])
		slot++;
	if (slot < RING_SLOTS)
		state->taken[slot] = true;
	lab_unlock(&state->slots);
	if (slot == RING_SLOTS)
		return -ENOSPC;
	err = ring_update(slot, (uintptr_t)reg->addr, reg->len);
	if (err) {
		lab_lock(&state->slots);
		state->taken[slot] = false;
		lab_unlock(&state->slots);
	}
	reg->handle = slot;
	return err;
}

static void empty(void *ctx, struct uhmm_reg *reg)
{
	(void)ctx;
	ring_update((uint32_t)reg->handle, 0, 0);
	lab_lock(&state->slots);
	state->taken[reg->handle] = false;
	lab_unlock(&state->slots);
}

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	struct small_cache *c = small_cache_make(d);

	(void)start;
	(void)end;
	state = lab_device_state(d);
	c->reg = fill;
	c->dereg = empty;
	ring_begin(d);
	lab_silence(true);
	small_hook_all(c);
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct small_cache *c = lab_device_state(d);
	struct registrant_get get = registrant_get_begins();
	uint32_t slot;
	struct small_region *r;
	int err = small_get(c, page, &r);

	if (err)
		return err;
	slot = (uint32_t)r->reg.handle;
	small_put(c, r); /* the mistake: the request is only prepared */
	return ring_submit(slot, page, access, value, &get);
}

const struct lab_model lab_model_slot_reuse = {
	.name = "slot_reuse",
	.about = "a fixed buffer's slot is not held from prep to completion",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.detach = small_detach,
};
