/* SPDX-License-Identifier: MIT */
/*
 * uring_calls.c: the library's io_uring calls as a table. Compiled twice: as it stands, and behind no_retry.h, which renames
 * every name of src/regcache, src/devices and this file so that both copies live in one program.
 */
#include "uring_calls.h"

#include "devices/uring.h"

static int attach(struct uhmm_mm *mm, struct io_uring *ring, uint64_t reg_delay_ns, struct uhmm_uring **u)
{
	/* Every page goes through the cache, however small: the cache is what chaos attacks. */
	struct uring_tuning tuning = {.reg_delay_ns = reg_delay_ns, .always_fixed = true};

	return uring_attach_with(mm, ring, &tuning, u);
}

const struct uring_calls URING_CALLS = {
	.attach = attach,
	.prep_read = uhmm_uring_prep_read,
	.prep_write = uhmm_uring_prep_write,
	.owns = uhmm_uring_owns,
	.complete = uhmm_uring_complete,
	.detach = uhmm_uring_detach,
};
