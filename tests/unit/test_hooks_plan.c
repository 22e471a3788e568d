/* SPDX-License-Identifier: MIT */
/*
 * Where the hooks put their jumps (src/monitors/plan_x86_64.h): first bytes of functions as different compilers and assemblers
 * leave them, and what other libraries leave there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "monitors/plan_x86_64.h"

#define NOP5 0x0f, 0x1f, 0x44, 0x00, 0x00
#define NOP8 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00
#define NOP10 0x66, 0x2e, NOP8
#define ENDBR64 0xf3, 0x0f, 0x1e, 0xfa
#define MOV_11_EAX 0xb8, 0x0b, 0x00, 0x00, 0x00
#define MOV_RCX_R10 0x49, 0x89, 0xca
#define SYSCALL 0x0f, 0x05
#define CMP_JA 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0x77, 0x01
#define RET 0xc3

/* `before` ends at the entry, `at` begins there; the rest is the breakpoints that linkers fill with. */
struct bytes {
	uint8_t all[PLAN_BEFORE + PLAN_AFTER];
};

static const uint8_t *entry(struct bytes *b, const uint8_t *before, size_t before_len, const uint8_t *at, size_t at_len)
{
	memset(b->all, 0xcc, sizeof(b->all));
	memcpy(b->all + PLAN_BEFORE - before_len, before, before_len);
	memcpy(b->all + PLAN_BEFORE, at, at_len);
	return b->all + PLAN_BEFORE;
}

#define PLAN(before, at, plan)                                                                                              \
	plan_patch(entry(&(struct bytes){{0}}, before, sizeof(before), at, sizeof(at)), plan)

static const uint8_t nothing[] = {RET}, padding[] = {NOP10}, short_padding[] = {RET, 0x0f, 0x1f, 0x40, 0x00};

static void test_long_instruction(void **state)
{
	static const uint8_t at[] = {MOV_11_EAX, SYSCALL, CMP_JA, RET};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(nothing, at, &p), 0);
	assert_int_equal(p.jump_at, 0);
	assert_int_equal(p.jump_len, PLAN_JUMP);
	assert_int_equal(p.moved, 5);
	assert_int_equal(p.rip_disp, -1);
}

static void test_behind_endbr64(void **state)
{
	static const uint8_t at[] = {ENDBR64, MOV_11_EAX, SYSCALL, CMP_JA, RET};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(nothing, at, &p), 0);
	assert_int_equal(p.jump_at, 4);
	assert_int_equal(p.jump_len, PLAN_JUMP);
}

/* The instruction that an endbr64 is, is long enough for the short jump, whatever follows. */
static void test_over_endbr64(void **state)
{
	static const uint8_t at[] = {ENDBR64, 0x55, 0x48, 0x89, 0xe5, SYSCALL, RET};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(padding, at, &p), 0);
	assert_int_equal(p.jump_at, 0);
	assert_int_equal(p.jump_len, 2);
	assert_int_equal(p.moved, 4);
	assert_false(p.keep_landing);
}

static void test_short_instruction(void **state)
{
	static const uint8_t at[] = {MOV_RCX_R10, MOV_11_EAX, SYSCALL, CMP_JA, RET};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(padding, at, &p), 0);
	assert_int_equal(p.jump_len, 2);
	assert_int_equal(p.moved, 3);
	/* Somewhere in the padding from where it is a whole nop up to the entry. */
	assert_int_equal(p.landing, -8);
	assert_false(p.keep_landing);
}

/* Several nops: the landing place lies in one of 5 bytes or more, and nops follow up to the entry. */
static void test_two_nops(void **state)
{
	static const uint8_t before[] = {RET, NOP5, 0x66, 0x90};
	static const uint8_t at[] = {MOV_RCX_R10, SYSCALL, RET};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(before, at, &p), 0);
	assert_int_equal(p.landing, -7);
}

/* A displacement or an immediate that looks like a nop's tail is not one. */
static void test_not_padding(void **state)
{
	static const uint8_t before[] = {0xe9, 0x1f, 0x44, 0x00, 0x00};
	static const uint8_t at[] = {MOV_RCX_R10, SYSCALL, 0x48, 0x85, 0xc0, 0x75, 0x01, RET, RET, 0xc4};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(before, at, &p), -EOPNOTSUPP);
}

