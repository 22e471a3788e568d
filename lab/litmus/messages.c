/* SPDX-License-Identifier: MIT */
/*
 * messages.c: one thread writes data and then a flag; does who sees the flag see the data? And does who sees two writes agree
 * on which came first?
 */
#include "lab/litmus/programs.h"

/* ---- MP ---- */

THREAD(send_rlx, STORE_RLX(x, 1); STORE_RLX(y, 1);)
THREAD(send_rel, STORE_RLX(x, 1); STORE_REL(y, 1);)
THREAD(send_fence, STORE_RLX(x, 1); FENCE; STORE_RLX(y, 1);)
THREAD(receive_rlx, r[0] = LOAD_RLX(y); r[1] = LOAD_RLX(x);)
THREAD(receive_acq, r[0] = LOAD_ACQ(y); r[1] = LOAD_RLX(x);)
THREAD(receive_fence, r[0] = LOAD_RLX(y); FENCE; r[1] = LOAD_RLX(x);)

/* ---- through others ---- */

THREAD(pass_on, r[2] = LOAD_ACQ(y); STORE_REL(z, 1);)
THREAD(receive_z, r[0] = LOAD_ACQ(z); r[1] = LOAD_RLX(x);)

/* The value of y says who wrote it: 1 the sender, 3 the adder on top of that, 2 the adder alone. */
THREAD(add_in_between, ADD_RLX(y, 2);)
THREAD(send_and_write_on, STORE_RLX(x, 1); STORE_REL(y, 1); STORE_RLX(y, 3);)

/* ---- LB ---- */

THREAD(lb_a, r[0] = LOAD_RLX(x); STORE_RLX(y, 1);)
THREAD(lb_b, r[1] = LOAD_RLX(y); STORE_RLX(x, 1);)

/* ---- IRIW ---- */

THREAD(write_x, STORE_REL(x, 1);)
THREAD(write_y, STORE_REL(y, 1);)
THREAD(read_x_y, r[0] = LOAD_ACQ(x); r[1] = LOAD_ACQ(y);)
THREAD(read_y_x, r[2] = LOAD_ACQ(y); r[3] = LOAD_ACQ(x);)
THREAD(read_x_fence_y, r[0] = LOAD_ACQ(x); FENCE; r[1] = LOAD_ACQ(y);)
THREAD(read_y_fence_x, r[2] = LOAD_ACQ(y); FENCE; r[3] = LOAD_ACQ(x);)

/* ---- locks ---- */

THREAD(write_locked, LOCK(0); STORE_RLX(x, 1); STORE_RLX(y, 1); UNLOCK(0);)
THREAD(read_locked, LOCK(0); r[0] = LOAD_RLX(x); r[1] = LOAD_RLX(y); UNLOCK(0);)

#define ALL_2 "00 01 10 11"
#define IRIW_BUT_1010 "0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1011 1100 1101 1110 1111"
#define IRIW_ALL "0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1010 1011 1100 1101 1110 1111"

const struct litmus litmus_messages[] = {
	{"MP", "nothing orders the data", {send_rlx, receive_rlx}, NULL, ALL_2, "00 01 11", 0},
	{"MP+rel+acq", "release and acquire do", {send_rel, receive_acq}, NULL, "00 01 11", NULL, 0},
	{"MP+rel+rlx", "a release that nobody acquires does not", {send_rel, receive_rlx}, NULL, ALL_2, "00 01 11", 0},
	{"MP+rlx+acq", "nor an acquire of nothing released", {send_rlx, receive_acq}, NULL, ALL_2, "00 01 11", 0},
	{"MP+fences", "fences make relaxed ones do", {send_fence, receive_fence}, NULL, "00 01 11", NULL, 0},
	{"MP+fence+rlx", "one of them does not", {send_fence, receive_rlx}, NULL, ALL_2, "00 01 11", 0},
	{"MP+rel+fence", "a fence acquires what was read before it", {send_rel, receive_fence}, NULL, "00 01 11", NULL, 0},
	{"ISA2",
	 "what is acquired is passed on: r2 r1 of who got it through a third",
	 {send_rel, pass_on, receive_z},
	 NULL,
	 "000 001 010 011 100 110 111",
	 NULL,
	 0},
	{"relseq+rmw",
	 "who reads the addition on top of a release acquires that",
	 {send_rel, add_in_between, receive_acq},
	 NULL,
	 "00 01 11 20 21 31",
	 NULL,
	 0},
	{"relseq+store",
	 "who reads a store on top of it does not (C++20)",
	 {send_and_write_on, receive_acq},
	 NULL,
	 "00 01 11 30 31",
	 "00 01 11 31",
	 0},
	{"LB",
	 "11 would need loads that return what is not yet stored: allowed by C11, forbidden here",
	 {lb_a, lb_b},
	 NULL,
	 "00 01 10",
	 NULL,
	 0},
	{"IRIW+rel+acq",
	 "two readers need not agree on what came first",
	 {write_x, write_y, read_x_y, read_y_x},
	 NULL,
	 IRIW_ALL,
	 IRIW_BUT_1010,
	 3},
	{"IRIW+fences",
	 "fences between the reads make them",
	 {write_x, write_y, read_x_fence_y, read_y_fence_x},
	 NULL,
	 IRIW_BUT_1010,
	 NULL,
	 3},
	{"lock", "both or none", {write_locked, read_locked}, NULL, "00 11", NULL, 0},
	{NULL, NULL, {NULL}, NULL, NULL, NULL, 0},
};
