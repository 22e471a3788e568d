/* SPDX-License-Identifier: MIT */
/*
 * The gate and the taint (src/monitors/witness.h) on the real core, with events made up here (R26, R34; G1, G9).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/queue.h"
#include "monitors/witness.h"
#include "port/clock.h"
#include "port/mm.h"

#define PAGE MM_PAGE_SIZE
#define HERE ((uintptr_t)0x100000000)

static struct witness w;
static struct uhmm_mm *mm;

struct told {
	struct uhmm_notifier n; /* first */
	atomic_int starts, ends, kind;
};

static int invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct told *t = (struct told *)n;

	t->kind = (int)event->kind;
	t->starts++;
	return 0;
}

static void end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	(void)event;
	assert_true(changed);
	((struct told *)n)->ends++;
}

static const struct uhmm_notifier_ops ops = {.invalidate = invalidate, .end = end};

static void on_watch(struct core_watch_hook *h, uintptr_t s, uintptr_t e)
{
	(void)h;
	(void)s;
	(void)e;
}

static bool on_vouches(struct core_watch_hook *h, uintptr_t s, uintptr_t e)
{
	(void)h;
	return witness_vouches(&w, s, e);
}

static atomic_int gone;

static void on_gone(struct core_watch_hook *h, uintptr_t s, uintptr_t e)
{
	(void)h;
	(void)s;
	(void)e;
	gone++;
}

static bool patient; /* the hook has a word on whether a doubt passes */

static bool on_passes(struct core_watch_hook *h, uintptr_t s, uintptr_t e)
{
	return patient && (witness_await_untaint(&w, s, e, clock_now_ns() + 2000000) || on_vouches(h, s, e));
}

static struct core_watch_hook hook = {.watch = on_watch, .vouches = on_vouches, .passes = on_passes, .gone = on_gone};

static int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	witness_init(&w);
	gone = 0;
	patient = false;
	if (core_mm_create(&mm))
		return -1;
	core_watch_hook_add(mm, &hook);
	return witness_attach(&w, mm);
}

static int teardown(void **state)
{
	(void)state;
	witness_detach(&w, mm);
	core_mm_destroy(mm);
	return 0;
}

static void insert(struct told *t, uintptr_t start, size_t len)
{
	*t = (struct told){.kind = -1};
	assert_int_equal(uhmm_notifier_insert(mm, &t->n, (void *)start, len, &ops), 0);
}

/* As a get of the cache does: waits no longer than a moment. */
static int begin(struct told *t, uint64_t *seq)
{
	return core_read_begin(&t->n, clock_now_ns() + 2000000, seq);
}

static bool comes(atomic_int *count, int value)
{
	for (int i = 0; i < 5000 && *count != value; i++)
		clock_sleep_ns(1000000);
	return *count == value;
}

static void urge(bool wanted)
{
	if (wanted)
		core_service_wake();
}

/* R34: from before the event is read until its callbacks have run, nothing looked up before is good and nothing new is had. */
static void test_gate(void **state)
{
	struct witness_event e = {WITNESS_UNMAP, HERE, HERE + PAGE, 0, true};
	struct told in, out;
	uint64_t before_in, before_out, seq;

	(void)state;
	insert(&in, HERE, PAGE);
	insert(&out, HERE + 8 * PAGE, PAGE);
	assert_int_equal(begin(&in, &before_in), 0);
	assert_int_equal(begin(&out, &before_out), 0);
	assert_int_equal(a32_load_acquire(core_mm_queued(mm)), 0);
	witness_shut(&w, &w.reader);
	assert_int_not_equal(a32_load_acquire(core_mm_queued(mm)), 0); /* hits are refused */
	assert_true(uhmm_read_retry(&in.n, before_in));
	assert_true(uhmm_read_retry(&out.n, before_out));
	assert_int_equal(begin(&in, &seq), -ETIMEDOUT);
	assert_int_equal(begin(&out, &seq), -ETIMEDOUT); /* it is not known yet what has changed */
	urge(witness_open(&w, &w.reader, &e, 1));
	assert_int_equal(core_read_begin(&out.n, SYNC_FOREVER, &seq), 0);
	assert_int_equal(core_read_begin(&in.n, SYNC_FOREVER, &seq), 0);
	assert_int_equal(in.starts, 1);
	assert_int_equal(in.ends, 1);
	assert_int_equal(in.kind, UHMM_EVENT_UNMAP);
	assert_int_equal(out.starts, 0);
	assert_false(uhmm_read_retry(&in.n, seq));
	uhmm_notifier_remove(&in.n);
	uhmm_notifier_remove(&out.n);
}

