/* SPDX-License-Identifier: MIT */
/* hooks_machine.h: this machine's instructions, as other libraries put them into libc. */
#ifndef TESTS_HOOKS_MACHINE_H
#define TESTS_HOOKS_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PATCH_MAX 20u /* bytes of the longest form of a jump */
#define STUB_SIZE 16u

/* By hand: sanitizers have no shadow for a library's text. */
static inline void poke_byte(unsigned char *at, unsigned char byte)
{
#if defined(__x86_64__)
	__asm__ volatile("movb %1, (%0)" : : "r"(at), "q"(byte) : "memory");
#else
	__asm__ volatile("strb %w1, [%0]" : : "r"(at), "r"(byte) : "memory");
#endif
}

#if defined(__x86_64__)

enum form { NEAR, INDIRECT, BY_RAX, BY_R11, PUSH_RET, FORMS };
static const char *const form_names[FORMS] = {"jmp", "jmp *", "movabs rax", "movabs r11", "push ret"};

#define JUMP_LEN 5u
#define FAR_JUMP_LEN 14u
static const unsigned char breakpoint[] = {0xcc}, jump_to_itself[] = {0xeb, 0xfe};
static const unsigned char another_number[] = {0xb8, 0x44, 0x01, 0, 0}; /* mov $0x144,%eax */

/* Of JUMP_LEN bytes, and the same wherever it stands. */
static inline bool first_can_be_moved(const unsigned char *entry)
{
	return entry[0] == 0xb8;
}

static inline void make_jump(unsigned char *bytes, const unsigned char *at, const unsigned char *to)
{
	int rel = (int)(to - (at + JUMP_LEN));

	bytes[0] = 0xe9;
	memcpy(bytes + 1, &rel, sizeof(rel));
}

static inline void make_far_jump(unsigned char *bytes, uint64_t to)
{
	static const unsigned char indirect[] = {0xff, 0x25, 0, 0, 0, 0};

	memcpy(bytes, indirect, sizeof(indirect));
	memcpy(bytes + sizeof(indirect), &to, sizeof(to));
}

/* Where a jump leads; NULL: it is none. */
static inline const unsigned char *jumps_to(const unsigned char *at)
{
	int rel;

	memcpy(&rel, at + 1, sizeof(rel));
	return at[0] == 0xe9 ? at + JUMP_LEN + rel : NULL;
}

/* A jump that will stand at entry; stub: STUB_SIZE bytes near it. How long it is. */
static inline size_t make_form(unsigned char *b, const unsigned char *entry, enum form form, uint64_t to, unsigned char *stub)
{
	static const unsigned char rax[] = {0x48, 0xb8}, r11[] = {0x49, 0xbb}, high[] = {0xc7, 0x44, 0x24, 0x04};
	size_t len;
	int rel;

	switch (form) {
	case NEAR:
		make_far_jump(stub, to);
		make_jump(b, entry, stub);
		return JUMP_LEN;
	case INDIRECT:
		memcpy(stub, &to, 8);
		b[0] = 0xff;
		b[1] = 0x25;
		rel = (int)(stub - (entry + 6));
		memcpy(b + 2, &rel, 4);
		return 6;
	case PUSH_RET:
		b[0] = 0x68;
		memcpy(b + 1, &to, 4);
		memcpy(b + 5, high, 4);
		memcpy(b + 9, (const char *)&to + 4, 4);
		b[13] = 0xc3;
		return 14;
	default:
		memcpy(b, form == BY_RAX ? rax : r11, 2);
		memcpy(b + 2, &to, 8);
		len = form == BY_RAX ? 12 : 13;
		memcpy(b + 10, form == BY_RAX ? "\xff\xe0" : "\x41\xff\xe3", len - 10);
		return len;
	}
}

#else

enum form { NEAR, LITERAL, BY_PAGE, BY_X15, FORMS };
static const char *const form_names[FORMS] = {"b", "ldr x17", "adrp x16", "movk x15"};

#define JUMP_LEN 4u
#define FAR_JUMP_LEN 16u
static const unsigned char breakpoint[] = {0, 0, 0x20, 0xd4}, jump_to_itself[] = {0, 0, 0, 0x14};
static const unsigned char another_number[] = {0x08, 0x20, 0x80, 0xd2}; /* mov x8, #256 */

static inline bool first_can_be_moved(const unsigned char *entry)
{
	static const unsigned char nop[] = {0x1f, 0x20, 0x03, 0xd5};

	return memcmp(entry, nop, 4) == 0 || (entry[0] & 0x1f) == 8; /* mov x8, #.. */
}

static inline void make_jump(unsigned char *bytes, const unsigned char *at, const unsigned char *to)
{
	unsigned word = 0x14000000u | ((unsigned)((to - at) >> 2) & 0x3ffffffu);

	memcpy(bytes, &word, sizeof(word));
}

static inline void make_far_jump(unsigned char *bytes, uint64_t to)
{
	static const unsigned words[] = {0x58000051u, 0xd61f0220u}; /* ldr x17, +8 ; br x17 */

	memcpy(bytes, words, sizeof(words));
	memcpy(bytes + sizeof(words), &to, sizeof(to));
}

static inline const unsigned char *jumps_to(const unsigned char *at)
{
	int word;

	memcpy(&word, at, sizeof(word));
	return (unsigned)word >> 26 == 5 ? at + (int)((unsigned)word << 6) / 16 : NULL;
}

static inline size_t make_form(unsigned char *b, const unsigned char *entry, enum form form, uint64_t to, unsigned char *stub)
{
	unsigned words[5];
	long pages;

	make_far_jump(stub, to);
	__builtin___clear_cache((char *)stub, (char *)stub + STUB_SIZE);
	switch (form) {
	case NEAR:
		make_jump(b, entry, stub);
		return JUMP_LEN;
	case LITERAL:
		make_far_jump(b, to);
		return FAR_JUMP_LEN;
	case BY_PAGE:
		pages = (long)((uintptr_t)stub >> 12) - (long)((uintptr_t)entry >> 12);
		words[0] = 0x90000010u | ((unsigned)pages & 3) << 29 | ((unsigned)(pages >> 2) & 0x7ffff) << 5;
		words[1] = 0x91000210u | ((unsigned)(uintptr_t)stub & 0xfff) << 10;
		words[2] = 0xd61f0200u;
		memcpy(b, words, 12);
		return 12;
	default: /* movz, and a movk for each other part of the address */
		for (unsigned i = 0; i < 4; i++)
			words[i] = (i ? 0xf280000fu : 0xd280000fu) | i << 21 | (unsigned)(to >> 16 * i & 0xffff) << 5;
		words[4] = 0xd61f01e0u;
		memcpy(b, words, 20);
		return 20;
	}
}

#endif
#endif
