/* SPDX-License-Identifier: MIT */
#include "monitors/plan_aarch64.h"

#include <errno.h>
#include <string.h>

static uint32_t word_at(const uint8_t *at)
{
	uint32_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/* Bits [low, low + n) as a signed number. */
static int64_t field(uint32_t word, unsigned low, unsigned n)
{
	int64_t value = (word >> low) & ((UINT32_C(1) << n) - 1);

	return value >> (n - 1) ? value - ((int64_t)1 << n) : value;
}

static bool is_bti(uint32_t word)
{
	return (word & 0xffffff3fu) == 0xd503241fu;
}

static bool is_branch_by_register(uint32_t word) /* br, and its authenticating kinds */
{
	return (word & 0xfefff800u) == 0xd61f0800u || (word & 0xfffffc1fu) == 0xd61f0000u;
}

/* b, bl, svc, brk and their like, br, blr, ret, eret, and what is not allocated. */
static bool is_other(uint32_t word)
{
	return (word & 0x7c000000u) == 0x14000000u || (word & 0xff000000u) == 0xd4000000u ||
	       (word & 0xfe000000u) == 0xd6000000u || (word & 0x1e000000u) == 0;
}

static bool is_conditional(uint32_t word, int64_t *offset)
{
	bool wide = (word & 0xff000000u) == 0x54000000u /* b.cond */ || (word & 0x7e000000u) == 0x34000000u; /* cbz, cbnz */
	bool bit = (word & 0x7e000000u) == 0x36000000u;                                                      /* tbz, tbnz */

	*offset = 4 * (wide ? field(word, 5, 19) : field(word, 5, 14));
	return wide || bit;
}

static uint64_t address_of_adr(uint32_t word, uint64_t at)
{
	int64_t offset = field(word, 5, 19) * 4 + (int64_t)((word >> 29) & 3);

	return word >> 31 ? (at & ~UINT64_C(0xfff)) + (uint64_t)(offset * 4096) : at + (uint64_t)offset;
}

struct insn plan_decode(uint32_t word, uint64_t at)
{
	struct insn insn = {.kind = INSN_PLAIN, .reg = word & 31};
	int64_t offset;

	if ((word & 0x1f000000u) == 0x10000000u) {
		insn.kind = INSN_ADDRESS;
		insn.address = address_of_adr(word, at);
	} else if ((word & 0x3b000000u) == 0x18000000u) {
		/* Prefetches and the loads of vector registers are not what functions begin with. */
		insn.kind = (word & 0x04000000u) || word >> 30 == 3 ? INSN_OTHER : INSN_LOAD;
		insn.address = at + (uint64_t)(field(word, 5, 19) * 4);
	} else if (is_conditional(word, &offset)) {
		insn.kind = INSN_CONDITIONAL;
		insn.address = at + (uint64_t)offset;
	} else if (is_other(word)) {
		insn.kind = INSN_OTHER;
	}
	return insn;
}

/* An address is made in one register, and jumped to: movz movk .. br, adrp add br, ldr br. */
static bool jumps_by_register(const uint8_t *at)
{
	unsigned reg = word_at(at) & 31;

	for (unsigned i = 1; i < 6; i++) {
		uint32_t word = word_at(at + (size_t)i * PLAN_INSN);

		if (is_branch_by_register(word))
			return ((word >> 5) & 31) == reg;
		if ((word & 31) != reg || is_other(word))
			return false;
	}
	return false;
}

/* Somebody was here before. */
static bool is_foreign(const uint8_t *at)
{
	uint32_t word = word_at(at);

	return (word & 0xfc000000u) == 0x14000000u || (word & 0xffe0001fu) == 0xd4200000u /* brk */ ||
	       is_branch_by_register(word) || jumps_by_register(at);
}

int plan_patch(const uint8_t *entry, struct plan *plan)
{
	struct plan p = {.jump_at = is_bti(word_at(entry)) ? (int)PLAN_INSN : 0, .jump_len = PLAN_INSN, .moved = PLAN_INSN};
	const uint8_t *at = entry + p.jump_at;

	p.rip_disp = -1;
	if (is_foreign(at))
		return -EBUSY;
	if ((uintptr_t)at % PLAN_INSN || plan_decode(word_at(at), (uintptr_t)at).kind == INSN_OTHER)
		return -EOPNOTSUPP;
	*plan = p;
	return 0;
}

/* adrp reg, add reg, reg, or no add; and the branch. 0: it is made in another way. */
static uintptr_t address_in_page(const uint8_t *at)
{
	uint32_t word = word_at(at), next = word_at(at + PLAN_INSN), reg = word & 31;
	uintptr_t address = (uintptr_t)address_of_adr(word, (uintptr_t)at);

	if ((word & 0x9f000000u) != 0x90000000u)
		return 0;
	if (is_branch_by_register(next))
		return address;
	if ((next & 0xffc003ffu) != (0x91000000u | reg << 5 | reg) || !is_branch_by_register(word_at(at + 8)))
		return 0;
	return address + (next >> 10 & 0xfff);
}

/* What a register holds behind movz, movk ..., from `at` to the branch by it; 0: it is made in another way. */
static uintptr_t address_in_register(const uint8_t *at)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < 5; i++) {
		uint32_t word = word_at(at + (size_t)i * PLAN_INSN);
		unsigned shift = (word >> 21 & 3) * 16;

		if (i && is_branch_by_register(word))
			return value;
		if ((word & 0xff800000u) == 0xd2800000u) /* movz */
			value = (uint64_t)(word >> 5 & 0xffff) << shift;
		else if (i && (word & 0xff800000u) == 0xf2800000u) /* movk */
			value = (value & ~(UINT64_C(0xffff) << shift)) | (uint64_t)(word >> 5 & 0xffff) << shift;
		else
			return 0;
	}
	return 0;
}

static uintptr_t leads_to(const uint8_t *at)
{
	uint32_t word = word_at(at);
	uintptr_t address;

	if ((word & 0xfc000000u) == 0x14000000u)
		return (uintptr_t)at + (uintptr_t)(field(word, 0, 26) * 4);
	if ((word & 0xff000000u) == 0x58000000u) { /* ldr reg, literal ; br reg */
		memcpy(&address, at + field(word, 5, 19) * 4, sizeof(address));
		return is_branch_by_register(word_at(at + PLAN_INSN)) ? address : 0;
	}
	address = address_in_page(at);
	return address ? address : address_in_register(at);
}

/* A thread that was preempted behind the first instruction finds what follows untouched, and goes where it was going. */
int plan_foreign(const uint8_t *entry, struct plan *plan, uintptr_t *to)
{
	const uint8_t *at = entry + (is_bti(word_at(entry)) ? PLAN_INSN : 0);

	*to = 0;
	if (!is_foreign(at))
		return -ENOENT;
	*to = leads_to(at);
	*plan = (struct plan){.jump_at = (int)(at - entry), .jump_len = PLAN_INSN, .rip_disp = -1};
	/* One that stays in the function hands nothing on. */
	return *to && *to - (uintptr_t)entry >= PLAN_AFTER ? 0 : -EBUSY;
}
