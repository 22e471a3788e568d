/* SPDX-License-Identifier: MIT */
/*
 * retry_forever: begins a registration again for as long as its range was changed meanwhile (R27).
 *
 *	get: reg()                               reg() itself, which frees something
 *	                                         madvise() of the range: seq++
 *	seq has changed: dereg(), again
 *	reg()
 *	                                         ...
 *
 * Bounded, the last registration is handed out without being kept: it was made after the get began.
 */
#include "lab/models/models.h"
#include "lab/models/small_cache.h"

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	struct small_cache *c = small_cache_make(d);

	(void)start;
	(void)end;
	lab_silence(true);
	c->for_ever = true; /* the mistake */
	small_hook_all(c);
}

const struct lab_model lab_model_retry_forever = {
	.name = "retry_forever",
	.about = "a get retries for as long as its range changes",
	.state_size = sizeof(struct small_cache),
	.attach = attach,
	.use = small_use,
	.detach = small_detach,
};