/* A read that brought nothing, and events that concern nobody: the gate opens, no callback, no service thread. */
static void test_nothing(void **state)
{
	struct witness_event e = {WITNESS_UNMAP, HERE + 100 * PAGE, HERE + 101 * PAGE, 0, true};
	struct told t;
	uint64_t seq;

	(void)state;
	insert(&t, HERE, PAGE);
	witness_shut(&w, &w.reader);
	assert_false(witness_open(&w, &w.reader, NULL, 0));
	assert_int_equal(a32_load_acquire(core_mm_queued(mm)), 0);
	witness_shut(&w, &w.reader);
	assert_false(witness_open(&w, &w.reader, &e, 1));
	assert_int_equal(a32_load_acquire(core_mm_queued(mm)), 0);
	assert_int_equal(begin(&t, &seq), 0);
	assert_int_equal(t.starts, 0);
	/* What is watched could not be forgotten at once: then the service thread does, concerned or not. */
	e.forgotten = false;
	witness_shut(&w, &w.reader);
	urge(witness_open(&w, &w.reader, &e, 1));
	assert_true(comes(&gone, 1));
	uhmm_notifier_remove(&t.n);
}

static void test_both_ranges_of_remap(void **state)
{
	struct witness_event e = {WITNESS_REMAP, HERE, HERE + PAGE, HERE + 8 * PAGE, true};
	struct told from, to;

	(void)state;
	insert(&from, HERE, PAGE);
	insert(&to, HERE + 8 * PAGE, PAGE);
	witness_shut(&w, &w.reader);
	urge(witness_open(&w, &w.reader, &e, 1));
	assert_true(comes(&from.ends, 1));
	assert_true(comes(&to.ends, 1));
	assert_int_equal(from.kind, UHMM_EVENT_REMAP);
	assert_int_equal(to.kind, UHMM_EVENT_UNMAP);
	uhmm_notifier_remove(&from.n);
	uhmm_notifier_remove(&to.n);
}

/* R26: torn down at once, doubtful until the guard is sure, torn down again. */
static void test_taint(void **state)
{
	struct witness_event e = {WITNESS_REMOVE, HERE, HERE + PAGE, 0, false};
	struct witness_taken taken;
	struct told in, out;
	uint64_t seq;

	(void)state;
	insert(&in, HERE, PAGE);
	insert(&out, HERE + PAGE, PAGE);
	assert_false(witness_take(&w, &taken));
	witness_shut(&w, &w.reader);
	urge(witness_open(&w, &w.reader, &e, 1));
	assert_int_equal(core_read_begin(&in.n, SYNC_FOREVER, &seq), -EOWNERDEAD);
	assert_true(uhmm_read_retry(&in.n, seq)); /* and what it left there does not help */
	assert_int_equal(uhmm_read_begin(&in.n), UHMM_SEQ_DEAD);
	assert_int_equal(in.ends, 1);
	assert_int_equal(in.kind, UHMM_EVENT_CLEAR);
	assert_int_equal(begin(&out, &seq), 0);
	assert_int_equal(gone, 0); /* it stays watched */

	assert_true(witness_take(&w, &taken));
	witness_untaint(&w, &w.guard, &taken);
	assert_int_equal(core_read_begin(&in.n, SYNC_FOREVER, &seq), 0);
	assert_int_equal(in.ends, 2);
	assert_int_equal(out.ends, 0);
	assert_false(witness_take(&w, &taken));
	uhmm_notifier_remove(&in.n);
	uhmm_notifier_remove(&out.n);
}

static void *untaint_later(void *taken)
{
	clock_sleep_ns(5000000);
	witness_untaint(&w, &w.guard, taken);
	return NULL;
}

