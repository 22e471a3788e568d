/* SPDX-License-Identifier: MIT */
/*
 * G2: read_begin waits only for invalidations that overlap this range. Unrelated ones are held open, or stopped inside a
 * callback, or come and go without pause; each look-up below would then hang for ever under a scheme with one epoch per
 * address space.
 */
#include "proto.h"

/* A chain of invalidations, each overlapping the next, so that one of them is active at every moment; A lies outside. */
static void chain_held_open(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i[4] = {{.page = 0}};
	struct driver a, b;

	driver_init(&a);
	driver_init(&b);
	driver_insert(&a, mm, 100, 8);
	driver_insert(&b, mm, 0, 64); /* makes them all go the slow way */
	for (unsigned k = 0; k < 4; k++) {
		invalidator_open(&i[k], mm, 4 * k, 6);
	}
	driver_program(&a);
	for (unsigned k = 0; k < 4; k++)
		invalidator_end(&i[k]);
	CHECK_EQ(a.invalidates, 0);
	CHECK_EQ(b.invalidates, 4);
	CHECK(driver_is_programmed(&a));
	driver_remove(&a);
	proto_close(mm, &b);
}

/* The same on the fast path, touching A's range on both sides without overlapping it. */
static void neighbours_held_open(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i[2] = {{.page = 0}};
	struct driver a;

	driver_open(&a, mm, 100, 8);
	invalidator_start(&i[0], mm, 90, 10);
	invalidator_start(&i[1], mm, 108, 1000);
	invalidator_await_open(&i[0]);
	invalidator_await_open(&i[1]);
	driver_program(&a);
	invalidator_end(&i[0]);
	invalidator_end(&i[1]);
	proto_close(mm, &a);
}

/* Insert, look up and remove while unrelated ones are open, begun before and after the insert. */
static void insert_and_remove(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i[3] = {{.page = 0}};
	struct driver a, b;

	driver_init(&a);
	driver_open(&b, mm, 0, 8);
	invalidator_start(&i[0], mm, 0, 1);
	invalidator_start(&i[1], mm, 200, 1);
	invalidator_await_open(&i[0]);
	invalidator_await_open(&i[1]);
	for (unsigned n = 0; n < 100; n++) {
		driver_insert(&a, mm, 100, 8);
		if (n == 50) {
			invalidator_open(&i[2], mm, 4, 1);
		}
		driver_program(&a);
		driver_remove(&a);
	}
	for (unsigned k = 0; k < 3; k++)
		invalidator_end(&i[k]);
	CHECK_EQ(a.invalidates, 0);
	proto_close(mm, &b);
}

/* Somebody else's callback is running, and runs on. */
static void callback_of_another(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver a, b;

	driver_init(&a);
	driver_init(&b);
	b.on_invalidate = stop_at_gate;
	driver_insert(&a, mm, 100, 8);
	driver_insert(&b, mm, 0, 8);
	invalidator_start(&i, mm, 0, 1);
	gate_await(&b.gate);
	driver_program(&a);
	gate_open(&b.gate);
	invalidator_await_open(&i);
	invalidator_end(&i);
	driver_remove(&a);
	proto_close(mm, &b);
}

/* The control: what does overlap, by one byte, is waited for. */
static void overlap_of_one_byte_waits(void)
{
	struct uhmm_mm *mm = proto_open();
	struct uhmm_event event = {.start = BASE + 108 * PAGE - 1, .end = BASE + 200 * PAGE};
	struct uhmm_invalidation inv;
	struct reader r;
	struct driver a;

	driver_open(&a, mm, 100, 8);
	CHECK_EQ(uhmm_invalidate_start(mm, &inv, &event), 0);
	reader_sleeps(&r, &a);
	uhmm_invalidate_end(&inv);
	worker_join(&r.w);
	CHECK(!driver_retry(&a, r.seq));
	proto_close(mm, &a);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"chain_held_open", chain_held_open},
		{"neighbours_held_open", neighbours_held_open},
		{"insert_and_remove", insert_and_remove},
		{"callback_of_another", callback_of_another},
		{"overlap_of_one_byte_waits", overlap_of_one_byte_waits},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
