/* SPDX-License-Identifier: MIT */
/*
 * pin_and_forget: takes a reference, programs the page for good, listens to nothing.
 *
 * A reference keeps the frame from being freed. It does not keep it at its address: truncation, replacement, copy-on-write and
 * the zero page all go on without asking (R5, R7), and write-back takes the CPU's write access away but not the device's (R4):
 *
 *   device                                         CPU
 *   look the page up, keep the reference
 *   program it
 *                                                  copies the page, page table: old frame -> new frame
 *   uses the old frame for ever
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
		err = lab_grab(d, page, access, &frame);
		if (err)
			return err;
		lab_map(d, page, frame, access);
		s->access[page] = access; /* and the reference stays ours */
	}
	return model_touch(d, page, access, value);
}

const struct lab_model lab_model_pin_and_forget = {
	.name = "pin_and_forget",
	.about = "takes a reference, programs the page for good, listens to nothing",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