/* A reader that is not in a hurry waits for the end of a taint; a get of the cache does not, and nobody waits for ever. */
static void test_patience(void **state)
{
	struct witness_event e = {WITNESS_REMOVE, HERE, HERE + PAGE, 0, false};
	struct witness_taken taken;
	pthread_t guard;
	struct told in;
	uint64_t seq;

	(void)state;
	patient = true;
	insert(&in, HERE, PAGE);
	witness_shut(&w, &w.reader);
	urge(witness_open(&w, &w.reader, &e, 1));
	assert_true(comes(&in.ends, 1));
	assert_true(witness_take(&w, &taken));
	assert_int_equal(core_read_begin(&in.n, clock_now_ns() + 5000000000u, &seq), -EOWNERDEAD);
	assert_int_equal(uhmm_read_begin(&in.n), UHMM_SEQ_DEAD); /* nobody takes it away */
	assert_int_equal(pthread_create(&guard, NULL, untaint_later, &taken), 0);
	/* On a machine that stands still for as long as the patience lasts, again. */
	for (int i = 0; (seq = uhmm_read_begin(&in.n)) == UHMM_SEQ_DEAD && i < 100; i++)
		;
	assert_int_not_equal(seq, UHMM_SEQ_DEAD);
	assert_int_equal(in.ends, 2); /* and has waited for the second invalidation as well */
	assert_false(uhmm_read_retry(&in.n, seq));
	pthread_join(guard, NULL);

	witness_shut(&w, &w.reader);
	urge(witness_open(&w, &w.reader, &e, 1));
	witness_die(&w);
	assert_int_equal(uhmm_read_begin(&in.n), UHMM_SEQ_DEAD);
	uhmm_notifier_remove(&in.n);
}

static atomic_int detached;

static void *detach(void *arg)
{
	(void)arg;
	witness_detach(&w, mm);
	detached = 1;
	return NULL;
}

/*
 * The guard is on its way through the address spaces because the reader has died in its own: who closes one waits for the
 * guard, whether or not it has said so yet.
 */
static void test_close_while_dying(void **state)
{
	pthread_t closer;

	(void)state;
	witness_shut(&w, &w.reader); /* and is never seen again */
	witness_shut(&w, &w.guard);
	a32_xchg_full(&w.dead, 1);
	detached = 0;
	assert_int_equal(pthread_create(&closer, NULL, detach, NULL), 0);
	clock_sleep_ns(20000000);
	assert_int_equal(detached, 0);
	witness_open(&w, &w.guard, NULL, 0);
	pthread_join(closer, NULL);
	assert_int_equal(detached, 1);
	core_gate_open(mm, w.reader.gate[0], NULL, 0);
}

/* A taint that came after the guard had begun to look is not given up with those from before. */
static void test_late_taint(void **state)
{
	struct witness_event e = {WITNESS_REMOVE, HERE, HERE + PAGE, 0, false};
	struct witness_taken taken;

	(void)state;
	for (uint32_t i = 0; i < WITNESS_TAINTS + 3; i++) {
		witness_shut(&w, &w.reader);
		urge(witness_open(&w, &w.reader, &e, 1));
		e.start += 2 * PAGE;
		e.end += 2 * PAGE;
	}
	assert_false(witness_vouches(&w, HERE, HERE + PAGE));
	/* More than there is room for: everything is doubtful. */
	assert_false(witness_vouches(&w, HERE + PAGE, HERE + 2 * PAGE));
	assert_true(witness_take(&w, &taken));
	witness_shut(&w, &w.reader);
	urge(witness_open(&w, &w.reader, &e, 1));
	witness_untaint(&w, &w.guard, &taken);
	assert_false(witness_vouches(&w, e.start, e.end));
	assert_true(witness_take(&w, &taken));
	witness_untaint(&w, &w.guard, &taken);
	assert_true(witness_vouches(&w, e.start, e.end));
	assert_true(witness_vouches(&w, 0, MM_ADDR_END));
}

/* The reader dies with the gate shut, and another time with it open. */
static void test_death(void **state)
{
	struct told t;
	uint64_t seq;

	(void)state;
	insert(&t, HERE, PAGE);
	witness_shut(&w, &w.reader);
	witness_die(&w);
	assert_true(comes(&t.ends, 2) || t.ends >= 1);
	assert_int_equal(core_read_begin(&t.n, SYNC_FOREVER, &seq), -EOWNERDEAD);
	assert_int_equal(a32_load_acquire(core_mm_queued(mm)), 0);
	assert_true(witness_is_dead(&w));
	uhmm_notifier_remove(&t.n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_gate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_both_ranges_of_remap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taint, setup, teardown),
		cmocka_unit_test_setup_teardown(test_patience, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close_while_dying, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_taint, setup, teardown),
		cmocka_unit_test_setup_teardown(test_death, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