static void test_landing_behind_the_end(void **state)
{
	static const uint8_t at[] = {MOV_RCX_R10, SYSCALL, CMP_JA, RET, 0xf7, 0xd8, RET, NOP10};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(short_padding, at, &p), 0);
	assert_int_equal(p.landing, 17);
	assert_true(p.keep_landing);
}

/* A nop that code falls into, as before a loop, is no place for a jump. */
static void test_nop_that_is_executed(void **state)
{
	static const uint8_t at[] = {MOV_RCX_R10, SYSCALL, NOP10, 0xf7, 0xd8, RET, 0xc4};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(short_padding, at, &p), -EOPNOTSUPP);
}

static void test_rip_relative(void **state)
{
	static const uint8_t at[] = {0x48, 0x8b, 0x15, 0xc1, 0xe1, 0x14, 0x00, 0x48, 0x8b, 0x82, 0x68, 0x03, 0x00, 0x00, RET};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(nothing, at, &p), 0);
	assert_int_equal(p.jump_len, PLAN_JUMP);
	assert_int_equal(p.moved, 7);
	assert_int_equal(p.rip_disp, 3);
}

/* What comes before the covered instruction is taken back by the trampoline, in reverse. */
static void test_prefix(void **state)
{
	/* push %rbp; mov %esi,%r10d; mov %rdi,%rbp; push %rbx; mov %esi,%ebx; sub $104,%rsp; mov %rdx,64(%rsp) */
	static const uint8_t at[] = {0x55, 0x41, 0x89, 0xf2, 0x48, 0x89, 0xfd, 0x53, 0x89, 0xf3,
				     0x48, 0x83, 0xec, 0x68, 0x48, 0x89, 0x54, 0x24, 0x40, RET};
	static const uint8_t undo[] = {0x48, 0x83, 0xc4, 0x68, 0x5b, 0x5d}; /* add; pop %rbx; pop %rbp */
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(nothing, at, &p), 0);
	assert_int_equal(p.jump_at, 14);
	assert_int_equal(p.prefix, 14);
	assert_int_equal(p.jump_len, PLAN_JUMP);
	assert_int_equal(p.moved, 5);
	assert_int_equal(p.undo_len, sizeof(undo));
	assert_memory_equal(p.undo, undo, sizeof(undo));
}

/* A landing place behind a prefix stays: who is about to execute it has done the prefix. */
static void test_prefix_and_landing(void **state)
{
	static const uint8_t at[] = {0x55, 0x48, 0x89, 0xe5, SYSCALL, RET};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(padding, at, &p), 0);
	assert_int_equal(p.prefix, 1);
	assert_int_equal(p.jump_at, 1);
	assert_int_equal(p.jump_len, 2);
	assert_true(p.keep_landing);
}

/* An argument is overwritten, memory is, or there is more than the trampoline has room for. */
static void test_not_a_prefix(void **state)
{
	static const uint8_t argument[] = {0x55, 0x89, 0xfe, RET};
	static const uint8_t store[] = {0x55, 0xc6, 0x07, 0x01, 0x48, 0x83, 0xec, 0x68, MOV_11_EAX, RET};
	static const uint8_t branch[] = {0x55, 0x74, 0x10, MOV_11_EAX, RET};
	static const uint8_t many[] = {0x41, 0x57, 0x41, 0x56, 0x41, 0x55, 0x41, 0x54, 0x55, 0x53, 0x50,
				       0x48, 0x81, 0xec, 0x68, 0x01, 0x00, 0x00, MOV_11_EAX, RET};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(nothing, argument, &p), -EOPNOTSUPP);
	assert_int_equal(PLAN(nothing, store, &p), -EOPNOTSUPP);
	assert_int_equal(PLAN(nothing, branch, &p), -EOPNOTSUPP);
	assert_int_equal(PLAN(nothing, many, &p), -EOPNOTSUPP);
}

