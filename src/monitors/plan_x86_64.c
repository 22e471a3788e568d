/* SPDX-License-Identifier: MIT */
#include "monitors/plan_x86_64.h"

#include <errno.h>
#include <string.h>

/* ---- instruction lengths: integer code as compilers emit it; anything else is "not known" ---- */

struct reader {
	const uint8_t *at;
	size_t avail, pos;
	bool wide, narrow; /* REX.W, operand-size prefix */
};

static bool have(const struct reader *r, size_t n)
{
	return r->avail - r->pos >= n;
}

static bool prefixes(struct reader *r)
{
	for (; have(r, 1); r->pos++) {
		uint8_t b = r->at[r->pos];

		if (b == 0x66)
			r->narrow = true;
		else if (b != 0x2e && b != 0x64 && b != 0x65 && b != 0xf2 && b != 0xf3 && b != 0x3e)
			break;
	}
	if (have(r, 1) && (r->at[r->pos] & 0xf0) == 0x40) {
		r->wide = r->at[r->pos] & 8;
		r->pos++;
	}
	return have(r, 1);
}

/* ModRM, SIB and displacement. *reg gets the middle field. */
static bool operand(struct reader *r, struct insn *insn, unsigned *reg)
{
	unsigned mod, rm;

	if (!have(r, 1))
		return false;
	mod = r->at[r->pos] >> 6;
	rm = r->at[r->pos] & 7;
	*reg = (r->at[r->pos] >> 3) & 7;
	r->pos++;
	if (mod == 3)
		return true;
	if (rm == 4) {
		if (!have(r, 1))
			return false;
		if (mod == 0 && (r->at[r->pos] & 7) == 5)
			mod = 2; /* no base: a 32-bit displacement */
		r->pos++;
	} else if (mod == 0 && rm == 5) {
		insn->rip_disp = (int)r->pos;
		mod = 2;
	}
	r->pos += mod == 1 ? 1 : mod == 2 ? 4 : 0;
	return r->pos <= r->avail;
}

static bool immediate(struct reader *r, unsigned bytes)
{
	r->pos += bytes;
	return r->pos <= r->avail;
}

static unsigned full_immediate(const struct reader *r)
{
	return r->narrow ? 2 : 4;
}

static bool relative(struct reader *r, struct insn *insn, unsigned bytes, bool ends)
{
	insn->relative = true;
	insn->ends = ends;
	return immediate(r, bytes);
}

static bool decode_0f(struct reader *r, struct insn *insn)
{
	unsigned reg;
	uint8_t op;

	if (!have(r, 1))
		return false;
	op = r->at[r->pos++];
	if (op == 0x05 || op == 0xa2)
		return true;
	if (op == 0x0b)
		return insn->ends = true;
	if (op == 0x1f)
		return insn->nop = operand(r, insn, &reg);
	if (op == 0x1e && have(r, 1) && (r->at[r->pos] & 0xfe) == 0xfa) /* endbr64, endbr32 */
		return immediate(r, 1);
	if ((op & 0xf0) == 0x80)
		return relative(r, insn, 4, false);
	if ((op & 0xf0) == 0x40 || (op & 0xf0) == 0x90 || op == 0xa3 || op == 0xab || op == 0xaf || op == 0xb0 || op == 0xb1 ||
	    op == 0xb3 || op == 0xb6 || op == 0xb7 || op == 0xbe || op == 0xbf || op == 0xc0 || op == 0xc1 || op == 0xbc ||
	    op == 0xbd || op == 0x10 || op == 0x11 || op == 0x28 || op == 0x29 || op == 0x6f || op == 0x7f || op == 0xef)
		return operand(r, insn, &reg);
	return op == 0xba && operand(r, insn, &reg) && immediate(r, 1);
}

static bool decode_group(struct reader *r, struct insn *insn, uint8_t op)
{
	unsigned reg;

	if (!operand(r, insn, &reg))
		return false;
	switch (op) {
	case 0x80:
	case 0x83:
	case 0xc0:
	case 0xc1:
	case 0xc6:
	case 0x6b:
		return immediate(r, 1);
	case 0x69:
	case 0x81:
	case 0xc7:
		return immediate(r, full_immediate(r));
	case 0xf6:
		return reg > 1 || immediate(r, 1);
	case 0xf7:
		return reg > 1 || immediate(r, full_immediate(r));
	case 0xff: /* inc, dec, call, jmp, push; 3 and 5 are far */
		insn->relative = reg == 2; /* a call pushes where it stands */
		insn->ends = reg == 4;
		return reg != 3 && reg != 5 && reg != 7;
	default: /* 63 84..8d d1 d3 fe */
		return true;
	}
}

