/* SPDX-License-Identifier: MIT */
#include "proto.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WATCHDOG_S 60u

static const char *running = "?";

static void on_alarm(int sig)
{
	static const char text[] = ": hangs: something waits that must not, or was not woken\n";

	(void)sig;
	if (write(STDERR_FILENO, running, strlen(running)) >= 0 && write(STDERR_FILENO, text, sizeof(text) - 1) >= 0)
		_exit(1);
	_exit(1);
}

static void sem_wait_through(sem_t *s)
{
	while (sem_wait(s) != 0)
		CHECK(errno == EINTR);
}

void gate_init(struct gate *g)
{
	CHECK(sem_init(&g->reached, 0, 0) == 0 && sem_init(&g->go, 0, 0) == 0);
}

void gate_pass(struct gate *g)
{
	sem_post(&g->reached);
	sem_wait_through(&g->go);
}

void gate_await(struct gate *g)
{
	sem_wait_through(&g->reached);
}

void gate_open(struct gate *g)
{
	sem_post(&g->go);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	w->tid = (int)syscall(SYS_gettid);
	w->fn(w->arg);
	w->done = true;
	return NULL;
}

void worker_start(struct worker *w, void (*fn)(void *arg), void *arg)
{
	w->tid = 0;
	w->done = false;
	w->fn = fn;
	w->arg = arg;
	CHECK(pthread_create(&w->thread, NULL, worker_main, w) == 0);
}

void worker_join(struct worker *w)
{
	CHECK(pthread_join(w->thread, NULL) == 0);
	CHECK(w->done);
}

static char state_of(int tid)
{
	char path[64], line[256], state = '?';
	const char *after;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	if (!f)
		return '?';
	if (fgets(line, sizeof(line), f)) {
		after = strrchr(line, ')');
		if (after && after[1] == ' ')
			state = after[2];
	}
	fclose(f);
	return state;
}

bool worker_sleeps_now(struct worker *w)
{
	return state_of(w->tid) == 'S';
}

bool worker_asleep(struct worker *w)
{
	/* Twice in a row with the processor given away in between: a moment's sleep on the core's own lock does not count. */
	for (int seen = 0; seen < 2;) {
		if (w->done)
			return false;
		sched_yield();
		seen = w->tid && worker_sleeps_now(w) ? seen + 1 : 0;
	}
	return true;
}

static struct driver *driver_of(struct uhmm_notifier *n)
{
	return (struct driver *)((char *)n - offsetof(struct driver, n));
}

static int on_invalidate(struct uhmm_notifier *n, const struct uhmm_event *e)
{
	struct driver *d = driver_of(n);

	d->start = e->start;
	d->end = e->end;
	d->flags = e->flags;
	if (d->on_invalidate)
		d->on_invalidate(d);
	if (d->answer == 0) {
		driver_lock(d);
		d->programmed = false;
		driver_unlock(d);
	}
	d->invalidates++;
	return d->answer;
}

static void on_finish(struct uhmm_notifier *n, const struct uhmm_event *e)
{
	struct driver *d = driver_of(n);

	(void)e;
	if (d->on_finish)
		d->on_finish(d);
	d->finishes++;
}

static void on_end(struct uhmm_notifier *n, const struct uhmm_event *e, bool changed)
{
	struct driver *d = driver_of(n);

	(void)e;
	if (d->on_end)
		d->on_end(d);
	d->ends_changed += changed;
	d->ends++;
}

const struct uhmm_notifier_ops driver_ops = {.invalidate = on_invalidate, .finish = on_finish, .end = on_end};

void driver_init(struct driver *d)
{
	memset(d, 0, sizeof(*d));
	CHECK(pthread_mutex_init(&d->lock, NULL) == 0);
	gate_init(&d->gate);
}

void driver_lock(struct driver *d)
{
	CHECK(pthread_mutex_lock(&d->lock) == 0);
	if (!d->silent_lock)
		uhmm_lock_acquired(&d->lock, "test driver");
}

void driver_unlock(struct driver *d)
{
	if (!d->silent_lock)
		uhmm_lock_released(&d->lock);
	CHECK(pthread_mutex_unlock(&d->lock) == 0);
}

void driver_insert(struct driver *d, struct uhmm_mm *mm, unsigned page, unsigned pages)
{
	CHECK_EQ(uhmm_notifier_insert(mm, &d->n, PAGE_AT(page), pages * PAGE, &driver_ops), 0);
}