/* Where somebody else's jump leads, and where ours goes: over its first instruction. */
static void test_chained(void **state)
{
	static const struct {
		uint8_t bytes[16];
		uintptr_t leads_to; /* 0: not to be chained */
		int err;
	} known[] = {
		{{0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 0, 0xff, 0xe0}, 0x0007060504030201u, 0},
		{{0x49, 0xbb, 1, 2, 3, 4, 5, 6, 7, 0, 0x41, 0xff, 0xe3}, 0x0007060504030201u, 0},
		{{0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 0, 0x50, RET}, 0x0007060504030201u, 0},
		{{0x68, 1, 2, 3, 4, 0xc7, 0x44, 0x24, 4, 5, 6, 7, 0, RET}, 0x0007060504030201u, 0},
		{{0x68, 1, 2, 3, 4, RET}, 0x04030201u, 0},
		{{0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 0, 0xff, 0xe1}, 0, -EBUSY}, /* another register */
		{{0x68, 1, 2, 3, 4, 0x90}, 0, -EBUSY},
		{{0xcc}, 0, -EBUSY},
		{{0xeb, 0xfe}, 0, -EBUSY},
		{{MOV_11_EAX, SYSCALL}, 0, -ENOENT},
	};
	static const uint8_t near[] = {0xe9, 0x00, 0x01, 0, 0}, marked[] = {ENDBR64, 0xe9, 0xfb, 0x00, 0, 0};
	struct bytes b;
	const uint8_t *at;
	struct plan p;
	uintptr_t to;

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		at = entry(&b, nothing, sizeof(nothing), known[i].bytes, sizeof(known[i].bytes));
		assert_int_equal(plan_foreign(at, &p, &to), known[i].err);
		assert_int_equal(to, known[i].leads_to);
		if (!known[i].err)
			assert_true(p.jump_at == 0 && p.jump_len == PLAN_JUMP && !p.landing);
	}
	at = entry(&b, nothing, sizeof(nothing), near, sizeof(near));
	assert_int_equal(plan_foreign(at, &p, &to), 0);
	assert_int_equal(to, (uintptr_t)at + 0x105);
	at = entry(&b, nothing, sizeof(nothing), marked, sizeof(marked));
	assert_int_equal(plan_foreign(at, &p, &to), 0);
	assert_int_equal(to, (uintptr_t)at + 4 + 5 + 0xfb);
	assert_int_equal(p.jump_at, 4);
}

/* Behind our hook such a jump would lead to our hook, for ever. */
static void test_chained_to_itself(void **state)
{
	static const uint8_t itself[] = {0xe9, 0xfb, 0xff, 0xff, 0xff}, marked[] = {ENDBR64, 0xe9, 0xfb, 0xff, 0xff, 0xff};
	static const uint8_t entry_again[] = {ENDBR64, 0xe9, 0xf7, 0xff, 0xff, 0xff}, before[] = {0xe9, 0xf4, 0xff, 0xff, 0xff};
	static const uint8_t behind[] = {0xe9, 0x00, 0x00, 0x00, 0x00, MOV_11_EAX, SYSCALL, RET};
	static const uint8_t by_landing[] = {0xeb, 0xf9}, landing[] = {0xe9, 0x00, 0x00, 0x00, 0x00};
	static const struct {
		const uint8_t *at;
		size_t len;
	} bad[] = {{itself, sizeof(itself)},
		   {marked, sizeof(marked)},
		   {entry_again, sizeof(entry_again)},
		   {before, sizeof(before)},
		   {by_landing, sizeof(by_landing)}};
	struct bytes b;
	const uint8_t *at;
	struct plan p;
	uintptr_t to;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		at = entry(&b, landing, sizeof(landing), bad[i].at, bad[i].len);
		assert_int_equal(plan_foreign(at, &p, &to), -EBUSY);
		assert_int_equal(to, 0);
	}
	at = entry(&b, nothing, sizeof(nothing), behind, sizeof(behind)); /* over the jump itself is elsewhere */
	assert_int_equal(plan_foreign(at, &p, &to), 0);
	assert_int_equal(to, (uintptr_t)at + 5);
}

