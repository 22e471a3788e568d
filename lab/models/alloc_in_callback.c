/* SPDX-License-Identifier: MIT */
/*
 * alloc_in_callback: its callback allocates a note of what has to be torn down (R15).
 *
 *   one thread
 *   free(): takes the heap's lock
 *     madvise(DONTNEED): start
 *       the callback: malloc(): waits for the heap's lock, which this very thread holds
 *
 * Nobody else is needed. Required: nothing that a callback needs is allocated in it.
 */
#include "lab/models/heap.h"
#include "lab/models/small_driver.h"

struct note {
	uintptr_t start, end;
};

static int start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct note *n = heap_alloc(sizeof(*n)); /* the mistake */

	n->start = event->start;
	n->end = event->end;
	return small_driver_start(l, event);
}

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	(void)range_start;
	(void)range_end;
	small_driver_attach(lab_device_state(d), d, start);
}

static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	return small_driver_fault(lab_device_state(d), page, access);
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return model_use(d, page, access, value, fault);
}

const struct lab_model lab_model_alloc_in_callback = {
	.name = "alloc_in_callback",
	.about = "allocates in its callback, which runs inside free() too",
	.state_size = sizeof(struct small_driver),
	.attach = attach,
	.use = use,
};
