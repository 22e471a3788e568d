/* SPDX-License-Identifier: MIT */
/* run_once.c: the set-up of a configuration, the beginning and end of fibers and of executions. */
#include "lab/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uhmm/lab.h>

#define BIT(fiber) (UINT32_C(1) << (fiber))

/* What an execution begins with, as set-up left it. */
static struct {
	uint32_t all, daemons;
	bool prologue;
} initial;

/* ---- fibers ---- */

static void end_fiber(uint32_t self)
{
	static const struct lab_site site = { __FILE__, __func__, "ends", __LINE__ };

	lab_point(&(struct lab_op){ .kind = LAB_OP_EXIT, .site = &site });
	while (lab_flushable(self))
		lab_flush(self, 0);
	lab_run.ready &= ~BIT(self);
	lab_run.ended |= BIT(self);
	lab_end_turn();
}

static void fiber_main(void *arg)
{
	struct lab_fiber *const f = arg;

#ifdef LAB_FIBER_ASAN
	lab_fiber_asan_arrived(NULL);
#endif
	errno = 0;
	f->fn(f->arg);
	if (lab_thread_exit)
		lab_thread_exit();
	end_fiber((uint32_t)(f - lab_run.fiber));
}

static void begin_fiber(uint32_t i)
{
	struct lab_fiber *const f = &lab_run.fiber[i];

	lab_fiber_prepare(&f->context, i, fiber_main, f);
	f->op = (struct lab_op){ .kind = LAB_OP_SPAWN };
	f->turns = 0;
	f->behind = 0;
	f->late = false;
	lab_run.ready |= BIT(i);
}

/* Lets the fiber run to its first visible operation, or as far as it gets without one. */
static void start_fiber(uint32_t i)
{
	const uint32_t self = lab_run.now, starter = lab_run.starter;

	lab_run.starter = self;
	lab_run.now = i;
	lab_fiber_switch(&lab_run.fiber[self].context, &lab_run.fiber[i].context);
	lab_run.starter = starter;
}

uint32_t lab_fiber_spawn(const char *name, void (*fn)(void *arg), void *arg, bool is_daemon)
{
	static const struct lab_site site = { __FILE__, __func__, "makes a thread", __LINE__ };
	const uint32_t parent = lab_run.now;
	uint32_t i = 1;
	struct lab_fiber *f;

	if (parent)
		lab_point(&(struct lab_op){ .kind = LAB_OP_SPAWN, .site = &site });
	while (lab_run.made & BIT(i))
		i++;
	if (i == LAB_FIBERS) {
		fprintf(stderr, "lab: more than %u fibers\n", LAB_FIBERS - 1);
		exit(2);
	}
	f = &lab_run.fiber[i];
	f->fn = fn;
	f->arg = arg;
	f->is_daemon = is_daemon;
	snprintf(f->name, sizeof(f->name), "%s", name);
	lab_run.made |= BIT(i);
	lab_run.all |= BIT(i);
	if (is_daemon)
		lab_run.daemons |= BIT(i);
	if (parent == 0)
		return i;
	lab_memory_spawned(parent, i);
	if (lab_run.mode->made)
		lab_run.mode->made(i);
	begin_fiber(i);
	start_fiber(i);
	return i;
}

void lab_fiber_join(uint32_t fiber)
{
	static const struct lab_site site = { __FILE__, __func__, "joins a thread", __LINE__ };
	struct lab_fiber *const f = &lab_run.fiber[lab_run.now];

	if (lab_run.now == 0)
		return;
	f->joins = fiber;
	lab_point(&(struct lab_op){ .kind = LAB_OP_JOIN, .object = &lab_run.fiber[fiber], .site = &site });
	lab_memory_joined(lab_run.now, fiber);
	if (lab_run.mode->joined)
		lab_run.mode->joined(fiber);
}

void lab_spawn(const char *name, void (*fn)(void *arg), void *arg)
{
	lab_fiber_spawn(name, fn, arg, false);
}

void lab_spawn_daemon(const char *name, void (*fn)(void *arg), void *arg)
{
	lab_fiber_spawn(name, fn, arg, true);
}

