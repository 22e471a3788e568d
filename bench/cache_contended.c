/* SPDX-License-Identifier: MIT */
/* cache_contended.c: hits while other threads hit, register, unmap. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "bare.h"
#include "bench.h"

#define COUNT ((size_t)100000)
#define FRESH ((size_t)262144) /* pages that the registering thread goes through, each once */
#define REG_NS 20000u

static struct bench_cache cache;
static unsigned char *arena, *fresh;
static atomic_bool stop;
static atomic_uint ready;
static _Atomic uint64_t work;

static inline void hit(unsigned char *addr)
{
	struct uhmm_reg *reg;

	BENCH_OK(uhmm_regcache_get(cache.cache, addr, 512, PROT_READ | PROT_WRITE, &reg));
	uhmm_regcache_put(cache.cache, reg);
}

struct hitter {
	pthread_t thread;
	const uint32_t *order;
	size_t count;
	uint32_t n;
	unsigned threads;
	int cpu;
	double ns;
};

static void *hitter(void *arg)
{
	struct hitter *h = arg;
	uint64_t t;

	bench_pin(h->cpu);
	for (uint32_t i = 0, at = 0; i < h->n / 10; i++, at = at + 1 == h->count ? 0 : at + 1)
		hit(arena + h->order[at] * BENCH_PAGE + 1024);
	atomic_fetch_add(&ready, 1);
	while (atomic_load(&ready) < h->threads)
		sched_yield();
	t = bench_cpu_ns();
	for (uint32_t i = 0, at = 0; i < h->n; i++, at = at + 1 == h->count ? 0 : at + 1)
		hit(arena + h->order[at] * BENCH_PAGE + 1024);
	h->ns = (double)(bench_cpu_ns() - t) / h->n;
	return NULL;
}

static double hits_by(unsigned threads, const uint32_t *const order[2], size_t count, const struct bench_opts *o)
{
	struct hitter h[2];
	double sum = 0;

	atomic_store(&ready, 0);
	for (unsigned i = 0; i < threads; i++) {
		h[i] = (struct hitter){ .order = order[i], .count = count, .n = o->quick ? 500000 : 2000000, .threads = threads,
					.cpu = o->cpus[i] };
		if (pthread_create(&h[i].thread, NULL, hitter, &h[i]))
			bench_die("no thread");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(h[i].thread, NULL);
		sum += h[i].ns;
	}
	return sum / threads;
}

void bench_hit_two(const struct bench_opts *o)
{
	static const struct {
		size_t count;
		const char *name;
	} rows[] = {
		{ 1, "2 threads hitting the same region, each, over one alone" },
		{ 1000, "2 threads hitting 1,000 regions at random, each, over one" },
		{ COUNT, "2 threads hitting 100,000 at random, each, over one" },
	};

	if (o->cpus[0] == o->cpus[1]) {
		bench_skip("2 threads hitting, each, over one alone", "one processor only");
		return;
	}
	arena = bench_arena(COUNT);
	bench_cache_open(&cache, 0, 2 * COUNT);
	bench_cache_fill(&cache, arena, 0, COUNT);
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		uint32_t *x = bench_shuffled(rows[k].count, 21), *y = bench_shuffled(rows[k].count, 22);
		const uint32_t *const order[2] = { x, y };
		double one[BENCH_RUNS_MAX], two[BENCH_RUNS_MAX], a, b;

		for (int r = 0; r < o->runs; r++) {
			one[r] = hits_by(1, order, rows[k].count, o);
			two[r] = hits_by(2, order, rows[k].count, o);
		}
		a = bench_median(one, o->runs);
		b = bench_median(two, o->runs);
		bench_row(rows[k].name, b / a, "x", 1.2, NULL, 0, "one %.1f ns, two %.1f ns each", a, b);
		free(x);
		free(y);
	}
	bench_cache_close(&cache);
}

/* Another thread that keeps missing: every get is of a page not seen before and registers it for 20 us. */
static void *registrar(void *arg)
{
	static size_t next;
	const struct bench_opts *o = arg;
	size_t first = next;

	bench_pin(o->cpus[1]);
	atomic_fetch_add(&ready, 1);
	while (!atomic_load_explicit(&stop, memory_order_relaxed) && next < FRESH)
		hit(fresh + next++ * BENCH_PAGE);
	if (next == FRESH)
		bench_die("no fresh pages left to register");
	atomic_store(&work, next - first);
	return NULL;
}

