/* SPDX-License-Identifier: MIT */
/*
 * trust_unmap_only: hooks every call that takes memory away, and trusts that nothing else does (R31).
 *
 *	device                                   CPU
 *	                                         munmap by an inline system call: nobody is told
 *	                                         mmap() through libc is given the address: frame 2; not an event
 *	get: a hit: frame 1
 *
 * Who is given an address knows that whatever was cached for it is gone, whoever took it away.
 */
#include "lab/models/models.h"
#include "lab/models/small_cache.h"

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	struct small_cache *c = small_cache_make(d);

	(void)start;
	(void)end;
	lab_silence(true);
	/* The mistake is PROCESS_MMAP: process_range() says that a call without MAP_FIXED takes nothing away. */
	small_hook_all(c);
}

const struct lab_model lab_model_trust_unmap_only = {
	.name = "trust_unmap_only",
	.about = "memory given out by mmap is no event",
	.state_size = sizeof(struct small_cache),
	.attach = attach,
	.use = small_use,
	.detach = small_detach,
};
