/* SPDX-License-Identifier: MIT */
/* limits.c: what the machine itself takes for the steps that the library is made of: the floor under the other figures. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bare.h"
#include "bench.h"

static double syscall_ns(uint32_t n)
{
	uint64_t t = bench_cpu_ns();

	for (uint32_t i = 0; i < n; i++)
		(void)bare_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
	return (double)(bench_cpu_ns() - t) / n;
}

static double munmap_ns(uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		long p = bare_call(SYS_mmap, 0, BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		uint64_t t = bench_tick();

		(void)bare_call(SYS_munmap, p, BENCH_PAGE, 0, 0, 0, 0);
		sum += bench_tick() - t;
	}
	return bench_ticks_ns((double)sum) / n;
}

static double mutex_ns(uint32_t n)
{
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	uint64_t t = bench_cpu_ns();

	for (uint32_t i = 0; i < n; i++) {
		pthread_mutex_lock(&m);
		pthread_mutex_unlock(&m);
	}
	return (double)(bench_cpu_ns() - t) / n;
}

static double xchg_ns(uint32_t n)
{
	static _Atomic uint64_t word;
	uint64_t t = bench_cpu_ns();

	for (uint32_t i = 0; i < n; i++)
		(void)atomic_exchange(&word, i);
	return (double)(bench_cpu_ns() - t) / n;
}

/* One load of a random line among `lines`, the next address known beforehand as in a cache look-up by a given pointer. */
static double load_ns(const uint64_t *lines, const uint32_t *order, size_t count, uint32_t n)
{
	uint64_t sum = 0, t = bench_cpu_ns();

	for (uint32_t i = 0, at = 0; i < n; i++) {
		sum += lines[(size_t)order[at] * 8];
		if (++at == count)
			at = 0;
		__asm__ volatile("" : "+r"(sum)); /* each load happens */
	}
	return (double)(bench_cpu_ns() - t) / n;
}

static double tick_ns(uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t t = bench_tick();

		sum += bench_tick() - t;
	}
	return bench_ticks_ns((double)sum) / n;
}

static void *sleeper(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

/* The C library leaves out locked instructions while there is one thread only, which no user of the library has. */
static void have_two_threads(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, sleeper, NULL))
		bench_die("no thread");
	pthread_detach(t);
}

void bench_limits(const struct bench_opts *o)
{
	const size_t count = 100000;
	uint64_t *lines = calloc(count, 64);
	uint32_t *order = bench_shuffled(count, 3), n = o->quick ? 1000000 : 5000000;
	double v[6][BENCH_RUNS_MAX];

	if (!lines)
		bench_die("no memory");
	memset(lines, 1, count * 64);
	have_two_threads();
	bench_pin(o->cpus[0]);
	for (int r = -1; r < o->runs; r++) {
		int at = r < 0 ? 0 : r;

		v[0][at] = syscall_ns(n / 10);
		v[1][at] = munmap_ns(n / 20);
		v[2][at] = mutex_ns(n);
		v[3][at] = xchg_ns(n);
		v[4][at] = load_ns(lines, order, count, n);
		v[5][at] = tick_ns(n);
	}
	bench_row("limit: system call", bench_median(v[0], o->runs), "ns", BENCH_NO_BAR, NULL, 0, "inline getppid");
	bench_row("limit: munmap of an untouched page", bench_median(v[1], o->runs), "ns", BENCH_NO_BAR, NULL, 0, "inline");
	bench_row("limit: mutex lock + unlock", bench_median(v[2], o->runs), "ns", BENCH_NO_BAR, NULL, 0, "uncontended");
	bench_row("limit: atomic exchange", bench_median(v[3], o->runs), "ns", BENCH_NO_BAR, NULL, 0, "own line");
	bench_row("limit: load of a random line of 100,000", bench_median(v[4], o->runs), "ns", BENCH_NO_BAR, NULL, 0,
		  "address known beforehand");
	bench_row("limit: the clock of the tails", bench_median(v[5], o->runs), "ns", BENCH_NO_BAR, NULL, 0,
		  "two readings of the cycle counter; never subtracted");
	free(lines);
	free(order);
}
