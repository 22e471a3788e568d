/* SPDX-License-Identifier: MIT */
/*
 * The same on aarch64 (src/monitors/plan_aarch64.h), and what its trampolines hold (src/monitors/patch_aarch64.c). Instructions
 * are only looked at, so this runs on any machine of the same byte order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

/* The sources themselves, because the library on this machine has others in their place. */
#include "monitors/patch_aarch64.c"
#include "monitors/plan_aarch64.c"

#define NOP 0xd503201fu
#define BTI_C 0xd503245fu
#define PACIASP 0xd503233fu
#define MOV_215_X8 0xd2801ae8u
#define SVC 0xd4000001u
#define RET 0xd65f03c0u
#define BR_X15 0xd61f01e0u
#define BR_X16 0xd61f0200u
#define BR_X17 0xd61f0220u
#define ADRP_X3 0xb0000923u /* as dlclose() of glibc 2.36 begins */
#define LDR_X3 0xf9473863u
#define CBZ_X2_16 0xb4000082u

struct code {
	_Alignas(16) uint32_t before[PLAN_BEFORE / PLAN_INSN], at[PLAN_AFTER / PLAN_INSN];
};

static int plan_of(const uint32_t *words, size_t bytes, struct plan *plan)
{
	struct code code;

	for (size_t i = 0; i < sizeof(code.before) / sizeof(uint32_t); i++)
		code.before[i] = NOP;
	for (size_t i = 0; i < sizeof(code.at) / sizeof(uint32_t); i++)
		code.at[i] = RET;
	memcpy(code.at, words, bytes);
	return plan_patch((const uint8_t *)code.at, plan);
}

#define PLAN(plan, ...) plan_of((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}), plan)

static void test_first_instruction(void **state)
{
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(&p, MOV_215_X8, SVC, RET), 0);
	assert_int_equal(p.jump_at, 0);
	assert_int_equal(p.jump_len, PLAN_INSN);
	assert_int_equal(p.moved, PLAN_INSN);
	assert_int_equal(p.landing, 0);
	assert_int_equal(PLAN(&p, NOP, MOV_215_X8, SVC), 0);
	assert_int_equal(p.jump_at, 0);
	assert_int_equal(PLAN(&p, ADRP_X3, LDR_X3, 0xf9414462u, CBZ_X2_16, BR_X16), 0);
	/* A large frame: the length in a register, but no jump through it. */
	assert_int_equal(PLAN(&p, 0xd2820009u /* mov x9, #4096 */, 0xcb2963ffu /* sub sp, sp, x9 */, RET), 0);
}

/* The landing pad stays for indirect calls; one that signs is not to be executed before the hook. */
static void test_landing_pads(void **state)
{
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(&p, BTI_C, MOV_215_X8, SVC), 0);
	assert_int_equal(p.jump_at, PLAN_INSN);
	assert_int_equal(PLAN(&p, BTI_C | 0x80u /* bti jc */, MOV_215_X8), 0);
	assert_int_equal(p.jump_at, PLAN_INSN);
	assert_int_equal(PLAN(&p, PACIASP, 0xa9bf7bfdu), 0);
	assert_int_equal(p.jump_at, 0);
	assert_int_equal(PLAN(&p, BTI_C, SVC), -EOPNOTSUPP);
	assert_int_equal(PLAN(&p, BTI_C, 0x14000010u), -EBUSY);
}

static void test_somebody_was_here(void **state)
{
	struct plan p;

	(void)state;
	assert_int_equal(PLAN(&p, 0x14000010u /* b */, SVC), -EBUSY);
	assert_int_equal(PLAN(&p, 0xd4200000u /* brk */, SVC), -EBUSY);
	assert_int_equal(PLAN(&p, 0x58000051u /* ldr x17, +8 */, BR_X17, 0, 0), -EBUSY);
	assert_int_equal(PLAN(&p, 0xd29acf0fu, 0xf2b5790fu, 0xf2c0000fu, BR_X15), -EBUSY); /* movz movk movk */
	assert_int_equal(PLAN(&p, 0x90000010u, 0x91000210u, BR_X16), -EBUSY);              /* adrp add */
	assert_int_equal(PLAN(&p, 0x58000050u, 0xd71f0a11u /* braa x16, x17 */), -EBUSY);
}