static bool decode_op(struct reader *r, struct insn *insn)
{
	uint8_t op = r->at[r->pos++];
	unsigned reg;

	if (op == 0x0f)
		return decode_0f(r, insn);
	if (op < 0x40) { /* eight arithmetic operations, six forms each */
		if ((op & 7) < 4)
			return operand(r, insn, &reg);
		return (op & 7) < 6 && immediate(r, (op & 7) == 4 ? 1 : full_immediate(r));
	}
	if (op >= 0x50 && op < 0x60) /* push, pop */
		return true;
	if (op >= 0x70 && op < 0x80)
		return relative(r, insn, 1, false);
	if (op >= 0xb0 && op < 0xb8)
		return immediate(r, 1);
	if (op >= 0xb8 && op < 0xc0)
		return immediate(r, r->wide ? 8 : full_immediate(r));
	switch (op) {
	case 0x90:
		return insn->nop = true;
	case 0x98:
	case 0x99:
	case 0xc9:
		return true;
	case 0x6a:
	case 0xa8:
		return immediate(r, 1);
	case 0x68:
	case 0xa9:
		return immediate(r, full_immediate(r));
	case 0xc2:
		insn->ends = true;
		return immediate(r, 2);
	case 0xc3:
	case 0xcc:
	case 0xf4:
		return insn->ends = true;
	case 0xe8:
	case 0xe9:
		return relative(r, insn, 4, op == 0xe9);
	case 0xeb:
		return relative(r, insn, 1, true);
	case 0x63:
	case 0x69:
	case 0x6b:
	case 0xd1:
	case 0xd3:
	case 0xfe:
	case 0xff:
	case 0xf6:
	case 0xf7:
	case 0xc0:
	case 0xc1:
	case 0xc6:
	case 0xc7:
		return decode_group(r, insn, op);
	default:
		return op >= 0x80 && op <= 0x8d && op != 0x82 && op != 0x8c && decode_group(r, insn, op);
	}
}

bool plan_decode(const uint8_t *at, size_t avail, struct insn *insn)
{
	struct reader r = {.at = at, .avail = avail < 15 ? avail : 15};

	*insn = (struct insn){.rip_disp = -1};
	if (!prefixes(&r) || !decode_op(&r, insn))
		return false;
	insn->len = (unsigned)r.pos;
	return true;
}

/* ---- where the jump goes ---- */

static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};

/* Somebody was here before: jumps, breakpoints, and the ways to jump through a register or the stack. */
static bool is_foreign(const uint8_t *at)
{
	if (at[0] == 0xe9 || at[0] == 0xeb || at[0] == 0xcc || at[0] == 0xe8 || at[0] == 0x68)
		return true;
	if (at[0] == 0xff && (at[1] == 0x25 || (at[1] & 0xf8) == 0xe0))
		return true;
	return (at[0] & 0xfe) == 0x48 && (at[1] & 0xf8) == 0xb8; /* movabs $address,%reg */
}

/* Right before the entry: the nearest nop of 5 bytes or more that only nops follow. 0: none. */
static int landing_before(const uint8_t *entry)
{
	for (int at = -(int)PLAN_JUMP; at >= -(int)PLAN_BEFORE; at--) {
		struct insn insn = {.nop = true};
		int next = at;

		while (next < 0 && plan_decode(entry + next, (size_t)-next, &insn) && insn.nop &&
		       (next > at || insn.len >= PLAN_JUMP))
			next += (int)insn.len;
		if (next == 0)
			return at;
	}
	return 0;
}

/* Behind the function's end. 0: none that the short jump at jump_at reaches. */
static int landing_after(const uint8_t *entry, int jump_at)
{
	bool dead = false; /* nothing falls into what comes next */
	struct insn insn;

	for (int at = 0; at + (int)PLAN_JUMP <= jump_at + 2 + 127; at += (int)insn.len) {
		if (!plan_decode(entry + at, PLAN_AFTER - (size_t)at, &insn))
			return 0;
		if (dead && insn.nop && insn.len >= PLAN_JUMP)
			return at;
		dead = insn.ends || (dead && insn.nop);
	}
	return 0;
}

static int plan_short(const uint8_t *entry, struct plan *p)
{
	p->jump_len = 2;
	p->landing = landing_before(entry);
	if (p->landing)
		return 0;
	p->landing = landing_after(entry, p->jump_at);
	p->keep_landing = true;
	return p->landing ? 0 : -EOPNOTSUPP;
}

#define PREFIX_MAX 16u
#define SCRATCH (1u << 0 | 1u << 10 | 1u << 11) /* rax, r10, r11: nobody expects anything in them */

