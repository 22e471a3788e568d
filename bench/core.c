/* SPDX-License-Identifier: MIT */
/* core.c: the core uncontended: read pair, invalidations that miss and hit, insert and remove; the kernel's way beside. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "peer_kernel.h"

/* Addresses only: the core knows ranges, whether or not something is mapped there. Notifier i watches the first page of each
 * pair, the second page of each pair is a gap. */
#define BASE ((uintptr_t)0x100000000000)
#define STRIDE (2 * BENCH_PAGE)
#define ROUNDS_MAX 1000000u

static int nothing(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	(void)event;
	return 0;
}

static const struct uhmm_notifier_ops ops = { .invalidate = nothing };

static void peer_nothing(struct peer_notifier *n, uint64_t seq)
{
	/* What the contract asks of a callback at least: the new sequence. */
	atomic_store_explicit(&n->seq, seq, memory_order_relaxed);
}

struct world {
	struct uhmm_mm *mm;
	struct peer_mm peer;
	struct uhmm_notifier *n;
	struct peer_notifier *p;
	size_t count;
	uint32_t *order; /* places in random order */
	uint32_t rounds, at;
};

static void world_open(struct world *w, size_t count, uint32_t rounds)
{
	struct uhmm_mm_options o = { .size = sizeof(o), .monitors = UHMM_MONITOR_EXPLICIT };
	uint64_t seed = 7;

	memset(w, 0, sizeof(*w));
	w->count = count;
	w->rounds = rounds;
	w->n = calloc(count + 1, sizeof(*w->n));
	w->p = calloc(count + 1, sizeof(*w->p));
	w->order = malloc(ROUNDS_MAX * sizeof(*w->order));
	if (!w->n || !w->p || !w->order)
		bench_die("no memory for %zu notifiers", count);
	BENCH_OK(uhmm_mm_open(&w->mm, &o));
	peer_init(&w->peer);
	for (size_t i = 0; i < count; i++) {
		uintptr_t at = BASE + i * STRIDE;

		BENCH_OK(uhmm_notifier_insert(w->mm, &w->n[i], (void *)at, BENCH_PAGE, &ops));
		w->p[i].invalidate = peer_nothing;
		peer_insert(&w->peer, &w->p[i], at, BENCH_PAGE);
	}
	for (size_t i = 0; i < ROUNDS_MAX; i++)
		w->order[i] = (uint32_t)(bench_random(&seed) % count);
}

static void world_close(struct world *w)
{
	for (size_t i = 0; i < w->count; i++)
		BENCH_OK(uhmm_notifier_remove(&w->n[i]));
	uhmm_mm_close(w->mm);
	free(w->n);
	free(w->p);
	free(w->order);
}

/* Nanoseconds of one start + end at random places; offset chooses the watched page of the pair or the gap behind it. */
static double invalidate_ns(struct world *w, uintptr_t offset)
{
	uint64_t t = bench_cpu_ns();

	for (uint32_t i = 0; i < w->rounds; i++) {
		uintptr_t at = BASE + w->order[i] * STRIDE + offset;
		struct uhmm_event e = { .start = at, .end = at + BENCH_PAGE, .kind = UHMM_EVENT_UNMAP };
		struct uhmm_invalidation inv;

		BENCH_OK(uhmm_invalidate_start(w->mm, &inv, &e));
		uhmm_invalidate_end(&inv);
	}
	return (double)(bench_cpu_ns() - t) / w->rounds;
}

static double peer_invalidate_ns(struct world *w, uintptr_t offset)
{
	uint64_t t = bench_cpu_ns();

	for (uint32_t i = 0; i < w->rounds; i++) {
		uintptr_t at = BASE + w->order[i] * STRIDE + offset;

		peer_start(&w->peer, at, at + BENCH_PAGE - 1);
		peer_end(&w->peer);
	}
	return (double)(bench_cpu_ns() - t) / w->rounds;
}

static double read_pair_ns(struct world *w, uint32_t rounds)
{
	struct uhmm_notifier *n = &w->n[w->count / 2];
	uint32_t retried = 0;
	uint64_t t = bench_cpu_ns();

	for (uint32_t i = 0; i < rounds; i++)
		retried += uhmm_read_retry(n, uhmm_read_begin(n));
	t = bench_cpu_ns() - t;
	if (retried)
		bench_die("%u quiet reads retried", retried);
	return (double)t / rounds;
}

