/* SPDX-License-Identifier: MIT */
#include "integrations/fabric_track.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <uhmm/notifier.h>

enum {
	BUCKETS = 4096,
	RECORDS_MAX = 1 << 15,
	RECORDS_SPARE = 512, /* kept ready, since subscribe() may not allocate */
	BATCH = 64,          /* ranges that are dropped at once */
	DROP_DELAY_MS = 10,  /* for whoever registers again at once: he spares us the drop, and himself a second time */
	LATER_MS = 250
};

#define SECOND_NS UINT64_C(1000000000)

struct record {
	struct uhmm_notifier n; /* first: callbacks get it */
	struct record *next;    /* in its bucket, or among the spare ones */
	struct record *next_dirty;
	uintptr_t start;
	size_t len;
	uint64_t id;          /* of this use of the record; ids are not used again */
	uint64_t quiet_since; /* ns: nothing has happened to the range since then, but for what is active now */
	uint64_t touched;     /* the order of the last call of libfabric for this range */
	uint32_t good, suspects;
	uint32_t pins; /* libfabric's threads that look at the notifier without the lock */
	bool linked, dirty, hit;
};

/* Fields are under the lock, unless they say otherwise. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct record *bucket[BUCKETS];
	struct record *spare, *dirty;
	uint32_t spares, records;
	uint64_t ids, calls;
	struct uhmm_fabric_stats stats;
	struct uhmm_mm *mm; /* set once */
	track_drop_fn drop; /* set once */
	pthread_t thread;
	bool running, ending, hungry;
	bool child; /* of a fork: the thread and the notifiers are the parent's. Written before any thread is there */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

/*
 * What valid() has just told this thread: from the time of seq on, it knows all that happens to the record's range. Taken away
 * by the next call of libfabric, which is the subscribe() of the same registration unless registering itself uses a cache.
 */
static _Thread_local struct {
	struct record *record;
	uint64_t id, seq;
	bool leaving; /* the entry found is about to leave the tree: later releases of libfabric say so by unsubscribe() */
} token;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* Announced around, not inside: a signal handler that changes mappings must not find it taken by the thread under it (G12). */
static void lock_table(void)
{
	uhmm_lock_acquired(&table.lock, "uhmm-fabric");
	pthread_mutex_lock(&table.lock);
}

static void unlock_table(void)
{
	pthread_mutex_unlock(&table.lock);
	uhmm_lock_released(&table.lock);
}

static struct record **bucket_of(uintptr_t start, size_t len)
{
	uint64_t h = (start >> 12 ^ (uint64_t)len << 20 ^ len) * UINT64_C(0x9e3779b97f4a7c15);

	return &table.bucket[h >> 52];
}

static struct record *find(uintptr_t start, size_t len)
{
	struct record *r = *bucket_of(start, len);

	while (r && (r->start != start || r->len != len))
		r = r->next;
	return r;
}

/* ---- the protocol ---- */

static void make_dirty(struct record *r)
{
	if (r->dirty)
		return;
	r->dirty = true;
	r->next_dirty = table.dirty;
	table.dirty = r;
	pthread_cond_signal(&table.work);
}

/*
 * A fork leaves pinned pages where they are, and registrations pin: they stay. In the child no registration is the child's.
 */
static int on_invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct record *r = (struct record *)n;

	if (event->kind == UHMM_EVENT_RELEASE)
		return 0;
	lock_table();
	r->suspects += r->good;
	r->good = 0;
	if (r->suspects)
		make_dirty(r);
	unlock_table();
	return 0;
}

static void on_end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	struct record *r = (struct record *)n;

	(void)changed;
	if (event->kind == UHMM_EVENT_RELEASE)
		return;
	lock_table();
	r->quiet_since = now_ns();
	unlock_table();
}

static const struct uhmm_notifier_ops record_ops = {.invalidate = on_invalidate, .end = on_end};

/*
 * A seq, or UHMM_SEQ_DEAD where one would have to be waited for: libfabric's lock is held, and whoever changes the range may
 * need that lock before he is done (a destructor under dlclose() that closes a domain). Saying so is what makes
 * uhmm_read_begin() answer at once.
 */
static uint64_t begin_at_once(struct uhmm_notifier *n)
{
	static const char mm_lock;
	uint64_t seq;

	uhmm_lock_acquired(&mm_lock, "libfabric's mm_lock");
	seq = uhmm_read_begin(n);
	uhmm_lock_released(&mm_lock);
	return seq;
}

/* ---- libfabric's calls ---- */

bool track_valid(const void *addr, size_t len)
{
	struct record *r;
	uint64_t seq;

	token.record = NULL;
	if (table.child)
		return false;
	lock_table();
	r = find((uintptr_t)addr, len);
	if (r && r->good) {
		/* A change that has not called on_invalidate() has not happened yet: the hit is as good as one before it. */
		r->hit = true;
		table.stats.hits++;
		unlock_table();
		return true;
	}
	table.stats.refused++;
	if (!r) {
		unlock_table();
		return false;
	}
	if (r->suspects)
		r->suspects--; /* the caller drops what it found */
	r->touched = ++table.calls;
	token.id = r->id;
	r->pins++;
	unlock_table();

	seq = begin_at_once(&r->n);

	lock_table();
	r->pins--;
	unlock_table();
	token.record = r;
	token.seq = seq;
	token.leaving = true;
	return false;
}

