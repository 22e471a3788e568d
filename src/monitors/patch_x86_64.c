/* SPDX-License-Identifier: MIT */
/*
 * patch_x86_64.c: jumps with a displacement of 32 bits, and trampolines within its reach:
 *
 *   +0   [undo]                              the prefix is taken back, if there is one
 *        ff 25 00000000 <hook>               where the patched entry jumps to
 *   +24  [prefix] <the covered instruction>  the original; what it has relative to its own address is adjusted
 *        e9 <behind it>
 */
#include "monitors/patch_arch.h"

#include <string.h>

#include "monitors/plan_x86_64.h"

static void put_rel32(uint8_t *to, const uint8_t *next_insn, const uint8_t *target)
{
	int32_t rel = (int32_t)(target - next_insn);

	memcpy(to, &rel, sizeof(rel));
}

void patch_arch_jump(uint8_t *bytes, size_t len, const uint8_t *at, const uint8_t *target)
{
	if (len < PLAN_JUMP) {
		bytes[0] = 0xeb;
		bytes[1] = (uint8_t)(target - (at + 2));
		return;
	}
	bytes[0] = 0xe9;
	put_rel32(bytes + 1, at + PLAN_JUMP, target);
}

static void jump_indirect_to(uint8_t *image, uint64_t address)
{
	static const uint8_t jump_indirect[] = {0xff, 0x25, 0, 0, 0, 0};

	memcpy(image, jump_indirect, sizeof(jump_indirect));
	memcpy(image + sizeof(jump_indirect), &address, sizeof(address));
}

void patch_arch_trampoline(uint8_t *image, const uint8_t *place, const uint8_t *from, const struct plan *plan,
			   void (*hook)(void))
{
	uint8_t *moved = image + TRAMPOLINE_ORIGINAL;
	const uint8_t *moved_place = place + TRAMPOLINE_ORIGINAL;

	if (plan->prefix) {
		memcpy(image, plan->undo, plan->undo_len);
		image += plan->undo_len;
		memcpy(moved, from - plan->prefix, plan->prefix);
		moved += plan->prefix;
		moved_place += plan->prefix;
	}
	jump_indirect_to(image, (uintptr_t)hook);
	memcpy(moved, from, plan->moved);
	if (plan->rip_disp >= 0) {
		int32_t disp;

		memcpy(&disp, from + plan->rip_disp, sizeof(disp));
		put_rel32(moved + plan->rip_disp, moved_place + plan->moved, from + plan->moved + disp);
	}
	patch_arch_jump(moved + plan->moved, PLAN_JUMP, moved_place + plan->moved, from + plan->moved);
}

void patch_arch_chained(uint8_t *image, void (*hook)(void), uintptr_t leads_to)
{
	jump_indirect_to(image, (uintptr_t)hook);
	jump_indirect_to(image + TRAMPOLINE_ORIGINAL, leads_to);
}

void patch_arch_fill(uint8_t *image, size_t len)
{
	memset(image, 0xcc, len); /* int3 */
}