/* Another thread that maps and unmaps through libc, elsewhere. */
static void *unmapper(void *arg)
{
	const struct bench_opts *o = arg;
	uint64_t n = 0;

	bench_pin(o->cpus[1]);
	atomic_fetch_add(&ready, 1);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		void *p = mmap(NULL, BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		munmap(p, BENCH_PAGE);
		n++;
	}
	atomic_store(&work, n);
	return NULL;
}

/* The same without the library's knowledge: what the machine alone does to a tail. */
static void *raw_unmapper(void *arg)
{
	const struct bench_opts *o = arg;

	bench_pin(o->cpus[1]);
	atomic_fetch_add(&ready, 1);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		long p = bare_call(SYS_mmap, 0, BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		bare_call(SYS_munmap, p, BENCH_PAGE, 0, 0, 0, 0);
	}
	return NULL;
}

/* p99.9 of hits among 1,000 regions, or of a plain load where `limit`. */
static double tail(const uint32_t *order, size_t n, bool limit)
{
	struct bench_samples s;
	double q;

	bench_samples_init(&s, n);
	for (size_t i = 0, at = 0; i < n; i++, at = at + 1 == 1000 ? 0 : at + 1) {
		unsigned char *p = arena + order[at] * BENCH_PAGE + 1024;
		uint64_t t = bench_tick();

		if (limit)
			(void)*(volatile unsigned char *)p;
		else
			hit(p);
		bench_sample(&s, bench_tick() - t);
	}
	q = bench_quantile(&s, .999);
	bench_samples_free(&s);
	return q;
}

static double tail_beside(void *(*other)(void *), const uint32_t *order, size_t n, bool limit, const struct bench_opts *o)
{
	pthread_t t;
	double q;

	atomic_store(&stop, false);
	atomic_store(&ready, 0);
	if (pthread_create(&t, NULL, other, (void *)(uintptr_t)o))
		bench_die("no thread");
	while (!atomic_load(&ready))
		sched_yield();
	q = tail(order, n, limit);
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	return q;
}

static void tail_row(const char *name, void *(*other)(void *), void *(*limit)(void *), const uint32_t *order,
		     const struct bench_opts *o)
{
	size_t n = o->quick ? 500000 : 2000000;
	double quiet[BENCH_RUNS_MAX], busy[BENCH_RUNS_MAX], lq[BENCH_RUNS_MAX], lb[BENCH_RUNS_MAX], q, b;
	uint64_t others = 0;

	for (int r = 0; r < o->runs; r++) {
		quiet[r] = tail(order, n, false);
		busy[r] = tail_beside(other, order, n, false, o);
		others += atomic_load(&work);
		lq[r] = limit ? tail(order, n, true) : 1;
		lb[r] = limit ? tail_beside(limit, order, n, true, o) : 0;
	}
	q = bench_median(quiet, o->runs);
	b = bench_median(busy, o->runs);
	bench_row(name, b / q, "x", 1.5, "plain load, raw munmap", bench_median(lb, o->runs) / bench_median(lq, o->runs),
		  "quiet %.0f ns, busy %.0f ns, beside %llu", q, b, (unsigned long long)others);
}

void bench_hit_tail(const struct bench_opts *o)
{
	uint32_t *order;

	if (o->cpus[0] == o->cpus[1]) {
		bench_skip("hit p99.9 beside another thread", "one processor only");
		return;
	}
	arena = bench_arena(1000);
	fresh = mmap(NULL, FRESH * BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fresh == MAP_FAILED)
		bench_die("no address space");
	order = bench_shuffled(1000, 31);
	/* Service threads may run anywhere; only the measuring threads are pinned. */
	bench_cache_open(&cache, 0, 1000 + 2 * FRESH);
	bench_cache_fill(&cache, arena, 0, 1000);
	bench_pin(o->cpus[0]);
	(void)tail(order, 200000, false);
	tail_row("hit p99.9 while another thread munmaps, over quiet", unmapper, raw_unmapper, order, o);
	cache.reg_ns = REG_NS;
	tail_row("hit p99.9 while another registers 20 us each, over quiet", registrar, NULL, order, o);
	bench_cache_close(&cache);
	free(order);
}
