/* SPDX-License-Identifier: MIT */
/*
 * uffd.c: the witness: what a hooked call on a watched mapping costs over the bare one; an inline unmap beside a bare reader
 * of the same events on the same processor; a cached hit. Each page stands alone between pages that nobody may touch, so that
 * the kernel joins and splits nothing on one side only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bare.h"
#include "bench.h"

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1u << 15)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#define PAGES 512 /* one turn */

enum how { UNMAP_BARE, UNMAP_LIBC, DISCARD_BARE, DISCARD_LIBC };

struct arena {
	unsigned char *base;
	struct uhmm_mm *mm;        /* NULL: nothing is watched */
	int fd;                    /* a bare userfaultfd to register with, or -1 */
};

static int on_invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	(void)event;
	return 0;
}

static const struct uhmm_notifier_ops ops = {.invalidate = on_invalidate};

static unsigned char *page_of(const struct arena *a, size_t i)
{
	return a->base + (2 * i + 1) * BENCH_PAGE;
}

static void prepare_page(struct arena *a, size_t i)
{
	unsigned char *p = page_of(a, i);
	struct uffdio_register r = {.range = {(uintptr_t)p, BENCH_PAGE}, .mode = UFFDIO_REGISTER_MODE_WP};
	struct uhmm_notifier n = {.private_reserved = 0};
	long prot = PROT_READ | PROT_WRITE;

	if (bare_call(SYS_mmap, (long)p, BENCH_PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != (long)p)
		bench_die("the page cannot be mapped again");
	*p = 1;
	if (a->fd >= 0 && ioctl(a->fd, UFFDIO_REGISTER, &r))
		bench_die("register: %s", strerror(errno));
	if (a->mm) {
		/* Watched from now on, whether or not anybody listens. */
		BENCH_OK(uhmm_notifier_insert(a->mm, &n, p, BENCH_PAGE, &ops));
		BENCH_OK(uhmm_notifier_remove(&n));
	}
}

static long one_call(unsigned char *p, enum how how)
{
	switch (how) {
	case UNMAP_BARE:
		return bare_call(SYS_munmap, (long)p, BENCH_PAGE, 0, 0, 0, 0);
	case UNMAP_LIBC:
		return munmap(p, BENCH_PAGE);
	case DISCARD_BARE:
		return bare_call(SYS_madvise, (long)p, BENCH_PAGE, MADV_DONTNEED, 0, 0, 0);
	default:
		return madvise(p, BENCH_PAGE, MADV_DONTNEED);
	}
}

/* The median of so many turns. */
static double calls(struct arena *a, enum how how, int turns)
{
	struct bench_samples s;
	double q;

	bench_samples_init(&s, (size_t)turns * PAGES);
	for (int t = 0; t < turns; t++) {
		for (size_t i = 0; i < PAGES; i++) {
			uint64_t before;
			long rc;

			prepare_page(a, i);
			before = bench_tick();
			rc = one_call(page_of(a, i), how);
			bench_sample(&s, bench_tick() - before);
			if (rc)
				bench_die("a call failed");
		}
		bare_call(SYS_mmap, (long)a->base, 2 * PAGES * BENCH_PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	}
	q = bench_quantile(&s, .5);
	bench_samples_free(&s);
	return q;
}

static atomic_bool over;

static void *read_bare(void *arg)
{
	int fd = *(int *)arg;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct uffd_msg msg;

	while (!over)
		if (poll(&p, 1, 20) > 0)
			(void)!read(fd, &msg, sizeof(msg));
	return NULL;
}

/* The kernel's part alone: somebody who reads and does nothing. */
static double bare_event(struct arena *a, int turns)
{
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_EVENT_UNMAP |
					     UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE};
	pthread_t reader;
	double cost;

	a->fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (a->fd < 0 || ioctl(a->fd, UFFDIO_API, &api))
		bench_die("userfaultfd: %s", strerror(errno));
	over = false;
	if (pthread_create(&reader, NULL, read_bare, &a->fd))
		bench_die("no thread");
	cost = calls(a, UNMAP_BARE, turns);
	over = true;
	pthread_join(reader, NULL);
	close(a->fd);
	a->fd = -1;
	return cost;
}

static int reg(void *ctx, struct uhmm_reg *r)
{
	(void)ctx;
	(void)r;
	return 0;
}

static void dereg(void *ctx, struct uhmm_reg *r)
{
	(void)ctx;
	(void)r;
}

static int open_witness(struct bench_cache *c, uint32_t monitors)
{
	static const struct uhmm_regcache_ops cache_ops = {.reg = reg, .dereg = dereg};
	struct uhmm_mm_options o = {.size = sizeof(o), .monitors = monitors};
	int rc = uhmm_mm_open(&c->mm, &o);

	if (!rc)
		BENCH_OK(uhmm_regcache_create(c->mm, &cache_ops, c, NULL, &c->cache));
	return rc;
}

static double hit_ns(struct bench_cache *c, unsigned char *p)
{
	const int n = 200000;
	uint64_t before;

	bench_cache_fill(c, p, 0, 1);
	before = bench_cpu_ns();
	for (int i = 0; i < n; i++) {
		struct uhmm_reg *r;

		BENCH_OK(uhmm_regcache_get(c->cache, p, BENCH_PAGE, PROT_READ | PROT_WRITE, &r));
		uhmm_regcache_put(c->cache, r);
	}
	return (double)(bench_cpu_ns() - before) / n;
}

static double hit_with(uint32_t monitors)
{
	unsigned char *p = bench_arena(1);
	struct bench_cache c = {.reg_ns = 0};
	double ns;

	if (open_witness(&c, monitors))
		return 0;
	ns = hit_ns(&c, p);
	bench_cache_close(&c);
	return ns;
}

void bench_uffd(const struct bench_opts *o)
{
	const uint32_t both = UHMM_MONITOR_UFFD | UHMM_MONITOR_HOOKS;
	int turns = o->quick ? 4 : 20;
	struct arena a = {.fd = -1};
	struct bench_cache c = {.reg_ns = 0};
	double unmap, discard, event, with, without;

	a.base = mmap(NULL, 2 * PAGES * BENCH_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a.base == MAP_FAILED)
		bench_die("no memory");
	if (open_witness(&c, both)) {
		bench_skip("witness", "no userfaultfd of this kind here, or no hooks");
		return;
	}
	bench_cache_close(&c);
	bench_pin(o->cpus[0]); /* from here on every thread of ours is where the caller is */
	unmap = calls(&a, UNMAP_BARE, turns);
	discard = calls(&a, DISCARD_BARE, turns);
	event = bare_event(&a, turns);
	without = hit_with(UHMM_MONITOR_HOOKS);
	with = hit_with(both);
	bench_row("cached hit, hooks and witness", with, "ns", BENCH_NO_BAR, "hooks alone", without,
		  "same loop, one after the other");

	BENCH_OK(open_witness(&c, both));
	a.mm = c.mm;
	bench_row("munmap of a watched page over the bare call", calls(&a, UNMAP_LIBC, turns) - unmap, "ns", 600,
		  "bare munmap", unmap, "hooks and witness, all threads on one processor");
	bench_row("4 KiB DONTNEED of a watched page over the bare call", calls(&a, DISCARD_LIBC, turns) - discard, "ns", 2500,
		  "bare madvise", discard, "hooks and witness, all threads on one processor");
	bench_row("inline munmap of a watched page over a bare reader's", calls(&a, UNMAP_BARE, turns) / event, "", 1.2,
		  "bare reader, ns", event, "the event is sent; same processor");
	bench_cache_close(&c);
}
