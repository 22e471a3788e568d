/* SPDX-License-Identifier: MIT */
/* uring_none.c: the same names where the library is built without liburing. No attachment can exist. */
#include <errno.h>

#include "devices/uring.h"

int uring_attach_with(struct uhmm_mm *mm, struct io_uring *ring, const struct uring_tuning *tuning, struct uhmm_uring **u)
{
	(void)tuning;
	return mm && ring && u ? -EOPNOTSUPP : -EINVAL;
}

int uhmm_uring_attach(struct uhmm_mm *mm, struct io_uring *ring, struct uhmm_uring **u)
{
	return uring_attach_with(mm, ring, NULL, u);
}

int uhmm_uring_prep_read(struct uhmm_uring *u, struct io_uring_sqe *sqe, int fd, void *buf, unsigned len, uint64_t offset,
			 uint64_t user_data)
{
	(void)u, (void)sqe, (void)fd, (void)buf, (void)len, (void)offset, (void)user_data;
	return -EINVAL;
}

int uhmm_uring_prep_write(struct uhmm_uring *u, struct io_uring_sqe *sqe, int fd, const void *buf, unsigned len,
			  uint64_t offset, uint64_t user_data)
{
	(void)u, (void)sqe, (void)fd, (void)buf, (void)len, (void)offset, (void)user_data;
	return -EINVAL;
}

bool uhmm_uring_owns(const struct uhmm_uring *u, const struct io_uring_cqe *cqe)
{
	(void)u, (void)cqe;
	return false;
}

uint64_t uhmm_uring_complete(struct uhmm_uring *u, const struct io_uring_cqe *cqe)
{
	(void)u, (void)cqe;
	return 0;
}

int uhmm_uring_detach(struct uhmm_uring *u)
{
	(void)u;
	return -EINVAL;
}

int uhmm_uring_stats(const struct uhmm_uring *u, struct uhmm_uring_stats *out)
{
	(void)u, (void)out;
	return -EINVAL;
}
