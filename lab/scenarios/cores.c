/* SPDX-License-Identifier: MIT */
#include "lab/scenarios/cores.h"

#include "core/core.h"

struct core_race *core_race;

void core_race_must(int err, const char *what)
{
	if (err)
		lab_fail("%s: error %d", what, -err);
}

void core_race_begin(void)
{
	core_race = lab_alloc_zeroed(sizeof(*core_race));
	core_race->mm = lab_mm();
	for (uint32_t i = 0; i < CORE_PAGES; i++)
		lab_store_relaxed(&core_race->word[i], 1);
}

/* ---- the driver ---- */

static int invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct core_driver *d = (struct core_driver *)n;

	if (!(event->flags & UHMM_EVENT_NONBLOCK))
		lab_lock(&d->lock);
	else if (!lab_trylock(&d->lock))
		return -EAGAIN;
	uhmm_lock_acquired(&d->lock, "lab driver lock");
	d->mapping = 0;
	d->starts++;
	uhmm_lock_released(&d->lock);
	lab_unlock(&d->lock);
	return 0;
}

static void end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	struct core_driver *d = (struct core_driver *)n;

	(void)event;
	(void)changed;
	lab_lock(&d->lock);
	d->ends++;
	lab_unlock(&d->lock);
}

static const struct uhmm_notifier_ops ops = {.invalidate = invalidate};
static const struct uhmm_notifier_ops polite_ops = {.invalidate = invalidate, .end = end};

void core_race_insert(uint32_t i, uint32_t page, uint32_t count, uint32_t maps)
{
	struct core_driver *d = &core_race->driver[i];

	d->page = maps;
	core_race_must(uhmm_notifier_insert(core_race->mm, &d->notifier, (const void *)LAB_ADDR(page), count * 4096u,
					    d->polite ? &polite_ops : &ops),
		       "insert");
}

/* -EAGAIN: overtaken by a change. */
static int map_once(struct core_driver *d)
{
	uint64_t seq = uhmm_read_begin(&d->notifier);
	uint32_t value;
	int err = 0;

	if (seq == UHMM_SEQ_DEAD)
		return -EOWNERDEAD;
	value = lab_load_relaxed(&core_race->word[d->page]);
	lab_lock(&d->lock);
	if (uhmm_read_retry(&d->notifier, seq))
		err = -EAGAIN;
	else
		d->mapping = value;
	lab_unlock(&d->lock);
	return err;
}

bool core_race_map(uint32_t i)
{
	for (uint32_t k = 0; k < CORE_TRIES; k++) {
		int err = map_once(&core_race->driver[i]);

		if (err != -EAGAIN)
			return err == 0;
	}
	lab_fail("driver %u gave up, after more tries than there are changes", i);
	return false;
}

void core_race_unmap(uint32_t i)
{
	struct core_driver *d = &core_race->driver[i];

	lab_lock(&d->lock);
	d->mapping = 0;
	lab_unlock(&d->lock);
}

/* ---- the CPU ---- */

struct uhmm_event core_race_event(uint32_t page, uint32_t count, uint32_t flags)
{
	return (struct uhmm_event){
		.start = LAB_ADDR(page), .end = LAB_ADDR(page + count), .kind = UHMM_EVENT_CLEAR, .flags = flags};
}

void core_race_change(uint32_t page, uint32_t count, uint32_t value)
{
	struct uhmm_event event = core_race_event(page, count, 0);
	struct uhmm_invalidation inv;

	core_race_must(uhmm_invalidate_start(core_race->mm, &inv, &event), "start");
	lab_store_relaxed(&core_race->word[page], value);
	uhmm_invalidate_end(&inv);
}

void core_race_check(uint32_t i)
{
	const struct core_driver *d = &core_race->driver[i];
	uint32_t now = lab_load_relaxed(&core_race->word[d->page]);

	if (d->mapping && d->mapping != now)
		lab_fail("driver %u has %u of page %u, which holds %u", i, d->mapping, d->page, now);
}

void core_race_leave(uint32_t i)
{
	struct uhmm_notifier *n = &core_race->driver[i].notifier;

	/* Bit 0 of each may stay: it says that somebody slept. */
	if (n->private_active.private_value > 1 || n->private_busy.private_value > 1)
		lab_fail("of driver %u %u changes and %u callbacks are left", i, n->private_active.private_value / 2,
			 n->private_busy.private_value / 2);
	else if (core_mm_queued(core_race->mm)->private_value)
		lab_fail("a queued change is not made up for");
	else if (!core_race_map(i))
		lab_fail("the notifier of driver %u is dead", i);
	else
		core_race_must(uhmm_notifier_remove(n), "remove");
}
