/* SPDX-License-Identifier: MIT */
/*
 * small_driver.h: a driver of one lock, one sequence and one count, right as it is: what the losing models for devices that
 * can do more than mirror (evict their page tables, work atomically) have in common. Each of them adds one mistake.
 *
 *	fault                                    start
 *	lock; active? wait. seen = seq; unlock   lock; seq++; active++; entries of the range go; unlock
 *	look the page up                         (the change)
 *	lock; seq == seen: program; unlock       end
 *	put the page                             lock; active--; unlock
 */
#ifndef LAB_MODELS_SMALL_DRIVER_H
#define LAB_MODELS_SMALL_DRIVER_H

#include "lab/models/models.h"

struct small_driver {
	struct lab_listener listener; /* first */
	struct lab_device *d;
	struct lab_lock lock;
	uint32_t seq, active; /* under the lock */
};

/* Set-up. start NULL: small_driver_start. */
void small_driver_attach(struct small_driver *s, struct lab_device *d,
			 int (*start)(struct lab_listener *l, const struct uhmm_event *event));

/* Under the lock, in a start: whoever has looked a page up before this will see that it must look again. */
void small_driver_count(struct small_driver *s);
int small_driver_start(struct lab_listener *l, const struct uhmm_event *event);

/* Waits until nothing is under way; what small_driver_overtaken() is to be given, under the lock. */
uint32_t small_driver_begin(struct small_driver *s);
bool small_driver_overtaken(struct small_driver *s, uint32_t seen);

/* Makes the page usable. -EAGAIN: overtaken by a change. */
int small_driver_fault(struct small_driver *s, uint32_t page, uint32_t access);

#endif
