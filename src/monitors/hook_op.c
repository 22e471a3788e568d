/* SPDX-License-Identifier: MIT */
#include "monitors/hook_op.h"

#include "core/mm.h"

/*
 * Nobody knows the address before the call returns to the program, so nothing has to be kept off while it changes, and where
 * nobody watches there is nothing to say. The look needs a full barrier after the change: the kernel's own, which takes
 * and drops the mapping lock by atomic operations on the way.
 */
void hook_announce_given(struct uhmm_mm *mm, uintptr_t start, uintptr_t end)
{
	struct uhmm_event event = {.start = start, .end = end, .kind = UHMM_EVENT_UNMAP};
	struct uhmm_invalidation inv;

	if (occupancy_any(&mm->occupied, start, end) && uhmm_invalidate_start(mm, &inv, &event) == 0)
		uhmm_invalidate_end(&inv);
}

/* One level for each listener; the innermost makes the call. The ends come in reverse. */
void hook_bracket_rest(struct hook_op *op, uint32_t place, int *error)
{
	struct uhmm_mm *mm = hook_next(&place);

	if (!mm)
		hook_call_now(op, error);
	else
		HOOK_BRACKET(op, mm, error, hook_bracket_rest(op, place, error));
}
