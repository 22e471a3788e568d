/* SPDX-License-Identifier: MIT */
/* run.c: one execution: publish, decide, perform. See run.h for the words. */
#include "lab/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uhmm/lab.h>

struct lab_run lab_run = { .starter = LAB_NOBODY };
const struct lab_layer *lab_layer;
void (*lab_after_step)(void);

#define BIT(fiber) (UINT32_C(1) << (fiber))

/* Why the running fiber asks for a decision. */
enum why {
	STAYS,  /* it could go on */
	SPINS,  /* it waits for others to do something, and is barred until one has */
	LEAVES, /* it sleeps, has ended, or is done with sleeping at a time of the scheduler's choice */
};

uint32_t lab_self(void)
{
	return lab_run.now;
}

bool lab_on_stack(const void *address)
{
	return lab_fiber_stack_of(address) != 0;
}

bool lab_is_sleeping(uint32_t fiber, const void *address)
{
	return (lab_run.sleeping & BIT(fiber)) && lab_run.fiber[fiber].address == address;
}

/* ---- decisions ---- */

bool lab_enabled(uint32_t fiber)
{
	const struct lab_fiber *const f = &lab_run.fiber[fiber];

	if (!(lab_run.ready & BIT(fiber)))
		return false;
	if (!(lab_run.blocking & BIT(fiber)))
		return true;
	return f->op.kind == LAB_OP_JOIN ? (lab_run.ended & BIT(f->joins)) != 0 : lab_op_enabled(fiber, &f->op);
}

static uint32_t enabled_mask(void)
{
	uint32_t mask = lab_run.ready & ~lab_run.blocking;

	for (uint32_t rest = lab_run.ready & lab_run.blocking; rest; rest &= rest - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(rest);

		if (lab_enabled(i))
			mask |= BIT(i);
	}
	return mask;
}

/*
 * Two fibers that spin could keep a third waiting for ever, each being the other's "another has made a step". So whoever yields
 * for the second time goes behind all that could have run since the first and did not (Musuvathi and Qadeer's fair schedules).
 */
static void yield_account(struct lab_fiber *f, uint32_t self, uint32_t enabled)
{
	if (lab_run.spinners & BIT(self))
		f->behind |= f->others & enabled & ~f->seen;
	lab_run.spinners |= BIT(self);
	f->others = enabled & ~BIT(self);
	f->seen = 0;
}

static uint32_t fair(uint32_t enabled)
{
	uint32_t mask = enabled & ~lab_run.barred;

	for (uint32_t rest = mask & lab_run.spinners; rest; rest &= rest - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(rest);

		if (lab_run.fiber[i].behind & enabled)
			mask &= ~BIT(i);
	}
	if (!mask)
		mask = enabled & ~lab_run.barred;
	return mask ? mask : enabled;
}

static void fair_turn(uint32_t fiber)
{
	for (uint32_t rest = lab_run.spinners; rest; rest &= rest - 1) {
		struct lab_fiber *const f = &lab_run.fiber[__builtin_ctz(rest)];

		f->seen |= BIT(fiber);
		f->behind &= ~BIT(fiber);
	}
}

uint32_t lab_pick_usual(uint32_t candidates, bool on)
{
	const uint32_t later = candidates & ~(BIT(lab_run.now) | (BIT(lab_run.now) - 1));

	if (on)
		return lab_run.now;
	if (!candidates)
		return LAB_FLUSH(__builtin_ctz(lab_buffered), 0);
	return (uint32_t)__builtin_ctz(later ? later : candidates);
}

/* Sleepers whose deadline will come, when nobody can do anything before it. */
static uint32_t deadlines(void)
{
	uint32_t mask = 0;

	for (uint32_t rest = lab_run.sleeping; rest; rest &= rest - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(rest);

		if (lab_run.fiber[i].has_deadline)
			mask |= BIT(i);
	}
	return mask;
}

static bool flush_some(uint32_t answer)
{
	if (!LAB_IS_FLUSH(answer))
		return false;
	if (lab_run.slow)
		lab_tell_flush(LAB_FLUSH_FIBER(answer), LAB_FLUSH_INDEX(answer));
	lab_flush(LAB_FLUSH_FIBER(answer), LAB_FLUSH_INDEX(answer));
	return true;
}

/* Nobody is enabled. True: try again; false: that was all. */
static bool stuck(void)
{
	const uint32_t late = deadlines();
	uint32_t answer;

	if (lab_buffered) {
		answer = lab_run.mode->pick(0, false);
		if (!lab_run.over)
			flush_some(answer);
		return !lab_run.over;
	}
	if (late && (lab_run.all & ~lab_run.ended & ~lab_run.daemons)) {
		lab_run.forced = true;
		answer = lab_run.prologue ? (uint32_t)__builtin_ctz(late) : lab_run.mode->pick(late, false);
		lab_run.forced = false;
		if (lab_run.over)
			return false;
		lab_run.fiber[answer].late = true;
		lab_run.sleeping &= ~BIT(answer);
		lab_run.ready |= BIT(answer);
		return true;
	}
	if (lab_run.all & ~lab_run.ended & ~lab_run.daemons)
		lab_deadlock();
	return false;
}

