/* SPDX-License-Identifier: MIT */
/*
 * search_dpor.c: all schedules up to equivalence: source sets with sleep sets (Abdulla, Aronis, Jonsson, Sagonas: Optimal
 * dynamic partial order reduction, 2014, algorithm 1). SC memory only: what a store buffer does is not an operation of a fiber.
 *
 * Two executions are equivalent if they order conflicting operations in the same way. After each new event the search looks for
 * *races*: earlier events of other fibers that conflict with it and are not ordered before it by anything else. Each could have
 * come second. So in the state before the earlier one, somebody must be tried who begins an execution in which it does:
 *
 *	E' ── e ── v ── p          e and p's event conflict; v: what happened in between and does not need e
 *	 └── v ── p ── e       so some fiber that can begin "v p" (an initial) goes into the backtrack set of E'
 *
 * Sleep sets: what was tried in a state need not be tried again in its later alternatives' executions until something happens
 * that conflicts with it.
 *
 * What is particular here:
 *   Locks. Taking one conflicts with taking it elsewhere; giving it back is no event (unless somebody tries the lock), but
 *   what came before it happens before the next taking, unless both only share it. Two takings are a race although a release
 *   orders them: that is the one order that could be otherwise. A fiber that never got its lock raced all the same: its
 *   pending operation is looked at when the execution has ended.
 *   Sleeping. Waiting on a word and waking its sleepers conflict; to wake up is an event that conflicts with nothing and comes
 *   after the wake.
 *   lab_become_child() conflicts with everything. So does a yield, since whoever yields may go on only after another has made a
 *   step: all orders with others are tried. It happens together with the event before it, and its races are that one's; so a
 *   turn that ended in a yield does not go into sleep sets. From the first yield of an execution on, who may go on depends on
 *   who has since when: nothing is reduced there.
 *   Choices that are not about fibers are part of the event during which they are made: all are tried under it.
 */
#include <string.h>

#include "lab/hunt.h"

#define BIT(fiber) (UINT32_C(1) << (fiber))
#define RELEASES_MAX 256u

uint32_t lab_dpor_mistake;

struct clock {
	uint16_t of[LAB_FIBERS]; /* so many events of each fiber come before, itself included */
};

/* An event, and the state before it. */
struct event {
	struct lab_op op;
	struct clock clock;
	uint32_t fiber;
	uint32_t choices; /* on the stack below it */
	uint32_t enabled, backtrack, done, sleep;
	uint32_t yielded;  /* of those done here, who yielded with it */
	uint32_t sleep_after;
	uint32_t gone; /* fibers that a fork left behind before it */
	bool lock_was_free; /* LAB_OP_TRYLOCK: it has succeeded */
	bool known;         /* clock and races are */
};

static struct {
	uint32_t depth, length;
	struct event event[LAB_STEPS_MAX + 1];
	struct clock now[LAB_FIBERS];   /* what each fiber's next event comes after, by the fiber's own past */
	struct clock woken[LAB_FIBERS]; /* the wake of each sleeper */
	uint32_t forced;                /* sleepers whose deadline came because nobody could run */
	uint32_t releases;
	struct release {
		const void *object;
		struct clock alone;  /* by the last who held it alone */
		struct clock shared; /* by all who shared it */
	} release[RELEASES_MAX];
} dpor;

static struct lab_stack stack;

static void join(struct clock *c, const struct clock *other)
{
	for (uint32_t i = 0; i < LAB_FIBERS; i++) {
		if (other->of[i] > c->of[i])
			c->of[i] = other->of[i];
	}
}

static bool before(const struct event *e, const struct clock *c)
{
	return e->clock.of[e->fiber] <= c->of[e->fiber];
}

/* ---- races ---- */

/*
 * Who can begin v.p, v being the events behind number i that do not come after it, p the fiber's operation with its past c. The
 * first event of a fiber in v can be the beginning if no other of v comes before it.
 */
static uint32_t initials(uint32_t i, uint32_t p, const struct lab_op *op, const struct clock *c)
{
	const struct event *const e = &dpor.event[i];
	uint16_t first[LAB_FIBERS]; /* of each fiber in v; UINT16_MAX: none yet */
	uint32_t mask = 0, seen = 0;
	bool p_can = true;

	memset(first, 0xff, sizeof(first));
	for (uint32_t k = i + 1; k < dpor.depth; k++) {
		const struct event *const y = &dpor.event[k];
		bool can = true;

		if (before(e, &y->clock))
			continue;
		if (y->fiber == p || before(y, c) || lab_turns_conflict(&y->op, op))
			p_can = false;
		if (seen & BIT(y->fiber))
			continue;
		for (uint32_t f = 0; f < LAB_FIBERS; f++)
			can = can && first[f] > y->clock.of[f];
		seen |= BIT(y->fiber);
		first[y->fiber] = y->clock.of[y->fiber];
		if (can)
			mask |= BIT(y->fiber);
	}
	return p_can ? mask | BIT(p) : mask;
}

