/* SPDX-License-Identifier: MIT */
/* stores.c: one word's order (coherence), stores to two words, read-modify-writes. */
#include "lab/litmus/programs.h"

/* ---- one word ---- */

THREAD(write_1_2, STORE_RLX(x, 1); STORE_RLX(x, 2);)
THREAD(read_twice, r[0] = LOAD_RLX(x); r[1] = LOAD_RLX(x);)

THREAD(write_1, STORE_RLX(x, 1);)
THREAD(read_then_flag, r[0] = LOAD_RLX(x); STORE_REL(y, 1);)
THREAD(flag_then_read, r[1] = LOAD_ACQ(y); r[2] = LOAD_RLX(x);)

THREAD(read_once, r[1] = LOAD_RLX(x);)
FINALLY(end_0, r[0] = MEMORY(x);)

THREAD(read_write_1, r[0] = LOAD_RLX(x); STORE_RLX(x, 1);)
THREAD(write_2, STORE_RLX(x, 2);)
THREAD(write_1_read, STORE_RLX(x, 1); r[0] = LOAD_RLX(x);)
FINALLY(end_1, r[1] = MEMORY(x);)

/* ---- two words ---- */

THREAD(w22_a, STORE_RLX(x, 1); STORE_RLX(y, 2);)
THREAD(w22_b, STORE_RLX(y, 1); STORE_RLX(x, 2);)
THREAD(w22_rel_a, STORE_REL(x, 1); STORE_REL(y, 2);)
THREAD(w22_rel_b, STORE_REL(y, 1); STORE_REL(x, 2);)
THREAD(w22_fence_a, STORE_RLX(x, 1); FENCE; STORE_RLX(y, 2);)
THREAD(w22_fence_b, STORE_RLX(y, 1); FENCE; STORE_RLX(x, 2);)
FINALLY(end_xy, r[0] = MEMORY(x); r[1] = MEMORY(y);)

/* ---- read-modify-writes ---- */

THREAD(add_0, r[0] = ADD_RLX(x, 1);)
THREAD(add_1, r[1] = ADD_RLX(x, 1);)
THREAD(add_2, r[2] = ADD_RLX(x, 1);)
THREAD(cas_0, r[0] = CAS(x, 0, 1);)
THREAD(cas_1, r[1] = CAS(x, 0, 2);)
THREAD(add_beside_own, STORE_RLX(x, 1); r[0] = ADD_RLX(x, 1);)

const struct litmus litmus_stores[] = {
	{"CoRR", "two reads of one word go with its order", {write_1_2, read_twice}, NULL, "00 01 02 11 12 22", NULL, 0},
	{"CoRR+hb",
	 "the same of reads in two threads, one before the other",
	 {write_1, read_then_flag, flag_then_read},
	 NULL,
	 "000 001 010 011 100 101 111",
	 NULL,
	 0},
	{"CoWW", "two writes by one thread arrive in order", {write_1_2, read_once}, end_0, "20 21 22", NULL, 0},
	{"CoRW", "a write goes behind what its thread has read", {read_write_1, write_2}, end_1, "01 02 21", NULL, 0},
	{"CoWR", "a thread reads its own write or what came after it", {write_1_read, write_2}, end_1, "11 12 22", NULL, 0},
	{"2+2W", "stores to two words arrive in two orders", {w22_a, w22_b}, end_xy, "11 12 21 22", "12 21 22", 0},
	{"2+2W+rel",
	 "releases leave in order: 11 is allowed by C11, by no machine, and forbidden here",
	 {w22_rel_a, w22_rel_b},
	 end_xy,
	 "12 21 22",
	 NULL,
	 0},
	{"2+2W+fence", "a fence keeps them in order", {w22_fence_a, w22_fence_b}, end_xy, "12 21 22", NULL, 0},
	{"RMW", "no two read the same", {add_0, add_1, add_2}, NULL, "012 021 102 120 201 210", NULL, 0},
	{"CAS", "one of them", {cas_0, cas_1}, NULL, "01 10", NULL, 0},
	{"RMW+own", "an addition finds the thread's own store", {add_beside_own, write_2}, end_1, "12 23", NULL, 0},
	{NULL, NULL, {NULL}, NULL, NULL, NULL, 0},
};
