/* SPDX-License-Identifier: MIT */
/*
 * core_overtake.c: C11. A reader waits for one change, and while it sleeps another is queued on top of a lock holder (G12).
 * What wakes it has nothing to do with the queue: when it looks again it sees the new floor, and so has to see what was queued.
 *
 *	cpu0, holding another lock               reader                     cpu1
 *	                                         sleeps: page 0 changes     (its change began before the race)
 *	start: queued, then the floor
 *	                                                                    end: wake
 *	                                         floor: the new one
 *	                                         queued: page 0: waits
 *
 * Whoever has seen that the change had begun, and is not told to try again, has a driver whose callback has run.
 */
#include "lab/scenarios/cores.h"

static struct uhmm_invalidation before; /* cpu1's */
static struct uhmm_a32 begun;           /* cpu0's has */

static int map_once(struct core_driver *d, uint32_t told)
{
	uint64_t seq = uhmm_read_begin(&d->notifier);
	uint32_t value = lab_load_relaxed(&core_race->word[0]);
	uint32_t late = lab_load_acquire(&begun);
	int err = 0;

	lab_lock(&d->lock);
	if (uhmm_read_retry(&d->notifier, seq))
		err = -EAGAIN;
	else if (late && d->starts == told)
		lab_fail("a reader goes on inside a change that is queued");
	else
		d->mapping = value;
	lab_unlock(&d->lock);
	return err;
}

static void reads(void *arg)
{
	struct core_driver *d = &core_race->driver[0];
	uint32_t tries = 0;

	(void)arg;
	while (map_once(d, 1) != 0)
		if (++tries == CORE_TRIES)
			lab_fail("the driver gave up, after more tries than there are changes");
}

static void changes_on_holder(void *arg)
{
	struct core_driver *other = &core_race->driver[1];
	struct uhmm_event event = core_race_event(0, 1, 0);
	struct uhmm_invalidation inv;

	(void)arg;
	lab_lock(&other->lock);
	uhmm_lock_acquired(&other->lock, "lab driver lock");
	core_race_must(uhmm_invalidate_start(core_race->mm, &inv, &event), "start");
	lab_store_release(&begun, 1);
	lab_store_relaxed(&core_race->word[0], 2);
	uhmm_invalidate_end(&inv);
	uhmm_lock_released(&other->lock);
	lab_unlock(&other->lock);
}

static void ends(void *arg)
{
	(void)arg;
	uhmm_invalidate_end(&before);
}

static void setup(const struct lab_setup *s)
{
	struct uhmm_event event = core_race_event(0, 1, 0);

	(void)s;
	core_race_begin();
	begun = (struct uhmm_a32){0};
	core_race_insert(0, 0, 1, 0);
	core_race_must(uhmm_invalidate_start(core_race->mm, &before, &event), "start");
	lab_spawn("reader", reads, NULL);
	lab_spawn("cpu0", changes_on_holder, NULL);
	lab_spawn("cpu1", ends, NULL);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	core_race_check(0);
	core_race_leave(0);
}

const struct lab_scenario lab_scenario_core_overtake = {
	.id = "C11",
	.title = "a reader wakes up from one change inside another that is queued",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.core_only = true,
};
