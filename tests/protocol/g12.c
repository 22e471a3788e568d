/* SPDX-License-Identifier: MIT */
/*
 * G12: an invalidation started in a signal handler that interrupted the holder of a core lock or of an announced driver lock
 * does not deadlock with itself: it makes every seq stale and queues its range, which stays active until its callback and
 * end(changed = true) have run. A thread whose own covering invalidation is active never waits in read_begin.
 */
#include "proto.h"

#include <signal.h>
#include <unistd.h>

#include "core/mm.h"

/* What the handler is to do, and what it saw. All in one thread, hence plain but volatile. */
static struct {
	struct uhmm_mm *mm;
	struct driver *d; /* looked up inside, if set */
	unsigned page, pages, times;
	bool abort, read_inside;
	volatile int invalidates_inside;
	volatile uint64_t seq_inside;
} plan;

static void handler(int sig)
{
	(void)sig;
	for (unsigned k = 0; k < plan.times; k++) {
		struct uhmm_invalidation inv;

		start_pages(plan.mm, &inv, plan.page + k, plan.pages);
		plan.invalidates_inside = plan.d->invalidates;
		if (plan.read_inside)
			plan.seq_inside = uhmm_read_begin(&plan.d->n);
		if (plan.abort)
			uhmm_invalidate_abort(&inv);
		else
			uhmm_invalidate_end(&inv);
	}
}

static void interrupt(void)
{
	struct sigaction sa = {.sa_handler = handler}, old;

	sigaction(SIGUSR1, &sa, &old);
	CHECK_EQ(raise(SIGUSR1), 0);
	sigaction(SIGUSR1, &old, NULL);
}

static struct uhmm_mm *ready(struct driver *d)
{
	struct uhmm_mm *mm = proto_open();

	driver_init(d);
	driver_insert(d, mm, 0, 4);
	plan.mm = mm;
	plan.d = d;
	plan.page = 1;
	plan.pages = plan.times = 1;
	plan.abort = plan.read_inside = false;
	return mm;
}

/*
 * A reader that overtakes the drain may have read the old seq before and the empty queue after it; that is then stale, as it
 * should be. One that begins once the first has been let go has nothing to wait for and nothing to repeat.
 */
static void await_drained(struct driver *d)
{
	struct reader r;

	reader_start(&r, d); /* waits for it, whether asleep or not */
	worker_join(&r.w);
	CHECK(r.seq != UHMM_SEQ_DEAD);
	CHECK(!driver_retry(d, uhmm_read_begin(&d->n)));
}

enum announced { BEFORE_UNLOCK, AFTER_UNLOCK };

/*
 *	holder                           handler, on top of it
 *	read_begin; lock(driver)
 *	                                 start: the callback would want the driver lock
 *	                                 the change; end
 *	read_retry: yes
 *	unlock(driver)
 *	                                 (drained: callback, end)
 */
static void holder_of_driver_lock(enum announced when, unsigned depth)
{
	struct uhmm_mm *mm;
	struct driver d;
	struct reader r;
	uint64_t seq;
	int outer;

	mm = ready(&d);
	driver_program(&d);
	seq = uhmm_read_begin(&d.n);
	for (unsigned k = 0; k < depth; k++)
		uhmm_lock_acquired(&outer, "outer");
	CHECK_EQ(pthread_mutex_lock(&d.lock), 0);
	uhmm_lock_acquired(&d.lock, "test driver");
	CHECK(!uhmm_read_retry(&d.n, seq));
	interrupt();
	CHECK_EQ(plan.invalidates_inside, 0);
	CHECK_EQ(d.invalidates, 0);
	CHECK(uhmm_read_retry(&d.n, seq)); /* stale at once */
	reader_sleeps(&r, &d); /* and active until drained */
	if (when == BEFORE_UNLOCK)
		uhmm_lock_released(&d.lock);
	CHECK_EQ(pthread_mutex_unlock(&d.lock), 0);
	if (when == AFTER_UNLOCK)
		uhmm_lock_released(&d.lock);
	for (unsigned k = 0; k < depth; k++)
		uhmm_lock_released(&outer);
	worker_join(&r.w);
	CHECK(d.invalidates >= 1);
	CHECK_EQ(d.ends, d.invalidates);
	CHECK_EQ(d.ends_changed, d.ends);
	CHECK(d.start <= BASE + PAGE && d.end >= BASE + 2 * PAGE);
	CHECK(!driver_is_programmed(&d));
	CHECK(!driver_retry(&d, r.seq));
	proto_close(mm, &d);
}

