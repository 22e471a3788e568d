/* SPDX-License-Identifier: MIT */
/*
 * witness: the shipped cache, told by the shipped witness logic (src/monitors/witness.c), which simulated userfaultfd feeds:
 * after the change for what is unmapped or moved (R34), before it and without an end for what is discarded (R26).
 *
 *	CPU: munmap()                            reader                     user
 *	frame 1 goes; UNMAP is posted
 *	                                         the gate shuts: everything counts as changing
 *	                                         reads it
 *	returns; mmap gives the address out
 *	                                                                    get: waits at the gate
 *	                                         the gate opens: this range
 *	                                         counts on, until the core's
 *	                                         thread has torn it down    registers frame 2
 *
 *	CPU: madvise(DONTNEED)                   reader, guard              user
 *	REMOVE is posted
 *	                                         gate; reads it; taints the range; opens
 *	                                                                    get: frame 1, for one use
 *	frame 1 goes; returns
 *	                                         guard: nobody is in madvise: a second
 *	                                         invalidation, and the taint goes
 *
 * witness_hooks: the shipped hooks tell the same address space as well, before and after what goes through libc.
 */
#include "core/core.h"
#include "core/queue.h"
#include "lab/models/cache.h"
#include "lab/models/models.h"
#include "lab/models/uffd.h"
#include "lab/process.h"
#include "monitors/fork.h"
#include "monitors/hooks.h"
#include "monitors/witness.h"

static struct witness witness; /* of the configuration that was set up last */

struct state {
	struct core_watch_hook watch; /* first */
	struct uhmm_mm *mm;
	struct uhmm_regcache *cache;
};

static void watch(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	(void)h;
	(void)start;
	(void)end; /* everything is watched */
}

static bool vouches(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	(void)h;
	return witness_vouches(&witness, start, end);
}

static struct witness_event decided(const struct lab_uffd_event *e)
{
	static const enum witness_kind kinds[] = {
		[LAB_UFFD_UNMAP] = WITNESS_UNMAP, [LAB_UFFD_REMAP] = WITNESS_REMAP, [LAB_UFFD_REMOVE] = WITNESS_REMOVE};

	return (struct witness_event){.kind = kinds[e->kind],
				      .start = LAB_ADDR(e->page),
				      .end = LAB_ADDR(e->page + e->count),
				      .to = LAB_ADDR(e->to),
				      .forgotten = true};
}

static struct uhmm_a32 gone; /* the reader is no more */

static bool dies(void)
{
	if (!process_options()->reader_dies || lab_pick(2) == 0)
		return false;
	lab_store_release(&gone, 1);
	return true;
}

static void reader(void *arg)
{
	struct lab_uffd_event e;
	struct witness_event event;

	(void)arg;
	for (;;) {
		lab_uffd_poll();
		if (dies())
			return;
		witness_shut(&witness, &witness.reader);
		if (dies())
			return;
		e = lab_uffd_read();
		event = decided(&e);
		if (dies())
			return;
		if (witness_open(&witness, &witness.reader, &event, 1))
			core_service_wake();
	}
}

/* Stale first, then let go. */
static void bury(void *arg)
{
	(void)arg;
	lab_await(&gone, 1);
	witness_die(&witness);
	lab_uffd_close();
}

/* A thread that has once been seen elsewhere counts, whatever it does later: that is another event. */
static void await_elsewhere(void)
{
	for (uint32_t i = 0; i < process_threads(); i++)
		while (process_is_discarding(i))
			lab_relax();
}

static void guard(void *arg)
{
	struct witness_taken taken;

	(void)arg;
	for (;;) {
		uint32_t seen = a32_load_acquire(&witness.work);

		if (!witness_take(&witness, &taken)) {
			sync_await32(&witness.work, sync_differs32, &seen, SYNC_FOREVER);
			continue;
		}
		await_elsewhere();
		witness_untaint(&witness, &witness.guard, &taken);
	}
}

static void begin(struct lab_device *d, struct uhmm_mm *mm)
{
	struct state *st = lab_device_state(d);

	lab_silence(true);
	st->mm = mm;
	st->watch = (struct core_watch_hook){.watch = watch, .vouches = vouches};
	core_watch_hook_add(mm, &st->watch);
	witness_init(&witness);
	if (witness_attach(&witness, mm) != 0)
		lab_fail("no witness");
	lab_uffd_watch(reader, NULL);
	if (process_options()->looked_at)
		lab_spawn_daemon("guard", guard, NULL);
	gone = (struct uhmm_a32){0};
	if (process_options()->reader_dies)
		lab_spawn_daemon("guard", bury, NULL);
	st->cache = lab_cache_create(mm, d);
}

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	begin(d, lab_mm());
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return lab_cache_use(((struct state *)lab_device_state(d))->cache, d, page, access, value);
}

static void detach(struct lab_device *d)
{
	lab_cache_flush(((struct state *)lab_device_state(d))->cache);
}

const struct lab_model lab_model_witness = {
	.name = "witness",
	.about = "the shipped cache, told by the shipped witness",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.detach = detach,
};

/* ---- beside the hooks ---- */

#ifdef LAB_HOOKS
static void attach_to_hooks(void *arg)
{
	struct state *st = lab_device_state(arg);

	if (hooks_attach(st->mm) != 0)
		lab_fail("no hooks");
	core_mm_set_monitors(st->mm, UHMM_MONITOR_EXPLICIT | UHMM_MONITOR_HOOKS | UHMM_MONITOR_UFFD);
}

static void attach_both(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	struct uhmm_mm *mm = NULL;

	(void)start;
	(void)end;
	if (fork_watch() != 0 || core_mm_create(&mm) != 0)
		lab_fail("no address space");
	begin(d, mm);
	process_open_with(attach_to_hooks, d);
}

const struct lab_model lab_model_witness_hooks = {
	.name = "witness_hooks",
	.about = "the shipped cache, told by the shipped hooks and the witness",
	.state_size = sizeof(struct state),
	.attach = attach_both,
	.use = use,
	.detach = detach,
};
#endif
