/* SPDX-License-Identifier: MIT */
/*
 * models.h: the drivers that are put into the races, and what they share.
 *
 * A model is written as somebody might write the driver, not as the lab would like it: state in the device's state_size bytes,
 * one driver lock, loops that are bounded. The losing ones differ from a correct driver in one thing, which their head comment
 * names and draws.
 */
#ifndef LAB_MODELS_H
#define LAB_MODELS_H

#include <errno.h>

#include <uhmm/lab.h>

/* Tries after which a driver gives up with -EBUSY. No scenario makes that many changes: a correct driver never gets there. */
#define MODEL_TRIES 12u

/* All of them, NULL at the end. */
extern const struct lab_model *const lab_models[];

/* The access for which the page was made usable. */
static inline int model_touch(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return access & LAB_WRITE ? lab_store(d, page, *value) : lab_load(d, page, value);
}

/*
 * The life of a device that faults: it touches the page, and where there is no entry has fault() make one and tries again.
 * fault() answers 0, -EAGAIN when a change overtook it, or what ends the use.
 */
static inline int model_use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value,
			    int (*fault)(struct lab_device *d, uint32_t page, uint32_t access))
{
	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		int err = model_touch(d, page, access, value);

		if (err != -EFAULT)
			return err;
		err = fault(d, page, access);
		if (err && err != -EAGAIN)
			return err;
	}
	return -EBUSY;
}

static inline bool model_overlaps(const struct uhmm_event *event, uintptr_t start, uintptr_t end)
{
	return event->start < end && start < event->end;
}

static inline bool model_nonblock(const struct uhmm_event *event)
{
	return event->flags & UHMM_EVENT_NONBLOCK;
}

/* For callbacks: waits for the lock unless the event forbids it. False: it was busy. */
static inline bool model_lock_for(struct lab_lock *lock, const struct uhmm_event *event)
{
	if (model_nonblock(event))
		return lab_trylock(lock);
	lab_lock(lock);
	return true;
}

#endif
