/* SPDX-License-Identifier: MIT */
/* Stacks: mapped once, one below the other from a fixed address, so that pointers to locals are the same in every execution. */
#include "lab/fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef LAB_FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define GUARD_SIZE 4096u

void lab_fiber_start(void);

static struct {
	char *base;
	uint32_t count;
} stacks;

void lab_fiber_init(uint32_t count)
{
	const size_t size = (size_t)count * LAB_STACK_SIZE;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *base;

	if (stacks.base)
		return;
	base = mmap((void *)LAB_STACKS_AT, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
	if (base == MAP_FAILED)
		base = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (base == MAP_FAILED) {
		perror("lab: no memory for the fibers' stacks");
		exit(2);
	}
	for (uint32_t i = 0; i < count; i++) {
		if (mprotect((char *)base + (size_t)i * LAB_STACK_SIZE, GUARD_SIZE, PROT_NONE)) {
			perror("lab: no guard page");
			exit(2);
		}
	}
	stacks.base = base;
	stacks.count = count;
}

uint32_t lab_fiber_stack_of(const void *address)
{
	const uintptr_t offset = (uintptr_t)address - (uintptr_t)stacks.base;
	const uintptr_t index = offset / LAB_STACK_SIZE;

	return index < stacks.count ? (uint32_t)index : 0;
}

bool lab_fiber_in_guard(const void *address)
{
	const uintptr_t offset = (uintptr_t)address - (uintptr_t)stacks.base;

	return offset / LAB_STACK_SIZE < stacks.count && offset % LAB_STACK_SIZE < GUARD_SIZE;
}

void lab_fiber_prepare(struct lab_context *c, uint32_t index, void (*entry)(void *arg), void *arg)
{
	char *const bottom = stacks.base + (size_t)index * LAB_STACK_SIZE;
	void **const top = (void **)(void *)(bottom + LAB_STACK_SIZE);

#if defined(__x86_64__)
	/*
	 * As lab_fiber_jump() pops it: r15 r14 r13 r12 rbx rbp, where to; then two words, so that calls find the stack
	 * aligned.
	 */
	void **const frame = top - 9;

	memset(frame, 0, 9 * sizeof(*frame));
	frame[2] = (void *)(uintptr_t)entry;
	frame[3] = arg;
	frame[6] = (void *)(uintptr_t)lab_fiber_start;
#else
	/* 160 bytes: x29 x30 (where to) x19 (arg) x20 (entry) ... */
	void **const frame = top - 20;

	memset(frame, 0, 20 * sizeof(*frame));
	frame[1] = (void *)(uintptr_t)lab_fiber_start;
	frame[2] = arg;
	frame[3] = (void *)(uintptr_t)entry;
#endif
	c->stack_pointer = frame;
	c->error = 0;
#ifdef LAB_FIBER_ASAN
	/* Its last user may have been given up with red zones in place. */
	__asan_unpoison_memory_region(bottom + GUARD_SIZE, LAB_STACK_SIZE - GUARD_SIZE);
	c->fake_stack = NULL;
	c->bottom = bottom + GUARD_SIZE;
	c->size = LAB_STACK_SIZE - GUARD_SIZE;
#endif
}

#ifdef LAB_FIBER_ASAN
static struct lab_context *last_left; /* to learn the bounds of the stack that the program began on */

void lab_fiber_asan_leave(struct lab_context *from, const struct lab_context *to, bool for_ever)
{
	last_left = from;
	__sanitizer_start_switch_fiber(for_ever ? NULL : &from->fake_stack, to->bottom, to->size);
}

void lab_fiber_asan_arrived(struct lab_context *self)
{
	const void *bottom;
	size_t size;

	__sanitizer_finish_switch_fiber(self ? self->fake_stack : NULL, &bottom, &size);
	if (last_left && !last_left->bottom) {
		last_left->bottom = bottom;
		last_left->size = size;
	}
}
#endif