/* A loop that begins behind the prefix: its second round has nothing to take back. */
static void test_prefix_and_loop(void **state)
{
	static const uint8_t straight[] = {0x55, MOV_11_EAX, SYSCALL, 0x74, 0x00, 0x5d, RET};
	static const uint8_t loop[] = {0x55, MOV_11_EAX, SYSCALL, 0x74, 0xf7, 0x5d, RET};
	static const uint8_t far_loop[] = {0x55, MOV_11_EAX, SYSCALL, 0x0f, 0x84, 0xf3, 0xff, 0xff, 0xff, 0x5d, RET};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(nothing, straight, &p), 0);
	assert_int_equal(p.jump_at, 1);
	assert_int_equal(PLAN(nothing, loop, &p), -EOPNOTSUPP);
	assert_int_equal(PLAN(nothing, far_loop, &p), -EOPNOTSUPP);
}

static void test_branches_stay(void **state)
{
	static const uint8_t at[] = {0x74, 0x10, SYSCALL, RET};
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(padding, at, &p), -EOPNOTSUPP);
}

static void test_foreign(void **state)
{
	static const uint8_t patched[][16] = {
		{0xe9, 1, 2, 3, 4},                              /* jmp */
		{0xeb, 0xf9},                                    /* short jmp */
		{0xff, 0x25, 0, 0, 0, 0},                        /* jmp *0(%rip) */
		{0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0xe0}, /* movabs $.., %rax; jmp *%rax */
		{0x49, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8, 0x41, 0xff, 0xe3},
		{0x68, 1, 2, 3, 4, RET},                         /* push; ret */
		{0xcc},                                          /* a debugger */
		{0xe8, 1, 2, 3, 4},                              /* call */
		{ENDBR64, 0xe9, 1, 2, 3, 4},
	};
	struct plan p;

	(void)state;
	for (size_t i = 0; i < sizeof(patched) / sizeof(patched[0]); i++)
		assert_int_equal(PLAN(padding, patched[i], &p), -EBUSY);
}

static void test_lengths(void **state)
{
	static const struct {
		uint8_t bytes[12];
		unsigned len;
	} known[] = {
		{{0x90}, 1},
		{{NOP5}, 5},
		{{NOP10}, 10},
		{{0x66, 0x0f, 0x1f, 0x44, 0, 0}, 6},
		{{0x48, 0x83, 0xec, 0x58}, 4},                   /* sub $0x58,%rsp */
		{{0x4c, 0x89, 0x44, 0x24, 0x40}, 5},             /* mov %r8,0x40(%rsp) */
		{{0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0}, 9}, /* mov %fs:0x28,%rax */
		{{0x41, 0xf7, 0xc1, 0xff, 0x0f, 0, 0}, 7},       /* test $0xfff,%r9d */
		{{0xf7, 0xd8}, 2},                               /* neg %eax */
		{{0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff}, 7}, /* mov $-1,%rax */
		{{0x64, 0xc7, 0x00, 0x16, 0, 0, 0}, 7},          /* movl $22,%fs:(%rax) */
		{{0x80, 0x3d, 0xbe, 0x42, 0x0e, 0, 0}, 7},       /* cmpb $0,x(%rip) */
		{{0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}, 10},
		{{0x66, 0xb8, 1, 2}, 4},
		{{0x0f, 0x84, 1, 2, 3, 4}, 6},
		{{0xff, 0x60, 0x08}, 3},                         /* jmp *8(%rax) */
		{{0xf3, 0xc3}, 2},
	};
	struct insn insn;

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		assert_true(plan_decode(known[i].bytes, sizeof(known[i].bytes), &insn));
		assert_int_equal(insn.len, known[i].len);
		/* Cut short anywhere it is not an instruction. */
		for (size_t n = 0; n < known[i].len; n++)
			assert_false(plan_decode(known[i].bytes, n, &insn) && insn.len > n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_long_instruction),
		cmocka_unit_test(test_behind_endbr64),
		cmocka_unit_test(test_over_endbr64),
		cmocka_unit_test(test_short_instruction),
		cmocka_unit_test(test_two_nops),
		cmocka_unit_test(test_not_padding),
		cmocka_unit_test(test_landing_behind_the_end),
		cmocka_unit_test(test_nop_that_is_executed),
		cmocka_unit_test(test_rip_relative),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_prefix_and_landing),
		cmocka_unit_test(test_not_a_prefix),
		cmocka_unit_test(test_chained),
		cmocka_unit_test(test_chained_to_itself),
		cmocka_unit_test(test_prefix_and_loop),
		cmocka_unit_test(test_branches_stay),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
