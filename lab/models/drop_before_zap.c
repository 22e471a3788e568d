/* SPDX-License-Identifier: MIT */
/*
 * drop_before_zap: userfaultfd as the witness, and its REMOVE event taken for the change itself (R26).
 *
 *	user                    reader                       CPU: madvise(DONTNEED)
 *	                                                     REMOVE is posted; sleeps
 *	                        gate shut; reads it
 *	                        drops what is cached
 *	                        gate open                    (awake)
 *	get: a miss
 *	reg(): pins frame 1,
 *	which is still there
 *	                                                     frame 1 goes; the call returns
 *	get: a hit: frame 1
 *
 * The event has no end. Required: the range stays tainted until something says that the pages have gone; gets of it are not
 * cached.
 */
#include "lab/models/models.h"
#include "lab/models/small_cache.h"
#include "lab/models/uffd.h"

static void reader(void *arg)
{
	struct small_cache *c = arg;
	struct lab_uffd_event e;

	for (;;) {
		lab_uffd_poll();
		small_start(c, 0, LAB_PAGES); /* the gate: an event of a range that is not known yet, so of any */
		e = lab_uffd_read();
		small_start(c, e.page, e.count);
		small_end(c); /* the mistake: the pages have not gone */
		small_end(c); /* the gate */
	}
}

static void attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	lab_silence(true);
	lab_uffd_watch(reader, small_cache_make(d));
}

const struct lab_model lab_model_drop_before_zap = {
	.name = "drop_before_zap",
	.about = "userfaultfd's REMOVE, which precedes the change, is taken for it",
	.state_size = sizeof(struct small_cache),
	.attach = attach,
	.use = small_use,
	.detach = small_detach,
};