static void released_before_unlock(void)
{
	holder_of_driver_lock(BEFORE_UNLOCK, 0);
}

static void released_after_unlock(void)
{
	holder_of_driver_lock(AFTER_UNLOCK, 0);
}

static void several_locks_held(void)
{
	holder_of_driver_lock(BEFORE_UNLOCK, 3);
	holder_of_driver_lock(AFTER_UNLOCK, 1);
}

/* Every seq, not only those of covered notifiers: nobody can walk the tree from there. They begin again and go on at once. */
static void every_seq_is_stale(void)
{
	struct uhmm_mm *mm;
	struct driver d, far;
	struct reader r;
	uint64_t seq;

	mm = ready(&d);
	driver_open(&far, mm, 1000, 1);
	seq = uhmm_read_begin(&far.n);
	driver_lock(&d);
	interrupt();
	CHECK(driver_retry(&far, seq));
	reader_start(&r, &far);
	worker_join(&r.w); /* while d's range is queued still */
	CHECK(!driver_retry(&far, r.seq));
	CHECK_EQ(d.invalidates, 0);
	driver_unlock(&d);
	await_drained(&d);
	CHECK_EQ(far.invalidates, 0);
	driver_remove(&far);
	proto_close(mm, &d);
}

/* The core's own lock is interrupted: the same, and the holder goes on. */
static void holder_of_core_lock(void)
{
	struct uhmm_mm *mm;
	struct driver d;
	uint64_t seq;

	mm = ready(&d);
	driver_program(&d);
	seq = uhmm_read_begin(&d.n);
	core_lock(mm);
	interrupt();
	CHECK_EQ(d.invalidates, 0);
	core_unlock(mm);
	CHECK(driver_retry(&d, seq));
	await_drained(&d);
	CHECK(d.invalidates >= 1);
	CHECK_EQ(d.ends_changed, d.invalidates);
	proto_close(mm, &d);
}

/*
 * More than the queue has places for. The first ones cover d, whose lock is held, so that none of them is drained before the
 * last; that one alone covers `last`, and is not lost.
 */
static void queue_overflows(void)
{
	struct uhmm_mm *mm;
	struct driver d, last;

	mm = ready(&d);
	CHECK_EQ(uhmm_notifier_resize(&d.n, PAGE_AT(0), QUEUE_ENTRIES * PAGE), 0);
	driver_open(&last, mm, 3 * QUEUE_ENTRIES - 1, 1);
	for (int round = 0; round < 3; round++) { /* the places are free again afterwards */
		driver_program(&last);
		plan.page = 0;
		plan.times = 3 * QUEUE_ENTRIES;
		driver_lock(&d);
		interrupt();
		CHECK_EQ(last.invalidates, round);
		driver_unlock(&d);
		await_drained(&last);
		await_drained(&d);
		CHECK(last.invalidates > round);
		CHECK(!driver_is_programmed(&last));
		last.invalidates = round + 1;
	}
	driver_remove(&last);
	proto_close(mm, &d);
}

/* Aborted in the handler: nothing has changed, so nothing need be torn down, and nobody waits for anything. */
static void aborted_in_handler(void)
{
	struct uhmm_mm *mm;
	struct driver d;

	mm = ready(&d);
	plan.abort = true;
	driver_lock(&d);
	interrupt();
	driver_unlock(&d);
	await_drained(&d);
	CHECK_EQ(d.ends_changed, 0);
	driver_program(&d);
	proto_close(mm, &d);
}

/* The control: nobody's lock is held, so the handler runs the callback itself, before it changes anything. */
static void nothing_held(void)
{
	struct uhmm_mm *mm;
	struct driver d;

	mm = ready(&d);
	driver_program(&d);
	interrupt();
	CHECK_EQ(plan.invalidates_inside, 1);
	CHECK_EQ(d.invalidates, 1);
	CHECK_EQ(d.ends_changed, 1);
	CHECK(!driver_is_programmed(&d));
	proto_close(mm, &d);
}