/* The other order of event i and the fiber's operation is tried, unless something on the list already leads there. */
static void race(uint32_t i, uint32_t p, const struct lab_op *op, const struct clock *c)
{
	struct event *const e = &dpor.event[i];
	const uint32_t able = initials(i, p, op, c);
	const uint32_t mask = able & e->enabled;

	if (able & (e->backtrack | e->sleep))
		return;
	if (!mask)
		e->backtrack |= e->enabled; /* what would enable it is not known */
	else
		e->backtrack |= mask & BIT(p) ? BIT(p) : mask & -mask;
}

/* A yield belongs to the event before it. */
static uint32_t decided_at(uint32_t i)
{
	while (dpor.event[i].op.kind == LAB_OP_YIELD && i > 0)
		i--;
	return i;
}

/*
 * Could the fiber's operation have come just before event i? Not if it waits for a lock that was held then. (What conflicts
 * with everything leaves the fiber no event in between, so that this operation is the one that it had published.)
 */
static bool reversible(uint32_t i, uint32_t p, const struct lab_op *op)
{
	const struct event *const e = &dpor.event[i];

	if (e->op.kind == LAB_OP_HEAVY || e->op.kind == LAB_OP_YIELD)
		return dpor.event[decided_at(i)].enabled & BIT(p);
	if (op->kind == LAB_OP_LOCK)
		return e->op.kind == LAB_OP_LOCK || (e->op.kind == LAB_OP_TRYLOCK && e->lock_was_free);
	return true;
}

/*
 * The fiber's next event is to be `op`: finds the events it races with and joins into *c, the fiber's past, what it comes
 * after. From the newest backwards: what comes before another that races is not a race of its own.
 */
static void find_races(uint32_t p, const struct lab_op *op, struct clock *c)
{
	const struct clock past = *c;
	struct clock enabling = { { 0 } };

	for (uint32_t i = dpor.depth; i-- > 0;) {
		const struct event *const e = &dpor.event[i];

		if (e->fiber == p || (e->gone & BIT(p)) || before(e, c) || !lab_turns_conflict(&e->op, op))
			continue;
		if (!reversible(i, p, op)) {
			join(&enabling, &e->clock);
			continue;
		}
		if (lab_dpor_mistake != 2 || (e->op.write && op->write))
			race(decided_at(i), p, op, &past);
		join(c, &e->clock);
	}
	join(c, &enabling);
}

/* ---- events ---- */

static struct release *release_of(const void *object)
{
	for (uint32_t i = 0; i < dpor.releases; i++) {
		if (dpor.release[i].object == object)
			return &dpor.release[i];
	}
	return NULL;
}

/* Whoever shares a lock does not come after others who did. */
static void after_releases(const struct lab_op *op, struct clock *c)
{
	const struct release *const r = release_of(op->object);

	if (!r)
		return;
	join(c, &r->alone);
	if (op->write)
		join(c, &r->shared);
}

static void find_clock(struct event *e)
{
	const uint32_t p = e->fiber;
	struct clock c = dpor.now[p];

	if (e->op.kind == LAB_OP_FUTEX_WAIT && !e->op.object)
		join(&c, &dpor.woken[p]);
	if (dpor.forced & BIT(p)) {
		for (uint32_t i = 1; i < LAB_FIBERS; i++)
			join(&c, &dpor.now[i]);
	}
	find_races(p, &e->op, &c);
	if (e->op.kind == LAB_OP_LOCK || e->op.kind == LAB_OP_TRYLOCK)
		after_releases(&e->op, &c);
	c.of[p] = (uint16_t)(dpor.now[p].of[p] + 1);
	e->clock = c;
}

/* Those asleep, or tried before, whose next turn has nothing to do with this one. One that yields has to do with everything. */
static uint32_t sleep_after(const struct event *e)
{
	const uint32_t conflicting = lab_dpor_mistake == 3 ? 0 : e->yielded;
	uint32_t mask = (e->sleep | (e->done & ~conflicting)) & ~BIT(e->fiber);

	for (uint32_t rest = mask; rest; rest &= rest - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(rest);

		if (lab_turns_conflict(&lab_run.fiber[i].op, &e->op) && lab_dpor_mistake != 1)
			mask &= ~BIT(i);
	}
	return mask;
}

static bool same_op(const struct lab_op *a, const struct lab_op *b)
{
	return a->kind == b->kind && a->object == b->object && a->site == b->site;
}

