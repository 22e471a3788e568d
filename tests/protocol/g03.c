/* SPDX-License-Identifier: MIT */
/* G3: a notifier inserted during an invalidation that covers it counts as invalidating until that ends (R6). */
#include "proto.h"

/*
 * R6:  invalidator            reader
 *      start
 *                             insert; read_begin: waits
 *      change, end
 *                             look up: the new page
 *
 * `other` decides which way start goes: with a notifier in its range it links itself, without one it overlaps nothing and takes
 * the fast path (G8), on which the insert has to find it.
 */
static void insert_inside(bool other, bool abort, unsigned open)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i[3] = {{.page = 0}};
	struct driver d, o;
	struct reader r;

	driver_init(&d);
	driver_init(&o);
	if (other)
		driver_insert(&o, mm, 2, 1);
	for (unsigned k = 0; k < open; k++) {
		i[k].abort = abort;
		invalidator_open(&i[k], mm, k, 3);
	}
	driver_insert(&d, mm, 2, 1); /* in all of them */
	CHECK_EQ(d.invalidates, 0);
	reader_sleeps(&r, &d);
	for (unsigned k = 0; k < open; k++) {
		CHECK(worker_asleep(&r.w));
		invalidator_end(&i[k]);
	}
	worker_join(&r.w);
	CHECK(r.seq != UHMM_SEQ_DEAD);
	CHECK(!driver_retry(&d, r.seq));
	/* It is told of each end, although never of a start. */
	CHECK_EQ(d.invalidates, 0);
	CHECK_EQ(d.ends, open);
	CHECK_EQ(d.ends_changed, abort ? 0 : open);
	driver_remove(&d);
	if (other)
		driver_remove(&o);
	uhmm_mm_close(mm);
}

static void slow(void)
{
	insert_inside(true, false, 1);
	insert_inside(true, true, 1);
	insert_inside(true, false, 3);
}

static void fast(void)
{
	insert_inside(false, false, 1);
	insert_inside(false, true, 1);
	insert_inside(false, false, 3);
}

/* Several inserts claim one fast invalidation: each counts once, and the end takes back exactly that. */
static void claimed_by_several(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d[5];
	struct reader r[5];

	invalidator_open(&i, mm, 0, 5);
	for (unsigned k = 0; k < 5; k++) {
		driver_open(&d[k], mm, k, 1);
		reader_start(&r[k], &d[k]);
	}
	for (unsigned k = 0; k < 5; k++)
		CHECK(worker_asleep(&r[k].w));
	invalidator_end(&i);
	for (unsigned k = 0; k < 5; k++) {
		worker_join(&r[k].w);
		CHECK_EQ(d[k].ends, 1);
		driver_program(&d[k]);
	}
	/* And a later one finds nothing odd. */
	invalidator_open(&i, mm, 0, 5);
	invalidator_end(&i);
	for (unsigned k = 0; k < 5; k++) {
		CHECK_EQ(d[k].invalidates, 1);
		CHECK(!driver_is_programmed(&d[k]));
		driver_program(&d[k]);
		driver_remove(&d[k]);
	}
	uhmm_mm_close(mm);
}

/* Inserted and removed inside, then inserted again: the claim still stands, and is counted again. */
static void reinserted_inside(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d;
	struct reader r;

	driver_init(&d);
	invalidator_open(&i, mm, 0, 4);
	for (unsigned k = 0; k < 3; k++) {
		driver_insert(&d, mm, k, 1);
		driver_remove(&d);
	}
	driver_insert(&d, mm, 1, 1);
	reader_sleeps(&r, &d);
	invalidator_end(&i);
	worker_join(&r.w);
	CHECK(!driver_retry(&d, r.seq));
	CHECK_EQ(d.ends, 1);
	proto_close(mm, &d);
}

/* Inserted while start is inside another notifier's callback. */
static void during_the_callback_pass(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d, o;
	struct reader r;

	driver_init(&d);
	driver_init(&o);
	o.on_invalidate = stop_at_gate;
	driver_insert(&o, mm, 4, 1);
	invalidator_start(&i, mm, 0, 8);
	gate_await(&o.gate);
	driver_insert(&d, mm, 6, 1);
	reader_sleeps(&r, &d);
	gate_open(&o.gate);
	invalidator_await_open(&i);
	CHECK(worker_asleep(&r.w));
	invalidator_end(&i);
	worker_join(&r.w);
	CHECK(!driver_retry(&d, r.seq));
	CHECK_EQ(d.ends, 1);
	driver_remove(&d);
	proto_close(mm, &o);
}

/* The control: inserted beside, nobody waits. */
static void inserted_beside(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d;

	driver_init(&d);
	invalidator_open(&i, mm, 0, 4);
	driver_insert(&d, mm, 4, 1);
	driver_program(&d);
	invalidator_end(&i);
	CHECK(driver_is_programmed(&d));
	CHECK_EQ(d.ends, 0);
	proto_close(mm, &d);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"slow", slow},
		{"fast", fast},
		{"claimed_by_several", claimed_by_several},
		{"reinserted_inside", reinserted_inside},
		{"during_the_callback_pass", during_the_callback_pass},
		{"inserted_beside", inserted_beside},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
