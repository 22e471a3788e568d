/* SPDX-License-Identifier: MIT */
#include "regcache/trim.h"

#include <errno.h>

#include "port/clock.h"
#include "regcache/cache.h"

int regcache_trim(struct uhmm_regcache *c, uint64_t bytes)
{
	struct reap_goal goal = {.regions = UINT64_MAX};
	bool enough;
	int err, state = thread_cancel_disable(); /* in the middle of dereg() it would end all deregistration */

	cache_lock(c);
	enough = c->bytes >= bytes;
	goal.bytes = enough ? c->bytes - bytes : 0;
	cache_unlock(c);
	err = reap_until(c, goal, clock_now_ns() + CACHE_WAIT_NS);
	thread_cancel_restore(state);
	return err || enough ? err : -ENOSPC;
}
