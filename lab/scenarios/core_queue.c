/* SPDX-License-Identifier: MIT */
/*
 * core_queue.c: C7. A change on top of a driver's lock, as a signal handler makes it (G12): no callback may run there, so it is
 * queued, and the service thread makes up for it after its end. Until then a reader waits; in the end nothing old is left.
 *
 *	cpu0, holding driver 0's lock            reader                     uhmm-core
 *	start: queued, then the floor
 *	word = 2                                 waits for the queue
 *	end: the service thread is woken
 *	unlock                                                              callback: tear down
 *	                                                                    queued--, drains++, wake
 */
#include "lab/scenarios/cores.h"

static struct uhmm_a32 changed; /* cpu0 has changed the word */

/* As core_race_map(); and a retry that is made after the change lets no old page through, made up for or not. */
static int map_once(struct core_driver *d)
{
	uint64_t seq = uhmm_read_begin(&d->notifier);
	uint32_t value = lab_load_relaxed(&core_race->word[0]);
	uint32_t late;
	int err = 0;

	lab_lock(&d->lock);
	late = lab_load_acquire(&changed);
	if (uhmm_read_retry(&d->notifier, seq))
		err = -EAGAIN;
	else if (late && value == 1)
		lab_fail("an old page is mapped after the change");
	else
		d->mapping = value;
	lab_unlock(&d->lock);
	return err;
}

static void reads(void *arg)
{
	uint32_t tries = 0;

	(void)arg;
	while (map_once(&core_race->driver[0]) != 0)
		if (++tries == CORE_TRIES)
			lab_fail("the driver gave up, after more tries than there are changes");
}

/* The driver's range is first watched now: the change began on the fast path. */
static void inserts(void *arg)
{
	core_race_insert(0, 0, 1, 0);
	reads(arg);
}

static void change_under_lock(uint32_t i, uint32_t page, bool aborts)
{
	struct core_driver *d = &core_race->driver[i];
	struct uhmm_event event = core_race_event(page, 1, 0);
	struct uhmm_invalidation inv;

	lab_lock(&d->lock);
	uhmm_lock_acquired(&d->lock, "lab driver lock");
	core_race_must(uhmm_invalidate_start(core_race->mm, &inv, &event), "start");
	if (!aborts) {
		lab_store_relaxed(&core_race->word[page], 2);
		if (!page)
			lab_store_release(&changed, 1);
	}
	(aborts ? uhmm_invalidate_abort : uhmm_invalidate_end)(&inv);
	uhmm_lock_released(&d->lock);
	lab_unlock(&d->lock);
}

/* Under a lock that no callback takes, so that these may run before it is dropped. */
static void changes(void *arg)
{
	(void)arg;
	change_under_lock(1, 0, false);
}

/* Under the very lock that the callbacks and the reader take. */
static void changes_under_own(void *arg)
{
	(void)arg;
	change_under_lock(0, 0, false);
}

static void calls_off(void *arg)
{
	(void)arg;
	change_under_lock(0, 0, true);
}

static void changes_as_usual(void *arg)
{
	(void)arg;
	core_race_change(0, 1, 3);
}

static void changes_next_page(void *arg)
{
	(void)arg;
	change_under_lock(1, 1, false);
}

static void setup(const struct lab_setup *s)
{
	static void (*const changers[])(void *) = {changes, changes_under_own, changes_under_own, calls_off};
	bool late = s->devices == 2;

	core_race_begin();
	changed = (struct uhmm_a32){0};
	core_race->driver[0].polite = late; /* it is told of ends too, by whoever may */
	if (!late)
		core_race_insert(0, 0, 2, 0);
	lab_spawn("reader", late ? inserts : reads, NULL);
	lab_spawn("cpu0", changers[s->devices - 1], NULL);
	if (s->invalidators > 1)
		lab_spawn("cpu1", s->invalidators == 2 ? changes_as_usual : changes_next_page, NULL);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	core_race_check(0);
	core_race_leave(0);
}

const struct lab_scenario lab_scenario_core_queue = {
	.id = "C7",
	.title = "a change on top of a lock holder, made up for later",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.devices_max = 4,      /* another's lock; its own, first watched beside; its own; its own, and called off */
	.invalidators_max = 3, /* beside it one as usual; one of the next page, queued too */
	.core_only = true,
};
