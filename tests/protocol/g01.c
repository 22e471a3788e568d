/* SPDX-License-Identifier: MIT */
/*
 * G1: when read_retry says no under the driver lock, every covering invalidation whose callback on this notifier has
 * completed had also ended before read_begin returned; any other still has to run its callback, and tears down what is
 * programmed now.
 */
#include "proto.h"

/* Nothing happened: no retry. Without this every other case could pass by always answering yes. */
static void quiet(void)
{
	struct uhmm_mm *mm = proto_open();
	struct driver d;
	uint64_t seq;

	driver_open(&d, mm, 0, 4);
	seq = uhmm_read_begin(&d.n);
	CHECK(seq != UHMM_SEQ_DEAD);
	CHECK(!driver_retry(&d, seq));
	driver_program(&d);
	CHECK(driver_is_programmed(&d));
	proto_close(mm, &d);
}

/*
 * R1, R9:  reader               invalidator
 *          read_begin
 *          look up
 *                               start; callback; change
 *          read_retry: yes
 *                               end
 *          read_retry: yes
 */
static void start_in_between(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d;
	uint64_t seq;

	driver_open(&d, mm, 0, 4);
	seq = uhmm_read_begin(&d.n);
	invalidator_open(&i, mm, 3, 1);
	CHECK_EQ(d.invalidates, 1);
	CHECK(driver_retry(&d, seq));
	invalidator_end(&i);
	CHECK(driver_retry(&d, seq));
	CHECK(!driver_retry(&d, uhmm_read_begin(&d.n)));
	proto_close(mm, &d);
}

/* A whole invalidation, in the same thread. */
static void start_and_end_in_between(void)
{
	struct uhmm_mm *mm = proto_open();
	struct uhmm_invalidation inv;
	struct driver d;
	uint64_t seq;

	driver_open(&d, mm, 0, 4);
	seq = uhmm_read_begin(&d.n);
	start_pages(mm, &inv, 0, 1);
	uhmm_invalidate_end(&inv);
	CHECK(driver_retry(&d, seq));
	proto_close(mm, &d);
}

/* R9: begun inside, it comes back only after the end. */
static void begin_inside_waits(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct reader r;
	struct driver d;

	driver_open(&d, mm, 0, 4);
	invalidator_open(&i, mm, 1, 1);
	reader_sleeps(&r, &d);
	invalidator_end(&i);
	worker_join(&r.w);
	CHECK(r.seq != UHMM_SEQ_DEAD);
	CHECK(!driver_retry(&d, r.seq));
	proto_close(mm, &d);
}

/* R10: the end of one must not make the range look quiet while the other is active; both orders of ending. */
static void two_overlapping(void)
{
	for (int first = 0; first < 2; first++) {
		struct uhmm_mm *mm = proto_open();
		struct invalidator i[2] = {{.page = 0}};
		struct reader r;
		struct driver d;

		driver_open(&d, mm, 0, 4);
		for (int k = 0; k < 2; k++) {
			invalidator_open(&i[k], mm, 1, 2);
		}
		reader_sleeps(&r, &d);
		invalidator_end(&i[first]);
		CHECK(worker_asleep(&r.w));
		invalidator_end(&i[1 - first]);
		worker_join(&r.w);
		CHECK(!driver_retry(&d, r.seq));
		CHECK_EQ(d.invalidates, 2);
		proto_close(mm, &d);
	}
}

/*
 * The invalidator waits for the driver lock that a reader holds: whatever read_retry answers, nothing is left programmed once
 * start has returned.
 */
static void callback_still_to_come(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d;
	uint64_t seq;

	driver_open(&d, mm, 0, 4);
	d.on_invalidate = stop_at_gate; /* before it takes the lock */
	seq = uhmm_read_begin(&d.n);
	driver_lock(&d);
	invalidator_start(&i, mm, 0, 1);
	gate_await(&d.gate);
	gate_open(&d.gate);
	d.programmed = !uhmm_read_retry(&d.n, seq);
	driver_unlock(&d);
	invalidator_await_open(&i);
	CHECK(!driver_is_programmed(&d));
	CHECK(driver_retry(&d, seq));
	invalidator_end(&i);
	proto_close(mm, &d);
}

