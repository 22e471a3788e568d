/* SPDX-License-Identifier: MIT */
/*
 * pin_movable: pins the page for as long as the program runs, wherever it is, and cannot be asked to let go (R17, R21).
 *
 *   device                                         kernel
 *   pin page 0: frame 1 has a pin
 *                                                  migrate: page table: a migration entry
 *                                                  references? one too many: give up
 *                                                  page table: frame 1 again
 *                                                  ... and so on, for as long as the device likes
 *
 * Memory that must stay movable (to be unplugged, for a contiguous block, for a huge page) has none of it any more. One pin in
 * 256 pages leaves a 2 MiB block a chance of (255/256)^512, 13 %, and a 1 GiB block none.
 *
 * Required: the reference can be revoked, by a callback when the page has to move.
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
		err = lab_pin(d, page, access, &frame);
		if (err)
			return err;
		lab_map(d, page, frame, access);
		s->access[page] = access; /* the mistake: the pin stays, and nobody listens */
	}
	return model_touch(d, page, access, value);
}

const struct lab_model lab_model_pin_movable = {
	.name = "pin_movable",
	.about = "a long-term pin wherever the page is, which nobody can revoke",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
