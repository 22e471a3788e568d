/* SPDX-License-Identifier: MIT */
/*
 * cache.c: the registration cache uncontended: hits, misses, memory, start.
 *
 * As registration caches are usually measured: page-sized regions of a dense arena, gets of 512 bytes inside them in random
 * order, a reg() that costs nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define MANY ((size_t)100000)

static int reg_counts(void *ctx, struct uhmm_reg *reg)
{
	struct bench_cache *c = ctx;

	if (c->reg_ns)
		bench_spin_ns(c->reg_ns);
	reg->handle = __atomic_add_fetch(&c->regs, 1, __ATOMIC_RELAXED);
	return 0;
}

static void dereg_counts(void *ctx, struct uhmm_reg *reg)
{
	struct bench_cache *c = ctx;

	(void)reg;
	__atomic_add_fetch(&c->deregs, 1, __ATOMIC_RELAXED);
}

void bench_cache_open(struct bench_cache *c, uint64_t reg_ns, size_t max_regions)
{
	static const struct uhmm_regcache_ops ops = { .reg = reg_counts, .dereg = dereg_counts };
	struct uhmm_regcache_options o = { .size = sizeof(o), .max_regions = max_regions,
					   .max_bytes = max_regions * BENCH_PAGE * 2 };

	memset(c, 0, sizeof(*c));
	c->reg_ns = reg_ns;
	BENCH_OK(uhmm_mm_open(&c->mm, NULL));
	BENCH_OK(uhmm_regcache_create(c->mm, &ops, c, &o, &c->cache));
}

void bench_cache_close(struct bench_cache *c)
{
	BENCH_OK(uhmm_regcache_flush(c->cache));
	BENCH_OK(uhmm_regcache_destroy(c->cache));
	uhmm_mm_close(c->mm);
	if (c->regs != c->deregs)
		bench_die("%llu registrations, %llu deregistrations", (unsigned long long)c->regs,
			  (unsigned long long)c->deregs);
}

void bench_cache_fill(struct bench_cache *c, unsigned char *arena, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		struct uhmm_reg *reg;

		BENCH_OK(uhmm_regcache_get(c->cache, arena + i * BENCH_PAGE, BENCH_PAGE, PROT_READ | PROT_WRITE, &reg));
		uhmm_regcache_put(c->cache, reg);
	}
}

static double hits_ns(struct bench_cache *c, unsigned char *arena, const uint32_t *order, size_t count, uint32_t n)
{
	uint64_t before = c->regs, t = bench_cpu_ns();

	for (uint32_t i = 0, at = 0; i < n; i++) {
		struct uhmm_reg *reg;

		BENCH_OK(uhmm_regcache_get(c->cache, arena + order[at] * BENCH_PAGE + 1024, 512, PROT_READ | PROT_WRITE, &reg));
		uhmm_regcache_put(c->cache, reg);
		if (++at == count)
			at = 0;
	}
	t = bench_cpu_ns() - t;
	if (c->regs != before)
		bench_die("%llu of the hits were misses", (unsigned long long)(c->regs - before));
	return (double)t / n;
}

/* The floor: one load of the page's word in the same order. */
static double touch_ns(const unsigned char *table, const uint32_t *order, size_t count, uint32_t n)
{
	uint64_t sum = 0, t = bench_cpu_ns();

	for (uint32_t i = 0, at = 0; i < n; i++) {
		sum += table[(size_t)order[at] * 64];
		__asm__ volatile("" : "+r"(sum));
		if (++at == count)
			at = 0;
	}
	return (double)(bench_cpu_ns() - t) / n;
}

void bench_hit(const struct bench_opts *o)
{
	static const struct {
		size_t count;
		double bar;
		const char *name;
	} rows[] = {
		{ 1, 10, "hit get+put, 1 region" },
		{ 1000, 12, "hit get+put, 1,000 regions, random" },
		{ MANY, 25, "hit get+put, 100,000 regions, random" },
	};
	unsigned char *arena = bench_arena(MANY), *table = malloc(MANY * 64);
	uint32_t n = o->quick ? 500000 : 2000000;
	double ours[BENCH_RUNS_MAX], floor_ns[BENCH_RUNS_MAX];
	struct bench_cache c;

	if (!table)
		bench_die("no memory");
	memset(table, 1, MANY * 64);
	bench_cache_open(&c, 0, 2 * MANY);
	bench_pin(o->cpus[0]);
	for (size_t k = 0, have = 0; k < sizeof(rows) / sizeof(rows[0]); have = rows[k++].count) {
		uint32_t *order = bench_shuffled(rows[k].count, 11);

		bench_cache_fill(&c, arena, have, rows[k].count);
		for (int r = -1; r < o->runs; r++) {
			ours[r < 0 ? 0 : r] = hits_ns(&c, arena, order, rows[k].count, n);
			floor_ns[r < 0 ? 0 : r] = touch_ns(table, order, rows[k].count, n);
		}
		bench_row(rows[k].name, bench_median(ours, o->runs), "ns", rows[k].bar, "a line's load",
			  bench_median(floor_ns, o->runs), "512 bytes in page-sized regions, dense arena");
		free(order);
	}
	bench_cache_close(&c);
}

