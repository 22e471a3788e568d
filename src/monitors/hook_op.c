/* SPDX-License-Identifier: MIT */
#include "monitors/hook_op.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "core/mm.h"

/*
 * Nobody knows the address before the call returns to the program, so nothing has to be kept off while it changes, and where
 * nobody watches there is nothing to say. The look comes after the change: fence_after_call() pairs with the full barrier in
 * notifier.c between the mark of a new notifier and the look-up of its pages that follows.
 */
void hook_announce_given(struct uhmm_mm *mm, uintptr_t start, uintptr_t end)
{
	struct uhmm_event event = {.start = start, .end = end, .kind = UHMM_EVENT_UNMAP};
	struct uhmm_invalidation inv;

	fence_after_call();
	if (occupancy_any(&mm->occupied, start, end) && uhmm_invalidate_start(mm, &inv, &event) == 0)
		uhmm_invalidate_end(&inv);
}

/*
 * What sends an event, or may. A mapping that grows in place sends none, so mremap's own range only if it is certain to move:
 * what is lifted counts as changed.
 */
static bool sends_event(const struct hook_op *op, const struct hook_range *r)
{
	if (r->kind == UHMM_EVENT_REMAP)
		return op->number == SYS_mremap && (op->arg[3] & (MREMAP_FIXED | MREMAP_DONTUNMAP));
	return r->kind == UHMM_EVENT_UNMAP || r->kind == UHMM_EVENT_CLEAR;
}

void hook_call_lifted(struct hook_op *op, int *error)
{
	bool lifted[HOOK_RANGES] = {false};

	for (uint32_t i = 0; i < op->ranges; i++)
		lifted[i] = sends_event(op, &op->range[i]) && uffd_lift(op->range[i].start, op->range[i].end);
	hook_call_now(op, error);
	for (uint32_t i = 0; i < op->ranges; i++) {
		if (!lifted[i])
			continue;
		uffd_lifted(op->range[i].start, op->range[i].end, hook_failed(op) || op->range[i].kind == UHMM_EVENT_CLEAR);
		op->range[i].changed = true;
	}
}

/* One level for each listener; the innermost makes the call. The ends come in reverse. */
void hook_bracket_rest(struct hook_op *op, uint32_t place, int *error)
{
	struct uhmm_mm *mm = hook_next(&place);

	if (!mm)
		hook_call_inside(op, error);
	else
		HOOK_BRACKET(op, mm, error, hook_bracket_rest(op, place, error));
}
