/* SPDX-License-Identifier: MIT */
/*
 * patch_aarch64.c: direct branches, which reach 128 MiB, and trampolines:
 *
 *   +0    ldr x16, 1f ; br x16 ; 1: <hook>     where the patched entry jumps to
 *   +24   <the covered instruction>            the original
 *         b <behind it>
 *
 * x16 and x17 are free between a caller and a function (veneers of the linker's use them), and a branch by way of one of them
 * may arrive at any landing pad of a function. On behind the covered instruction it goes by a direct branch, which needs none.
 */
#include "monitors/patch_arch.h"

#include <string.h>

#include "monitors/plan_aarch64.h"

/* Writes one instruction after the other, and knows where the next one will stand. */
struct writer {
	uint8_t *to;
	uint64_t at;
};

static void put(struct writer *w, uint32_t word)
{
	memcpy(w->to, &word, sizeof(word));
	w->to += sizeof(word);
	w->at += sizeof(word);
}

static void put_address(struct writer *w, uint64_t address)
{
	memcpy(w->to, &address, sizeof(address));
	w->to += sizeof(address);
	w->at += sizeof(address);
}

static uint32_t branch(uint64_t from, uint64_t to)
{
	return 0x14000000u | ((uint32_t)((to - from) >> 2) & 0x03ffffffu);
}

static void put_branch(struct writer *w, uint64_t to)
{
	put(w, branch(w->at, to));
}

/* The 64 bits that stand `words` instructions further on, into reg. */
static void put_load_ahead(struct writer *w, unsigned reg, uint32_t words)
{
	put(w, 0x58000000u | words << 5 | reg);
}

static void put_far_jump(struct writer *w, uint64_t to)
{
	put_load_ahead(w, 16, 2);
	put(w, 0xd61f0200u); /* br x16 */
	put_address(w, to);
}

void patch_arch_jump(uint8_t *bytes, size_t len, const uint8_t *at, const uint8_t *target)
{
	uint32_t word = branch((uintptr_t)at, (uintptr_t)target);

	memcpy(bytes, &word, len);
}

/* ldr w, x and ldrsw of a literal: the same from [x17]. */
static uint32_t load_from_x17(uint32_t word)
{
	static const uint32_t loads[] = {0xb9400000u, 0xf9400000u, 0xb9800000u};

	return loads[word >> 30] | 17u << 5 | (word & 31);
}

/* The same condition, and the instruction after the next as the target. */
static uint32_t skip_one(uint32_t word)
{
	uint32_t field = (word & 0x7e000000u) == 0x36000000u ? 0x3fffu << 5 : 0x7ffffu << 5;

	return (word & ~field) | 2u << 5;
}

static void put_moved(struct writer *w, uint32_t word, uint64_t from)
{
	const struct insn insn = plan_decode(word, from);
	const uint64_t behind = from + PLAN_INSN;

	switch (insn.kind) {
	case INSN_ADDRESS: /* ldr reg, 1f ; b behind ; 1: address */
		put_load_ahead(w, insn.reg, 2);
		put_branch(w, behind);
		put_address(w, insn.address);
		return;
	case INSN_LOAD: /* ldr x17, 1f ; ldr reg, [x17] ; b behind ; nop ; 1: address */
		put_load_ahead(w, 17, 4);
		put(w, load_from_x17(word));
		put_branch(w, behind);
		put(w, 0xd503201fu);
		put_address(w, insn.address);
		return;
	case INSN_CONDITIONAL: /* b.cond 1f ; b behind ; 1: b address */
		put(w, skip_one(word));
		put_branch(w, behind);
		put_branch(w, insn.address);
		return;
	default:
		put(w, word);
		put_branch(w, behind);
	}
}

void patch_arch_trampoline(uint8_t *image, const uint8_t *place, const uint8_t *from, const struct plan *plan,
			   void (*hook)(void))
{
	struct writer w = {.to = image, .at = (uintptr_t)place};
	uint32_t word;

	put_far_jump(&w, (uintptr_t)hook);
	memcpy(&word, from, plan->moved);
	w.to = image + TRAMPOLINE_ORIGINAL;
	w.at = (uintptr_t)place + TRAMPOLINE_ORIGINAL;
	put_moved(&w, word, (uintptr_t)from);
}

void patch_arch_chained(uint8_t *image, void (*hook)(void), uintptr_t leads_to)
{
	struct writer w = {.to = image};

	put_far_jump(&w, (uintptr_t)hook);
	w.to = image + TRAMPOLINE_ORIGINAL;
	put_far_jump(&w, leads_to);
}

void patch_arch_fill(uint8_t *image, size_t len)
{
	static const uint32_t breakpoint = 0xd4200000u;

	for (size_t at = 0; at + sizeof(breakpoint) <= len; at += sizeof(breakpoint))
		memcpy(image + at, &breakpoint, sizeof(breakpoint));
}