static bool lock_is_free(const struct lab_op *op)
{
	struct lab_op take = *op;

	take.kind = LAB_OP_LOCK;
	return lab_op_enabled(lab_run.now, &take);
}

static uint32_t perform(struct event *e)
{
	const struct lab_op *const op = &lab_run.fiber[e->fiber].op;

	if (!e->known) {
		e->op = *op;
		e->gone = lab_run.made & ~lab_run.all & ~BIT(0);
		e->lock_was_free = op->kind == LAB_OP_TRYLOCK && lock_is_free(op);
		e->sleep_after = sleep_after(e);
		find_clock(e);
		e->known = true;
	} else if (!same_op(&e->op, op)) {
		lab_not_deterministic("not deterministic: step %u was fiber %u at %s:%u, and is at %s:%u", dpor.depth, e->fiber,
				      e->op.site ? e->op.site->file : "?", e->op.site ? e->op.site->line : 0,
				      op->site ? op->site->file : "?", op->site ? op->site->line : 0);
	}
	dpor.now[e->fiber] = e->clock;
	dpor.forced &= ~BIT(e->fiber);
	dpor.depth++;
	return e->fiber;
}

static uint32_t dpor_pick(uint32_t candidates, bool on)
{
	struct event *const e = &dpor.event[dpor.depth];
	uint32_t awake, i;

	if (lab_run.forced) {
		i = lab_stack_take(&stack, LAB_CHOICE_FIBER, lab_run.now, (uint32_t)__builtin_popcount(candidates));
		while (i--)
			candidates &= candidates - 1;
		dpor.forced |= candidates & -candidates;
		return (uint32_t)__builtin_ctz(candidates);
	}
	if (dpor.depth < dpor.length) {
		if (!(candidates & BIT(e->fiber)))
			lab_not_deterministic("not deterministic: step %u: fiber %u could go on, and cannot", dpor.depth,
					      e->fiber);
		return perform(e);
	}
	e->sleep = dpor.depth && (!lab_run.spinners || lab_dpor_mistake == 3) ? dpor.event[dpor.depth - 1].sleep_after : 0;
	awake = candidates & ~e->sleep;
	if (!awake) {
		lab_abandon();
		return lab_run.now;
	}
	e->enabled = candidates;
	e->fiber = lab_pick_usual(awake, on && (awake & BIT(lab_run.now)));
	/* Who may go on after a yield depends on all that has happened since: everybody is tried. */
	e->backtrack = lab_run.spinners && lab_dpor_mistake != 3 ? candidates : BIT(e->fiber);
	e->done = e->yielded = 0;
	e->known = false;
	e->choices = stack.length;
	dpor.length++;
	return perform(e);
}

static uint32_t dpor_choose(enum lab_choice_kind kind, uint32_t n)
{
	return lab_stack_take(&stack, kind, lab_run.now, n);
}

static void dpor_woke(uint32_t fiber)
{
	dpor.woken[fiber] = dpor.now[lab_run.now];
}

static void dpor_released(const struct lab_op *op)
{
	struct release *r = release_of(op->object);

	if (!r) {
		if (dpor.releases == RELEASES_MAX)
			return; /* its critical sections then are ordered by their contents alone: more is tried */
		r = &dpor.release[dpor.releases++];
		*r = (struct release){ .object = op->object };
	}
	join(op->write ? &r->alone : &r->shared, &dpor.now[lab_run.now]);
}

static void dpor_joined(uint32_t fiber)
{
	join(&dpor.now[lab_run.now], &dpor.now[fiber]);
}

static void dpor_made(uint32_t fiber)
{
	dpor.now[fiber] = dpor.now[lab_run.now];
}

/* An event without a decision: nothing comes between it and the one before, which it belongs to. */
static void dpor_yielded(void)
{
	struct event *const e = &dpor.event[dpor.depth];

	if (dpor.depth == 0)
		return; /* before the first turn */
	if (dpor.depth == dpor.length) {
		memset(e, 0, sizeof(*e));
		e->fiber = lab_run.now;
		e->enabled = e->backtrack = BIT(e->fiber);
		e->choices = stack.length;
		dpor.length++;
	}
	dpor.event[decided_at(dpor.depth - 1)].yielded |= BIT(lab_run.now);
	perform(e);
}

static const struct lab_mode dpor_mode = {
	.pick = dpor_pick,
	.choose = dpor_choose,
	.woke = dpor_woke,
	.released = dpor_released,
	.joined = dpor_joined,
	.made = dpor_made,
	.yielded = dpor_yielded,
	.each_turn = true,
};

/* ---- the search ---- */

static void again(void)
{
	lab_stack_rewind(&stack);
	dpor.depth = 0;
	dpor.releases = 0;
	dpor.forced = 0;
	memset(dpor.now, 0, sizeof(dpor.now));
	memset(dpor.woken, 0, sizeof(dpor.woken));
}

