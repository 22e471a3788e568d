/* SPDX-License-Identifier: MIT */
/*
 * pin_no_unshare: takes a plain reference where it ought to pin, and writes through it (R20, R22; get_user_pages() for DMA).
 *
 * fork cannot tell this reference from any other, so it shares the page instead of giving the child a copy; whoever writes
 * first is moved away, and that is the parent:
 *
 *   device                                         parent
 *   looks page 0 up for writing: frame 1, keeps it
 *                                                  fork: frame 1 is the child's too, write-protected
 *                                                  writes: a copy, page table: frame 1 -> frame 2
 *   writes frame 1: the child's
 *
 * The same when the look-up is lockless and in the middle of fork (R22):
 *
 *   reads the entry: frame 1, writable
 *   takes a reference
 *   the entry is still the same
 *                                                  fork: write-protects it, frame 1 is the child's too
 *                                                  writes: frame 1 -> frame 2
 *
 * Required: pins that fork counts, and that are refused while one is under way.
 */
#include "lab/models/models.h"

struct state {
	uint32_t access[LAB_PAGES]; /* how it is programmed; each page is used by one fiber of the device */
};

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	(void)d;
	(void)range_start;
	(void)range_end;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct state *s = lab_device_state(d);
	lab_frame frame;
	int err;

	if (!(s->access[page] & access)) {
		err = lab_grab(d, page, access, &frame); /* the mistake: not lab_pin() */
		if (err)
			return err;
		lab_map(d, page, frame, access);
		s->access[page] = access;
	}
	return model_touch(d, page, access, value);
}

const struct lab_model lab_model_pin_no_unshare = {
	.name = "pin_no_unshare",
	.about = "a plain reference for what the device writes, which fork cannot tell from others",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
