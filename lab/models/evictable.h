/* SPDX-License-Identifier: MIT */
/*
 * evictable.h: a small driver whose page tables live in device memory and leave it when others need the room (R14). What was in
 * them is kept aside and put back as it was; the device does not run meanwhile.
 *
 *	evict                                    restore
 *	lock                                     lock
 *	entries kept aside, evicted = 1          kept entries put back, evicted = 0
 *	unlock                                   unlock
 *
 * An invalidation that comes between the two must reach what is kept aside: evictable_forget().
 */
#ifndef LAB_MODELS_EVICTABLE_H
#define LAB_MODELS_EVICTABLE_H

#include "lab/models/small_driver.h"

struct evictable {
	struct small_driver driver; /* first */
	struct uhmm_a32 evicted;    /* stored under the lock */
	struct {
		lab_frame frame;
		uint32_t access;
	} kept[LAB_PAGES];          /* under the lock */
};

/* For struct lab_model. */
int evictable_use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value);
void evictable_evict(struct lab_device *d);
void evictable_restore(struct lab_device *d);

/* Under the lock: the event's pages are not put back. */
void evictable_forget(struct evictable *e, const struct uhmm_event *event);

#endif
