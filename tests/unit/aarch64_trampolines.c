/* SPDX-License-Identifier: MIT */
/*
 * aarch64_trampolines: functions that begin with each kind of instruction are patched as libc's are (plan_aarch64.h and
 * patch_arch.h in src/monitors) and called: the entry leads to the hook, and the original gives what the function gave before.
 * The control is the instruction moved as it is, which must be seen to give something else where it depends on its place. Runs
 * on aarch64 only.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "monitors/patch_arch.h"
#include "monitors/plan_aarch64.h"

typedef uint64_t (*function)(uint64_t);

#define RET 0xd65f03c0u
#define MOV_1_X0 0xd2800020u
#define MOV_2_X0 0xd2800040u
#define BTI_C 0xd503245fu
#define NOP 0xd503201fu

static const struct row {
	const char *name;
	uint32_t code[8];
	bool depends_on_place;
} rows[] = {
	{"plain", {0x91000400u /* add x0, x0, #1 */, RET}, false},
	{"nop", {NOP, 0x91000400u, RET}, false},
	{"bti c", {BTI_C, 0x91000400u, RET}, false},
	{"bti c, adr", {BTI_C, 0x10000040u /* adr x0, +8 */, RET}, true},
	{"paciasp", {0xd503233fu, 0x91000400u, 0xd50323bfu /* autiasp */, RET}, false},
	{"adr", {0x10000040u, RET}, true},
	{"adrp", {0xb0000000u /* adrp x0, +1 page */, RET}, true},
	{"ldr x", {0x58000060u /* ldr x0, +12 */, RET, NOP, 0x89abcdefu, 0x01234567u}, true},
	{"ldr w", {0x18000060u, RET, NOP, 0x89abcdefu, 0x01234567u}, true},
	{"ldrsw", {0x98000060u, RET, NOP, 0x89abcdefu, 0x01234567u}, true},
	{"cbz", {0xb4000060u /* cbz x0, +12 */, MOV_1_X0, RET, MOV_2_X0, RET}, true},
	{"cbnz w", {0x35000060u, MOV_1_X0, RET, MOV_2_X0, RET}, true},
	{"tbz", {0x36000060u /* tbz w0, #0, +12 */, MOV_1_X0, RET, MOV_2_X0, RET}, true},
	{"tbnz", {0x37000060u, MOV_1_X0, RET, MOV_2_X0, RET}, true},
};

#define AREA 0x10000u
#define PLACE_OF_CODE 0x8000u /* the trampoline is at the beginning */

static uint64_t hook(uint64_t argument)
{
	return argument + 1000;
}

/* The control. Branches and loads of literals find something else there. */
static void put_moved_as_it_is(uint8_t *to, const uint8_t *from)
{
	static const uint32_t rest[] = {NOP, 0xd2800060u /* mov x0, #3 */, RET};

	memcpy(to, from, PLAN_INSN);
	patch_arch_jump(to + PLAN_INSN, PLAN_INSN, to + PLAN_INSN, from + PLAN_INSN);
	memcpy(to + 2 * PLAN_INSN, rest, sizeof(rest));
}

static int check(const struct row *row, uint8_t *area)
{
	static const uint64_t arguments[] = {0, 1, 2, 41};
	uint8_t *code = area + PLACE_OF_CODE, *original = area + TRAMPOLINE_ORIGINAL, *naive = area + 2 * TRAMPOLINE_SIZE;
	uint64_t before[4];
	struct plan plan;
	bool differs = false;

	patch_arch_fill(area, AREA);
	memcpy(code, row->code, sizeof(row->code));
	if (plan_patch(code, &plan) != 0) {
		printf("%s: not to be patched\n", row->name);
		return 1;
	}
	patch_arch_trampoline(area, area, code + plan.jump_at, &plan, (void (*)(void))hook);
	put_moved_as_it_is(naive, code + plan.jump_at);
	__builtin___clear_cache((char *)area, (char *)area + AREA);
	for (int i = 0; i < 4; i++)
		before[i] = ((function)(uintptr_t)code)(arguments[i]);
	patch_arch_jump(code + plan.jump_at, plan.jump_len, code + plan.jump_at, area);
	__builtin___clear_cache((char *)code, (char *)code + sizeof(row->code));
	for (int i = 0; i < 4; i++) {
		uint64_t hooked = ((function)(uintptr_t)code)(arguments[i]);
		uint64_t now = ((function)(uintptr_t)original)(arguments[i]);

		if (hooked != arguments[i] + 1000 || now != before[i]) {
			printf("%s(%d): %lx before, now %lx, patched %lx\n", row->name, (int)arguments[i],
			       (unsigned long)before[i], (unsigned long)now, (unsigned long)hooked);
			return 1;
		}
		differs |= ((function)(uintptr_t)naive)(arguments[i]) != before[i];
	}
	if (differs != row->depends_on_place) {
		printf("%s: the control %s\n", row->name, differs ? "differs" : "is the same");
		return 1;
	}
	return 0;
}

int main(void)
{
	uint8_t *area = mmap(NULL, AREA, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int failures = 0;

	if (area == MAP_FAILED) {
		printf("skipped: no memory that may be written and executed\n");
		return 77;
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		failures += check(&rows[i], area);
	printf("%zu kinds of first instructions, %d wrong\n", sizeof(rows) / sizeof(rows[0]), failures);
	return failures != 0;
}
