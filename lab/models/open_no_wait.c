/* SPDX-License-Identifier: MIT */
/*
 * open_no_wait: hooks the calls, and keeps what it registers from that moment on (R25).
 *
 *	device                                   CPU: munmap()
 *	                                         past libc's entry
 *	patches the entries
 *	get: reg() pins frame 1: cached
 *	                                         the system call: frame 1 goes; nobody was told
 *	get: a hit: frame 1
 *
 * Until every thread has been seen outside the calls, nothing may be kept.
 */
#include "lab/models/models.h"
#include "lab/models/small_cache.h"

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	small_cache_make(d);
	lab_silence(true);
}

static void attach_late(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	small_hook_all(lab_device_state(d)); /* the mistake: and that is all */
}

const struct lab_model lab_model_open_no_wait = {
	.name = "open_no_wait",
	.about = "keeps registrations while calls from before the hooks are under way",
	.state_size = sizeof(struct small_cache),
	.attach = attach,
	.use = small_use,
	.attach_late = attach_late,
	.detach = small_detach,
};