void driver_open(struct driver *d, struct uhmm_mm *mm, unsigned page, unsigned pages)
{
	driver_init(d);
	driver_insert(d, mm, page, pages);
}

void driver_remove(struct driver *d)
{
	driver_lock(d);
	d->programmed = false;
	driver_unlock(d);
	CHECK_EQ(uhmm_notifier_remove(&d->n), 0);
}

void driver_program(struct driver *d)
{
	for (;;) {
		uint64_t seq = uhmm_read_begin(&d->n);
		bool again;

		CHECK(seq != UHMM_SEQ_DEAD);
		driver_lock(d);
		again = uhmm_read_retry(&d->n, seq);
		d->programmed = !again;
		driver_unlock(d);
		if (!again)
			return;
	}
}

bool driver_is_programmed(struct driver *d)
{
	bool programmed;

	driver_lock(d);
	programmed = d->programmed;
	driver_unlock(d);
	return programmed;
}

bool driver_retry(struct driver *d, uint64_t seq)
{
	bool retry;

	driver_lock(d);
	retry = uhmm_read_retry(&d->n, seq);
	driver_unlock(d);
	return retry;
}

void stop_at_gate(struct driver *d)
{
	gate_pass(&d->gate);
}

struct uhmm_mm *proto_open(void)
{
	const struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_EXPLICIT};
	struct uhmm_mm *mm = NULL;

	CHECK_EQ(uhmm_mm_open(&mm, &options), 0);
	return mm;
}

void proto_close(struct uhmm_mm *mm, struct driver *last)
{
	driver_remove(last);
	uhmm_mm_close(mm);
}

struct uhmm_event pages_event(unsigned page, unsigned pages)
{
	return (struct uhmm_event){.start = BASE + page * PAGE, .end = BASE + (page + pages) * PAGE, .kind = UHMM_EVENT_UNMAP};
}

void start_pages(struct uhmm_mm *mm, struct uhmm_invalidation *inv, unsigned page, unsigned pages)
{
	const struct uhmm_event event = pages_event(page, pages);

	CHECK_EQ(uhmm_invalidate_start(mm, inv, &event), 0);
}

static void invalidate(void *arg)
{
	struct invalidator *i = arg;
	struct uhmm_invalidation inv;

	start_pages(i->mm, &inv, i->page, i->pages);
	gate_pass(&i->opened);
	if (i->abort)
		uhmm_invalidate_abort(&inv);
	else
		uhmm_invalidate_end(&inv);
}

void invalidator_start(struct invalidator *i, struct uhmm_mm *mm, unsigned page, unsigned pages)
{
	i->mm = mm;
	i->page = page;
	i->pages = pages;
	gate_init(&i->opened);
	worker_start(&i->w, invalidate, i);
}

void invalidator_await_open(struct invalidator *i)
{
	gate_await(&i->opened);
}

void invalidator_open(struct invalidator *i, struct uhmm_mm *mm, unsigned page, unsigned pages)
{
	invalidator_start(i, mm, page, pages);
	invalidator_await_open(i);
}

void invalidator_end(struct invalidator *i)
{
	gate_open(&i->opened);
	worker_join(&i->w);
}

static void begin(void *arg)
{
	struct reader *r = arg;

	r->seq = uhmm_read_begin(&r->d->n);
}

void reader_start(struct reader *r, struct driver *d)
{
	r->d = d;
	r->seq = UINT64_MAX;
	worker_start(&r->w, begin, r);
}

void reader_sleeps(struct reader *r, struct driver *d)
{
	reader_start(r, d);
	CHECK(worker_asleep(&r->w));
}

int proto_main(int argc, char **argv, const struct proto_case *cases, size_t n)
{
	const struct sigaction sa = {.sa_handler = on_alarm};
	size_t ran = 0;

	sigaction(SIGALRM, &sa, NULL);
	for (size_t i = 0; i < n; i++) {
		if (argc > 1 && strcmp(argv[1], cases[i].name) != 0)
			continue;
		running = cases[i].name;
		alarm(WATCHDOG_S);
		cases[i].fn();
		ran++;
		printf("ok %s\n", cases[i].name);
	}
	alarm(0);
	return ran > 0 ? 0 : 2;
}
