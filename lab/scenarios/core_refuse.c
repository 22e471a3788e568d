/* SPDX-License-Identifier: MIT */
/*
 * core_refuse.c: C5. A change that may not sleep meets two drivers, of which one may say "try again": whoever agreed is told
 * that nothing happened, nobody else is told anything, and no count is left behind. The second try waits.
 */
#include "lab/scenarios/cores.h"

static void reads(void *arg)
{
	uint32_t i = *(const uint32_t *)arg;

	core_race_map(i);
}

static void changes(void *arg)
{
	struct uhmm_event event = core_race_event(0, 2, UHMM_EVENT_NONBLOCK);
	struct uhmm_invalidation inv;
	int err = uhmm_invalidate_start(core_race->mm, &inv, &event);

	(void)arg;
	if (err && err != -EAGAIN)
		core_race_must(err, "start");
	if (err) {
		core_race_change(0, 2, 2);
		return;
	}
	lab_store_relaxed(&core_race->word[0], 2);
	uhmm_invalidate_end(&inv);
}

static void setup(const struct lab_setup *s)
{
	static uint32_t numbers[] = {0, 1};
	static const char *const names[] = {"reader0", "reader1"};

	core_race_begin();
	for (uint32_t i = 0; i < CORE_DRIVERS; i++) {
		core_race->driver[i].polite = true;
		core_race_insert(i, i, 1, i);
	}
	for (uint32_t i = 0; i < s->devices; i++)
		lab_spawn(names[i], reads, &numbers[s->devices == 1 ? 1 : i]);
	lab_spawn("cpu0", changes, NULL);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	for (uint32_t i = 0; i < CORE_DRIVERS; i++) {
		const struct core_driver *d = &core_race->driver[i];

		core_race_check(i);
		if (!d->starts || d->starts != d->ends)
			lab_fail("driver %u was told %u starts and %u ends", i, d->starts, d->ends);
	}
	for (uint32_t i = 0; i < CORE_DRIVERS; i++)
		core_race_leave(i);
}

const struct lab_scenario lab_scenario_core_refuse = {
	.id = "C5",
	.title = "one of two drivers refuses a change that may not sleep",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.devices_max = 2,
	.core_only = true,
};