/*
 * Operations that were published and never made, because of a deadlock, a fork or a loss, could have been made before
 * something.
 */
static void find_pending_races(void)
{
	for (uint32_t rest = lab_run.made & ~lab_run.ended & ~BIT(0); rest; rest &= rest - 1) {
		const uint32_t p = (uint32_t)__builtin_ctz(rest);
		struct clock c = dpor.now[p];

		if (!(lab_run.sleeping & BIT(p)))
			find_races(p, &lab_run.fiber[p].op, &c);
	}
}

/* The deepest event or choice that has an alternative takes it. */
static bool next(void)
{
	while (dpor.length) {
		struct event *const e = &dpor.event[dpor.length - 1];
		uint32_t rest;

		if (lab_stack_next(&stack, e->choices))
			return true;
		e->done |= BIT(e->fiber);
		rest = e->backtrack & ~e->done & ~e->sleep;
		if (rest) {
			e->fiber = (uint32_t)__builtin_ctz(rest);
			e->known = false;
			return true;
		}
		dpor.length--;
	}
	return lab_stack_next(&stack, 0);
}

/* True: the search has ended. If not, it is at the next execution. */
static bool search(struct lab_hunt *h)
{
	bool go_on = true, more = true;

	while (go_on && more) {
		again();
		lab_shared_grew = false;
		lab_run_once(&dpor_mode, LAB_UNLIMITED);
		if (lab_shared_grew) {
			dpor.length = stack.length = 0;
			lab_hunt_restart(h, LAB_UNLIMITED);
			go_on = !lab_hunt_superseded(h);
			continue;
		}
		if (dpor.depth != dpor.length || !lab_stack_taken(&stack))
			lab_hunt_cut_short();
		if (lab_run.verdict.outcome != LAB_ABANDONED)
			find_pending_races();
		go_on = lab_hunt_account(h, &dpor_mode, LAB_UNLIMITED, again);
		more = next();
	}
	return !more;
}

/* Of each event what cannot be found out by making it again. */
struct kept {
	uint8_t fiber, unused;
	uint16_t enabled, backtrack, done, sleep;
	uint16_t yielded;
	uint32_t choices;
};
static struct kept kept[LAB_STEPS_MAX + 1];

static void save(struct lab_hunt *h)
{
	const struct lab_part parts[] = { { &dpor.length, sizeof(dpor.length) },
					  { &stack.length, sizeof(stack.length) },
					  { stack.at, sizeof(stack.at) },
					  { kept, dpor.length * sizeof(kept[0]) } };

	for (uint32_t i = 0; i < dpor.length; i++) {
		const struct event *const e = &dpor.event[i];

		kept[i] = (struct kept){ .fiber = (uint8_t)e->fiber,
					 .enabled = (uint16_t)e->enabled,
					 .backtrack = (uint16_t)e->backtrack,
					 .done = (uint16_t)e->done,
					 .sleep = (uint16_t)e->sleep,
					 .yielded = (uint16_t)e->yielded,
					 .choices = e->choices };
	}
	lab_hunt_save(h, parts, 4);
}

static bool resume(struct lab_hunt *h)
{
	const struct lab_part parts[] = { { &dpor.length, sizeof(dpor.length) },
					  { &stack.length, sizeof(stack.length) },
					  { stack.at, sizeof(stack.at) },
					  { kept, sizeof(kept) } };

	dpor.length = stack.length = 0;
	if (!lab_hunt_resume(h, parts, 4)) {
		dpor.length = stack.length = 0;
		return false;
	}
	lab_stack_read(&stack);
	for (uint32_t i = 0; i < dpor.length; i++) {
		dpor.event[i] = (struct event){ .fiber = kept[i].fiber,
						.enabled = kept[i].enabled,
						.backtrack = kept[i].backtrack,
						.done = kept[i].done,
						.sleep = kept[i].sleep,
						.yielded = kept[i].yielded,
						.choices = kept[i].choices };
	}
	return true;
}

void lab_search_all(const struct lab_config *config, const struct lab_limits *limits, bool reduce, struct lab_result *out)
{
	struct lab_hunt h;

	if (!reduce || config->weak) {
		lab_search_unreduced(config, limits, out);
		return;
	}
	if (!lab_hunt_begin(&h, "reduced", config, limits, out))
		return;
	if (!resume(&h))
		lab_hunt_restart(&h, LAB_UNLIMITED);
	out->exhaustive = search(&h) && !lab_hunt_stops_at_loss(&h);
	out->bound = UINT32_MAX;
	if (out->exhaustive || lab_hunt_stops_at_loss(&h))
		lab_hunt_forget(&h);
	else
		save(&h);
	lab_hunt_end(&h);
}
