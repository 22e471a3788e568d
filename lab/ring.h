/* SPDX-License-Identifier: MIT */
/*
 * ring.h: a simulated io_uring with a table of fixed buffers, as the kernel keeps one: an update pins the pages of a slot's
 * new buffer and lets go of the old one's; a request names a slot, which is resolved when it is *submitted*.
 */
#ifndef LAB_RING_H
#define LAB_RING_H

#include <uhmm/lab.h>
#include <uhmm/regcache.h>

#include "lab/registrant.h"

#define RING_SLOTS 8u
#define RING_FD 3

/* Set-up: the ring of this device, with a sparse table; also the one behind io_uring_register(RING_FD). */
void ring_begin(struct lab_device *d);
/* One update of the table by the calling thread. len 0: empties. -EFAULT, -EINVAL; -EEXIST: not the submitter's thread. */
int ring_update(uint32_t slot, uintptr_t addr, size_t len);
/*
 * Submits a request that was prepared for a page with this slot, and makes its access. -EFAULT: the
 * slot is empty, as the kernel answers. Lost: it holds another buffer by now.
 */
int ring_submit(uint32_t slot, uint32_t page, uint32_t access, uint32_t *value, const struct registrant_get *get);
/* A request without a fixed buffer: pins for itself, when it is submitted. */
int ring_submit_plain(uint32_t page, uint32_t access, uint32_t *value);

#endif
