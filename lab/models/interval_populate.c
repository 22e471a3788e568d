/* SPDX-License-Identifier: MIT */
/*
 * interval_populate: the shipped core, told of the process's calls and not of what the kernel does by itself; so every
 * look-up populates the page for writing first (R24). After MADV_FREE that makes the page dirty, which takes it back: it will
 * not be dropped.
 *
 *   device                                         CPU
 *                                                  madvise(FREE), told: start, page 0 is clean, end
 *   s = uhmm_read_begin()
 *   populate page 0 for writing: dirty
 *   look it up
 *   lock; uhmm_read_retry(s): no; program; unlock
 *                                                  memory is short: page 0 is dirty, it stays
 */
#include "lab/models/models.h"
#include "lab/process.h"

struct state {
	struct uhmm_notifier notifier; /* first */
	struct lab_device *d;
	struct lab_lock lock;
};

static int invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct state *s = (struct state *)n;

	if (!model_lock_for(&s->lock, event))
		return -EAGAIN;
	lab_unmap(s->d, event->start, event->end);
	lab_unlock(&s->lock);
	return 0;
}

/* The program's own madvise(), bracketed. */
static long bracket(long a, long b, long c, long d, long e, long f)
{
	struct uhmm_event event = {.kind = UHMM_EVENT_CLEAR, .start = (uintptr_t)a, .end = (uintptr_t)a + (uintptr_t)b};
	struct uhmm_invalidation inv;
	long result;

	if (uhmm_invalidate_start(lab_mm(), &inv, &event))
		lab_fail("an event that may sleep is refused");
	result = process_original(PROCESS_MADVISE, a, b, c, d, e, f);
	uhmm_invalidate_end(&inv);
	return result;
}

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	static const struct uhmm_notifier_ops ops = {.invalidate = invalidate};
	struct state *s = lab_device_state(d);
	int err;

	s->d = d;
	lab_silence(true);
	process_patch(PROCESS_MADVISE, bracket);
	err = uhmm_notifier_insert(lab_mm(), &s->notifier, (const void *)start, end - start, &ops);
	if (err)
		lab_fail("insert: %d", err);
}

/* -EAGAIN: overtaken by a change. */
static int fault(struct lab_device *d, uint32_t page, uint32_t access)
{
	struct state *s = lab_device_state(d);
	uint64_t seq = uhmm_read_begin(&s->notifier);
	lab_frame frame;
	int err = lab_cpu_populate(page);

	if (!err)
		err = lab_grab(s->d, page, access, &frame);
	if (err)
		return err;
	lab_lock(&s->lock);
	if (uhmm_read_retry(&s->notifier, seq))
		err = -EAGAIN;
	else
		lab_map(s->d, page, frame, access);
	lab_unlock(&s->lock);
	lab_put(s->d, frame);
	return err;
}

static int use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return model_use(d, page, access, value, fault);
}

const struct lab_model lab_model_interval_populate = {
	.name = "interval_populate",
	.about = "the shipped core, look-ups populate for writing: for programs that are told of their own calls only",
	.state_size = sizeof(struct state),
	.attach = attach,
	.use = use,
};