/* All that must end have ended, and those that need not wait for what nobody will do. */
static bool only_daemons_spin(uint32_t enabled)
{
	if (lab_run.all & ~lab_run.ended & ~lab_run.daemons)
		return false;
	for (uint32_t rest = enabled; rest; rest &= rest - 1) {
		if (lab_run.fiber[__builtin_ctz(rest)].op.kind != LAB_OP_YIELD)
			return false;
	}
	return true;
}

/* Whose turn it is; LAB_NOBODY: the execution is over. */
static uint32_t decide(enum why why)
{
	const uint32_t self = lab_run.now;
	uint32_t answer;
	bool on;

	for (;;) {
		const uint32_t enabled = enabled_mask();
		uint32_t candidates = enabled;

		if (!enabled) {
			if (!stuck())
				return LAB_NOBODY;
			continue;
		}
		if (why == SPINS && only_daemons_spin(enabled))
			return LAB_NOBODY;
		if (lab_run.spinners)
			candidates = fair(enabled);
		on = why == STAYS && (candidates & BIT(self));
		answer = lab_run.prologue ? lab_pick_usual(candidates, on) : lab_run.mode->pick(candidates, on);
		if (lab_run.over)
			return LAB_NOBODY;
		if (!flush_some(answer)) {
			lab_run.usual = answer == lab_pick_usual(candidates, on);
			break;
		}
	}
	if (on && answer != self) {
		lab_run.preemptions++;
		lab_run.left[LAB_CHOICE_FIBER]--;
		if (lab_run.slow)
			lab_tell_preempted(self);
	}
	return answer;
}

/* ---- turns ---- */

/* The operation of the running fiber's last turn has been performed. */
static inline void performed(void)
{
	if (!lab_run.open)
		return;
	lab_run.open = false;
	if (lab_after_step)
		lab_after_step();
	if (lab_run.slow)
		lab_tell_done();
}

static void switch_to(uint32_t next)
{
	const uint32_t self = lab_run.now;

	if (lab_run.spinners)
		fair_turn(next);
	if (next == self)
		return;
	lab_run.now = next;
	lab_fiber_switch(&lab_run.fiber[self].context, &lab_run.fiber[next].context);
}

/* Returns at the running fiber's next turn. */
static void wait_turn(enum why why)
{
	uint32_t next;

	if (lab_run.starter != LAB_NOBODY) {
		if (lab_run.slow && why != STAYS)
			lab_tell_held(lab_run.now);
		next = lab_run.starter;
		lab_run.starter = LAB_NOBODY;
	} else {
		next = decide(why);
		if (next == LAB_NOBODY)
			lab_finish();
	}
	switch_to(next);
}

void lab_end_turn(void)
{
	performed();
	lab_run.barred = 0;
	wait_turn(LEAVES);
	abort();
}

void lab_first_turn(void)
{
	const uint32_t next = decide(LEAVES);

	if (next == LAB_NOBODY)
		lab_finish();
	else
		switch_to(next);
}

static void livelock(void)
{
	lab_lost(5, "livelock: more than %u operations and no end", lab_run.step_max);
}

static bool visible(uint32_t self, const struct lab_op *op)
{
	/* Nothing is tried, so all that counts is whether it can go on; nor is it learnt whose words these are. */
	if (lab_run.prologue && op->kind != LAB_OP_JOIN && op->kind != LAB_OP_YIELD)
		return op->kind == LAB_OP_LOCK && !lab_op_enabled(self, op);
	switch (op->kind) {
	case LAB_OP_SPAWN:
	case LAB_OP_EXIT: /* its stores leave the buffer with it: others may come before */
		return (lab_buffered & BIT(self)) != 0;
	case LAB_OP_JOIN:
		return !(lab_run.ended & BIT(lab_run.fiber[self].joins));
	case LAB_OP_YIELD:
		return true;
	case LAB_OP_HEAVY:
		return op->write || lab_op_visible(self, op); /* write: lab_become_child() */
	case LAB_OP_LOCK:
		return lab_op_visible(self, op) || !lab_op_enabled(self, op);
	default:
		return lab_op_visible(self, op);
	}
}

/* No other fiber may go on, so nothing is asked. The usual case once the preemptions are spent. */
static inline bool must_go_on(const struct lab_op *op)
{
	return lab_run.left[LAB_CHOICE_FIBER] == 0 && !lab_buffered && op->kind != LAB_OP_LOCK && op->kind != LAB_OP_JOIN &&
	       op->kind != LAB_OP_YIELD && !lab_run.spinners && lab_run.starter == LAB_NOBODY;
}

/* To yield touches nothing, so it is done at once; going on is a turn like that of a sleeper that wakes up. */
static void yield(uint32_t self)
{
	if (lab_run.mode->yielded)
		lab_run.mode->yielded();
	if (lab_run.mode->each_turn)
		lab_run.fiber[self].op.kind = LAB_OP_FUTEX_WAIT;
	yield_account(&lab_run.fiber[self], self, enabled_mask());
	lab_run.barred |= BIT(self);
	wait_turn(SPINS);
	lab_run.fiber[self].op.kind = LAB_OP_YIELD;
	lab_run.carried = !lab_run.mode->each_turn;
}

