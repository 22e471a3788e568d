/* SPDX-License-Identifier: MIT */
/*
 * uring.h: io_uring fixed buffers on any pointer.
 *
 * A fixed buffer is pinned once and used many times; the kernel keeps the pages, not the address. After munmap() + mmap(),
 * MADV_DONTNEED or mremap() a raw fixed buffer reads and writes pages that the program no longer has, and reports success.
 * Here buffers are ordinary pointers: a registration cache (<uhmm/regcache.h>) keeps the ring's buffer table, and a request
 * prepared after a mapping call has returned never uses pages from before it.
 *
 *	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
 *	err = uhmm_uring_prep_read(u, sqe, fd, buf, len, offset, my_data);
 *	if (err)
 *		io_uring_prep_nop(sqe);                 // or anything else: the sqe is as it was
 *	io_uring_submit(&ring);
 *	...
 *	if (uhmm_uring_owns(u, cqe)) {
 *		res = cqe->res;
 *		my_data = uhmm_uring_complete(u, cqe);  // releases the buffer
 *	}
 *	io_uring_cqe_seen(&ring, cqe);
 *
 * The ring stays the program's: its own requests, files, links and flags on these sqes work as before. Only liburing's types
 * and inline functions are used, and this header includes nothing of it.
 *
 * What a request sees: the pages that the range had at some moment between the call of prep and its return, if nobody changes
 * the range until the completion; a range that is changed while its request is in flight is the program's error, as with any
 * device, and the request finishes on the old pages. Requests from 4 KiB up use a fixed buffer, smaller ones and what cannot be
 * registered (file mappings, read-only memory, more than 1 GiB) go as plain IORING_OP_READ or _WRITE, with the same result.
 *
 * Threads: prep and detach belong to the thread (or the lock) that may call io_uring_get_sqe(); owns and complete may run at
 * the same time in the one that reaps completions, on any ring. Several attachments, of one address space or of several, are
 * independent of each other. None sets errno.
 *
 * fork: the ring is the parent's. In the child every call answers -EOWNERDEAD, owns says false.
 */
#ifndef UHMM_URING_H
#define UHMM_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct io_uring;
struct io_uring_cqe;
struct io_uring_sqe;
struct uhmm_mm;
struct uhmm_uring;

/*
 * uhmm_uring_attach: give the ring's fixed-buffer table to the library.
 *
 * ring is set up, has no registered buffers, and stays in place and open until uhmm_uring_detach(); mm stays open as long. Any
 * kind of ring: SQPOLL, IOPOLL, SINGLE_ISSUER, DEFER_TASKRUN; with the last two in the thread that submits. (Not one
 * that only exists as a registered descriptor, REGISTERED_FD_ONLY: it answers -EBADF.) Where the kernel
 * has no sparse tables (before 5.13) or forbids registration on this ring, the attachment works and every request is plain.
 * Memory that stays registered is bounded by RLIMIT_MEMLOCK, or a quarter of the machine's for the privileged. On failure *u is
 * untouched. May block and allocate.
 *
 *  -EINVAL      NULL, or a ring that is not set up
 *  -EBUSY       the ring has registered buffers already
 *  -EPERM       a system-call filter forbids registration (where io_uring is disabled, creating the ring fails already)
 *  -EEXIST      a SINGLE_ISSUER ring, and this is not its thread
 *  -ENOMEM      no memory
 *  -EAGAIN      the cache's thread could not be started
 *  -ENOSYS      the kernel has no io_uring
 *  -EBADF       the ring has been closed
 *  -EOPNOTSUPP  the library was built without io_uring
 */
int uhmm_uring_attach(struct uhmm_mm *mm, struct io_uring *ring, struct uhmm_uring **u);

