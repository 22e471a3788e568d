/* SPDX-License-Identifier: MIT */
/*
 * search_bound.c: every schedule with at most so many preemptions, for 0, 1, 2, ...: the simplest counterexample comes first.
 * Without a bound it is every schedule there is, which the reduced search is checked against.
 *
 * A decision is on the stack only if there is one: while the running fiber can go on and no preemption is left, it does.
 */
#include "lab/hunt.h"

bool lab_flush_anywhere;

static struct lab_stack stack;
static uint32_t decided; /* whose turn it will be, while flushes before it are being decided; LAB_NOBODY */

/* Few bits; without an instruction for it the compiler would call a function. */
static inline uint32_t count(uint32_t mask)
{
	uint32_t n = 0;

	for (; mask; mask &= mask - 1)
		n++;
	return n;
}

/* The i-th set bit. */
static uint32_t nth(uint32_t mask, uint32_t i)
{
	while (i--)
		mask &= mask - 1;
	return (uint32_t)__builtin_ctz(mask);
}

/* The alternatives are, in this order: the running fiber if it is on, the fibers after it, those before it, flushes. */
static uint32_t fiber_alternative(uint32_t candidates, bool on, uint32_t i)
{
	const uint32_t self = lab_run.now;
	const uint32_t later = candidates & (UINT32_MAX << self << 1), before = candidates & ((UINT32_C(1) << self) - 1);
	const uint32_t n = count(later);
	const uint32_t own = candidates >> self & 1;

	if (on) {
		if (i == 0)
			return self;
		i--;
	}
	if (i < n)
		return nth(later, i);
	i -= n;
	if (i < count(before))
		return nth(before, i);
	return own ? self : LAB_NOBODY;
}

/*
 * Flushes are tried only before an operation to which they matter: a store that stays in its buffer until then has done the
 * same as one that left it earlier.
 */
static uint32_t flushers(uint32_t next)
{
	uint32_t mask = lab_buffered & ~(UINT32_C(1) << next);

	for (uint32_t rest = mask; rest && !lab_flush_anywhere; rest &= rest - 1) {
		const uint32_t fiber = (uint32_t)__builtin_ctz(rest);

		if (!lab_flush_matters(fiber, next, &lab_run.fiber[next].op))
			mask &= ~(UINT32_C(1) << fiber);
	}
	return lab_flush_anywhere ? lab_buffered : mask;
}

static uint32_t flush_alternative(uint32_t mask, uint32_t i)
{
	for (; mask; mask &= mask - 1) {
		const uint32_t fiber = (uint32_t)__builtin_ctz(mask), n = lab_flushable(fiber);

		if (i < n)
			return LAB_FLUSH(fiber, i);
		i -= n;
	}
	return LAB_NOBODY;
}

static uint32_t flush_count(uint32_t mask)
{
	uint32_t n = 0;

	for (; mask; mask &= mask - 1)
		n += lab_flushable((uint32_t)__builtin_ctz(mask));
	return n;
}

static uint32_t pick_fiber(uint32_t candidates, bool on)
{
	const bool stays = on && lab_run.left[LAB_CHOICE_FIBER] == 0;
	const uint32_t n = stays ? 1 : count(candidates);

	return fiber_alternative(candidates, on, n < 2 ? 0 : lab_stack_take(&stack, LAB_CHOICE_FIBER, lab_run.now, n));
}

/* First whose turn it is; then, called again after each flush, whether one more store goes to memory before that turn. */
static uint32_t bound_pick(uint32_t candidates, bool on)
{
	uint32_t mask, n, i, fiber;

	if (!candidates)
		return flush_alternative(lab_buffered, 0); /* nobody can run: they leave, whatever the order */
	if (decided == LAB_NOBODY) {
		decided = pick_fiber(candidates, on);
		if (lab_run.over)
			return decided;
	}
	mask = lab_buffered ? flushers(decided) : 0;
	n = mask ? flush_count(mask) : 0;
	i = n ? lab_stack_take(&stack, LAB_CHOICE_FIBER, lab_run.now, n + 1) : 0;
	if (i)
		return flush_alternative(mask, i - 1);
	fiber = decided;
	decided = LAB_NOBODY;
	return fiber;
}

static uint32_t bound_choose(enum lab_choice_kind kind, uint32_t n)
{
	return lab_stack_take(&stack, kind, lab_run.now, n);
}

static const struct lab_mode bound_mode = { .pick = bound_pick, .choose = bound_choose };

static void again(void)
{
	lab_stack_rewind(&stack);
	decided = LAB_NOBODY;
}

/* True: every schedule of this bound has been tried. If not, the stack is at the next one. */
static bool search_one(struct lab_hunt *h, uint32_t bound)
{
	bool go_on = true, more = true;

	while (go_on && more) {
		again();
		lab_shared_grew = false;
		lab_run_once(&bound_mode, bound);
		if (lab_shared_grew) {
			/* What this one found will be found again: more decisions take no schedule away. */
			stack.length = 0;
			lab_hunt_restart(h, bound);
			go_on = !lab_hunt_superseded(h);
			continue;
		}
		if (!lab_stack_taken(&stack))
			lab_hunt_cut_short();
		go_on = lab_hunt_account(h, &bound_mode, bound, again);
		more = lab_stack_next(&stack, 0);
	}
	return !more;
}

static void save(struct lab_hunt *h)
{
	const struct lab_part parts[] = { { &stack.length, sizeof(stack.length) },
					  { stack.at, stack.length * sizeof(stack.at[0]) } };

	lab_hunt_save(h, parts, 2);
}

static bool resume(struct lab_hunt *h)
{
	const struct lab_part parts[] = { { &stack.length, sizeof(stack.length) }, { stack.at, sizeof(stack.at) } };

	stack.length = 0;
	if (lab_hunt_resume(h, parts, 2)) {
		lab_stack_read(&stack);
		return true;
	}
	stack.length = 0;
	return false;
}

void lab_search_bound(const struct lab_config *config, const struct lab_limits *limits, struct lab_result *out)
{
	struct lab_hunt h;
	bool ended = false;

	if (!lab_hunt_begin(&h, "bound", config, limits, out))
		return;
	if (!resume(&h))
		lab_hunt_restart(&h, 0);
	while (!h.stopped && !ended) {
		if (!search_one(&h, h.bound) || lab_hunt_stops_at_loss(&h))
			break;
		out->bound = h.bound;
		ended = h.bound >= config->bound;
		if (!ended)
			lab_hunt_restart(&h, h.bound + 1);
	}
	out->exhaustive = ended;
	if (ended || lab_hunt_stops_at_loss(&h))
		lab_hunt_forget(&h);
	else
		save(&h);
	lab_hunt_end(&h);
}

void lab_search_unreduced(const struct lab_config *config, const struct lab_limits *limits, struct lab_result *out)
{
	struct lab_hunt h;

	if (!lab_hunt_begin(&h, "unreduced", config, limits, out))
		return;
	if (!resume(&h))
		lab_hunt_restart(&h, LAB_UNLIMITED);
	out->exhaustive = search_one(&h, LAB_UNLIMITED) && !lab_hunt_stops_at_loss(&h);
	out->bound = UINT32_MAX;
	if (out->exhaustive || lab_hunt_stops_at_loss(&h))
		lab_hunt_forget(&h);
	else
		save(&h);
	lab_hunt_end(&h);
}
