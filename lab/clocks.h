/* SPDX-License-Identifier: MIT */
/*
 * clocks.h: vector clocks, one component for each fiber.
 *
 * A fiber's own component goes up whenever others may learn of what it has done so far: after a release, a fence, an unlock. So
 * "clock c of fiber f" names all that f did up to that point, and whoever has a component of at least c for f comes after it.
 * Sixteen bits: a component goes up at most once an operation, and an execution has fewer operations than that.
 */
#ifndef LAB_CLOCKS_H
#define LAB_CLOCKS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lab/engine.h"

#define LAB_LANES 16u /* more than there are fibers, so that the loops below become two vector operations */
#define LAB_CLOCK_MAX INT16_MAX

_Static_assert(LAB_FIBERS <= LAB_LANES, "a lane for each fiber");

struct lab_clock {
	_Alignas(16) int16_t of[LAB_LANES];
};

static inline void lab_clock_zero(struct lab_clock *c)
{
	memset(c, 0, sizeof(*c));
}

static inline void lab_clock_join(struct lab_clock *to, const struct lab_clock *from)
{
	for (uint32_t i = 0; i < LAB_LANES; i++)
		to->of[i] = to->of[i] > from->of[i] ? to->of[i] : from->of[i];
}

/* Is any component of `first` reached by `c`? `first` holds for each fiber the clock from which on it knows of something. */
static inline bool lab_clock_knows(const struct lab_clock *c, const struct lab_clock *first)
{
	int16_t any = 0;

	for (uint32_t i = 0; i < LAB_LANES; i++)
		any |= (int16_t)(first->of[i] <= c->of[i] ? -1 : 0);
	return any != 0;
}

/* Two clocks go together everywhere. */
struct lab_time {
	struct lab_clock hb; /* happens-before: release and acquire, locks, spawn and join. Decides about data races */
	struct lab_clock
		seen; /* hb, and what full fences and heavy barriers add. Decides which stores a load may still return */
};

static inline void lab_time_join(struct lab_time *to, const struct lab_time *from)
{
	lab_clock_join(&to->hb, &from->hb);
	lab_clock_join(&to->seen, &from->seen);
}

#endif