/*
 * The seq is stored before any callback runs, in every covered notifier: with the invalidator stopped in the first callback, a
 * reader that begins on the second waits, and an older seq of it retries (DESIGN: "all first").
 */
static void all_counted_before_first_callback(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d[2];
	uint64_t seq[2];
	struct reader r[2];

	for (int k = 0; k < 2; k++) {
		driver_open(&d[k], mm, (unsigned)k, 1);
		seq[k] = uhmm_read_begin(&d[k].n);
		d[k].on_invalidate = stop_at_gate;
	}
	invalidator_start(&i, mm, 0, 2);
	while (sem_trywait(&d[0].gate.reached) != 0 && sem_trywait(&d[1].gate.reached) != 0)
		sched_yield();
	for (int k = 0; k < 2; k++) {
		CHECK(driver_retry(&d[k], seq[k]));
		reader_sleeps(&r[k], &d[k]);
	}
	gate_open(&d[0].gate);
	gate_open(&d[1].gate);
	invalidator_await_open(&i);
	CHECK(worker_asleep(&r[0].w) && worker_asleep(&r[1].w));
	invalidator_end(&i);
	for (int k = 0; k < 2; k++) {
		worker_join(&r[k].w);
		driver_remove(&d[k]);
	}
	uhmm_mm_close(mm);
}

/* Bytes count: an invalidation that ends where the notifier begins, or begins where it ends, is none of its business. */
static void neighbours(void)
{
	struct uhmm_mm *mm = proto_open();
	struct uhmm_event before = {.start = BASE, .end = BASE + 100}, after = {.start = BASE + 200, .end = BASE + 300};
	struct uhmm_event last = {.start = BASE + 199, .end = BASE + 200};
	struct uhmm_invalidation inv[2];
	struct driver d;
	uint64_t seq;

	driver_init(&d);
	CHECK_EQ(uhmm_notifier_insert(mm, &d.n, (char *)PAGE_AT(0) + 100, 100, &driver_ops), 0);
	seq = uhmm_read_begin(&d.n);
	CHECK_EQ(uhmm_invalidate_start(mm, &inv[0], &before), 0);
	CHECK_EQ(uhmm_invalidate_start(mm, &inv[1], &after), 0);
	CHECK_EQ(uhmm_read_begin(&d.n), seq);
	uhmm_invalidate_end(&inv[1]);
	uhmm_invalidate_end(&inv[0]);
	CHECK(!driver_retry(&d, seq));
	CHECK_EQ(d.invalidates, 0);
	CHECK_EQ(d.ends, 0);
	CHECK_EQ(uhmm_invalidate_start(mm, &inv[0], &last), 0);
	uhmm_invalidate_end(&inv[0]);
	CHECK(driver_retry(&d, seq));
	CHECK_EQ(d.invalidates, 1);
	proto_close(mm, &d);
}

/*
 * A sleeper is woken by an end, and before it has run the next invalidation begins: it sleeps again, and the next end must find
 * it. Which of the two the sleeper sees is chance, hence the many rounds.
 */
static void woken_into_the_next(void)
{
	struct uhmm_mm *mm = proto_open();
	struct uhmm_invalidation inv;
	struct reader r;
	struct driver d;

	driver_open(&d, mm, 0, 4);
	for (int round = 0; round < 500; round++) {
		start_pages(mm, &inv, 0, 1);
		reader_sleeps(&r, &d);
		uhmm_invalidate_end(&inv);
		start_pages(mm, &inv, 1, 1);
		worker_asleep(&r.w);
		uhmm_invalidate_end(&inv);
		worker_join(&r.w);
	}
	CHECK(!driver_retry(&d, uhmm_read_begin(&d.n)));
	proto_close(mm, &d);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"quiet", quiet},
		{"start_in_between", start_in_between},
		{"start_and_end_in_between", start_and_end_in_between},
		{"begin_inside_waits", begin_inside_waits},
		{"two_overlapping", two_overlapping},
		{"callback_still_to_come", callback_still_to_come},
		{"all_counted_before_first_callback", all_counted_before_first_callback},
		{"neighbours", neighbours},
		{"woken_into_the_next", woken_into_the_next},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
