/* SPDX-License-Identifier: MIT */
/*
 * hooks: the shipped cache, and the shipped hooks as the only ones to tell it. libc's entries lead to them once the address
 * space is open, which is before the threads of the race begin.
 *
 *	device                                   CPU: munmap(), through libc
 *	                                         hook: start: the region is suspended
 *	get: a miss; read_begin waits
 *	                                         the system call: frame 1 goes
 *	                                         hook: end
 *	get: reg() of what is there now
 *
 * Required: nothing that began after the call had returned meets frame 1, and no get waits for ever.
 */
#include "core/core.h"
#include "lab/models/cache.h"
#include "lab/models/models.h"
#include "lab/process.h"
#include "monitors/fork.h"
#include "monitors/hooks.h"

struct state {
	struct uhmm_mm *mm;
	struct uhmm_regcache *cache;
};

/* What uhmm_mm_open() does, in two halves: a set-up can do the first, and the second waits for threads of the library. */
static void create(struct lab_device *d)
{
	struct state *st = lab_device_state(d);

	if (fork_watch() != 0 || core_mm_create(&st->mm) != 0)
		lab_fail("no address space");
	st->cache = lab_cache_create(st->mm, d);
}

static void attach_hooks(void *arg)
{
	struct state *st = lab_device_state(arg);

	if (hooks_attach(st->mm) != 0)
		lab_fail("no hooks");
	core_mm_set_monitors(st->mm, UHMM_MONITOR_EXPLICIT | UHMM_MONITOR_HOOKS);
}

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	lab_silence(true);
	create(d);
	if (!process_options()->late)
		process_open_with(attach_hooks, d);
}

static void attach_late(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	attach_hooks(d);
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return lab_cache_use(((struct state *)lab_device_state(d))->cache, d, page, access, value);
}

static void detach(struct lab_device *d)
{
	lab_cache_flush(((struct state *)lab_device_state(d))->cache);
}

const struct lab_model lab_model_hooks = {
	.name = "hooks",
	.about = "the shipped cache, told by the shipped hooks",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.attach_late = attach_late,
	.detach = detach,
};