bool lab_turns_conflict(const struct lab_op *a, const struct lab_op *b)
{
	const uint32_t own = 1u << LAB_OP_SPAWN | 1u << LAB_OP_JOIN | 1u << LAB_OP_EXIT;

	if (a->kind == LAB_OP_HEAVY || b->kind == LAB_OP_HEAVY || a->kind == LAB_OP_YIELD || b->kind == LAB_OP_YIELD)
		return true;
	if ((own >> a->kind | own >> b->kind) & 1)
		return false;
	return lab_ops_conflict(a, b);
}

/* ---- a configuration ---- */

static void bare_setup(const struct lab_config *config)
{
	const struct lab_setup s = { .devices = config->devices, .invalidators = config->invalidators, .model = config->model };

	config->scenario->setup(&s);
}

static void bare_check(const struct lab_config *config)
{
	const struct lab_setup s = { .devices = config->devices, .invalidators = config->invalidators, .model = config->model };

	if (config->scenario->check)
		config->scenario->check(&s);
}

bool lab_run_setup(const struct lab_config *config)
{
	lab_fiber_init(LAB_FIBERS);
	lab_fault_open();
	memset(&lab_run, 0, sizeof(lab_run));
	lab_run.starter = LAB_NOBODY;
	lab_run.made = BIT(0);
	lab_run.config = config;
	lab_run.step_max = config->step_max ? config->step_max : LAB_STEPS_MAX;
	lab_tell_begin(NULL);
	lab_arena_begin();
	lab_memory_begin(config->weak);
	lab_shared_forget();
	if (lab_layer)
		lab_layer->setup(config);
	else
		bare_setup(config);
	initial.all = lab_run.all;
	initial.daemons = lab_run.daemons;
	initial.prologue = lab_run.prologue;
	lab_arena_snapshot();
	return lab_run.verdict.outcome == LAB_HELD;
}

/* ---- an execution ---- */

static void begin(const struct lab_mode *mode, uint32_t bound)
{
	const struct lab_config *const config = lab_run.config;

	lab_run.mode = mode;
	lab_run.all = initial.all;
	lab_run.made = initial.all | BIT(0);
	lab_run.daemons = initial.daemons;
	lab_run.prologue = initial.prologue && !mode->exact && !mode->each_turn;
	lab_run.untold = initial.prologue;
	lab_run.ready = lab_run.sleeping = lab_run.blocking = lab_run.ended = lab_run.spinners = lab_run.barred = 0;
	lab_run.starter = LAB_NOBODY;
	lab_run.carried = lab_run.open = lab_run.over = lab_run.forced = false;
	lab_run.steps = lab_run.preemptions = 0;
	lab_run.digest = 0;
	lab_run.left[LAB_CHOICE_FIBER] = bound;
	lab_run.left[LAB_CHOICE_LOAD] = config->weak ? bound : 0;
	lab_run.left[LAB_CHOICE_SPURIOUS] = config->spurious;
	lab_run.left[LAB_CHOICE_TIMEOUT] = config->timeouts;
	lab_run.left[LAB_CHOICE_FAIL] = config->failures;
	lab_run.left[LAB_CHOICE_DATA] = LAB_UNLIMITED;
	for (uint32_t i = 0; mode->exact && i < LAB_CHOICE_KINDS; i++)
		lab_run.left[i] = LAB_UNLIMITED;
	lab_run.verdict.outcome = LAB_HELD;
	lab_run.verdict.invariant = 0;
	lab_memory_reset();
}

/* Each fiber up to its first visible operation, in turn: nothing that they do there can matter to another. */
static void start_all(void)
{
	for (uint32_t rest = initial.all; rest; rest &= rest - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(rest);

		lab_memory_spawned(0, i);
		begin_fiber(i);
	}
	for (uint32_t rest = initial.all; rest && !lab_run.over; rest &= rest - 1)
		start_fiber((uint32_t)__builtin_ctz(rest));
}

enum lab_outcome lab_run_once(const struct lab_mode *mode, uint32_t bound)
{
	struct lab_verdict *const v = &lab_run.verdict;

	begin(mode, bound);
	start_all();
	if (!lab_run.over)
		lab_first_turn();
	lab_run.now = 0;
	if (v->outcome == LAB_HELD) {
		if (lab_layer)
			lab_layer->check(lab_run.config);
		else
			bare_check(lab_run.config);
	}
	v->steps = lab_run.steps;
	v->preemptions = lab_run.preemptions;
	v->digest = lab_run.digest;
	if (lab_run.slow)
		lab_tell_verdict();
	lab_arena_restore();
	return v->outcome;
}