struct prefix {
	unsigned len;
	unsigned free; /* registers that may be written: scratch, or pushed before */
	uint8_t undo[sizeof(((struct plan *)0)->undo)];
	unsigned undo_len;
};

/* In front of what is there, because the last is taken back first. */
static bool undo_by(struct prefix *f, const uint8_t *bytes, unsigned len)
{
	if (f->undo_len + len > sizeof(f->undo))
		return false;
	memmove(f->undo + len, f->undo, f->undo_len);
	memcpy(f->undo, bytes, len);
	f->undo_len += len;
	return true;
}

/* mov between registers, of 32 or 64 bits */
static bool is_free_move(const uint8_t *at, unsigned free)
{
	unsigned rex = (at[0] & 0xf0) == 0x40 ? at[0] : 0;

	at += rex != 0;
	return at[0] == 0x89 && (at[1] & 0xc0) == 0xc0 && free >> ((at[1] & 7) + (rex & 1) * 8) & 1;
}

/* True if the instruction can be taken back; that is noted. */
static bool extend(struct prefix *f, const uint8_t *at, unsigned len)
{
	uint8_t undo[7];

	if (f->len + len > PREFIX_MAX)
		return false;
	f->len += len;
	if (is_free_move(at, f->free))
		return true;
	memcpy(undo, at, len < sizeof(undo) ? len : sizeof(undo));
	if (at[len - 1] >> 3 == 0x50 >> 3 && (len == 1 || (len == 2 && at[0] == 0x41))) { /* push, pop */
		f->free |= 1u << ((at[len - 1] & 7) + (len - 1) * 8);
		undo[len - 1] += 8;
	} else if (len >= 4 && at[0] == 0x48 && (at[1] == 0x83 || at[1] == 0x81) && at[2] == 0xec) { /* sub, add */
		undo[2] = 0xc4;
	} else {
		return false;
	}
	return undo_by(f, undo, len);
}

static bool can_move(const struct insn *insn)
{
	return !insn->relative && !insn->ends && !insn->nop;
}

/* One instruction at `at` from the entry. */
static int plan_one(const uint8_t *entry, int at, const struct insn *insn, struct plan *p)
{
	if (!can_move(insn) || insn->len < 2)
		return -EOPNOTSUPP;
	p->jump_at = at;
	p->moved = insn->len;
	p->rip_disp = insn->rip_disp;
	if (insn->len < PLAN_JUMP)
		return plan_short(entry, p);
	p->jump_len = PLAN_JUMP;
	return 0;
}

/* Where a relative jump of 8 or 32 bits leads, its displacement being its last bytes. */
static int target_of(const uint8_t *entry, int at, const struct insn *insn)
{
	const uint8_t *end = entry + at + insn->len;
	int32_t far;

	if (insn->len < PLAN_JUMP)
		return at + (int)insn->len + (int8_t)end[-1];
	memcpy(&far, end - sizeof(far), sizeof(far));
	return at + (int)insn->len + far;
}

/* The head of a loop: who gets there a second time has not done the prefix just now. */
static bool is_jumped_to(const uint8_t *entry, int at)
{
	struct insn insn;

	for (int pos = at; plan_decode(entry + pos, PLAN_AFTER - (size_t)pos, &insn); pos += (int)insn.len)
		if (insn.relative && entry[pos] != 0xff && target_of(entry, pos, &insn) == at)
			return true;
	return false;
}

static int plan_behind_prefix(const uint8_t *entry, int first, unsigned shortest, struct plan *p)
{
	struct prefix f = {.free = SCRATCH};
	struct insn insn;
	int at = first;

	while (plan_decode(entry + at, PLAN_AFTER - (size_t)at, &insn)) {
		struct plan next = {.prefix = f.len, .undo_len = f.undo_len};

		if (at > first && insn.len >= shortest && plan_one(entry, at, &insn, &next) == 0 && !is_jumped_to(entry, at)) {
			memcpy(next.undo, f.undo, sizeof(f.undo));
			next.keep_landing = next.landing != 0;
			*p = next;
			return 0;
		}
		if (!extend(&f, entry + at, insn.len))
			break;
		at += (int)insn.len;
	}
	return -EOPNOTSUPP;
}