static double peer_read_pair_ns(struct world *w, uint32_t rounds)
{
	struct peer_notifier *n = &w->p[w->count / 2];
	uint32_t retried = 0;
	uint64_t t = bench_cpu_ns(), seq;

	for (uint32_t i = 0; i < rounds; i++)
		retried += !peer_read_begin(&w->peer, n, UINT64_MAX, &seq) || peer_read_retry(n, seq);
	t = bench_cpu_ns() - t;
	if (retried)
		bench_die("%u quiet reads of the peer retried", retried);
	return (double)t / rounds;
}

void bench_read(const struct bench_opts *o)
{
	uint32_t rounds = o->quick ? 2000000 : 10000000;
	double ours[BENCH_RUNS_MAX], peer[BENCH_RUNS_MAX];
	struct world w;

	bench_pin(o->cpus[0]);
	world_open(&w, 1000, 1000);
	for (int r = -1; r < o->runs; r++) { /* run -1 warms up */
		ours[r < 0 ? 0 : r] = read_pair_ns(&w, rounds);
		peer[r < 0 ? 0 : r] = peer_read_pair_ns(&w, rounds);
	}
	bench_row("read_begin + read_retry, uncontended", bench_median(ours, o->runs), "ns", 4, "kernel's way",
		  bench_median(peer, o->runs), "1,000 notifiers, no lock around either");
	world_close(&w);
}

static void one_size(const struct bench_opts *o, size_t count, const char *label, double bar)
{
	double ours[BENCH_RUNS_MAX], peer[BENCH_RUNS_MAX], hit[BENCH_RUNS_MAX], peer_hit[BENCH_RUNS_MAX];
	char name[72];
	struct world w;

	world_open(&w, count, o->quick ? 300000 : ROUNDS_MAX);
	for (int r = -1; r < o->runs; r++) {
		int at = r < 0 ? 0 : r;

		ours[at] = invalidate_ns(&w, BENCH_PAGE);
		peer[at] = peer_invalidate_ns(&w, BENCH_PAGE);
		hit[at] = invalidate_ns(&w, 0);
		peer_hit[at] = peer_invalidate_ns(&w, 0);
	}
	snprintf(name, sizeof(name), "invalidate start+end, overlapping nothing, %s notifiers", label);
	bench_row(name, bench_median(ours, o->runs), "ns", bar, "kernel's way", bench_median(peer, o->runs),
		  "random gaps");
	snprintf(name, sizeof(name), "invalidate start+end, hitting 1 of %s", label);
	bench_row(name, bench_median(hit, o->runs), "ns", count == 1000000 ? 400 : BENCH_NO_BAR, "kernel's way",
		  bench_median(peer_hit, o->runs), "at random, empty callback");
	world_close(&w);
}

void bench_invalidate(const struct bench_opts *o)
{
	bench_pin(o->cpus[0]);
	one_size(o, 10, "10", 25);
	one_size(o, 1000, "1,000", 25);
	one_size(o, 1000000, "1,000,000", 60);
}

static double insert_ns(struct world *w)
{
	struct uhmm_notifier *n = &w->n[w->count];
	uint64_t t = bench_cpu_ns();

	for (uint32_t i = 0; i < w->rounds; i++) {
		uintptr_t at = BASE + w->order[i] * STRIDE + BENCH_PAGE;

		BENCH_OK(uhmm_notifier_insert(w->mm, n, (void *)at, BENCH_PAGE, &ops));
		BENCH_OK(uhmm_notifier_remove(n));
	}
	return (double)(bench_cpu_ns() - t) / w->rounds;
}

static double peer_insert_ns(struct world *w)
{
	struct peer_notifier *n = &w->p[w->count];
	uint64_t t = bench_cpu_ns();

	for (uint32_t i = 0; i < w->rounds; i++) {
		peer_insert(&w->peer, n, BASE + w->order[i] * STRIDE + BENCH_PAGE, BENCH_PAGE);
		peer_remove(&w->peer, n);
	}
	return (double)(bench_cpu_ns() - t) / w->rounds;
}

void bench_insert(const struct bench_opts *o)
{
	double ours[BENCH_RUNS_MAX], peer[BENCH_RUNS_MAX];
	struct world w;

	bench_pin(o->cpus[0]);
	world_open(&w, 100000, o->quick ? 200000 : ROUNDS_MAX);
	for (int r = -1; r < o->runs; r++) {
		ours[r < 0 ? 0 : r] = insert_ns(&w);
		peer[r < 0 ? 0 : r] = peer_insert_ns(&w);
	}
	bench_row("notifier insert + remove among 100,000", bench_median(ours, o->runs), "ns", 350, "kernel's way",
		  bench_median(peer, o->runs), "random gaps; the peer in an AVL tree");
	world_close(&w);
}
