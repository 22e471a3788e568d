/* SPDX-License-Identifier: MIT */
/*
 * hooks.c: what the hooks add to munmap: the call through libc minus the same system call inline in this binary, in turns of a
 * few hundred so that whatever else the machine does hits both sides.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "bare.h"
#include "bench.h"

#define MANY ((size_t)100000)
#define TURN 200

static long raw_map(void *at, int prot, int flags)
{
	return bare_call(SYS_mmap, (long)at, BENCH_PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static void must_unmap(int rc)
{
	if (rc)
		bench_die("munmap: %s", strerror(errno));
}

/*
 * One turn of pairs; *pair gets the whole pair's time, the return value is munmap's alone, in ticks for each. Read-only
 * mappings, so that the kernel does not merge each with a writable neighbour only to split it again, which takes longer than
 * all the rest.
 */
static double turn(bool hooked, double *pair)
{
	uint64_t alone = 0, both = 0;

	for (int i = 0; i < TURN; i++) {
		uint64_t t0 = bench_tick(), t1;

		if (hooked) {
			void *p = mmap(NULL, BENCH_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			t1 = bench_tick();
			must_unmap(munmap(p, BENCH_PAGE));
		} else {
			long p = raw_map(NULL, PROT_READ, 0);

			t1 = bench_tick();
			must_unmap((int)bare_call(SYS_munmap, p, BENCH_PAGE, 0, 0, 0, 0));
		}
		uint64_t t2 = bench_tick();

		alone += t2 - t1;
		both += t2 - t0;
	}
	*pair = (double)both / TURN;
	return (double)alone / TURN;
}

struct deltas {
	double alone, pair, raw; /* nanoseconds */
};

static struct deltas unrelated(int turns)
{
	double *h = calloc((size_t)turns * 4, sizeof(*h)), *r = h + turns, *hp = r + turns, *rp = hp + turns;
	struct deltas d;

	if (!h)
		bench_die("no memory");
	for (int i = 0; i < turns; i++) {
		/* Who goes first changes, so that neither side profits from the other's warm caches. */
		if (i & 1)
			h[i] = turn(true, &hp[i]);
		r[i] = turn(false, &rp[i]);
		if (!(i & 1))
			h[i] = turn(true, &hp[i]);
	}
	d.raw = bench_ticks_ns(bench_median(r, turns));
	d.alone = bench_ticks_ns(bench_median(h, turns)) - d.raw;
	d.pair = bench_ticks_ns(bench_median(hp, turns) - bench_median(rp, turns));
	free(h);
	return d;
}

static void unrelated_row(const char *name, double bar, const struct bench_opts *o)
{
	double alone[BENCH_RUNS_MAX], pair[BENCH_RUNS_MAX], raw[BENCH_RUNS_MAX];

	for (int r = -1; r < o->runs; r++) {
		struct deltas d = unrelated(o->quick ? 100 : 500);
		int at = r < 0 ? 0 : r;

		alone[at] = d.alone;
		pair[at] = d.pair;
		raw[at] = d.raw;
	}
	bench_row(name, bench_median(alone, o->runs), "ns", bar, "raw munmap", bench_median(raw, o->runs),
		  "mmap and munmap together: %+.0f ns over raw", bench_median(pair, o->runs));
}

static bool hooked(const struct bench_cache *c, const char *row)
{
	if (uhmm_mm_monitors(c->mm) & UHMM_MONITOR_HOOKS)
		return true;
	bench_skip(row, "no hooks on this machine");
	return false;
}

void bench_munmap_unrelated(const struct bench_opts *o)
{
	unsigned char *arena = bench_arena(MANY);
	struct bench_cache c;

	bench_pin(o->cpus[0]);
	unrelated_row("limit: libc's own munmap over the raw call, no hooks", BENCH_NO_BAR, o);
	bench_unpin(o); /* the cache's own threads run anywhere */
	bench_cache_open(&c, 0, 2 * MANY);
	if (!hooked(&c, "unrelated munmap over the raw call"))
		return;
	bench_pin(o->cpus[0]);
	unrelated_row("unrelated munmap over the raw call, 0 regions", 30, o);
	bench_cache_fill(&c, arena, 0, MANY);
	unrelated_row("unrelated munmap over the raw call, 100,000 regions", 35, o);
	bench_cache_close(&c);
}

/* Unmaps single pages at random and puts each back with a raw call, which is not measured. Median in nanoseconds. */
static double unmap_pages(unsigned char *arena, const uint32_t *order, size_t n, bool through_libc)
{
	struct bench_samples s;
	double q;

	bench_samples_init(&s, n);
	for (size_t i = 0; i < n; i++) {
		unsigned char *p = arena + (size_t)order[i] * BENCH_PAGE;
		uint64_t t = bench_tick();

		if (through_libc)
			must_unmap(munmap(p, BENCH_PAGE));
		else
			must_unmap((int)bare_call(SYS_munmap, (long)p, BENCH_PAGE, 0, 0, 0, 0));
		bench_sample(&s, bench_tick() - t);
		if (raw_map(p, PROT_READ | PROT_WRITE, MAP_FIXED) != (long)p)
			bench_die("the page cannot be mapped again");
		*p = 1;
	}
	q = bench_quantile(&s, .5);
	bench_samples_free(&s);
	return q;
}

void bench_munmap_cached(const struct bench_opts *o)
{
	const size_t turn_pages = 500;
	size_t turns = o->quick ? 10 : 40;
	unsigned char *cached = bench_arena(MANY), *plain = bench_arena(MANY);
	uint32_t *order = bench_shuffled(MANY, 41);
	double over[64], raw[64], r;
	struct bench_cache c;

	bench_cache_open(&c, 0, 2 * MANY); /* before pinning: the cache's own threads run anywhere */
	if (!hooked(&c, "munmap of 1 region in 100,000 over the raw call"))
		return;
	bench_cache_fill(&c, cached, 0, MANY);
	bench_pin(o->cpus[0]);
	for (size_t i = 0; i < turns; i++) {
		const uint32_t *at = order + i * turn_pages;

		raw[i] = unmap_pages(plain, at, turn_pages, false);
		over[i] = unmap_pages(cached, at, turn_pages, true) - raw[i];
		BENCH_OK(uhmm_regcache_flush(c.cache));
		for (size_t k = 0; k < turn_pages; k++)
			bench_cache_fill(&c, cached, at[k], at[k] + 1);
	}
	r = bench_median(raw, (int)turns);
	bench_row("munmap of 1 region in 100,000 over the raw call", bench_median(over, (int)turns), "ns", 350, "raw munmap", r,
		  "touched pages at random; deregistration on the cache's thread");
	bench_cache_close(&c);
	free(order);
}
