/* SPDX-License-Identifier: MIT */
/* trim.h: the cache as other parts of the library see it, beyond <uhmm/regcache.h>. */
#ifndef REGCACHE_TRIM_H
#define REGCACHE_TRIM_H

#include <stdint.h>

struct uhmm_regcache;

/*
 * Deregisters what nobody uses, least recently used first, until at least that many bytes less are registered: for a registrant
 * that met a limit which the cache does not know. Blocks as dereg() does. A cache without bounds does not record uses: there
 * the order is that of registration.
 *
 *  -ENOSPC  what is left is in use, or not that much was registered; what could go has gone
 *  -EBUSY   room is being made by a dereg() that did not return for a second, or that is the caller
 */
int regcache_trim(struct uhmm_regcache *c, uint64_t bytes);

#endif
