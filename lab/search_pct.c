/* SPDX-License-Identifier: MIT */
/*
 * search_pct.c: probabilistic concurrency testing (Burckhardt et al. 2010), for scenarios with too many schedules. Fibers have
 * random priorities and the highest that can run does; at depth - 1 random operations the running fiber falls below all others.
 * A mistake that takes d such changes in a program of n fibers and k operations is found by a run with a chance of at least
 * 1 / (n * k^(d-1)). Other choices are made at random too. Run r of a seed is the same on every machine.
 */
#include <string.h>

#include "lab/hunt.h"

#define DEPTH_MAX 16u
#define PRIORITY_FIRST (UINT32_C(1) << 30) /* room to fall, once an operation at most */
#define ODD_CHANCE 8u /* one in so many choices is not the usual one */

static struct {
	uint64_t state, start;       /* of the generator; at the beginning of this execution */
	uint32_t priority[LAB_FIBERS], lowest;
	uint32_t change_at[DEPTH_MAX], changes;
	uint32_t decisions, decisions_max; /* of this execution; of the longest so far */
	uint32_t max_at_start;
} pct;

static uint32_t draw(uint32_t n)
{
	pct.state += UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)((lab_mix(pct.state) >> 32) * n >> 32);
}

static void shuffle_priorities(uint32_t depth)
{
	for (uint32_t i = 0; i < LAB_FIBERS; i++)
		pct.priority[i] = PRIORITY_FIRST + i;
	for (uint32_t i = LAB_FIBERS - 1; i > 0; i--) {
		const uint32_t k = draw(i + 1), p = pct.priority[i];

		pct.priority[i] = pct.priority[k];
		pct.priority[k] = p;
	}
	pct.lowest = PRIORITY_FIRST;
	pct.changes = depth - 1;
	for (uint32_t i = 0; i < pct.changes; i++)
		pct.change_at[i] = 1 + draw(pct.max_at_start);
	pct.decisions = 0;
}

static uint32_t highest(uint32_t candidates)
{
	uint32_t best = (uint32_t)__builtin_ctz(candidates);

	for (uint32_t rest = candidates; rest; rest &= rest - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(rest);

		if (pct.priority[i] > pct.priority[best])
			best = i;
	}
	return best;
}

/* Below all; two that yield in turn thus pass the processor round. */
static void fall(uint32_t fiber)
{
	pct.priority[fiber] = --pct.lowest;
}

static uint32_t pct_pick(uint32_t candidates, bool on)
{
	const uint32_t self = lab_run.now;
	uint32_t fiber;

	if (lab_buffered && (!candidates || draw(ODD_CHANCE) == 0)) {
		fiber = (uint32_t)__builtin_ctz(lab_buffered);
		return LAB_FLUSH(fiber, draw(lab_flushable(fiber)));
	}
	pct.decisions++;
	for (uint32_t i = 0; i < pct.changes; i++) {
		if (pct.change_at[i] == pct.decisions && on)
			fall(self);
	}
	if (self && !on && lab_run.fiber[self].op.kind == LAB_OP_YIELD)
		fall(self);
	return highest(candidates);
}

static uint32_t pct_choose(enum lab_choice_kind kind, uint32_t n)
{
	if (kind == LAB_CHOICE_DATA)
		return draw(n);
	return draw(ODD_CHANCE) ? 0 : 1 + draw(n - 1);
}

static const struct lab_mode pct_mode = { .pick = pct_pick, .choose = pct_choose };

static uint32_t depth_now;

static void begin_run(void)
{
	pct.state = pct.start;
	shuffle_priorities(depth_now);
}

void lab_search_pct(const struct lab_config *config, const struct lab_limits *limits, uint64_t seed, uint32_t depth,
		    uint64_t runs, struct lab_result *out)
{
	struct lab_hunt h;
	bool more = true;

	if (!lab_hunt_begin(&h, "random", config, limits, out))
		return;
	lab_hunt_restart(&h, LAB_UNLIMITED);
	depth_now = depth == 0 ? 1 : depth > DEPTH_MAX ? DEPTH_MAX : depth;
	memset(&pct, 0, sizeof(pct));
	pct.decisions_max = 1;
	for (uint64_t run = 0; run < runs && more; run++) {
		pct.start = lab_mix(seed + UINT64_C(0x632be59bd9b4e019) * (run + 1));
		pct.max_at_start = pct.decisions_max;
		begin_run();
		lab_shared_grew = false;
		lab_run_once(&pct_mode, LAB_UNLIMITED);
		if (pct.decisions > pct.decisions_max)
			pct.decisions_max = pct.decisions;
		if (lab_shared_grew) {
			run--; /* once more, now that these words count */
			more = !lab_hunt_superseded(&h);
			continue;
		}
		more = lab_hunt_account(&h, &pct_mode, LAB_UNLIMITED, begin_run);
	}
	out->bound = UINT32_MAX;
	lab_hunt_end(&h);
}
