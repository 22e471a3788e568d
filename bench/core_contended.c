/* SPDX-License-Identifier: MIT */
/*
 * core_contended.c: a reader of A while others invalidate B and C.
 *
 * The reader has a processor of its own; the two others share the second one where there are only two, and yield inside their
 * waits so that both are in the middle of an invalidation nearly all the time.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "bench.h"
#include "peer_kernel.h"

#define A ((uintptr_t)0x100000000000)
#define B (A + 0x10000000)
#define C (A + 0x20000000)

static struct uhmm_mm *mm;
static struct peer_mm peer;
static struct uhmm_notifier na, nb, nc;
static struct peer_notifier pa, pb, pc;
static atomic_bool stop;
static atomic_uint started;
static _Atomic uint64_t rounds;

static int nothing(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	(void)event;
	return 0;
}

static const struct uhmm_notifier_ops ops = { .invalidate = nothing };

static void peer_nothing(struct peer_notifier *n, uint64_t seq)
{
	atomic_store_explicit(&n->seq, seq, memory_order_relaxed);
}

struct invalidator {
	pthread_t thread;
	uintptr_t at;
	uint64_t hold_ns; /* 0: as fast as it goes */
	bool peer;
	int cpu;
};

static void hold(uint64_t ns)
{
	uint64_t end = bench_now_ns() + ns;

	while (ns && bench_now_ns() < end)
		sched_yield();
}

static void *invalidator(void *arg)
{
	struct invalidator *v = arg;
	uint64_t n = 0;

	bench_pin(v->cpu);
	atomic_fetch_add(&started, 1);
	for (; !atomic_load_explicit(&stop, memory_order_relaxed); n++) {
		if (v->peer) {
			peer_start(&peer, v->at, v->at + BENCH_PAGE - 1);
			hold(v->hold_ns);
			peer_end(&peer);
		} else {
			struct uhmm_event e = { .start = v->at, .end = v->at + BENCH_PAGE, .kind = UHMM_EVENT_UNMAP };
			struct uhmm_invalidation inv;

			BENCH_OK(uhmm_invalidate_start(mm, &inv, &e));
			hold(v->hold_ns);
			uhmm_invalidate_end(&inv);
		}
	}
	atomic_fetch_add(&rounds, n);
	return NULL;
}

static void open_world(void)
{
	struct uhmm_mm_options o = { .size = sizeof(o), .monitors = UHMM_MONITOR_EXPLICIT };

	BENCH_OK(uhmm_mm_open(&mm, &o));
	BENCH_OK(uhmm_notifier_insert(mm, &na, (void *)A, BENCH_PAGE, &ops));
	BENCH_OK(uhmm_notifier_insert(mm, &nb, (void *)B, BENCH_PAGE, &ops));
	BENCH_OK(uhmm_notifier_insert(mm, &nc, (void *)C, BENCH_PAGE, &ops));
	peer_init(&peer);
	pa.invalidate = pb.invalidate = pc.invalidate = peer_nothing;
	peer_insert(&peer, &pa, A, BENCH_PAGE);
	peer_insert(&peer, &pb, B, BENCH_PAGE);
	peer_insert(&peer, &pc, C, BENCH_PAGE);
}

static void go(struct invalidator v[2], bool use_peer, uint64_t hold_ns, const struct bench_opts *o)
{
	atomic_store(&stop, false);
	atomic_store(&started, 0);
	atomic_store(&rounds, 0);
	for (int i = 0; i < 2; i++) {
		v[i] = (struct invalidator){ .at = i ? C : B, .hold_ns = hold_ns, .peer = use_peer, .cpu = o->cpus[1] };
		if (pthread_create(&v[i].thread, NULL, invalidator, &v[i]))
			bench_die("no thread");
	}
	while (atomic_load(&started) < 2)
		sched_yield();
}

static uint64_t halt(struct invalidator v[2])
{
	atomic_store(&stop, true);
	pthread_join(v[0].thread, NULL);
	pthread_join(v[1].thread, NULL);
	return atomic_load(&rounds);
}

