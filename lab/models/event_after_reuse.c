/* SPDX-License-Identifier: MIT */
/*
 * event_after_reuse: userfaultfd as the witness, and its UNMAP event processed whenever the reader gets to it (R34).
 *
 *	user                    reader                       CPU
 *	                                                     munmap: frame 1 goes
 *	                                                     UNMAP is posted; sleeps
 *	                        reads it
 *	                                                     munmap returns
 *	                                                     mmap is given the address: frame 2
 *	get: a hit: frame 1
 *	                        drops what is cached
 *
 * Required: a gate. It is shut before the event is read, so before the caller goes on, and opened when it has been processed;
 * gets wait at it.
 */
#include "lab/models/models.h"
#include "lab/models/small_cache.h"
#include "lab/models/uffd.h"

static void reader(void *arg)
{
	struct small_cache *c = arg;
	struct lab_uffd_event e;

	for (;;) {
		e = lab_uffd_read(); /* the mistake: with no gate shut */
		small_start(c, e.page, e.count);
		small_end(c);
	}
}

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	lab_silence(true);
	lab_uffd_watch(reader, small_cache_make(d));
}

const struct lab_model lab_model_event_after_reuse = {
	.name = "event_after_reuse",
	.about = "userfaultfd's UNMAP is processed after its caller has gone on",
	.state_size = sizeof(struct small_cache),
	.attach = attach,
	.use = small_use,
	.detach = small_detach,
};