static void test_not_to_be_moved(void **state)
{
	static const uint32_t words[] = {SVC,
					 RET,
					 0x94000010u /* bl */,
					 0xd63f0200u /* blr x16 */,
					 0 /* udf */,
					 0x1c000040u /* ldr s0, literal */,
					 0xd8000040u /* prfm, literal */};
	struct plan p;

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_int_equal(PLAN(&p, words[i], RET), -EOPNOTSUPP);
}

static uintptr_t foreign(const uint32_t *words, size_t bytes, struct plan *plan, const uint8_t **entry, int *err)
{
	static struct code code;
	uintptr_t leads_to = 1;

	for (size_t i = 0; i < sizeof(code.at) / sizeof(uint32_t); i++)
		code.at[i] = RET;
	memcpy(code.at, words, bytes);
	*entry = (const uint8_t *)code.at;
	*err = plan_foreign(*entry, plan, &leads_to);
	return leads_to;
}

#define FOREIGN(...) foreign((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}), &p, &entry, &err)

/* Other libraries' jumps: ours goes over the first instruction, the rest stays for who has executed that. */
static void test_chains(void **state)
{
	const uint8_t *entry;
	uintptr_t to;
	struct plan p;
	int err;

	(void)state;
	to = FOREIGN(0x14000100u);
	assert_int_equal(err, 0);
	assert_true(to == (uintptr_t)entry + 0x400);
	assert_int_equal(p.jump_at, 0);
	assert_int_equal(p.jump_len, PLAN_INSN);
	to = FOREIGN(BTI_C, 0x17fffff0u /* b -64 */);
	assert_true(!err && to == (uintptr_t)entry + PLAN_INSN - 0x40);
	assert_int_equal(p.jump_at, PLAN_INSN);
	to = FOREIGN(0x58000051u, BR_X17, 0x89abcdefu, 0x0000ffffu);
	assert_true(!err && to == UINT64_C(0xffff89abcdef));
	to = FOREIGN(0xd29acf0fu, 0xf2b5790fu, 0xf2c0024fu, BR_X15); /* d678, abc8 << 16, 12 << 32 */
	assert_true(!err && to == UINT64_C(0x0012abc8d678));
	to = FOREIGN(0xb0000010u, 0x9100f210u, BR_X16); /* adrp x16, +1 page ; add x16, x16, #60 */
	assert_true(!err && to == ((uintptr_t)entry & ~(uintptr_t)0xfff) + 0x1000 + 60);
	FOREIGN(0xd4200000u);
	assert_int_equal(err, -EBUSY);
	FOREIGN(0x14000000u); /* to itself */
	assert_int_equal(err, -EBUSY);
	FOREIGN(MOV_215_X8, SVC, RET);
	assert_int_equal(err, -ENOENT);
}

#define AT UINT64_C(0xffff80012344)

static void expect(uint32_t word, enum insn_kind kind, uint64_t address)
{
	struct insn insn = plan_decode(word, AT);

	assert_int_equal(insn.kind, kind);
	if (kind != INSN_PLAIN && kind != INSN_OTHER)
		assert_true(insn.address == address);
}

static void test_decode(void **state)
{
	(void)state;
	expect(0x10000043u, INSN_ADDRESS, AT + 8);                         /* adr x3, +8 */
	expect(0x70ffffe3u, INSN_ADDRESS, AT - 1);                         /* adr x3, -1 */
	expect(ADRP_X3, INSN_ADDRESS, (AT & ~UINT64_C(0xfff)) + 0x125000); /* adrp x3 */
	expect(0x90ffffe3u, INSN_ADDRESS, (AT & ~UINT64_C(0xfff)) - 0x4000);
	expect(0x58000043u, INSN_LOAD, AT + 8);
	expect(0x18ffffe3u, INSN_LOAD, AT - 4);
	expect(CBZ_X2_16, INSN_CONDITIONAL, AT + 16);
	expect(0x54ffffe1u, INSN_CONDITIONAL, AT - 4); /* b.ne */
	expect(0x3707ffe0u, INSN_CONDITIONAL, AT - 4); /* tbnz w0, #0 */
	expect(0xb7080040u, INSN_CONDITIONAL, AT + 8); /* tbnz x0, #33 */
	expect(0xa9bb7bfdu, INSN_PLAIN, 0);
	expect(PACIASP, INSN_PLAIN, 0);
}