/* p99.9 of read pairs of A. */
static double tail(bool use_peer, size_t n)
{
	struct bench_samples s;
	double q;

	bench_samples_init(&s, n);
	for (size_t i = 0; i < n; i++) {
		uint64_t t = bench_tick(), seq;

		if (use_peer) {
			(void)peer_read_begin(&peer, &pa, UINT64_MAX, &seq);
			(void)peer_read_retry(&pa, seq);
		} else {
			seq = uhmm_read_begin(&na);
			(void)uhmm_read_retry(&na, seq);
		}
		bench_sample(&s, bench_tick() - t);
	}
	q = bench_quantile(&s, .999);
	bench_samples_free(&s);
	return q;
}

static void tail_ratio(const struct bench_opts *o, bool use_peer, double *quiet, double *busy, uint64_t *inv)
{
	size_t n = o->quick ? 500000 : 2000000;
	double q[BENCH_RUNS_MAX], b[BENCH_RUNS_MAX];
	struct invalidator v[2];

	*inv = 0;
	(void)tail(use_peer, n / 4);
	for (int r = 0; r < o->runs; r++) {
		q[r] = tail(use_peer, n);
		go(v, use_peer, 0, o);
		b[r] = tail(use_peer, n);
		*inv += halt(v);
	}
	*quiet = bench_median(q, o->runs);
	*busy = bench_median(b, o->runs);
}

void bench_reader_tail(const struct bench_opts *o)
{
	double quiet, busy, peer_quiet, peer_busy;
	uint64_t inv, peer_inv;

	bench_pin(o->cpus[0]);
	open_world();
	tail_ratio(o, false, &quiet, &busy, &inv);
	tail_ratio(o, true, &peer_quiet, &peer_busy, &peer_inv);
	if (o->cpus[0] == o->cpus[1])
		bench_skip("reader of A while 2 threads invalidate B and C, p99.9", "one processor only");
	else
		bench_row("reader of A while 2 threads invalidate B and C, p99.9", busy / quiet, "x", 3, "kernel's way",
			  peer_busy / peer_quiet, "quiet %.0f ns, busy %.0f ns, beside %.1f M invalidations", quiet, busy,
			  (double)inv / 1e6);
}

/* p50 of insert + read_begin + remove in nanoseconds; the peer gives up after `patience`. */
static double storm(bool use_peer, size_t n, uint64_t patience)
{
	struct bench_samples s;
	double q;

	bench_samples_init(&s, n);
	for (size_t i = 0; i < n; i++) {
		uint64_t t = bench_tick(), seq;

		if (use_peer) {
			peer_insert(&peer, &pa, A, BENCH_PAGE);
			(void)peer_read_begin(&peer, &pa, bench_now_ns() + patience, &seq);
			peer_remove(&peer, &pa);
		} else {
			BENCH_OK(uhmm_notifier_insert(mm, &na, (void *)A, BENCH_PAGE, &ops));
			if (uhmm_read_begin(&na) == UHMM_SEQ_DEAD)
				bench_die("a dead sequence for an inserted notifier");
			BENCH_OK(uhmm_notifier_remove(&na));
		}
		bench_sample(&s, bench_tick() - t);
	}
	q = bench_quantile(&s, .5);
	bench_samples_free(&s);
	return q;
}

void bench_storm(const struct bench_opts *o)
{
	const uint64_t hold_ns = 50000, patience = 10000000;
	double ours[BENCH_RUNS_MAX], theirs;
	struct invalidator v[2];
	uint64_t inv = 0;

	bench_pin(o->cpus[0]);
	open_world();
	BENCH_OK(uhmm_notifier_remove(&na));
	peer_remove(&peer, &pa);
	for (int r = 0; r < o->runs; r++) {
		go(v, false, hold_ns, o);
		ours[r] = storm(false, o->quick ? 50000 : 200000, 0);
		inv += halt(v);
	}
	go(v, true, hold_ns, o);
	theirs = storm(true, 9, patience);
	halt(v);
	bench_row("insert+read_begin+remove of A, B and C held 50 us each, p50", bench_median(ours, o->runs) / 1e3, "us", 1,
		  "kernel's way", theirs / 1e3, "%llu invalidations held; the peer gave up after 10 ms a try",
		  (unsigned long long)inv);
}
