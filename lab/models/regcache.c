/* SPDX-License-Identifier: MIT */
/*
 * regcache: the shipped registration cache in front of a registrant that pins; the simulated kernel itself announces every
 * change. What a miss does, and why no event between its two halves is lost (R33):
 *
 *	device                                   CPU
 *	insert the notifier, read_begin: seq
 *	reg(): pins frame 1
 *	                                         start: seq = new
 *	                                         frame 1 -> frame 2
 *	lock; read_retry(seq): yes
 *	dereg(): unpins, and again               end
 *
 * Required: the get yields frame 2.
 */
#include "core/core.h"
#include "lab/models/cache.h"
#include "lab/models/models.h"
#include "lab/process.h"
#include "lab/registrant.h"
#include "port/thread.h"

struct state {
	struct uhmm_regcache *cache;
};

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	struct state *st = lab_device_state(d);

	(void)start;
	(void)end;
	st->cache = lab_cache_create(lab_mm(), d);
	thread_atfork(core_fork_prepare, core_fork_parent, core_fork_child);
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return lab_cache_use(((struct state *)lab_device_state(d))->cache, d, page, access, value);
}

static void detach(struct lab_device *d)
{
	lab_cache_flush(((struct state *)lab_device_state(d))->cache);
}

const struct lab_model lab_model_regcache = {
	.name = "regcache",
	.about = "the shipped registration cache, told by the kernel",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.detach = detach,
};