void bench_miss(const struct bench_opts *o)
{
	unsigned char *arena = bench_arena(MANY);
	double small[BENCH_RUNS_MAX], large[BENCH_RUNS_MAX];
	struct bench_cache c;

	for (int r = -1; r < o->runs; r++) {
		int at = r < 0 ? 0 : r;
		uint64_t t;

		/* Service threads of the cache get every processor; only the caller is pinned. */
		bench_unpin(o);
		bench_cache_open(&c, 0, 2 * MANY);
		bench_pin(o->cpus[0]);
		bench_cache_fill(&c, arena, 0, 1);
		t = bench_cpu_ns();
		bench_cache_fill(&c, arena, 1, 1000);
		small[at] = (double)(bench_cpu_ns() - t) / 999;
		t = bench_cpu_ns();
		bench_cache_fill(&c, arena, 1000, MANY);
		large[at] = (double)(bench_cpu_ns() - t) / (double)(MANY - 1000);
		bench_cache_close(&c);
	}
	bench_row("miss without the registration, 1 to 1,000 regions", bench_median(small, o->runs), "ns", 170, NULL, 0,
		  "a new cache each run, its memory included; empty reg()");
	bench_row("miss without the registration, 1,000 to 100,000", bench_median(large, o->runs), "ns", 210, NULL, 0,
		  "the same cache, filled on");
}

/* Kilobytes that this process alone has: dirty private pages and page tables. */
static double private_kb(void)
{
	char line[128];
	double kb = 0, v;
	FILE *f = fopen("/proc/self/smaps_rollup", "re");

	if (!f)
		bench_die("no /proc/self/smaps_rollup");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Private_Dirty: %lf", &v) == 1)
			kb += v;
	fclose(f);
	f = fopen("/proc/self/status", "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmPTE: %lf", &v) == 1)
			kb += v;
	if (f)
		fclose(f);
	return kb;
}

void bench_memory(const struct bench_opts *o)
{
	unsigned char *arena = bench_arena(MANY);
	struct bench_cache c;
	double before, opened, filled;

	(void)o;
	(void)private_kb(); /* what the C library needs for reading it */
	before = private_kb();
	bench_cache_open(&c, 0, 2 * MANY);
	opened = private_kb();
	bench_cache_fill(&c, arena, 0, MANY);
	filled = private_kb();
	bench_row("memory per cached region, everything counted", (filled - before) * 1024 / (double)MANY, "B", 192, NULL, 0,
		  "100,000 regions; dirty pages and page tables; %.0f KiB of it by opening", opened - before);
	bench_cache_close(&c);
}

/* In a process where nothing was opened before. */
static double open_ms(void)
{
	int fd[2], status;
	double ms = 0;
	pid_t pid;

	if (pipe(fd) || (pid = fork()) < 0)
		bench_die("no process");
	if (!pid) {
		struct bench_cache c;
		uint64_t t = bench_now_ns();

		bench_cache_open(&c, 0, 1000);
		ms = (double)(bench_now_ns() - t) / 1e6;
		bench_cache_close(&c);
		_exit(write(fd[1], &ms, sizeof(ms)) == sizeof(ms) ? 0 : 1);
	}
	close(fd[1]);
	if (read(fd[0], &ms, sizeof(ms)) != sizeof(ms))
		bench_die("the opening process died");
	close(fd[0]);
	waitpid(pid, &status, 0);
	return ms;
}

void bench_open(const struct bench_opts *o)
{
	double first[BENCH_RUNS_MAX], again[BENCH_RUNS_MAX];
	struct bench_cache keep, c;

	for (int r = -1; r < o->runs; r++)
		first[r < 0 ? 0 : r] = open_ms();
	bench_cache_open(&keep, 0, 1000);
	for (int r = 0; r < o->runs; r++) {
		uint64_t t = bench_now_ns();

		bench_cache_open(&c, 0, 1000);
		again[r] = (double)(bench_now_ns() - t) / 1e6;
		bench_cache_close(&c);
	}
	bench_row("mm_open + cache, first of a process", bench_median(first, o->runs), "ms", 2, NULL, 0,
		  "monitors obtained: %#x", uhmm_mm_monitors(keep.mm));
	bench_row("mm_open + cache, a second one", bench_median(again, o->runs), "ms", BENCH_NO_BAR, NULL, 0,
		  "hooks are there");
	bench_cache_close(&keep);
}
