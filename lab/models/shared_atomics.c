/* SPDX-License-Identifier: MIT */
/*
 * shared_atomics: the device's atomic operations on system memory are a load and a store over the bus, while the CPU has the
 * page too (R18). The mirror itself is right.
 *
 *   device: atomic add of 1                        CPU
 *   loads page 0: 1
 *                                                  writes page 0: 50
 *   stores page 0: 2
 *
 * The CPU's 50 is nowhere: before the addition it would be 51 by now, after it 50.
 *
 * Required: the CPU's access is revoked for as long as the operation takes, and given back.
 */
#include "lab/models/small_driver.h"

static void attach(struct lab_device *d, uintptr_t range_start, uintptr_t range_end)
{
	(void)range_start;
	(void)range_end;
	small_driver_attach(lab_device_state(d), d, NULL);
}

static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	return small_driver_fault(lab_device_state(d), page, access);
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return model_use(d, page, access, value, fault);
}

static int atomic_add(struct lab_device *d, uint32_t page, uint32_t delta, uint32_t *old)
{
	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		int err = lab_load(d, page, old);

		if (!err)
			err = lab_store(d, page, *old + delta); /* the mistake: whatever the CPU has written since the load */
		if (err != -EFAULT)
			return err;
		err = fault(d, page, LAB_READ | LAB_WRITE);
		if (err && err != -EAGAIN)
			return err;
	}
	return -EBUSY;
}

const struct lab_model lab_model_shared_atomics = {
	.name = "shared_atomics",
	.about = "device atomics as load and store, while the CPU has the page too",
	.state_size = sizeof(struct small_driver),
	.attach = attach,
	.use = use,
	.atomic_add = atomic_add,
};