/* Under the lock: uhmm_read_retry() is sure only then. A removed notifier retries. */
static bool token_proves(uintptr_t start, size_t len)
{
	struct record *r = token.record;

	return r && r->linked && r->id == token.id && token.seq != UHMM_SEQ_DEAD && start >= r->start &&
	       start + len <= r->start + r->len && !uhmm_read_retry(&r->n, token.seq);
}

/* Nobody registers for longer than this: a second, and another for each GiB. */
static bool quiet_proves(const struct record *r, uint64_t now)
{
	return now - r->quiet_since > SECOND_NS + (uint64_t)r->len;
}

static void put_spare(struct record *r)
{
	lock_table();
	r->next = table.spare;
	table.spare = r;
	table.spares++;
	unlock_table();
}

/* Pinned. NULL: no room, or the range cannot be watched. *fresh: it has been watched from now on only. */
static struct record *find_or_watch(uintptr_t start, size_t len, bool *fresh)
{
	struct record *r;

	lock_table();
	r = find(start, len);
	*fresh = !r;
	if (!r) {
		r = table.spare;
		if (r) {
			table.spare = r->next;
			table.spares--;
		}
		if (table.spares < RECORDS_SPARE / 2) {
			table.hungry = true;
			pthread_cond_signal(&table.work);
		}
	}
	if (r && !*fresh)
		r->pins++;
	unlock_table();
	if (!r || !*fresh)
		return r;

	*r = (struct record){.start = start, .len = len, .pins = 1};
	if (uhmm_notifier_insert(table.mm, &r->n, (const void *)start, len, &record_ops) == 0)
		return r;
	put_spare(r);
	return NULL;
}

static void link_record(struct record *r)
{
	struct record **bucket = bucket_of(r->start, r->len);

	r->id = ++table.ids;
	r->linked = true;
	r->quiet_since = now_ns();
	r->next = *bucket;
	*bucket = r;
	table.records++;
}

void track_subscribe(const void *addr, size_t len)
{
	bool fresh, proven;
	struct record *r;
	uint64_t seq;

	if (table.child)
		return;
	r = find_or_watch((uintptr_t)addr, len, &fresh);
	if (!r) {
		lock_table();
		table.stats.unwatched++;
		unlock_table();
		token.record = NULL;
		return;
	}
	seq = begin_at_once(&r->n);

	lock_table();
	proven = seq != UHMM_SEQ_DEAD && (token_proves((uintptr_t)addr, len) || (!fresh && quiet_proves(r, now_ns()))) &&
		 !uhmm_read_retry(&r->n, seq);
	if (fresh)
		link_record(r);
	r->pins--;
	r->touched = ++table.calls;
	if (proven && !r->suspects) {
		r->good++;
	} else {
		/* Several suspects are in several caches: only a drop gets rid of them, and only once the range is quiet. */
		r->suspects += r->good + 1;
		r->good = 0;
		if (r->suspects > 1)
			make_dirty(r);
	}
	*(proven ? &table.stats.proven : &table.stats.unproven) += 1;
	unlock_table();
	token.record = NULL;
}

void track_unsubscribe(const void *addr, size_t len)
{
	struct record *r;

	if (table.child)
		return;
	lock_table();
	r = find((uintptr_t)addr, len);
	if (r && r == token.record && r->id == token.id && token.leaving) {
		token.leaving = false; /* counted by valid() */
	} else if (r) {
		if (r->suspects)
			r->suspects--;
		else if (r->good)
			r->good--;
		r->touched = ++table.calls;
	}
	unlock_table();
}

void track_stats(struct uhmm_fabric_stats *out)
{
	lock_table();
	*out = table.stats;
	unlock_table();
}

/* ---- the thread ---- */

/* A range with several suspects is dropped when those who register next will be believed; any other, at once. */
static bool is_due(const struct record *r, uint64_t now)
{
	return r->suspects < 2 || quiet_proves(r, now);
}

struct range {
	uintptr_t start;
	size_t len;
};

/* Takes what is due off the list. Those that are believed again, or that nobody has, need no drop. */
static size_t take_due(struct range *batch, bool *more)
{
	struct record *later = NULL;
	uint64_t now = now_ns();
	size_t n = 0;

	for (struct record *r; (r = table.dirty) != NULL;) {
		table.dirty = r->next_dirty;
		if (r->suspects && (n == BATCH || !is_due(r, now))) {
			r->next_dirty = later;
			later = r;
			continue;
		}
		r->dirty = false;
		if (r->suspects)
			batch[n++] = (struct range){r->start, r->len};
	}
	table.dirty = later;
	*more = later != NULL;
	return n;
}

