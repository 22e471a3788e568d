/* SPDX-License-Identifier: MIT */
/*
 * announce_before: hooks that tell of a call before it is made, and of nothing afterwards (R32; most hooks in production).
 *
 *	device                                   CPU: munmap() or the like
 *	                                         hook: what is cached of the page is dropped
 *	get: a miss; nothing says "wait"
 *	reg(): pins frame 1
 *	no event since: cached
 *	                                         the system call: frame 1 -> frame 2; it returns
 *	get: a hit: frame 1
 *
 * The event cannot come afterwards instead: then the region is hit in the meantime. It takes both.
 */
#include "lab/models/models.h"
#include "lab/models/small_cache.h"

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	struct small_cache *c = small_cache_make(d);

	(void)start;
	(void)end;
	lab_silence(true);
	c->forgets_active = true; /* the mistake: gets have nothing to wait for */
	small_hook_all(c);
}

const struct lab_model lab_model_announce_before = {
	.name = "announce_before",
	.about = "hooks tell of a change before the call and not of its end",
	.state_size = sizeof(struct small_cache),
	.attach = attach,
	.use = small_use,
	.detach = small_detach,
};
