/* SPDX-License-Identifier: MIT */
/*
 * core_lines.c: C10. There are more threads than published lines: the next one takes the slow path until the service thread has
 * added some, and then publishes in a line that is as new as the table's part in which it lies, beside somebody who scans it.
 *
 *	reader                                   the service thread
 *	marks page 0, full barrier
 *	                                         maps lines 64 to 127
 *	                                         its own first change, of page 4: takes line 64; 65 are in use
 *	scans: 65 lines in use, so it has to
 *	find the second part of the table
 */
#include "core/thread.h"
#include "lab/engine.h"
#include "lab/scenarios/cores.h"

#define LINES 64u /* that there are from the beginning */

static struct uhmm_a32 ready;

/* Finds no line, and wakes the service thread, which adds some. Comes before the race. */
static void comes_first(void *arg)
{
	(void)arg;
	core_race_change(4, 1, 2);
	lab_store_relaxed(&ready, 1);
	lab_prologue(false);
}

/* By a relaxed load: nothing that the first has done is handed on. */
static void await_first(void)
{
	while (!lab_load_relaxed(&ready))
		lab_relax();
}

static void inserts(void *arg)
{
	(void)arg;
	await_first();
	core_race_insert(0, 0, 1, 0);
	core_race_map(0);
}

static void changes(void *arg)
{
	(void)arg;
	await_first();
	core_race_change(0, 1, 2);
}

/* As the service thread does when lines are wanted and something is queued. */
static void adds_and_changes(void *arg)
{
	(void)arg;
	core_race_must(core_lines_add(), "no lines");
	core_race_change(4, 1, 2);
}

static void inserts_at_once(void *arg)
{
	(void)arg;
	core_race_insert(0, 0, 1, 0);
	core_race_map(0);
}

static void setup(const struct lab_setup *s)
{
	struct core_thread *others = lab_alloc_zeroed(LINES * sizeof(*others));

	core_race_begin();
	ready = (struct uhmm_a32){0};
	for (uint32_t i = 0; i < LINES; i++)
		if (!core_slot_first(&others[i]))
			break;
	if (s->invalidators > 1) {
		lab_spawn("reader", inserts_at_once, NULL);
		lab_spawn("service", adds_and_changes, NULL);
		return;
	}
	lab_prologue(true);
	lab_spawn("first", comes_first, NULL);
	lab_spawn("reader", inserts, NULL);
	lab_spawn("cpu0", changes, NULL);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	core_race_check(0);
	core_race_leave(0);
}

const struct lab_scenario lab_scenario_core_lines = {
	.id = "C10",
	.title = "more threads than lines to publish in",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.invalidators_max = 2, /* 2: one that adds the lines itself */
	.core_only = true,
};
