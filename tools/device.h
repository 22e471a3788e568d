/* SPDX-License-Identifier: MIT */
/*
 * device.h: an io_uring as a device that works on ordinary pointers. One thread's: the device thread opens, uses and closes it.
 */
#ifndef TOOLS_DEVICE_H
#define TOOLS_DEVICE_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"
#include "protocol.h"

struct failure;

enum { DEVICE_DEPTH = 256 }; /* requests in flight at most */

struct request {
	int fd;
	bool write;
	void *buffer;
	unsigned len;
	uint64_t offset;
	/* The device's. */
	bool done;
	int result; /* bytes, or a negative errno; set when done */
	uint64_t begin_ns;
};

struct device {
	struct io_uring ring;
	struct uhmm_uring *uring;
	const struct uring_calls *calls;
	struct histogram *latencies;
	unsigned in_flight;
};

/* False: nothing to close, and the failure says why. */
bool device_open(struct device *d, struct uhmm_mm *mm, const struct protocol *p, uint64_t reg_delay_ns,
		 struct histogram *latencies, struct failure *why);
void device_close(struct device *d, struct failure *why);

/*
 * Queues the request; it is the device's until done. 0, or a negative errno and the request is not queued: -EFAULT for a
 * range with a hole, -EAGAIN when DEVICE_DEPTH requests are in flight.
 */
int device_queue(struct device *d, struct request *r);
/* Submits what is queued and returns when the request is done. False: a failure of the ring itself. */
bool device_wait(struct device *d, const struct request *r, struct failure *why);
/* Submits what is queued, without waiting. */
bool device_submit(struct device *d, struct failure *why);
/* The same until nothing is in flight. */
bool device_drain(struct device *d, struct failure *why);

/*
 * Finishes a request that is done: what the kernel left over of a short transfer is queued again and waited for. 0 when all of
 * it is there, -ENODATA at the end of the file, or a negative errno.
 */
int device_finish(struct device *d, struct request *r, struct failure *why);

#endif
