/* SPDX-License-Identifier: MIT */
/*
 * patch_inside.h: between patch.c, which decides what each entry shall hold, and patch_pages.c, which puts it there.
 *
 * A function can be led to us in two ways:
 *
 *   direct    a jump over one of libc's own instructions (plan_patch)
 *   chained   a jump over the first instruction of a jump that somebody else has put there (plan_foreign); behind the hook the
 *             call goes on to where that led
 *
 * Which one is in use follows from what the entry reads as when the patches are put in. Both stay known, with their
 * trampolines, because somebody else may put back bytes that he saved at any time: libc's, his own, or ours.
 */
#ifndef MONITORS_PATCH_INSIDE_H
#define MONITORS_PATCH_INSIDE_H

#include <string.h>

#include "monitors/patch.h"
#include "monitors/patch_arch.h"

#define PATH_SIZE 512u

struct jump {
	struct plan plan;
	uint8_t old[PLAN_JUMP_MAX], new[PLAN_JUMP_MAX];
	uint8_t landing_old[PLAN_JUMP_MAX], landing_new[PLAN_JUMP_MAX];
	uint8_t *trampoline;             /* NULL: this way was never planned */
	uintptr_t leads_on;              /* chained: where the call goes on */
	uintptr_t code_start, code_end;  /* chained: the mapping of that */
};

struct target {
	struct patch_site *site;
	uint8_t *entry;
	struct jump direct, chained;
	struct jump *now;     /* which of them is in use; NULL: neither */
	uint64_t offset;      /* of the entry in the file that it was mapped from */
	char path[PATH_SIZE]; /* of that file; empty: not known */
};

static inline bool reads(const struct target *t, const struct jump *j, const uint8_t bytes[PLAN_JUMP_MAX])
{
	return memcmp(t->entry + j->plan.jump_at, bytes, j->plan.jump_len) == 0;
}

/* What pages are to hold. */
enum what { WHAT_HOOKED, WHAT_ORIGINAL };
int patch_pages_switch(const struct target *targets, size_t count, enum what what);

#endif
