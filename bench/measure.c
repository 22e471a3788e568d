/* SPDX-License-Identifier: MIT */
/* measure.c: time, samples, pinning, randomness and memory for the benchmarks. */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

static double ns_per_tick = 1.0;

uint64_t bench_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t bench_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void bench_calibrate(void)
{
	uint64_t n0 = bench_now_ns(), t0 = bench_tick(), n1, t1;

	do
		n1 = bench_now_ns();
	while (n1 - n0 < 20000000);
	t1 = bench_tick();
	ns_per_tick = (double)(n1 - n0) / (double)(t1 - t0);
}

double bench_ticks_ns(double ticks)
{
	return ticks * ns_per_tick;
}

void bench_spin_ns(uint64_t ns)
{
	uint64_t end = bench_tick() + (uint64_t)((double)ns / ns_per_tick);

	while (bench_tick() < end)
		;
}

void bench_samples_init(struct bench_samples *s, size_t cap)
{
	s->v = malloc(cap * sizeof(*s->v));
	if (!s->v)
		bench_die("no memory for %zu samples", cap);
	memset(s->v, 1, cap * sizeof(*s->v)); /* faulted in now, not while measuring */
	s->n = 0;
	s->cap = cap;
	s->sorted = false;
}

void bench_samples_free(struct bench_samples *s)
{
	free(s->v);
	s->v = NULL;
}

static int by_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

double bench_quantile(struct bench_samples *s, double q)
{
	if (!s->sorted)
		qsort(s->v, s->n, sizeof(*s->v), by_u32);
	s->sorted = true;
	return s->n ? bench_ticks_ns((double)s->v[(size_t)(q * (double)(s->n - 1))]) : 0;
}

static int by_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), by_double);
	return v[n / 2];
}

void bench_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("cannot pin to cpu %d: %s", cpu, strerror(errno));
}

void bench_unpin(const struct bench_opts *o)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)o->cpus[0], &set);
	CPU_SET((size_t)o->cpus[1], &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("cannot unpin: %s", strerror(errno));
}

uint64_t bench_random(uint64_t *state)
{
	/* splitmix64: every state gives a good value, so that seeds need no care. */
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint32_t *bench_shuffled(size_t n, uint64_t seed)
{
	uint32_t *v = malloc(n * sizeof(*v));

	if (!v)
		bench_die("no memory for an order of %zu", n);
	for (size_t i = 0; i < n; i++)
		v[i] = (uint32_t)i;
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = (size_t)(bench_random(&seed) % (i + 1));
		uint32_t t = v[i];

		v[i] = v[j];
		v[j] = t;
	}
	return v;
}

unsigned char *bench_arena(size_t pages)
{
	size_t len = pages * BENCH_PAGE;
	unsigned char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		bench_die("no memory for an arena of %zu pages", pages);
	/* Huge pages would make one munmap in the middle a split, which is not what is being compared. */
	madvise(p, len, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < pages; i++)
		p[i * BENCH_PAGE] = 1;
	return p;
}