/* What had no call of libfabric since `before` and lies in a dropped range is in no cache. */
static void forget_dropped(const struct range *batch, size_t n, uint64_t before)
{
	for (size_t b = 0; b < BUCKETS; b++) {
		for (struct record *r = table.bucket[b]; r; r = r->next) {
			for (size_t i = 0; i < n && r->touched <= before; i++) {
				if (r->start >= batch[i].start + batch[i].len || batch[i].start >= r->start + r->len)
					continue;
				r->good = r->suspects = 0;
				break;
			}
		}
	}
}

static bool drop_due(void)
{
	struct range batch[BATCH];
	uint64_t before;
	bool more;
	size_t n;

	lock_table();
	n = take_due(batch, &more);
	before = table.calls;
	table.stats.notified += n;
	unlock_table();
	if (!n)
		return more;
	for (size_t i = 0; i < n; i++)
		table.drop((const void *)batch[i].start, batch[i].len);
	lock_table();
	forget_dropped(batch, n, before);
	unlock_table();
	return more;
}

/* How many records may still be made. */
static uint32_t room(void)
{
	uint32_t have;

	lock_table();
	have = table.records + table.spares;
	if (table.spares >= RECORDS_SPARE)
		have = RECORDS_MAX;
	unlock_table();
	return have < RECORDS_MAX ? RECORDS_MAX - have : 0;
}

static void feed(void)
{
	while (room()) {
		struct record *r = calloc(1, sizeof(*r));

		if (!r)
			return;
		put_spare(r);
	}
}

/* Unlinked, but in place: its notifier is the core's until it is removed. Everything of a bucket that nobody has asked for. */
static struct record *unlink_idle(size_t b)
{
	struct record **link = &table.bucket[b], *idle = NULL;

	for (struct record *r; (r = *link) != NULL;) {
		if (r->hit || r->pins || r->dirty) {
			r->hit = false;
			link = &r->next;
			continue;
		}
		*link = r->next;
		r->linked = false;
		r->next = idle;
		idle = r;
		table.records--;
	}
	return idle;
}

/* What is still in a cache is then refused there, and registered and watched again. */
static void sweep(void)
{
	for (size_t b = 0; b < BUCKETS; b++) {
		struct record *idle, *r;

		lock_table();
		idle = unlink_idle(b);
		unlock_table();
		while ((r = idle) != NULL) {
			idle = r->next;
			uhmm_notifier_remove(&r->n);
			put_spare(r);
		}
	}
}

/* False: the end. `later`: there are ranges on the list whose time has not come. With nothing to do nobody wakes up. */
static bool wait_for_work(bool later)
{
	struct timespec until;
	bool go_on;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LATER_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	lock_table();
	if (later && !table.ending && !table.hungry)
		pthread_cond_timedwait(&table.work, &table.lock, &until);
	while (!later && !table.ending && !table.hungry && !table.dirty)
		pthread_cond_wait(&table.work, &table.lock);
	table.hungry = false;
	go_on = !table.ending;
	unlock_table();
	return go_on;
}

static bool is_crowded(void)
{
	bool crowded;

	lock_table();
	crowded = table.records > RECORDS_MAX / 2;
	unlock_table();
	return crowded;
}

static void *work(void *unused)
{
	const struct timespec delay = {.tv_nsec = DROP_DELAY_MS * 1000000L};
	uint64_t swept = 0;
	bool later = false;

	(void)unused;
	while (wait_for_work(later)) {
		feed();
		if (is_crowded() && now_ns() - swept > SECOND_NS) {
			sweep();
			swept = now_ns();
		}
		nanosleep(&delay, NULL);
		later = drop_due();
	}
	return NULL;
}

/* ---- life ---- */

/* The lock may be anybody's. Neither the thread nor the notifiers are there, and no registration is the child's. */
static void in_child(void)
{
	pthread_mutex_init(&table.lock, NULL);
	pthread_cond_init(&table.work, NULL);
	token.record = NULL;
	table.child = true;
	table.running = false;
}

static int start_thread(void)
{
	sigset_t all, before;
	int err;

	/* The program's signals are for the program's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&table.thread, NULL, work, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	table.running = !err;
	return -err;
}

int track_start(struct uhmm_mm *mm, track_drop_fn drop)
{
	if (table.child || table.running)
		return 0;
	if (!table.mm && pthread_atfork(NULL, NULL, in_child) != 0)
		return -ENOMEM;
	table.mm = mm;
	table.drop = drop;
	feed();
	return start_thread();
}

/* The last cache is gone, and with it every entry. */
void track_stop(void)
{
	lock_table();
	for (size_t b = 0; b < BUCKETS; b++)
		for (struct record *r = table.bucket[b]; r; r = r->next)
			r->good = r->suspects = 0;
	unlock_table();
}

void track_end(void)
{
	if (!table.running)
		return;
	lock_table();
	table.ending = true;
	pthread_cond_signal(&table.work);
	unlock_table();
	pthread_join(table.thread, NULL);
	table.running = false;
}