int plan_patch(const uint8_t *entry, struct plan *plan)
{
	/* An endbr64 is long enough for the short jump, and nothing to execute elsewhere. */
	static const struct insn endbr = {.len = sizeof(endbr64), .rip_disp = -1};
	bool marked = memcmp(entry, endbr64, sizeof(endbr64)) == 0;
	int first = marked ? (int)sizeof(endbr64) : 0, err;
	struct plan p = {0};
	struct insn insn;

	if (is_foreign(entry + first))
		return -EBUSY;
	if (!plan_decode(entry + first, PLAN_AFTER - (size_t)first, &insn))
		return -EOPNOTSUPP;
	if (marked && (insn.len < PLAN_JUMP || !can_move(&insn)))
		err = plan_one(entry, 0, &endbr, &p);
	else
		err = plan_one(entry, first, &insn, &p);
	/* Rather one without a landing place: it leaves nothing behind. */
	if (err)
		err = plan_behind_prefix(entry, first, PLAN_JUMP, &p);
	if (err)
		err = plan_behind_prefix(entry, first, 2, &p);
	if (!err)
		*plan = p;
	return err;
}

/* ---- somebody else's jump ---- */

static uintptr_t relative_target(const uint8_t *next, const uint8_t *at)
{
	int32_t by;

	memcpy(&by, at, sizeof(by));
	return (uintptr_t)next + (uintptr_t)(intptr_t)by;
}

static uintptr_t address_at(uintptr_t at)
{
	uintptr_t address;

	memcpy(&address, (const void *)at, sizeof(address));
	return address;
}

/* movabs $address,%reg ; jmp *%reg or push %reg; ret */
static uintptr_t by_register(const uint8_t *at)
{
	unsigned high = at[0] & 1, reg = at[1] & 7;
	const uint8_t *next = at + 10;

	if ((at[0] & 0xfe) != 0x48 || (at[1] & 0xf8) != 0xb8)
		return 0;
	if (high && *next++ != 0x41)
		return 0;
	if ((next[0] == 0xff && next[1] == 0xe0 + reg) || (next[0] == 0x50 + reg && next[1] == 0xc3))
		return address_at((uintptr_t)at + 2);
	return 0;
}

/* push $low ; movl $high,4(%rsp) ; ret; the middle one may be missing */
static uintptr_t by_stack(const uint8_t *at)
{
	static const uint8_t high[] = {0xc7, 0x44, 0x24, 0x04};
	bool whole = memcmp(at + 5, high, sizeof(high)) == 0;
	uint32_t low, top;

	if (at[0] != 0x68 || at[whole ? 13 : 5] != 0xc3)
		return 0;
	memcpy(&low, at + 1, sizeof(low));
	memcpy(&top, at + 9, sizeof(top));
	return whole ? (uintptr_t)top << 32 | low : (uintptr_t)(intptr_t)(int32_t)low;
}

static uintptr_t leads_to(const uint8_t *at)
{
	if (at[0] == 0xe9)
		return relative_target(at + 5, at + 1);
	if (at[0] == 0xff && at[1] == 0x25)
		return address_at(relative_target(at + 6, at + 2));
	if (at[0] == 0x68)
		return by_stack(at);
	return by_register(at);
}

/* 0 also for what leads back to the entry, as a jump to itself does: behind our hook it would lead to our hook. */
static uintptr_t leads_on(const uint8_t *entry, const uint8_t *at)
{
	uintptr_t to = leads_to(at), end = (uintptr_t)(at > entry ? at : entry) + PLAN_JUMP;

	return to >= (uintptr_t)entry - PLAN_BEFORE && to < end ? 0 : to;
}

/* In bytes around the entry that are looked at, and none of those that may be executed from the entry on. */
static bool is_near(const uint8_t *entry, const uint8_t *landing)
{
	return landing >= entry - PLAN_BEFORE && landing + PLAN_JUMP <= entry;
}

/*
 * The first instructions of all of these have five bytes or more. A thread that was preempted behind the first finds what
 * follows untouched, and goes where it was going.
 */
int plan_foreign(const uint8_t *entry, struct plan *plan, uintptr_t *to)
{
	bool marked = memcmp(entry, endbr64, sizeof(endbr64)) == 0;
	const uint8_t *at = entry + (marked ? sizeof(endbr64) : 0);

	*to = 0;
	if (!is_foreign(at))
		return -ENOENT;
	if (at[0] == 0xeb) { /* too short for a jump of ours, but it may say who */
		const uint8_t *landing = at + 2 + (int8_t)at[1];

		*to = leads_on(entry, landing);
		/* Another copy of this library's: the landing jump is one instruction as well, and ours is as long. */
		if (landing[0] != 0xe9 || !is_near(entry, landing))
			return -EBUSY;
		*plan = (struct plan){.jump_at = (int)(landing - entry), .jump_len = PLAN_JUMP, .rip_disp = -1};
		return *to ? 0 : -EBUSY;
	}
	*to = leads_on(entry, at);
	*plan = (struct plan){.jump_at = (int)(at - entry), .jump_len = PLAN_JUMP, .rip_disp = -1};
	return *to ? 0 : -EBUSY;
}