#define PLACE ((const uint8_t *)UINT64_C(0xffff7f800040))
#define HOOK UINT64_C(0x5500001234)

static uint32_t tramp[TRAMPOLINE_SIZE / 4];

/* A trampoline for the one instruction, which stands at AT. */
static void make(uint32_t word, uint32_t *from)
{
	static const struct plan plan = {.jump_len = PLAN_INSN, .moved = PLAN_INSN};

	*from = word;
	patch_arch_fill((uint8_t *)tramp, sizeof(tramp));
	patch_arch_trampoline((uint8_t *)tramp, (const uint8_t *)tramp, (const uint8_t *)from, &plan,
			      (void (*)(void))(uintptr_t)HOOK);
}

/* Where a branch at tramp[i] goes. */
static const void *target(unsigned i)
{
	int32_t words = (int32_t)(tramp[i] << 6) >> 6;

	assert_int_equal(tramp[i] >> 26, 5);
	return &tramp[i] + words;
}

static uint64_t quad(unsigned i)
{
	uint64_t value;

	memcpy(&value, &tramp[i], sizeof(value));
	return value;
}

#define ORIGINAL (TRAMPOLINE_ORIGINAL / 4)

static void test_trampolines(void **state)
{
	static uint32_t code[8192]; /* near the trampoline, as libc's is */
	uint32_t *from = &code[5];

	(void)state;
	make(NOP, from);
	assert_int_equal(tramp[0], 0x58000050u); /* ldr x16, +8 */
	assert_int_equal(tramp[1], BR_X16);
	assert_true(quad(2) == HOOK);
	assert_int_equal(tramp[ORIGINAL], NOP);
	assert_ptr_equal(target(ORIGINAL + 1), from + 1);
	assert_int_equal(tramp[ORIGINAL + 2], 0xd4200000u);

	make(ADRP_X3, from);
	assert_int_equal(tramp[ORIGINAL], 0x58000043u); /* ldr x3, +8 */
	assert_ptr_equal(target(ORIGINAL + 1), from + 1);
	assert_true(quad(ORIGINAL + 2) == ((uintptr_t)from & ~(uintptr_t)0xfff) + 0x125000);

	make(0x98000063u /* ldrsw x3, +12 */, from);
	assert_int_equal(tramp[ORIGINAL], 0x58000091u);     /* ldr x17, +16 */
	assert_int_equal(tramp[ORIGINAL + 1], 0xb9800223u); /* ldrsw x3, [x17] */
	assert_ptr_equal(target(ORIGINAL + 2), from + 1);
	assert_true(quad(ORIGINAL + 4) == (uintptr_t)(from + 3));

	make(CBZ_X2_16, from);
	assert_int_equal(tramp[ORIGINAL], 0xb4000042u); /* cbz x2, +8 */
	assert_ptr_equal(target(ORIGINAL + 1), from + 1);
	assert_ptr_equal(target(ORIGINAL + 2), from + 4);

	make(0xb7080080u /* tbnz x0, #33, +16 */, from);
	assert_int_equal(tramp[ORIGINAL], 0xb7080040u);
	assert_ptr_equal(target(ORIGINAL + 2), from + 4);
}

static void test_jumps(void **state)
{
	uint8_t bytes[PLAN_JUMP_MAX] = {0};
	uint32_t word;

	(void)state;
	patch_arch_jump(bytes, PLAN_INSN, PLACE, PLACE + 0x7fffffc);
	memcpy(&word, bytes, sizeof(word));
	assert_int_equal(word, 0x15ffffffu);
	patch_arch_jump(bytes, PLAN_INSN, PLACE, PLACE - 0x8000000);
	memcpy(&word, bytes, sizeof(word));
	assert_int_equal(word, 0x16000000u);
	assert_int_equal(bytes[4], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_instruction),
		cmocka_unit_test(test_landing_pads),
		cmocka_unit_test(test_somebody_was_here),
		cmocka_unit_test(test_not_to_be_moved),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_trampolines),
		cmocka_unit_test(test_jumps),
		cmocka_unit_test(test_chains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
