/* SPDX-License-Identifier: MIT */
/*
 * plan_aarch64.h: the same on aarch64, where every instruction has four bytes and an address that is a multiple of four. So a
 * jump, which has four bytes too, covers one instruction and no boundary, and lies in one page:
 *
 *   14 .. .. ..   b trampoline          instead of the first instruction
 *   d4000001      svc #0                                     a thread here goes on as before
 *
 * bti stays where it is, and what comes behind it is covered. paciasp is covered although it is a landing pad as well: what
 * stands before the jump would be executed before the hook, which would return to a signed address. In the trampoline it signs
 * what it would have signed, with the same stack pointer. That pages with jumps are no longer checked for landing pads follows
 * from the way they are mapped (port/text.h).
 *
 * What depends on where it stands is rewritten for the trampoline: adr, adrp, loads of literals, conditional branches.
 */
#ifndef MONITORS_PLAN_AARCH64_H
#define MONITORS_PLAN_AARCH64_H

#include "monitors/plan.h"

#define PLAN_INSN 4u

enum insn_kind {
	INSN_PLAIN,       /* the same wherever it stands */
	INSN_ADDRESS,     /* adr, adrp: the address, into `reg` */
	INSN_LOAD,        /* of a literal at the address: as INSN_PLAIN from [address] */
	INSN_CONDITIONAL, /* b.cond, cbz, cbnz, tbz, tbnz: perhaps to the address */
	INSN_OTHER,       /* not to be moved */
};

struct insn {
	enum insn_kind kind;
	unsigned reg;
	uint64_t address; /* what it refers to */
};

/* The instruction word that stands at address `at`. */
struct insn plan_decode(uint32_t word, uint64_t at);

#endif
