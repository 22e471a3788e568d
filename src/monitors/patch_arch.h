/* SPDX-License-Identifier: MIT */
/*
 * patch_arch.h: what patch.c needs of an architecture besides plan_patch(): the bytes. Written into images of pages, never into
 * code that runs; `at` and `place` say where the bytes will stand. patch_x86_64.c, patch_aarch64.c.
 */
#ifndef MONITORS_PATCH_ARCH_H
#define MONITORS_PATCH_ARCH_H

#include <stddef.h>
#include <stdint.h>

#include "monitors/plan.h"

#define TRAMPOLINE_SIZE 64u
#define TRAMPOLINE_ORIGINAL 24u

/*
 * One trampoline into image, which will stand at place:
 *
 *   +0                    to the hook, wherever it is: what the patched entry jumps to
 *   TRAMPOLINE_ORIGINAL   what the instruction at `from` does, then on behind it: the function as it was
 */
void patch_arch_trampoline(uint8_t *image, const uint8_t *place, const uint8_t *from, const struct plan *plan,
			   void (*hook)(void));

/* The same where another's jump was at the entry: the original is wherever that led to. */
void patch_arch_chained(uint8_t *image, void (*hook)(void), uintptr_t leads_to);

/* The jump of len bytes that leads from `at` to target. */
void patch_arch_jump(uint8_t *bytes, size_t len, const uint8_t *at, const uint8_t *target);

/* What is between the trampolines: stops whoever gets there. */
void patch_arch_fill(uint8_t *image, size_t len);

#endif
