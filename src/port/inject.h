/* SPDX-License-Identifier: MIT */
/*
 * inject.h: fault injection at the seam. Release builds answer false and cost nothing; test builds (-DPORT_INJECT_ON) count
 * each pass of each site and fail the one that the test asked for.
 */
#ifndef PORT_INJECT_H
#define PORT_INJECT_H

#include <stdbool.h>
#include <stdint.h>

enum inject_site {
	INJECT_MAP,      /* a mapping of internal memory */
	INJECT_ALLOC,    /* an object from the internal allocator */
	INJECT_POPULATE, /* MADV_POPULATE_WRITE */
	INJECT_THREAD,   /* creation of a service thread */
	INJECT_URING,    /* a registration call of io_uring */
	INJECT_UFFD,     /* opening a userfaultfd: -EPERM */
	INJECT_UFFD_WATCH, INJECT_UFFD_UNWATCH, /* a mapping on its list, or off it: -ENOMEM */
	INJECT_READER,   /* the thread that reads it: ends */
	INJECT_SITES
};

#ifdef PORT_INJECT_ON
bool port_inject(enum inject_site site);
/* The nth pass (from 1) of the site from now on fails, once; 0: none. Counts of all sites begin again at 0. */
void port_inject_fail(enum inject_site site, uint64_t nth);
/* Passes of the site since the last port_inject_fail(). */
uint64_t port_inject_passes(enum inject_site site);
#define PORT_INJECT(site) port_inject(site)
#else
#define PORT_INJECT(site) false
#endif

#endif
