/* SPDX-License-Identifier: MIT */
/*
 * plan_x86_64.h: where in a function's first bytes a jump can be put while threads run in it, and be taken out again.
 *
 * A thread that was preempted goes on at an instruction boundary of the code that it was in, whatever was done to the bytes
 * meanwhile. So a jump may cover one instruction and no boundary:
 *
 *   first instruction >= 5 bytes      e9 rel32 over it
 *     b8 0b 00 00 00  mov $11,%eax      e9 .. .. .. ..  jmp trampoline
 *     0f 05           syscall           0f 05                            a thread here goes on as before
 *
 *   shorter, 2 bytes at least         eb rel8 over its first two, to a landing place in padding that holds the e9 rel32
 *     66 2e 0f 1f 84 ..  (padding)      e9 .. .. .. ..  jmp trampoline
 *     41 89 ca        mov %ecx,%r10d    eb f6 ca        jmp landing
 *     41 f7 c1 ..     test ..           41 f7 c1 ..                      and here
 *
 *   neither can be done               a later instruction is covered, behind a prefix of pushes, subtractions from the stack
 *                                     pointer, and moves to registers that are scratch or pushed: the trampoline takes them
 *                                     back before the hook and does them again before the original
 *     55              push %rbp         55
 *     48 83 ec 68     sub $104,%rsp     48 83 ec 68                      somebody who is here has lowered it, as it must be
 *     48 89 54 24 40  mov %rdx,64(%rsp) e9 .. .. .. ..  jmp trampoline
 *
 * Not if a jump in the bytes that are looked at leads to that instruction: there a loop begins.
 *
 * What the jump covers is executed in the trampoline, which then jumps behind it. An endbr64 counts as such an instruction.
 *
 * The landing place is a single nop of 5 bytes or more right before the entry, with nothing but nops between it and the entry.
 * Then it may also be restored at any time: a thread about to execute the landing jump executes the nops instead, and
 * arrives at the entry. Where there is none, a nop behind the function's end serves (found by decoding from the entry, and
 * only behind a return or jump, so that nothing falls into it); such a one is left in place for good when the jump to it
 * is taken out. So is one behind a prefix: who executed the nops instead would do the prefix again.
 */
#ifndef MONITORS_PLAN_X86_64_H
#define MONITORS_PLAN_X86_64_H

#include "monitors/plan.h"

#define PLAN_JUMP 5u

struct insn {
	unsigned len;
	int rip_disp;   /* as in struct plan */
	bool relative;  /* its meaning depends on where it stands in another way */
	bool ends;      /* what follows it is not reached from it */
	bool nop;
};
/* False: not an instruction that this knows, or longer than avail. */
bool plan_decode(const uint8_t *at, size_t avail, struct insn *insn);

#endif
