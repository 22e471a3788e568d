/* SPDX-License-Identifier: MIT */
/*
 * registrant.h: a device driver whose registrations pin pages, as those behind real registration caches do; and what is
 * checked of the cache in front of it, at every call:
 *
 *	a registration is deregistered once, not twice, and at the end exactly once
 *	never while a get's user holds it
 *	a get that began after a mapping call had returned does not yield a page that was gone from the range by then
 *	nor, by the lab's own invariant 2, does one that began after the change's start had returned; not asked with weak
 *	memory, where "after" means nothing between threads that order nothing, nor where nobody is told of the change
 *
 * Requests that were handed out before finish on the old pages, as they do on real pins; that is no loss.
 */
#ifndef LAB_REGISTRANT_H
#define LAB_REGISTRANT_H

#include <uhmm/lab.h>
#include <uhmm/regcache.h>

/* Set-up, after process_begin(). */
void registrant_begin(void);

/* ops of a cache; ctx is the struct lab_device. The handle names the registration for good. */
int registrant_reg(void *ctx, struct uhmm_reg *reg);
void registrant_dereg(void *ctx, struct uhmm_reg *reg);

/* Where a get began: how many calls had returned, and what lab_use_begin() knows. */
struct registrant_get {
	uint32_t returned, use;
};
struct registrant_get registrant_get_begins(void);
/* It has yielded this registration for a page. The device works on the page; the registration is let go, and then put. */
void registrant_hold(uint64_t handle, uint32_t page, const struct registrant_get *get);
void registrant_access(struct lab_device *d, uint64_t handle, uint32_t page, uint32_t access, uint32_t *value,
		       const struct registrant_get *get);
void registrant_let_go(uint64_t handle);
/* All three. */
void registrant_use(struct lab_device *d, uint64_t handle, uint32_t page, uint32_t access, uint32_t *value,
		    const struct registrant_get *get);

/* Calls of reg() so far, and registrations not deregistered. No step. */
uint32_t registrant_calls(void);
uint32_t registrant_live(void);
uint32_t registrant_live_at(uint32_t page);
/* Waits until nothing is registered; process_options()->awaits_dereg. Who waits in vain has lost (5). */
void registrant_await_none(void);
/* In a forked child: what is there is the parent's, and a dereg of it is lost. */
void registrant_become_child(void);

#endif
