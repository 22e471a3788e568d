/* SPDX-License-Identifier: MIT */
/*
 * insert_after_register: a cache that can be told of a region's range only once the region is in it (R33).
 *
 *	device                                   CPU
 *	get: a miss
 *	reg(): pins frame 1
 *	                                         start: nothing of that range is cached
 *	                                         frame 1 -> frame 2
 *	                                         end
 *	the region is inserted: frame 1
 *	get: a hit: frame 1
 */
#include "lab/models/models.h"
#include "lab/models/small_cache.h"

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	struct small_cache *c = small_cache_make(d);

	(void)start;
	(void)end;
	lab_silence(true);
	c->forgets_seq = true; /* the mistake: what came since the look-up is not asked */
	small_hook_all(c);
}

const struct lab_model lab_model_insert_after_register = {
	.name = "insert_after_register",
	.about = "a region hears of changes only once it is in the cache",
	.state_size = sizeof(struct small_cache),
	.attach = attach,
	.use = small_use,
	.detach = small_detach,
};
