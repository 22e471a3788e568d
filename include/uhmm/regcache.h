/* SPDX-License-Identifier: MIT */
/*
 * regcache.h: a registration cache that cannot go stale.
 *
 * Registering memory with a device (pinning it, telling an adapter of it) is expensive, so registrations are kept and found
 * again by address. The trouble is that the program unmaps, discards and remaps memory meanwhile. This cache watches each
 * region that it keeps through the address-space object it was created on, so that
 *
 *     a get that begins after a mapping call has returned never yields pages from before that call,
 *
 * as long as the address space's monitors see the call. A registration that was handed out earlier stays *registered* until
 * its put, whatever happens to the range; it stays *current* only while nobody changes that range.
 *
 * Ranges: what is cached is the request rounded out to whole pages. Any part of a cached region is a hit, with the same access
 * or less. A request for more access than a covering region has registers that region's range again with both. The cache does
 * not look at the memory itself: whether a range is mapped and may be accessed is found out by reg().
 *
 * Cost: a hit takes no lock, writes no memory that another thread touches, and never waits, not even for a registration,
 * deregistration or invalidation in progress.
 *
 * Stability: names and structs here keep their meaning within one soname. Option structs grow at the end; set `size`.
 * Threads: every call may be made from any thread, except uhmm_regcache_destroy(), which excludes all others on the same cache.
 * Get and put are not for signal handlers; a handler may change mappings at any time, though. None sets errno; failures are
 * negative errnos.
 */
#ifndef UHMM_REGCACHE_H
#define UHMM_REGCACHE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uhmm_mm;
struct uhmm_regcache;

/*
 * A registration. Read-only for whoever got it, and valid from get to put. It belongs to the cache: several gets of one region
 * yield the same pointer, and each needs its put.
 */
struct uhmm_reg {
	void *addr;      /* covers what was asked for; usually whole pages */
	size_t len;      /* bytes */
	uint32_t access; /* PROT_READ | PROT_WRITE: at least what was asked for */
	uint64_t handle; /* whatever reg() stored here */
};

/*
 * How to register. Both members are required. Neither is called with a lock held, so they may sleep, allocate, change
 * mappings (even the very range), and call get and put on any cache; a registration that keeps invalidating its own range
 * ends as an uncached one, see uhmm_regcache_get(). They return: leaving one by longjmp() or an exception corrupts the cache.
 */
struct uhmm_regcache_ops {
	/*
	 * Register [reg->addr, reg->addr + reg->len) for reg->access and store reg->handle. Called by uhmm_regcache_get() in
	 * the thread that called it. Returns 0 or a negative errno, then nothing is registered; -EFAULT where the range is not
	 * mapped or does not allow the access. Never called for one range by two threads at once, unless one of them has
	 * waited for a second, or is itself inside reg().
	 */
	int (*reg)(void *ctx, struct uhmm_reg *reg);
	/*
	 * Undo it. Called exactly once for each reg() that returned 0, when nobody uses the registration any more: usually on
	 * the cache's own thread; by a get that was told to begin again or has to make room, by flush and by destroy in the
	 * thread that called them. Never inside an invalidation, that is, never inside munmap() or free(). Must not call
	 * flush or destroy (they answer -EDEADLK), nor return in a child that it forked.
	 */
	void (*dereg)(void *ctx, struct uhmm_reg *reg);
};

enum {
	/*
	 * reg() really pins the pages (FOLL_PIN, as RDMA and io_uring do): the kernel then keeps this process's pages in place
	 * across fork, and the cache keeps its regions. Without it fork drops every region.
	 */
	UHMM_REGCACHE_PINS = 1u << 0
};

struct uhmm_regcache_options {
	size_t size;        /* sizeof(struct uhmm_regcache_options) */
	size_t max_regions; /* registered at any moment; 0: no bound but the cache's own, 16 million */
	size_t max_bytes;   /* the same in bytes; 0: no bound */
	uint32_t flags;     /* UHMM_REGCACHE_* */
};

