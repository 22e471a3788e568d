/* SPDX-License-Identifier: MIT */
#include "port/sync.h"

#include <errno.h>

#include "port/clock.h"
#include "port_clock.h"

bool port_no_membarrier;

bool sync_heavy_barrier_setup(void)
{
	return !port_no_membarrier;
}

void sync_heavy_barrier_force_fallback(bool fallback)
{
	port_no_membarrier = fallback;
}

void port_fence_light(const struct lab_site *site)
{
	if (port_no_membarrier)
		lab_mem_fence(site);
	else
		lab_mem_light(site);
}

void port_heavy_barrier(const struct lab_site *site)
{
	if (port_no_membarrier)
		lab_mem_fence(site);
	else
		lab_mem_heavy(site);
}

int port_await32(const struct uhmm_a32 *word, sync_pred32 pred, const void *arg, uint64_t deadline_ns,
		 const struct lab_site *site)
{
	for (;;) {
		uint32_t seen = lab_a32_load(word, LAB_ACQUIRE, site);
		bool late;

		if (pred(seen, arg))
			return 0;
		late = deadline_ns != SYNC_FOREVER && clock_now_ns() >= deadline_ns;
		if (!late && !lab_mem_wait(word, seen, deadline_ns != SYNC_FOREVER, site)) {
			port_clock_reach(deadline_ns);
			late = true;
		}
		if (late)
			return pred(lab_a32_load(word, LAB_ACQUIRE, site), arg) ? 0 : -ETIMEDOUT;
	}
}
