/* SPDX-License-Identifier: MIT */
#include "monitors/hook_text.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "core/core.h"
#include "monitors/hook_calls.h"
#include "monitors/hooks.h"
#include "monitors/hook_table.h"
#include "monitors/settle.h"

static struct uhmm_a32 turn;

/* Nobody's look-up is kept from here on. */
static void suspend_all(void)
{
	uint64_t saved = 0;
	struct hook_record *r = hook_enter(&saved);
	uint32_t place = 0;
	struct uhmm_mm *mm;

	while ((mm = hook_next(&place)))
		settle_suspend(mm);
	hook_leave(r, saved);
}

static void prepare_everything(struct hook_op *op)
{
	hook_add(op, 0, MM_ADDR_END, UHMM_EVENT_UNMAP);
	op->outcome = hook_if_succeeded;
}

long hook_mprotect_text(long start, long len, long prot, patch_fn original)
{
	struct hook_op op = {.number = SYS_mprotect, .arg = {start, len, prot}, .original = original};
	long result;
	int error;

	if (prot & PROT_WRITE) {
		suspend_all();
		prepare_everything(&op);
	} else {
		hook_prepare_mprotect(&op);
	}
	result = hook_run(&op);
	error = errno;
	if (!(prot & PROT_WRITE) && hooks_repair())
		hook_text_drop();
	errno = error;
	return result;
}

void hook_text_drop(void)
{
	const struct uhmm_event event = {.start = 0, .end = MM_ADDR_END, .kind = UHMM_EVENT_UNMAP};
	uint64_t saved = 0;
	struct hook_record *r = hook_enter(&saved);
	struct uhmm_invalidation inv;
	uint32_t place = 0;
	struct uhmm_mm *mm;
	int error = errno; /* callbacks are the driver's code */

	while ((mm = hook_next(&place)))
		if (uhmm_invalidate_start(mm, &inv, &event) == 0)
			uhmm_invalidate_end(&inv);
	hook_leave(r, saved);
	errno = error;
}

void hook_text_look(void)
{
	uint32_t which = a32_load_relaxed(&turn);

	a32_store_relaxed(&turn, which + 1);
	if (__builtin_expect(patch_probe(which) && !settle_is_suspended(), 1))
		return;
	if (!settle_is_suspended()) {
		suspend_all();
		hook_text_drop();
	}
	if (hooks_repair())
		hook_text_drop();
}