/* Begun fast inside the handler (it overlapped nothing), claimed by an insert of another thread before its end. */
static struct driver *late;

static void insert_late(void *mm)
{
	driver_insert(late, mm, 100, 1);
}

static void claiming_handler(int sig)
{
	struct uhmm_invalidation inv;
	struct worker w;

	(void)sig;
	start_pages(plan.mm, &inv, 100, 1);
	worker_start(&w, insert_late, plan.mm); /* no handler should; a test may */
	worker_join(&w);
	uhmm_invalidate_end(&inv);
}

static void take_own_lock(struct driver *d)
{
	driver_lock(d);
	driver_unlock(d);
}

static void claimed_on_top_of_holder(void)
{
	struct sigaction sa = {.sa_handler = claiming_handler}, old;
	struct uhmm_mm *mm;
	struct driver d, other;

	mm = ready(&d);
	driver_init(&other);
	other.on_end = take_own_lock;
	late = &other;
	sigaction(SIGUSR1, &sa, &old);
	driver_lock(&other); /* the very lock that the newcomer's callback takes */
	CHECK_EQ(raise(SIGUSR1), 0);
	driver_unlock(&other);
	sigaction(SIGUSR1, &old, NULL);
	await_drained(&other);
	CHECK_EQ(other.ends_changed, other.ends);
	CHECK(other.ends >= 1);
	driver_program(&other);
	driver_remove(&other);
	proto_close(mm, &d);
}

/* In its own open invalidation, slow or claimed, a thread is told DEAD at once where it covers, and only there. */
static void own_open_invalidation(void)
{
	struct uhmm_mm *mm;
	struct uhmm_invalidation inv;
	struct driver d, far, fresh;

	mm = ready(&d);
	driver_init(&far);
	driver_init(&fresh);
	driver_insert(&far, mm, 1000, 1);
	start_pages(mm, &inv, 0, 2);
	CHECK_EQ(uhmm_read_begin(&d.n), UHMM_SEQ_DEAD);
	driver_program(&far);
	uhmm_invalidate_end(&inv);
	driver_program(&d);

	start_pages(mm, &inv, 500, 2);
	driver_insert(&fresh, mm, 501, 1);
	CHECK_EQ(uhmm_read_begin(&fresh.n), UHMM_SEQ_DEAD);
	driver_program(&far);
	uhmm_invalidate_end(&inv);
	driver_program(&fresh);
	driver_remove(&fresh);
	driver_remove(&far);
	proto_close(mm, &d);
}

static void read_in_callback(struct driver *d)
{
	CHECK_EQ(uhmm_read_begin(&d->n), UHMM_SEQ_DEAD);
}

static void own_callback(void)
{
	struct uhmm_mm *mm;
	struct uhmm_invalidation inv;
	struct driver d;

	mm = ready(&d);
	d.on_invalidate = d.on_finish = d.on_end = read_in_callback;
	start_pages(mm, &inv, 0, 1);
	uhmm_invalidate_end(&inv);
	CHECK_EQ(d.ends, 1);
	proto_close(mm, &d);
}

/* Queued counts as its own, too: it is waiting for this very thread to let go of its lock. */
static void own_queued_invalidation(void)
{
	struct uhmm_mm *mm;
	struct driver d;

	mm = ready(&d);
	plan.read_inside = true;
	driver_lock(&d);
	interrupt();
	driver_unlock(&d);
	CHECK_EQ(plan.seq_inside, UHMM_SEQ_DEAD);
	await_drained(&d);
	proto_close(mm, &d);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"released_before_unlock", released_before_unlock},
		{"released_after_unlock", released_after_unlock},
		{"several_locks_held", several_locks_held},
		{"every_seq_is_stale", every_seq_is_stale},
		{"holder_of_core_lock", holder_of_core_lock},
		{"queue_overflows", queue_overflows},
		{"aborted_in_handler", aborted_in_handler},
		{"nothing_held", nothing_held},
		{"claimed_on_top_of_holder", claimed_on_top_of_holder},
		{"own_open_invalidation", own_open_invalidation},
		{"own_callback", own_callback},
		{"own_queued_invalidation", own_queued_invalidation},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
