/* SPDX-License-Identifier: MIT */
/*
 * plan.h: where in a function's first bytes a jump can be put while threads run in it, and be taken out again. Why it is safe
 * depends on the instructions: plan_x86_64.h, plan_aarch64.h.
 */
#ifndef MONITORS_PLAN_H
#define MONITORS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_BEFORE 16u  /* bytes before the entry that are looked at */
#define PLAN_AFTER 144u  /* bytes from the entry on */
#define PLAN_JUMP_MAX 5u /* bytes that a jump has at most, and that one in a landing place has */

struct plan {
	int jump_at;       /* from the entry: 0, or behind a landing pad of the processor's (endbr64, bti) and a prefix */
	unsigned jump_len; /* what is written there */
	int landing;       /* from the entry: where a jump too short to get there is led on. 0: it is not */
	bool keep_landing; /* not to be restored */
	unsigned moved;    /* length of the instruction at jump_at that the trampoline executes */
	int rip_disp;      /* x86-64: where in it a displacement from the instruction pointer is, or -1 */
	unsigned prefix;   /* x86-64: bytes of code right before jump_at that the trampoline takes back and does again */
	uint8_t undo[10];  /* what takes them back, undo_len bytes */
	unsigned undo_len;
};

/*
 * entry points at the function; PLAN_BEFORE bytes before it and PLAN_AFTER from it on are readable.
 * -EBUSY: it begins with a jump or a breakpoint, which no compiler puts there. -EOPNOTSUPP: no safe place found.
 */
int plan_patch(const uint8_t *entry, struct plan *plan);

/*
 * A jump that somebody else has put at the entry. 0: plan says where ours can go, over its first instruction, and *leads_to
 * where
 * it leads: on behind our hook. The instructions that follow the first stay as they are, for threads that have executed that
 * one.
 * -EBUSY: not of a kind that this knows, or too short; *leads_to is 0 if it cannot be told. -ENOENT: no jump.
 */
int plan_foreign(const uint8_t *entry, struct plan *plan, uintptr_t *leads_to);

#endif
