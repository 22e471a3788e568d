/* SPDX-License-Identifier: MIT */
/*
 * bench.h: what every benchmark here shares.
 *
 * A case is a function that runs in a process of its own, forked before anything of the library was touched: hooks, memory and
 * threads of one case never disturb the next, and a case that crashes or hangs costs its own rows only. It hands back rows with
 * bench_row(), which compare a figure with its bar and, wherever there is one, with a peer or limit measured in the same run:
 * on a shared or virtual machine only such ratios mean something.
 *
 * Method, everywhere: threads pinned, data touched and code warmed up first, random orders drawn beforehand, the median of
 * five runs (three with --quick). Loops of one thread are timed by that thread's processor time, which on a quiet machine is
 * the time on the clock; tails by the cycle counter around each operation with nothing subtracted.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include <uhmm/uhmm.h>

#define BENCH_PAGE ((size_t)4096)
#define BENCH_RUNS_MAX 9
#define BENCH_NO_BAR (-1.0)

struct bench_opts {
	bool quick; /* the whole table in under a minute, on smaller samples */
	bool soak;  /* as many tries and processes as the bars speak of: an hour on a busy machine */
	int runs;   /* each figure is the median of so many */
	int cpus[2]; /* the first two this process may run on; the same twice where there is one */
};

struct bench_case {
	const char *name;
	const char *what; /* one line for --list */
	void (*fn)(const struct bench_opts *o);
	unsigned limit_s; /* a case that takes longer hangs: it is killed and reported */
	bool only_by_name;
};

/* A row of the table. bar: figure <= bar, or BENCH_NO_BAR. peer: what the figure is divided by in the ratio column; 0: none. */
struct bench_row {
	char name[72], unit[12], peer_name[40], note[120];
	double figure, bar, peer;
	bool skipped;
};

void bench_row(const char *name, double figure, const char *unit, double bar, const char *peer_name, double peer,
	       const char *note, ...) __attribute__((format(printf, 7, 8)));
void bench_skip(const char *name, const char *why);
/* One line to standard error and the end of this case's process. */
_Noreturn void bench_die(const char *what, ...) __attribute__((format(printf, 1, 2)));
/* For results of library calls: 0 or more, or the case is over. */
#define BENCH_OK(call)                                 \
	do {                                           \
		long bench_rc = (long)(call);          \
		if (bench_rc < 0)                      \
			bench_failed(#call, bench_rc); \
	} while (0)
_Noreturn void bench_failed(const char *what, long rc);

/* The entry point: `uhmm bench` and the stand-alone binary. Exit status 0, 1 (a case failed) or 2 (called wrongly). */
int bench_main(int argc, char **argv);

/* Time. */
uint64_t bench_now_ns(void);
uint64_t bench_cpu_ns(void); /* of this thread: what others make of the processor meanwhile does not count */
void bench_calibrate(void); /* once per process, before bench_tick() differences are turned into nanoseconds */
double bench_ticks_ns(double ticks);
void bench_spin_ns(uint64_t ns); /* busy, without a system call on the way */

static inline uint64_t bench_tick(void)
{
#if defined(__x86_64__)
	unsigned int aux;
	uint64_t t = __rdtscp(&aux);

	_mm_lfence(); /* nothing measured begins before the count was read */
	return t;
#else
	return bench_now_ns();
#endif
}

/* Samples in ticks; sorted by the first bench_quantile(). */
struct bench_samples {
	uint32_t *v;
	size_t n, cap;
	bool sorted;
};
void bench_samples_init(struct bench_samples *s, size_t cap);
void bench_samples_free(struct bench_samples *s);
double bench_quantile(struct bench_samples *s, double q); /* in nanoseconds */
static inline void bench_sample(struct bench_samples *s, uint64_t ticks)
{
	if (s->n < s->cap)
		s->v[s->n++] = ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks;
}

double bench_median(double *v, int n);
void bench_pin(int cpu);
void bench_unpin(const struct bench_opts *o);

/* Random, the same in every run. */
uint64_t bench_random(uint64_t *state);
uint32_t *bench_shuffled(size_t n, uint64_t seed); /* a permutation of 0..n-1; free() it */

unsigned char *bench_arena(size_t pages); /* anonymous, touched, no huge pages */

/* A cache whose reg() costs nothing, and one whose reg() takes 20 us of work. Monitors: what AUTO gets. */
struct bench_cache {
	struct uhmm_mm *mm;
	struct uhmm_regcache *cache;
	uint64_t reg_ns;
	/* Atomics, written by whoever registers: in a line of their own, for hits read the pointers above. */
	_Alignas(64) uint64_t regs, deregs;
};
void bench_cache_open(struct bench_cache *c, uint64_t reg_ns, size_t max_regions);
void bench_cache_close(struct bench_cache *c);
/* Registers pages [from, to) of the arena, one region a page. */
void bench_cache_fill(struct bench_cache *c, unsigned char *arena, size_t from, size_t to);

/* The cases. */
void bench_limits(const struct bench_opts *o);
void bench_read(const struct bench_opts *o);
void bench_invalidate(const struct bench_opts *o);
void bench_insert(const struct bench_opts *o);
void bench_reader_tail(const struct bench_opts *o);
void bench_storm(const struct bench_opts *o);
void bench_hit(const struct bench_opts *o);
void bench_hit_two(const struct bench_opts *o);
void bench_hit_tail(const struct bench_opts *o);
void bench_miss(const struct bench_opts *o);
void bench_memory(const struct bench_opts *o);
void bench_open(const struct bench_opts *o);
void bench_munmap_unrelated(const struct bench_opts *o);
void bench_munmap_cached(const struct bench_opts *o);
void bench_uffd(const struct bench_opts *o);
void bench_install(const struct bench_opts *o);
void bench_trap(const struct bench_opts *o);
void bench_races(const struct bench_opts *o);

#endif
