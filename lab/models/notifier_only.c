/* SPDX-License-Identifier: MIT */
/*
 * notifier_only: a device that reads a page in another device's memory, and relies on the process's notifications for all
 * that can happen to it (R19).
 *
 *   device                                         the memory's manager
 *   page 0 is in slot 0 of device memory: keeps that
 *                                                  moves page 0 to slot 1. The CPU's page table said
 *                                                  "in device memory" and says so still: nobody is told
 *                                                  slot 0 is somebody else's now
 *   reads slot 0
 *
 * Required: who owns the memory calls those who have pages in it, before it moves one.
 */
#include "lab/models/small_driver.h"
#include "lab/models/vram.h"

struct state {
	struct small_driver driver; /* first */
	uint32_t slot[LAB_PAGES];   /* the device's page table, for pages in device memory: slot + 1; under the lock */
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct state *s = (struct state *)l;

	if (!model_lock_for(&s->driver.lock, event))
		return -EAGAIN;
	small_driver_count(&s->driver);
	for (uint32_t page = 0; page < LAB_PAGES; page++) {
		if (model_overlaps(event, LAB_ADDR(page), LAB_ADDR(page + 1)))
			s->slot[page] = 0;
	}
	lab_unlock(&s->driver.lock);
	return 0;
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	(void)range_start;
	(void)range_end;
	small_driver_attach(lab_device_state(d), d, start);
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct state *s = lab_device_state(d);
	uint32_t seen, slot;

	if (access & LAB_WRITE)
		return -EINVAL;
	lab_lock(&s->driver.lock);
	slot = s->slot[page];
	lab_unlock(&s->driver.lock);
	while (!slot) {
		seen = small_driver_begin(&s->driver);
		slot = vram_where(page) + 1;
		lab_lock(&s->driver.lock);
		if (small_driver_overtaken(&s->driver, seen))
			slot = 0;
		s->slot[page] = slot;
		lab_unlock(&s->driver.lock);
	}
	vram_load(s->driver.d, page, slot - 1, value); /* the mistake: nobody would have said that it has moved */
	return 0;
}

const struct lab_model lab_model_notifier_only = {
	.name = "notifier_only",
	.about = "learns of pages in device memory by the process's notifications only",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
