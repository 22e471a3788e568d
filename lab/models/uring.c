/* SPDX-License-Identifier: MIT */
/*
 * uring: the shipped fixed buffers and their cache, over a simulated ring; the simulated kernel announces changes. Threads
 * take turns at preparing, as liburing wants it.
 *
 *	submitter                                anybody else
 *	prep: slot 0 holds page 0's buffer
 *	                                         munmap of page 0: the region in slot 0 is dropped
 *	submit: the kernel resolves slot 0
 *	complete: the put
 *	                                         dereg: slot 0 is emptied
 *
 * Required: slot 0 is that buffer's until the completion.
 */
#include <liburing.h>

#include "devices/uring.h"
#include "lab/models/models.h"
#include "lab/process.h"
#include "lab/registrant.h"
#include "lab/ring.h"

struct state {
	struct io_uring ring;
	struct uhmm_uring *uring;
	struct lab_lock lock;
};

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	const struct uring_tuning tuning = {.slots = RING_SLOTS, .max_bytes = 4096 * RING_SLOTS, .always_fixed = true};
	struct state *st = lab_device_state(d);

	(void)start;
	(void)end;
	ring_begin(d);
	st->ring.ring_fd = RING_FD;
	st->ring.sq.sqes = lab_alloc_zeroed(sizeof(struct io_uring_sqe));
	st->ring.cq.cqes = lab_alloc_zeroed(sizeof(struct io_uring_cqe));
	if (uring_attach_with(lab_mm(), &st->ring, &tuning, &st->uring) != 0)
		lab_fail("the ring cannot be attached");
}

static int submit(const struct io_uring_sqe *sqe, uint32_t page, uint32_t access, uint32_t *value,
		  const struct registrant_get *get)
{
	int err;

	if (sqe->opcode != IORING_OP_READ_FIXED && sqe->opcode != IORING_OP_WRITE_FIXED)
		return ring_submit_plain(page, access, value);
	err = ring_submit(sqe->buf_index, page, access, value, get);
	if (err)
		lab_fail("the slot of a prepared request is empty");
	return err;
}

/* A read from a file writes the memory. */
static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct state *st = lab_device_state(d);
	struct registrant_get get = registrant_get_begins();
	struct io_uring_sqe sqe = {0};
	struct io_uring_cqe cqe = {0};
	int err;

	lab_lock(&st->lock);
	err = access & LAB_WRITE ? uhmm_uring_prep_read(st->uring, &sqe, 0, (void *)LAB_ADDR(page), 4096, 0, page)
				 : uhmm_uring_prep_write(st->uring, &sqe, 0, (void *)LAB_ADDR(page), 4096, 0, page);
	lab_unlock(&st->lock);
	if (err)
		return err;
	err = submit(&sqe, page, access, value, &get);
	cqe.user_data = sqe.user_data;
	lab_lock(&st->lock);
	if (!uhmm_uring_owns(st->uring, &cqe) || uhmm_uring_complete(st->uring, &cqe) != page)
		lab_fail("the completion is somebody else's");
	lab_unlock(&st->lock);
	return err;
}

static void detach(struct lab_device *d)
{
	struct state *st = lab_device_state(d);
	int err = uhmm_uring_detach(st->uring);

	if (err)
		lab_fail("detach answers %d", err);
	if (registrant_live())
		lab_fail("%u registrations are left", registrant_live());
}

const struct lab_model lab_model_uring = {
	.name = "uring",
	.about = "the shipped fixed buffers of io_uring",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
	.detach = detach,
};