/* The turn goes on with this operation, so that others' are not asked for; but their stores may go to memory before it. */
static void flush_before(uint32_t self)
{
	if (!lab_buffered || lab_run.prologue)
		return;
	while (flush_some(lab_run.mode->pick(BIT(self), true))) {
		;
	}
}

static void publish(uint32_t self, const struct lab_op *op)
{
	const bool blocks = op->kind == LAB_OP_LOCK || op->kind == LAB_OP_JOIN;

	lab_run.fiber[self].op = *op;
	lab_run.blocking = (lab_run.blocking & ~BIT(self)) | (blocks ? BIT(self) : 0);
	if (op->kind == LAB_OP_YIELD) {
		yield(self);
		return;
	}
	if (lab_run.carried && lab_enabled(self))
		flush_before(self);
	else
		wait_turn(STAYS);
	lab_run.blocking &= ~BIT(self);
	lab_run.carried = false;
}

void lab_point(const struct lab_op *op)
{
	const uint32_t self = lab_run.now;
	bool seen = true;

	if (self == 0)
		return;
	performed();
	if (++lab_run.steps > lab_run.step_max)
		livelock();
	if (!lab_run.mode->exact)
		seen = visible(self, op);
	if (seen && !must_go_on(op))
		publish(self, op);
	if (seen && op->kind != LAB_OP_YIELD) {
		lab_run.carried = false;
		lab_run.barred = 0; /* a step, for those who wait for one */
	}
	lab_run.open = seen || op->kind == LAB_OP_STEP;
	if (lab_run.slow) {
		lab_tell_turn(self);
		lab_tell_op(self, op);
	}
	if (op->kind == LAB_OP_UNLOCK && lab_run.mode->released)
		lab_run.mode->released(op);
}

uint32_t lab_choose(enum lab_choice_kind kind, uint32_t n)
{
	uint32_t *const left = &lab_run.left[kind == LAB_CHOICE_BUFFER ? LAB_CHOICE_LOAD : kind];
	uint32_t taken;

	if (n < 2 || *left == 0 || lab_run.now == 0 || lab_run.prologue)
		return 0;
	if (n > LAB_ALTERNATIVES_MAX)
		lab_lost(8, "a choice among %u: at most %u can be tried", n, LAB_ALTERNATIVES_MAX);
	taken = lab_run.mode->choose(kind, n);
	if (taken && kind != LAB_CHOICE_DATA)
		--*left;
	if (lab_run.slow)
		lab_tell_choice(kind, taken);
	return taken;
}

bool lab_sleep(const void *address, bool has_deadline, const struct lab_site *site)
{
	const uint32_t self = lab_run.now;
	struct lab_fiber *const f = &lab_run.fiber[self];
	bool for_nothing;

	if (self == 0)
		return true;
	performed();
	for_nothing = lab_choose(LAB_CHOICE_SPURIOUS, 2) != 0;
	f->late = !for_nothing && has_deadline && lab_choose(LAB_CHOICE_TIMEOUT, 2);
	f->op = (struct lab_op){ .kind = LAB_OP_FUTEX_WAIT, .site = site }; /* waking up touches nothing */
	lab_run.barred = 0;
	f->address = address;
	f->has_deadline = has_deadline;
	if (!for_nothing && !f->late) {
		lab_run.ready &= ~BIT(self);
		lab_run.sleeping |= BIT(self);
	}
	wait_turn(LEAVES);
	if (++lab_run.steps > lab_run.step_max)
		livelock();
	lab_run.carried = !lab_run.mode->each_turn;
	if (lab_run.slow) {
		lab_tell_turn(self);
		lab_tell_words(self, f->late ? "the deadline has passed" : for_nothing ? "wakes for nothing" : "is awake");
	}
	return !f->late;
}

void lab_wake(const void *address)
{
	for (uint32_t rest = lab_run.sleeping; rest; rest &= rest - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(rest);

		if (lab_run.fiber[i].address != address)
			continue;
		lab_run.sleeping &= ~BIT(i);
		lab_run.ready |= BIT(i);
		if (lab_run.now && lab_run.mode->woke)
			lab_run.mode->woke(i);
	}
}

void lab_relax(void)
{
	static const struct lab_site site = { __FILE__, __func__, "relax", __LINE__ };

	lab_point(&(struct lab_op){ .kind = LAB_OP_YIELD, .site = &site });
}

uint32_t lab_pick(uint32_t n)
{
	return lab_choose(LAB_CHOICE_DATA, n);
}

void lab_prologue(bool on)
{
	lab_run.prologue = on;
	lab_run.untold = on;
}

void lab_become_child(void)
{
	static const struct lab_site site = { __FILE__, __func__, "fork: go on as the child", __LINE__ };

	lab_point(&(struct lab_op){ .kind = LAB_OP_HEAVY, .write = true, .site = &site });
	lab_run.all = BIT(lab_run.now);
	lab_run.ready &= lab_run.all;
	lab_run.sleeping = 0;
}
