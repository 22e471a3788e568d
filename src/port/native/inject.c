/* SPDX-License-Identifier: MIT */
#include "port/inject.h"

#ifdef PORT_INJECT_ON
#include "port/sync.h"

static struct uhmm_a64 passes[INJECT_SITES];
static struct uhmm_a64 fail_at[INJECT_SITES];

bool port_inject(enum inject_site site)
{
	uint64_t pass = a64_fetch_add_full(&passes[site], 1) + 1;

	return pass == a64_load_acquire(&fail_at[site]);
}

void port_inject_fail(enum inject_site site, uint64_t nth)
{
	for (int s = 0; s < INJECT_SITES; s++) {
		a64_store_release(&fail_at[s], 0);
		a64_store_release(&passes[s], 0);
	}
	a64_store_release(&fail_at[site], nth);
}

uint64_t port_inject_passes(enum inject_site site)
{
	return a64_load_acquire(&passes[site]);
}
#endif
