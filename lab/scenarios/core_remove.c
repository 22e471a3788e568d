/* SPDX-License-Identifier: MIT */
/*
 * core_remove.c: C4. A driver gives its notifier, and the memory in which it lies, back while a change calls it: remove waits
 * for the callback, remove_deferred says when. Where the memory stays, a reader of the notifier that goes finds it dead,
 * sooner or later, and nothing is mapped once the driver has given its mapping back.
 */
#include "core/core.h"
#include "lab/engine.h"
#include "lab/scenarios/cores.h"

static uint32_t *freed; /* written by whoever frees */
static struct uhmm_a32 reader_is, reader_left;

/* Whoever reads it after this has a data race, or dies of it. */
static void give_memory_back(struct uhmm_notifier *n)
{
	struct core_driver *d = (struct core_driver *)n;

	d->mapping = UINT32_MAX;
	d->starts = UINT32_MAX;
	*n = (struct uhmm_notifier){0};
	++*freed;
}

static void leaves(void *arg)
{
	struct core_driver *d = &core_race->driver[0];

	(void)arg;
	core_race_map(0);
	core_race_unmap(0);
	core_race_must(uhmm_notifier_remove(&d->notifier), "remove");
	give_memory_back(&d->notifier);
}

static void leaves_soon(void *arg)
{
	struct core_driver *d = &core_race->driver[0];

	(void)arg;
	core_race_map(0);
	core_race_unmap(0);
	core_race_must(uhmm_notifier_remove_deferred(&d->notifier, give_memory_back), "remove_deferred");
}

static void leaves_its_memory(void *arg)
{
	(void)arg;
	core_race_must(uhmm_notifier_remove(&core_race->driver[0].notifier), "remove");
	core_race_unmap(0);
	++*freed;
}

static void reads(void *arg)
{
	(void)arg;
	core_race_map(0);
}

/*
 * The reader is inside read_begin(), asleep, when the notifier goes: it is waited for, and then touches it no more. A reader
 * that has not slept may come late, and so nothing is given back.
 */
static void leaves_sleeper(void *arg)
{
	struct core_driver *d = &core_race->driver[0];
	bool asleep = false;

	(void)arg;
	while (!asleep && !lab_load_acquire(&reader_left)) {
		asleep = lab_is_sleeping(lab_load_acquire(&reader_is), &d->notifier.private_active);
		lab_relax();
	}
	core_race_must(uhmm_notifier_remove(&d->notifier), "remove");
	if (asleep)
		give_memory_back(&d->notifier);
	else
		++*freed;
}

/* A monitor that is asked on the way out of read_begin(): the notifier must still be there. */
static void watches(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	(void)h;
	(void)start;
	(void)end;
}

static bool vouches(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	(void)h;
	return start < end;
}

static struct core_watch_hook monitor;

static void begins(void *arg)
{
	(void)arg;
	lab_store_release(&reader_is, lab_self());
	uhmm_read_begin(&core_race->driver[0].notifier);
	lab_store_release(&reader_left, 1);
}

/* Another range comes and goes, so that the walk meets a changed tree. */
static void beside(void *arg)
{
	(void)arg;
	core_race_insert(1, 1, 1, 1);
	core_race_must(uhmm_notifier_remove(&core_race->driver[1].notifier), "remove");
}

static void changes(void *arg)
{
	(void)arg;
	core_race_change(0, 2, 2);
}

static void setup(const struct lab_setup *s)
{
	static void (*const leavers[])(void *) = {leaves, leaves_soon, leaves_its_memory, leaves_sleeper};

	core_race_begin();
	freed = lab_alloc_zeroed(64);
	reader_is = reader_left = (struct uhmm_a32){0};
	monitor = (struct core_watch_hook){.watch = watches, .vouches = vouches};
	if (s->devices == 4)
		core_watch_hook_add(core_race->mm, &monitor);
	core_race_insert(0, 0, 1, 0);
	lab_spawn("driver", leavers[s->devices - 1], NULL);
	if (s->devices > 2)
		lab_spawn("reader", s->devices == 3 ? reads : begins, NULL);
	lab_spawn("cpu0", changes, NULL);
	if (s->invalidators > 1)
		lab_spawn("beside", beside, NULL);
}

static void check(const struct lab_setup *s)
{
	if (*freed != 1)
		lab_fail("given back %u times", *freed);
	if (s->devices == 3 && core_race->driver[0].mapping)
		lab_fail("page %u is mapped by a driver that has left", core_race->driver[0].page);
}

const struct lab_scenario lab_scenario_core_remove = {
	.id = "C4",
	.title = "a notifier goes while a change calls it",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.devices_max = 4, /* remove; remove_deferred; remove beside a reader; beside one that sleeps */
	.invalidators_max = 2,
	.core_only = true,
};
