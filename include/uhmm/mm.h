/* SPDX-License-Identifier: MIT */
/*
 * mm.h: this process's address space, and who watches it change.
 *
 * An address-space object (struct uhmm_mm) is where notifiers are registered and invalidations are announced. Monitors feed
 * it: `explicit` is the program itself calling uhmm_invalidate_start(); `hooks` is every mapping call that goes through libc.
 *
 * Stability: names and structs here keep their meaning within one soname. Option structs grow at the end; set `size`.
 * Threads: every call may be made from any thread. None sets errno; failures are negative errnos.
 */
#ifndef UHMM_MM_H
#define UHMM_MM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uhmm_mm;

/* Sources of invalidations. Asked for by name, all of them are obtained or the open fails; AUTO takes what there is. */
enum {
	UHMM_MONITOR_EXPLICIT = 1u << 0, /* the caller's own uhmm_invalidate_start/end; always there */
	UHMM_MONITOR_HOOKS = 1u << 1,    /* libc's mapping calls, patched at their entries; x86-64 or aarch64, glibc */
	UHMM_MONITOR_UFFD = 1u << 2,     /* the kernel's own word, by userfaultfd; Linux 6.7; only by name, see uhmm_mm(3) */
	UHMM_MONITOR_TRAP = 1u << 3,     /* calls stopped by the kernel; cannot be had safely: -EOPNOTSUPP, see uhmm_mm(3) */
	UHMM_MONITOR_KMOD = 1u << 4,     /* not in this release: -EOPNOTSUPP */
	UHMM_MONITOR_AUTO = 0            /* hooks where they can be had, else explicit alone */
};

/* What UHMM_MONITOR_UFFD watches beyond anonymous and shared memory. */
enum {
	UHMM_WITNESS_FILES = 1u << 0 /* mappings of page-cache files too; their first touches become slower by far */
};

struct uhmm_mm_options {
	size_t size;            /* sizeof(struct uhmm_mm_options) */
	uint32_t monitors;      /* UHMM_MONITOR_* bits; 0 is AUTO */
	uint32_t fault_threads; /* reserved for page ownership; must be 0 in this release */
	uint32_t witness;       /* UHMM_WITNESS_* bits, for UHMM_MONITOR_UFFD */
	uint32_t reserved;      /* 0 */
};

/*
 * uhmm_mm_open: make an address-space object for the calling process.
 *
 * options may be NULL: all defaults. Several objects may be open at once; explicit calls reach only the one they name, hook
 * events reach every one that asked for HOOKS. The first open that asks for HOOKS patches libc; a later close never unpatches
 * while another object needs them. On success *mm is the caller's, to be given to uhmm_mm_close(); on failure *mm is untouched.
 * May block for up to about a millisecond (it lets threads that are already inside a mapping call leave it); the first with
 * HOOKS or AUTO also asks the dynamic linker, and waits for a dlopen() or dlclose() that another thread is in.
 * In a forked child the object stays usable and empty: every notifier of the parent counts as removed.
 *
 *  -EINVAL      mm is NULL, options->size is below the first release's, fault_threads is not 0, or a monitor bit is unknown
 *  -E2BIG       options are from a newer release and use a field that this one does not know
 *  -EOPNOTSUPP  a monitor asked for by name does not exist here (TRAP, KMOD; HOOKS on machines other than x86-64 and aarch64,
 *               without glibc, or where pages are larger than 4 KiB; UFFD before Linux 6.7, or while another object's witness
 *               has lost the thread that reads it)
 *  -EBUSY       HOOKS asked for by name, and somebody else has patched one of the functions in a way that cannot be chained, a
 *               debugger's breakpoint for instance; uhmm_hooks_status() names him
 *  -EPERM       HOOKS asked for by name, and the system forbids changing executable mappings; UFFD, and it forbids userfaultfd
 *  -EMFILE, -ENFILE  UFFD asked for by name, and no file descriptor is left: it takes three
 *  -ENOMEM      no memory, or the process has no room for another mapping; HOOKS by name: or no room near libc
 */
int uhmm_mm_open(struct uhmm_mm **mm, const struct uhmm_mm_options *options);

/*
 * uhmm_mm_close: end it. NULL is fine. The caller has removed its notifiers, destroyed its caches and ended its
 * invalidations; in debug builds a leftover is reported and aborts. Not from a callback. May block until hook events that are
 * on their way have left; a dlclose() is not waited for, so destructors may close, and may wait for a thread that does.
 */
void uhmm_mm_close(struct uhmm_mm *mm);

/*
 * uhmm_hooks_status: one line for people on the hooks of this process: what was installed, on whose code it was put and leads
 * on
 * to, or why they could not be had and who is in the way. Writes at most size bytes into text, the terminating 0 included, and
 * returns the line's whole length. text may be NULL if size is 0. Waits for an open or close that another thread is in.
 */
size_t uhmm_hooks_status(char *text, size_t size);

/* uhmm_mm_monitors: the UHMM_MONITOR_* bits that were obtained. Never blocks. */
uint32_t uhmm_mm_monitors(const struct uhmm_mm *mm);

/* Counters since open; 0 for parts that are not in this release. */
struct uhmm_stats {
	size_t size;               /* sizeof(struct uhmm_stats), set by the caller */
	uint64_t invalidations;    /* started, whether or not they overlapped anything */
	uint64_t callbacks;        /* ops->invalidate calls */
	uint64_t retries;          /* look-ups begun again because an invalidation came between */
	uint64_t faults;
	uint64_t pages_to_device;
	uint64_t pages_to_system;
	uint64_t exclusive_revokes;
	uint64_t deferred;         /* invalidations queued because a signal handler had interrupted a lock holder */
	uint64_t cache_hits;
	uint64_t cache_misses;
	uint64_t cache_evictions;
};

/*
 * uhmm_mm_stats: read the counters. out->size is set by the caller; min(out->size, own size) bytes are written, out->size
 * included. Never blocks for long. Counters of running threads may lag by an event.
 *
 *  -EINVAL  mm or out is NULL, or out->size is below the first release's
 */
int uhmm_mm_stats(const struct uhmm_mm *mm, struct uhmm_stats *out);

#ifdef __cplusplus
}
#endif
#endif
