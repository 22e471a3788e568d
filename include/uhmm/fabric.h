/* SPDX-License-Identifier: MIT */
/*
 * fabric.h: libfabric's registration caches, watched by this library's hooks. In libuhmm-fabric.so.
 *
 * libfabric's providers keep memory registrations in a cache whose memory monitor can be replaced from outside. Preloading
 * libuhmm-fabric.so does that for a program that knows nothing of it; a program that does know calls uhmm_fabric_import().
 * What changes, and what cannot be changed from outside, is in uhmm_integrations(7).
 *
 * Stability: as <uhmm/mm.h>. Threads: any.
 */
#ifndef UHMM_FABRIC_H
#define UHMM_FABRIC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * uhmm_fabric_import: make this library the memory monitor of libfabric's registration caches, for the rest of the process.
 *
 * libfabric (1.13 or later) is loaded already; it is kept from being unloaded. To be called before the first fi_domain() whose
 * provider has a cache: a monitor in use cannot be replaced. Later calls return what the first one did. Opens an address space
 * with HOOKS. May block for a few milliseconds, and takes the dynamic linker's lock; not from a callback, nor under a lock that
 * is held around a change of mappings. A failure has changed nothing: libfabric goes on with its own monitor.
 *
 *  -ENOENT      no libfabric in this process (not remembered: a later call tries again)
 *  -ENOSYS      this libfabric is older than 1.13 and takes no monitor, or its caches are off (FI_MR_CACHE_MONITOR=disabled)
 *  -EBUSY       a monitor is imported already, or one is in use; or another library has patched libc's mapping calls
 *  -EOPNOTSUPP  no hooks on this machine
 *  -EPERM       the system forbids changing executable mappings
 *  -ENOMEM      no memory
 */
int uhmm_fabric_import(void);

/* What became of libfabric's registrations, since the import. */
struct uhmm_fabric_stats {
	uint64_t hits;      /* valid() said yes */
	uint64_t refused;   /* valid() said no: libfabric registers the range again */
	uint64_t proven;    /* registrations during which nothing happened to their range, provably */
	uint64_t unproven;  /* registrations that nobody had announced; used by who made them, refused to everyone else */
	uint64_t notified;  /* ranges that libfabric was told to drop */
	uint64_t unwatched; /* registrations for which there was no room; as unproven, every time */
};

/* uhmm_fabric_stats: read the counters; all 0 before the import. Never blocks for long. */
void uhmm_fabric_stats(struct uhmm_fabric_stats *out);

#ifdef __cplusplus
}
#endif
#endif
