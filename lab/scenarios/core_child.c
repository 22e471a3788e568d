/* SPDX-License-Identifier: MIT */
/*
 * core_child.c: C12. The child of a fork, made while another thread was anywhere in a change: with the address space's lock, a
 * published line or a linked invalidation that nobody in the child will ever give back. It begins anew: the parent's seqs and
 * notifiers are dead, what it inserts itself works as in a new process, the service thread and all.
 */
#include "core/core.h"
#include "lab/engine.h"
#include "lab/run.h"
#include "lab/scenarios/cores.h"

#define FORKS_AT_ONCE 4u /* src/core/fork.c */

static void become_child(void)
{
	lab_become_child();
	/* The copy has what every thread had written. */
	for (uint32_t i = 1; i < LAB_FIBERS; i++)
		if (i != lab_self() && (lab_run.made & 1u << i))
			lab_memory_joined(lab_self(), i);
	core_fork_child();
}

static void parents_are_dead(uint64_t seq)
{
	struct uhmm_notifier *n = &core_race->driver[0].notifier;

	if (!uhmm_read_retry(n, seq))
		lab_fail("a seq of the parent's is good in the child");
	if (uhmm_read_begin(n) != UHMM_SEQ_DEAD)
		lab_fail("a notifier of the parent's is alive in the child");
}

static void change_on_holder(struct core_driver *d)
{
	lab_lock(&d->lock);
	uhmm_lock_acquired(&d->lock, "lab driver lock");
	core_race_change(0, 1, 4);
	uhmm_lock_released(&d->lock);
	lab_unlock(&d->lock);
}

/* Mapped, changed, mapped again: by a callback in the thread itself, and by the child's own service thread. */
static void goes_on(void)
{
	struct core_driver *d = &core_race->driver[1];
	uint32_t parents = core_race->driver[0].starts;

	core_race_insert(1, 0, 1, 0);
	if (!core_race_map(1))
		lab_fail("what the child inserts is dead");
	core_race_change(0, 1, 3);
	core_race_check(1);
	change_on_holder(d);
	if (!core_race_map(1)) /* waits for the service thread */
		lab_fail("what the child inserted is dead after a queued change");
	core_race_check(1);
	if (d->starts != 2 || core_race->driver[0].starts != parents)
		lab_fail("the child's driver was told of %u changes, the parent's of %u", d->starts,
			 core_race->driver[0].starts - parents);
}

static void forks(void *arg)
{
	uint64_t seq = uhmm_read_begin(&core_race->driver[0].notifier);

	(void)arg;
	core_fork_prepare();
	become_child();
	core_fork_parent(); /* of a fork that a handler of this one made: there is none */
	parents_are_dead(seq);
	goes_on();
}

/* As many forks in fork handlers as there may be at once. */
static void forks_again(void *arg)
{
	forks(arg);
	for (uint32_t i = 0; i < FORKS_AT_ONCE; i++)
		core_fork_prepare();
	for (uint32_t i = 0; i < FORKS_AT_ONCE; i++)
		core_fork_parent();
}

static void changes(void *arg)
{
	(void)arg;
	core_race_change(0, 1, 2);
	core_race_change(4, 1, 2); /* which nobody watches: by a published line */
}

static void changes_unwatched(void *arg)
{
	(void)arg;
	core_race_change(0, 1, 2);
}

static void setup(const struct lab_setup *s)
{
	bool unwatched = s->devices > 1;

	core_race_begin();
	core_race_insert(0, unwatched ? 4 : 0, 1, 0);
	lab_spawn("fork", unwatched ? forks_again : forks, NULL);
	lab_spawn("cpu0", unwatched ? changes_unwatched : changes, NULL);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	core_race_check(1);
	core_race_leave(1);
	core_race_must(uhmm_notifier_remove(&core_race->driver[0].notifier), "remove the parent's");
}

const struct lab_scenario lab_scenario_core_child = {
	.id = "C12",
	.title = "a forked child of a process that was in the middle of a change",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.devices_max = 2, /* 2: the parent watches another page */
	.core_only = true,
};