/*
 * uhmm_regcache_create: make an empty cache on an address-space object, with a thread that deregisters.
 *
 * options may be NULL: all defaults. ops is copied; ctx is passed to both of its members and outlives the cache, as does mm. On
 * success *cache is the caller's, to be given to uhmm_regcache_destroy(); on failure *cache is untouched. Several caches may
 * share one address space. In a forked child the cache stays usable and is empty: the parent's registrations are never
 * deregistered there, and their put does nothing; its thread is started again by the first miss.
 *
 * With UHMM_REGCACHE_PINS on kernels before 6.2, where a read-only pin can take a zero page or a page shared by copy-on-write
 * that the process then leaves behind at its next write, pages are populated for writing before reg() is called.
 *
 *  -EINVAL  NULL, a member of ops is NULL, options->size is below the first release's, or an unknown flag is set
 *  -E2BIG   options are from a newer release and use a field that this one does not know
 *  -ENOMEM  no memory
 *  -EAGAIN  the thread could not be started
 */
int uhmm_regcache_create(struct uhmm_mm *mm, const struct uhmm_regcache_ops *ops, void *ctx,
			 const struct uhmm_regcache_options *options, struct uhmm_regcache **cache);

/*
 * uhmm_regcache_get: a registration that covers [addr, addr + len) with at least this access (PROT_READ | PROT_WRITE).
 *
 * On success *reg is to be given to uhmm_regcache_put() once, by any thread; on failure *reg is untouched and nothing has
 * changed. A hit never blocks. A miss calls reg(); if an invalidation came between, it is undone and done again, up to eight
 * times, then eight times for exactly the pages asked for if the range was wider; the last of these registrations is then
 * handed out *uncached*: it is used by this caller alone and deregistered after its put. The guarantee at the top holds for it
 * all the same. A get inside an invalidation of the range by the same thread (in a callback, or in a signal handler's or
 * another library's bracket) also yields an uncached registration instead of waiting. When the bounds are reached, regions not
 * in use are deregistered, least recently used first ("recently" is counted in misses: of regions hit between the same two,
 * the one used less recently before goes first); one at a time. Caches of 1024 regions and more deregister up to 17 at a time
 * and count in steps of 16 misses.
 *
 * May block: in reg(); while an invalidation of the range is active and while another thread registers the range, both for a
 * second at most; in dereg(), when it has to make room. Cancellation of the thread is put off meanwhile.
 *
 *  -EINVAL  cache, addr or reg is NULL, len is 0, the range wraps or leaves user space, or access is none or has other bits
 *  -EFAULT  not mapped, or not for this access, as reg() found
 *  -ENOSPC  a bound is reached and every region is in use, or the range alone is larger than max_bytes
 *  -ENOMEM  no internal memory
 *  -EAGAIN  in a forked child: the cache's thread could not be started, or reg() forked and this is the child coming back
 *  -EBUSY   an invalidation of the range stayed active for a second, or room was being made by a dereg() that did not return
 *           for a second (at once if the caller is that dereg())
 *  other    what reg() returned
 */
int uhmm_regcache_get(struct uhmm_regcache *cache, const void *addr, size_t len, uint32_t access, struct uhmm_reg **reg);

/*
 * uhmm_regcache_put: done with a registration. Any thread; cheapest in the one that got it. Never blocks for long:
 * deregistration happens elsewhere. NULL is fine, and so is a parent's registration in a forked child (nothing happens).
 *
 * A put too many, or of a pointer that no get of this cache returned, is the caller's bug. If nobody has that registration in
 * use, it is reported by one line on standard error and ignored. If somebody has, it takes theirs.
 */
void uhmm_regcache_put(struct uhmm_regcache *cache, struct uhmm_reg *reg);

/*
 * uhmm_regcache_flush: deregister now what is waiting for it.
 *
 * Afterwards every region that was dropped and not in use when the call began has been through dereg(). Regions in use are not
 * waited for, valid ones not touched. Blocks as long as dereg() does.
 *
 *  -EINVAL   cache is NULL
 *  -EDEADLK  called from dereg() of this cache or from a callback of the protocol
 */
int uhmm_regcache_flush(struct uhmm_regcache *cache);

/*
 * uhmm_regcache_destroy: deregister everything and end the cache. NULL is fine. No other call on the cache is in progress.
 *
 *  -EBUSY    a registration is in use or being made; nothing has changed, unless it was dereg() that kept getting some
 *  -EDEADLK  called from reg() or dereg() of this cache, or from a callback of the protocol; nothing has changed
 */
int uhmm_regcache_destroy(struct uhmm_regcache *cache);

#ifdef __cplusplus
}
#endif
#endif
