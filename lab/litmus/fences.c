/* SPDX-License-Identifier: MIT */
/* fences.c: each thread writes one word and reads the other's (SB). Can both read what was there before? */
#include "lab/litmus/programs.h"

THREAD(rlx_a, STORE_RLX(x, 1); r[0] = LOAD_RLX(y);)
THREAD(rlx_b, STORE_RLX(y, 1); r[1] = LOAD_RLX(x);)
THREAD(rel_a, STORE_REL(x, 1); r[0] = LOAD_ACQ(y);)
THREAD(rel_b, STORE_REL(y, 1); r[1] = LOAD_ACQ(x);)
THREAD(fence_a, STORE_RLX(x, 1); FENCE; r[0] = LOAD_RLX(y);)
THREAD(fence_b, STORE_RLX(y, 1); FENCE; r[1] = LOAD_RLX(x);)
THREAD(rmw_a, ADD(x, 1); r[0] = LOAD_RLX(y);)
THREAD(rmw_b, ADD(y, 1); r[1] = LOAD_RLX(x);)
THREAD(light_a, STORE_RLX(x, 1); LIGHT; r[0] = LOAD_RLX(y);)
THREAD(light_b, STORE_RLX(y, 1); LIGHT; r[1] = LOAD_RLX(x);)
THREAD(heavy_b, STORE_RLX(y, 1); HEAVY; r[1] = LOAD_RLX(x);)
THREAD(heavy_a, STORE_RLX(x, 1); HEAVY; r[0] = LOAD_RLX(y);)
THREAD(locked_a, STORE_RLX(x, 1); LOCK(0); UNLOCK(0); r[0] = LOAD_RLX(y);)
THREAD(locked_b, STORE_RLX(y, 1); LOCK(0); UNLOCK(0); r[1] = LOAD_RLX(x);)
THREAD(locked_other_b, STORE_RLX(y, 1); LOCK(1); UNLOCK(1); r[1] = LOAD_RLX(x);)

/* The fence that stands elsewhere: RWC, a third thread reads. */
THREAD(write_x, STORE_REL(x, 1);)
THREAD(read_x_fence_y, r[0] = LOAD_ACQ(x); FENCE; r[1] = LOAD_RLX(y);)
THREAD(write_y_fence_x, STORE_RLX(y, 1); FENCE; r[2] = LOAD_RLX(x);)

#define BOTH "00 01 10 11"
#define NOT_BOTH "01 10 11"

const struct litmus litmus_fences[] = {
	{"SB", "both may", {rlx_a, rlx_b}, NULL, BOTH, NOT_BOTH, 0},
	{"SB+rel+acq", "release and acquire do not help", {rel_a, rel_b}, NULL, BOTH, NOT_BOTH, 0},
	{"SB+fences", "full fences do", {fence_a, fence_b}, NULL, NOT_BOTH, NULL, 0},
	{"SB+fence", "one does not", {fence_a, rlx_b}, NULL, BOTH, NOT_BOTH, 0},
	{"SB+rmws", "full read-modify-writes are fences", {rmw_a, rmw_b}, NULL, NOT_BOTH, NULL, 0},
	{"SB+light+heavy", "a light fence is one against a heavy barrier", {light_a, heavy_b}, NULL, NOT_BOTH, NULL, 0},
	{"SB+light+light", "two light ones are nothing", {light_a, light_b}, NULL, BOTH, NOT_BOTH, 0},
	{"SB+none+heavy", "and a heavy barrier alone is nothing to rely on", {rlx_a, heavy_b}, NULL, BOTH, NOT_BOTH, 0},
	{"SB+heavies", "two heavy ones are full fences", {heavy_a, heavy_b}, NULL, NOT_BOTH, NULL, 0},
	{"SB+lock",
	 "each passes the same lock: whoever is second sees the first",
	 {locked_a, locked_b},
	 NULL,
	 NOT_BOTH,
	 NULL,
	 0},
	{"SB+locks", "different locks order nothing", {locked_a, locked_other_b}, NULL, BOTH, NOT_BOTH, 0},
	{"RWC+fences",
	 "a reader with a fence agrees with a writer with one",
	 {write_x, read_x_fence_y, write_y_fence_x},
	 NULL,
	 "000 001 010 011 101 110 111",
	 NULL,
	 0},
	{NULL, NULL, {NULL}, NULL, NULL, NULL, 0},
};
