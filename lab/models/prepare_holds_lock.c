/* SPDX-License-Identifier: MIT */
/*
 * prepare_holds_lock: a fork handler that takes the cache's lock, so that the child finds the cache in one piece (R29).
 *
 *	fork()                                   free(), in another thread
 *	prepare: lock(cache)
 *	                                         lock(malloc's arena)
 *	lock(malloc's arena): waits
 *	                                         madvise(): the hook: lock(cache): waits
 *
 * Malloc takes its locks after every prepare handler, and the hook runs inside of free(). Nothing may be held in between.
 */
#include "lab/models/models.h"
#include "lab/models/small_cache.h"
#include "port/thread.h"

static struct small_cache *forking; /* written in set-up */

static void prepare(void)
{
	lab_lock(&forking->lock);
}

static void parent(void)
{
	lab_unlock(&forking->lock);
}

static void child(void)
{
	forking->lock = (struct lab_lock){{NULL}};
}

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	struct small_cache *c = small_cache_make(d);

	(void)start;
	(void)end;
	lab_silence(true);
	forking = c;
	small_hook_all(c);
	thread_atfork(prepare, parent, child);
}

const struct lab_model lab_model_prepare_holds_lock = {
	.name = "prepare_holds_lock",
	.about = "a fork handler holds the cache's lock",
	.state_size = sizeof(struct small_cache),
	.attach = attach,
	.use = small_use,
	.detach = small_detach,
};
