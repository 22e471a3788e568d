/* SPDX-License-Identifier: MIT */
#include "device.h"

#include <errno.h>
#include <string.h>

#include "run.h"

static void explain_setup(int err, struct failure *why)
{
	if (err == -EPERM)
		fail(why, "io_uring is disabled here (kernel.io_uring_disabled, or a system-call filter): %s", strerror(-err));
	else if (err == -ENOSYS)
		fail(why, "this kernel has no io_uring");
	else
		fail(why, "cannot set up io_uring: %s", strerror(-err));
}

bool device_open(struct device *d, struct uhmm_mm *mm, const struct protocol *p, uint64_t reg_delay_ns,
		 struct histogram *latencies, struct failure *why)
{
	int err = io_uring_queue_init(DEVICE_DEPTH, &d->ring, 0);

	if (err) {
		explain_setup(err, why);
		return false;
	}
	d->calls = p->calls;
	d->latencies = latencies;
	d->in_flight = 0;
	err = d->calls->attach(mm, &d->ring, reg_delay_ns, &d->uring);
	if (err) {
		io_uring_queue_exit(&d->ring);
		if (err == -EPERM || err == -ENOSYS)
			explain_setup(err, why);
		else
			fail(why, "cannot attach to io_uring: %s", strerror(-err));
		return false;
	}
	return true;
}

void device_close(struct device *d, struct failure *why)
{
	int err = d->calls->detach(d->uring);

	if (err)
		fail(why, "cannot detach from io_uring: %s", strerror(-err));
	io_uring_queue_exit(&d->ring);
}

int device_queue(struct device *d, struct request *r)
{
	struct io_uring_sqe *sqe = d->in_flight < DEVICE_DEPTH ? io_uring_get_sqe(&d->ring) : NULL;
	uint64_t me = (uintptr_t)r;
	int err;

	if (!sqe)
		return -EAGAIN;
	r->done = false;
	r->begin_ns = now_ns();
	if (r->write)
		err = d->calls->prep_write(d->uring, sqe, r->fd, r->buffer, r->len, r->offset, me);
	else
		err = d->calls->prep_read(d->uring, sqe, r->fd, r->buffer, r->len, r->offset, me);
	if (err) {
		/* The entry is taken and must say something. */
		io_uring_prep_nop(sqe);
		sqe->user_data = 0;
	}
	/* A NOP completes as well. */
	d->in_flight++;
	return err;
}

static void reap(struct device *d, struct io_uring_cqe *cqe)
{
	struct request *r;
	uint64_t now = now_ns();

	if (d->calls->owns(d->uring, cqe)) {
		int result = cqe->res;

		r = (struct request *)(uintptr_t)d->calls->complete(d->uring, cqe);
		r->result = result;
		r->done = true;
		histogram_add(d->latencies, now - r->begin_ns);
	}
	io_uring_cqe_seen(&d->ring, cqe);
	d->in_flight--;
}

static bool submit(struct device *d, unsigned wait, struct failure *why)
{
	int n = io_uring_submit_and_wait(&d->ring, wait);
	struct io_uring_cqe *cqe;

	/* -EINTR: a signal; -EAGAIN, -EBUSY: the kernel is short of memory or of room for completions, and reaping helps. */
	if (n < 0 && n != -EINTR && n != -EAGAIN && n != -EBUSY) {
		fail(why, "io_uring stopped working: %s", strerror(-n));
		return false;
	}
	while (io_uring_peek_cqe(&d->ring, &cqe) == 0)
		reap(d, cqe);
	return true;
}

bool device_submit(struct device *d, struct failure *why)
{
	return submit(d, 0, why);
}

bool device_wait(struct device *d, const struct request *r, struct failure *why)
{
	while (!r->done) {
		if (!submit(d, 1, why))
			return false;
	}
	return true;
}

bool device_drain(struct device *d, struct failure *why)
{
	while (d->in_flight) {
		if (!submit(d, 1, why))
			return false;
	}
	return true;
}

int device_finish(struct device *d, struct request *r, struct failure *why)
{
	unsigned left = r->len;

	for (;;) {
		int err;

		if (r->result == 0)
			return -ENODATA;
		if (r->result < 0 && r->result != -EINTR && r->result != -EAGAIN)
			return r->result;
		if (r->result > 0) {
			left -= (unsigned)r->result;
			if (left == 0)
				return 0;
			r->buffer = (char *)r->buffer + r->result;
			r->offset += (unsigned)r->result;
		}
		r->len = left;
		err = device_queue(d, r);
		if (err && err != -EAGAIN)
			return err;
		if (!err && !device_wait(d, r, why))
			return -EIO;
		if (err && !device_drain(d, why))
			return -EIO;
	}
}
