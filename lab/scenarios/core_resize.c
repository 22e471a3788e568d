/* SPDX-License-Identifier: MIT */
/*
 * core_resize.c: C3. A range is resized beside changes. Driver 1 moves from behind to before driver 0 while a pass is between
 * the two, and must be told all the same (the rescan); it grows over a page whose change runs unseen on the fast path, and
 * must count it; it shrinks away from one that counts, and must forget it.
 */
#include "lab/scenarios/cores.h"

enum { LEFT = 0, MIDDLE = 2, RIGHT = 4 };

static void resize(uint32_t page, uint32_t count)
{
	struct uhmm_notifier *n = &core_race->driver[1].notifier;

	core_race_must(uhmm_notifier_resize(n, (const void *)LAB_ADDR(page), count * 4096u), "resize");
}

/* Its page stays in the range: what it has mapped is still to be torn down. */
static void grows(void *arg)
{
	(void)arg;
	core_race_map(1);
	resize(LEFT, RIGHT + 1);
}

static void grows_and_maps(void *arg)
{
	(void)arg;
	resize(LEFT, RIGHT + 1);
	core_race->driver[1].page = LEFT;
	core_race_map(1);
}

static void moves_and_maps(void *arg)
{
	(void)arg;
	resize(LEFT, 1);
	core_race->driver[1].page = LEFT;
	core_race_map(1);
}

static void changes_right(void *arg)
{
	(void)arg;
	core_race_change(RIGHT, 1, 2);
}

static void changes_all(void *arg)
{
	struct uhmm_event event = core_race_event(LEFT + 1, RIGHT, 0);
	struct uhmm_invalidation inv;

	(void)arg;
	core_race_must(uhmm_invalidate_start(core_race->mm, &inv, &event), "start");
	lab_store_relaxed(&core_race->word[RIGHT], 2);
	uhmm_invalidate_end(&inv);
}

static void changes_left(void *arg)
{
	(void)arg;
	core_race_change(LEFT, 1, 2);
}

static void setup(const struct lab_setup *s)
{
	static void (*const movers[])(void *) = {grows, grows_and_maps, moves_and_maps};
	static void (*const changers[])(void *) = {changes_all, changes_left, changes_left};
	uint32_t which = s->devices - 1;

	core_race_begin();
	core_race_insert(0, MIDDLE, 1, MIDDLE);
	core_race_insert(1, RIGHT, 1, RIGHT);
	lab_spawn("driver", movers[which], NULL);
	lab_spawn("cpu0", changers[which], NULL);
	if (s->invalidators > 1)
		lab_spawn("cpu1", changes_right, NULL);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	core_race_check(0);
	core_race_check(1);
	for (uint32_t i = 0; i < CORE_DRIVERS; i++)
		core_race_leave(i);
}

const struct lab_scenario lab_scenario_core_resize = {
	.id = "C3",
	.title = "a range is resized beside changes",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.devices_max = 3, /* three ways of resizing */
	.invalidators_max = 2,
	.core_only = true,
};