/*
 * uhmm_uring_prep_read, uhmm_uring_prep_write: prepare sqe to read file fd into buf, or write buf to it.
 *
 * As io_uring_prep_read() and _write(), but buf is registered when that pays, and stays so until uhmm_uring_complete(). The
 * library owns sqe->user_data from here on; user_data comes back from uhmm_uring_complete(). The program may add flags
 * (IOSQE_FIXED_FILE, IOSQE_IO_LINK, ...) but not IOSQE_CQE_SKIP_SUCCESS: the completion is what releases the buffer. The sqe is
 * submitted in the end, as this or as something else (io_uring_prep_nop() leaves user_data): a request that never completes
 * keeps its buffer and lets detach answer -EBUSY.
 *
 * A hit costs tens of nanoseconds and no system call. A miss registers and may block and allocate, but no longer than a second
 * or two: if another thread keeps the very range in change for so long, the request goes plain. On failure sqe is as it was and
 * nothing is held: prepare something else in it before submitting.
 *
 *  -EINVAL      NULL, or buf + len wraps or leaves user space; len 0 is fine and transfers nothing
 *  -EFAULT      part of the range is not mapped, or does not allow the access, or is device memory mapped by a driver. What
 *               would go plain anyway is not looked at: it comes as the result of the completion
 *  -EAGAIN      65,536 requests in flight: complete some
 *  -EOWNERDEAD  this is a child of the process that attached
 */
int uhmm_uring_prep_read(struct uhmm_uring *u, struct io_uring_sqe *sqe, int fd, void *buf, unsigned len, uint64_t offset,
			 uint64_t user_data);
int uhmm_uring_prep_write(struct uhmm_uring *u, struct io_uring_sqe *sqe, int fd, const void *buf, unsigned len,
			  uint64_t offset, uint64_t user_data);

/*
 * uhmm_uring_owns: true for the completion of a request that was prepared here and not yet completed.
 *
 * False for the program's own requests: user_data of ours holds a 16-bit mark of the attachment, an index into its requests and
 * a 32-bit generation, all of which must match. (Pointers of the program never do: their upper 16 bits are 0 or all ones, which
 * no mark is.) Never blocks.
 */
bool uhmm_uring_owns(const struct uhmm_uring *u, const struct io_uring_cqe *cqe);

/*
 * uhmm_uring_complete: release the request's buffer; returns the user_data given to prep.
 *
 * Before io_uring_cqe_seen(). A cqe that uhmm_uring_owns() denies, completed twice included, changes nothing and gives back
 * cqe->user_data. Never blocks: a buffer that was invalidated meanwhile is unregistered by a thread of the cache; on a
 * SINGLE_ISSUER ring by the submitter's next prep or complete.
 */
uint64_t uhmm_uring_complete(struct uhmm_uring *u, const struct io_uring_cqe *cqe);

/*
 * uhmm_uring_detach: unregister everything and give the table back. Before io_uring_queue_exit(). On failure nothing changed.
 * May block.
 *
 *  -EINVAL      u is NULL
 *  -EBUSY       requests are in flight: prepared and not completed
 *  -EDEADLK     called from a callback of the protocol
 *  -EEXIST      a SINGLE_ISSUER ring, and this is not its thread
 *  -EOWNERDEAD  this is a child of the process that attached; there is nothing to give back
 */
int uhmm_uring_detach(struct uhmm_uring *u);

/* Where requests went, since attach. */
struct uhmm_uring_stats {
	size_t size;           /* sizeof(struct uhmm_uring_stats), set by the caller */
	uint64_t fixed;        /* requests on a fixed buffer */
	uint64_t plain_chosen; /* plain by rule: small, larger than can be registered, or no buffer is used twice */
	uint64_t plain_forced; /* plain because the range could not be registered, now or ever */
	uint64_t in_flight;    /* prepared and not completed */
	uint64_t slots;        /* size of the table; 0: every request is plain */
	uint64_t slots_used;   /* slots that hold a registration, or wait to be emptied */
	uint64_t slots_queued; /* of those, waiting for the submitter's next call (SINGLE_ISSUER) */
};

/*
 * uhmm_uring_stats: min(out->size, own size) bytes are written. The submitter's call. Never blocks.
 *
 *  -EINVAL      NULL, or out->size is below the first release's
 *  -EOWNERDEAD  in a forked child
 */
int uhmm_uring_stats(const struct uhmm_uring *u, struct uhmm_uring_stats *out);

#ifdef __cplusplus
}
#endif
#endif
