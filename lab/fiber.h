/* SPDX-License-Identifier: MIT */
/*
 * fiber.h: stacks and the switch between them. Knows nothing of turns and schedules; run.c does.
 *
 * Stacks live at fixed addresses, each above a guard page, and are used again by every execution: a fiber that is given up in
 * the middle (its execution was lost) is simply never switched to again. Context 0 is the kernel thread's own stack. errno
 * belongs to a fiber, as it would to a thread.
 */
#ifndef LAB_FIBER_H
#define LAB_FIBER_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define LAB_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LAB_FIBER_ASAN 1
#endif
#endif

#define LAB_STACK_SIZE (256u * 1024u) /* with its guard page */
/* Away from where kernels and sanitizers put things; any other place does if this one is taken, but see arena.h. */
#define LAB_STACKS_AT UINT64_C(0x6f0000000000)

struct lab_context {
	void *stack_pointer;
	int error; /* errno, while it does not run */
#ifdef LAB_FIBER_ASAN
	void *fake_stack;
	const void *bottom;
	size_t size;
#endif
};

/* Maps `count` stacks, once. Ends the program if there is no memory for them. */
void lab_fiber_init(uint32_t count);
/* The next switch to the context runs entry(arg) on stack `index` (1..count-1), from the beginning. entry must not return. */
void lab_fiber_prepare(struct lab_context *c, uint32_t index, void (*entry)(void *arg), void *arg);
/* Which stack the address is on: 1..count-1; 0: none of them. */
uint32_t lab_fiber_stack_of(const void *address);
/* The page below a stack: it has overflowed. */
bool lab_fiber_in_guard(const void *address);

/* fiber_switch.S: saves what a call must preserve and its stack pointer at *save, goes on where `load` was saved. */
void lab_fiber_jump(void **save, void *load);
/* Around each jump when built with AddressSanitizer, which must be told whose stack is used. */
void lab_fiber_asan_leave(struct lab_context *from, const struct lab_context *to, bool for_ever);
void lab_fiber_asan_arrived(struct lab_context *self);

/* Returns when somebody switches back to `from`. */
static inline void lab_fiber_switch(struct lab_context *from, struct lab_context *to)
{
	int *const error = &errno;

	from->error = *error;
#ifdef LAB_FIBER_ASAN
	lab_fiber_asan_leave(from, to, false);
#endif
	lab_fiber_jump(&from->stack_pointer, to->stack_pointer);
#ifdef LAB_FIBER_ASAN
	lab_fiber_asan_arrived(from);
#endif
	*error = from->error;
}

#endif
