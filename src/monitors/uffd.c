/* SPDX-License-Identifier: MIT */
#include "monitors/uffd_inside.h"

#include <errno.h>
#include <stddef.h>

#include "core/thread.h"
#include "monitors/proc.h"
#include "port/clock.h"
#include "port/mm.h"
#include "port/text.h"

#define DOUBT_NS 2000000u /* for so long a doubtful reader sleeps at a time */

struct uffd uffd = {.fd = {(uint32_t)-1}, .maps = -1, .spare = -1};
struct uhmm_a32 uffd_lifting;

/* Outermost: nothing of the core is held. Guards what follows, opening and closing. */
static struct sync_lock lock = SYNC_LOCK_INIT;
static struct uffd_listener listeners[WITNESS_MMS];
static uint32_t listening;

/* ---- what the core asks ---- */

static const struct uffd_listener *listener_of(const struct core_watch_hook *h)
{
	return (const struct uffd_listener *)h; /* its first member */
}

static void watch(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	uffd_watch_range(start, end, listener_of(h)->files, false);
}

/*
 * What is not watched is watched now, before the look-up: a range of which the mappings have changed since its notifier was
 * inserted. The witness alone asks the kernel whether it is; with the hooks the list's word is enough, as they see whatever
 * makes it wrong if libc makes the call. Where nothing can be watched the hooks vouch alone, if there are any.
 */
static bool vouches(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	const struct uffd_listener *l = listener_of(h);
	const struct core_thread *t = core_thread();

	/* A signal handler on top of who may hold the list's lock. */
	if (a32_load_relaxed(&t->holds) || a32_load_relaxed(&t->core_held))
		return false;
	if (!witness_vouches(&uffd.witness, start, end))
		return false;
	return uffd_watch_range(start, end, l->files, l->hooked) || (l->hooked && !witness_is_dead(&uffd.witness));
}

/* A taint does, or has just done so; what cannot be watched does not. */
static bool passes(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	return witness_await_untaint(&uffd.witness, start, end, clock_now_ns() + DOUBT_NS) || vouches(h, start, end);
}

static void gone(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	(void)h;
	watchset_forget_touching(&uffd.set, start, end);
}

/* ---- opening and closing; under the lock ---- */

static void close_files(void)
{
	const int fds[] = {uffd_fd(), uffd.maps, uffd.spare};

	for (uint32_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			text_close(fds[i]);
	a32_store_release(&uffd.fd, (uint32_t)-1);
	uffd.maps = uffd.spare = -1;
}

static void drop_bell(void)
{
	void *bell = uffd.bell;

	uffd.bell = NULL;
	if (bell)
		mm_unmap(bell, MM_PAGE_SIZE);
}

/* A page of ours whose unmapping is an event. */
static int make_bell(void)
{
	int err = mm_map(MM_PAGE_SIZE, &uffd.bell);

	if (err) {
		uffd.bell = NULL;
		return err;
	}
	err = uffd_watch(uffd_fd(), (uintptr_t)uffd.bell, (uintptr_t)uffd.bell + MM_PAGE_SIZE);
	if (err)
		drop_bell();
	return err == -EINVAL ? -EOPNOTSUPP : err;
}

static int open_files(void)
{
	int fd = uffd_open(&uffd.forks), err;

	if (fd < 0)
		return fd;
	a32_store_release(&uffd.fd, (uint32_t)fd);
	uffd.maps = proc_query_open();
	uffd.spare = text_open("/proc/self/maps");
	err = uffd.spare < 0 && (uffd.spare == -EMFILE || uffd.spare == -ENFILE) ? uffd.spare : make_bell();
	if (err)
		close_files();
	return err;
}

static bool is_set(uint32_t word, const void *arg)
{
	(void)arg;
	return word != 0;
}

/* The reader ends when it has read this. If it has died, the guard sees to it that this returns all the same. */
static void ring(void)
{
	if (uffd.bell)
		mm_unmap(uffd.bell, MM_PAGE_SIZE);
}

static int start_threads(void)
{
	int err;

	a32_store_relaxed(&uffd.stop, 0);
	a32_store_relaxed(&uffd.rung, 0);
	a32_store_relaxed(&uffd.up, 0);
	err = thread_service_start(&uffd.reader, uffd_reader_main, NULL, "uhmm-uffd");
	if (err)
		return err;
	sync_await32(&uffd.up, is_set, NULL, SYNC_FOREVER);
	err = thread_service_start(&uffd.guard, uffd_guard_main, NULL, "uhmm-guard");
	if (err) {
		ring();
		thread_service_join(&uffd.reader);
		uffd.bell = NULL;
	}
	return err;
}

static int start(void)
{
	int err = watchset_init(&uffd.set);

	uffd_watch_init();
	if (!err)
		err = open_files();
	if (err)
		return err;
	err = start_threads();
	if (err) {
		drop_bell();
		close_files();
		return err == -EAGAIN ? -ENOMEM : err;
	}
	a32_store_release(&uffd.state, UFFD_RUNNING);
	return 0;
}

static void unwatch_all(void)
{
	uintptr_t at = 0, start, end;

	while (watchset_take(&uffd.set, at, MM_ADDR_END, &start, &end)) {
		uffd_unwatch(uffd_fd(), start, end);
		at = end;
	}
}

static bool unwatch_if_ours(const struct proc_mapping *m, const char *name, void *pagemap)
{
	uintptr_t bell = (uintptr_t)uffd.bell;

	(void)name;
	if (m->start <= bell && bell < m->end)
		return true; /* rung next */
	/* To watch it again is nothing if it is ours, and refused if it is another userfaultfd's. */
	if (uffd_is_async(*(int *)pagemap, m->start) && uffd_watch(uffd_fd(), m->start, m->end) == 0)
		uffd_unwatch(uffd_fd(), m->start, m->end);
	return true;
}

/* Our list says less than is true: what is left of a mapping of which part has gone is on the kernel's list all the same. */
static void unwatch_forgotten(void)
{
	int pagemap = text_open("/proc/self/pagemap");

	if (pagemap < 0)
		return;
	proc_mappings_each(unwatch_if_ours, &pagemap);
	text_close(pagemap);
}

/* Nobody listens, so nobody asks to watch; hooked calls have been made to keep out. */
static void stop(void)
{
	/* While events are still read: if a child without our handlers holds the descriptor too, closing ours ends nothing. */
	unwatch_all();
	unwatch_forgotten();
	ring();
	thread_service_join(&uffd.reader);
	uffd.bell = NULL;
	/*
	 * Before the guard is waited for: it gives memory back, and if the kernel had that joined to a watched mapping for the
	 * moment before it was set apart (port/mm.h), it waits for a reader. One that has died is the guard's to bury.
	 */
	if (!thread_life_is_lost(&uffd.life))
		close_files();
	a32_store_release(&uffd.stop, 1);
	a32_fetch_add_full(&uffd.witness.work, 1);
	sync_wake32(&uffd.witness.work);
	thread_service_join(&uffd.guard);
	close_files();
	a32_store_release(&uffd.state, UFFD_CLOSED);
	witness_init(&uffd.witness);
}

/* Only a child waits for the lock here: who closes may hold it and wait for a hooked call that asks this. */
bool uffd_ready(void)
{
	if (a32_load_acquire(&uffd.state) != UFFD_CLOSED)
		return uffd_runs();
	sync_lock_acquire(&lock);
	if (a32_load_relaxed(&uffd.state) == UFFD_CLOSED && listening && start() == 0)
		uffd_lift_allow(true);
	sync_lock_release(&lock);
	return uffd_runs();
}

/* ---- who listens ---- */

/* Under the lock. A hooked call may keep its events back only if everybody who listens has heard of it from the hooks. */
static void decide_lifting(void)
{
	bool all = uffd_runs() && listening > 0;

	for (uint32_t i = 0; i < WITNESS_MMS; i++)
		all &= !listeners[i].mm || listeners[i].hooked;
	uffd_lift_allow(all);
}

static int enlist(struct uhmm_mm *mm, bool hooked, bool files)
{
	for (uint32_t i = 0; i < WITNESS_MMS; i++) {
		struct uffd_listener *l = &listeners[i];

		if (l->mm)
			continue;
		*l = (struct uffd_listener){.mm = mm, .hooked = hooked, .files = files};
		l->hook = (struct core_watch_hook){.watch = watch, .vouches = vouches, .passes = passes, .gone = gone};
		listening++;
		decide_lifting();
		core_watch_hook_add(mm, &l->hook);
		return witness_attach(&uffd.witness, mm);
	}
	return -ENOMEM;
}

int uffd_attach(struct uhmm_mm *mm, bool hooked, bool files)
{
	int err = 0;

	sync_lock_acquire(&lock);
	if (a32_load_relaxed(&uffd.state) == UFFD_CLOSED)
		err = start();
	else if (!uffd_runs())
		err = -EOPNOTSUPP;
	if (!err)
		err = enlist(mm, hooked, files);
	sync_lock_release(&lock);
	return err;
}

void uffd_detach(struct uhmm_mm *mm)
{
	witness_detach(&uffd.witness, mm);
	sync_lock_acquire(&lock);
	for (uint32_t i = 0; i < WITNESS_MMS; i++) {
		if (listeners[i].mm == mm) {
			listeners[i].mm = NULL;
			listening--;
		}
	}
	decide_lifting();
	if (!listening && a32_load_relaxed(&uffd.state) != UFFD_CLOSED)
		stop();
	sync_lock_release(&lock);
}

/* ---- fork ---- */

/*
 * A fork that was announced by its handlers sends an event as well, which says nothing new. Which event is whose cannot be told
 * and need not be: an announced fork covers everything until its own event has been read. Upper half: such forks under way;
 * lower half: events of theirs that may still come, never more than there are forks.
 */
static struct uhmm_a64 forks;
#define FORK_UNDER_WAY (UINT64_C(1) << 32)
#define FORK_EVENTS(word) ((uint32_t)(word))

void uffd_fork_prepare(void)
{
	a64_fetch_add_full(&forks, FORK_UNDER_WAY + 1);
}

void uffd_fork_parent(void)
{
	uint64_t old, now;

	do {
		old = a64_load_relaxed(&forks);
		now = old - FORK_UNDER_WAY;
		if (FORK_EVENTS(now) > now >> 32)
			now--; /* it failed, and sent none */
	} while (!a64_cas_full(&forks, old, now));
}

bool uffd_fork_is_known(void)
{
	uint64_t old;

	do {
		old = a64_load_relaxed(&forks);
		if (!FORK_EVENTS(old))
			return false;
	} while (!a64_cas_full(&forks, old, old - 1));
	return true;
}

/* Neither the threads nor what the kernel watches are the child's. It begins anew when something is to be watched. */
void uffd_fork_child(void)
{
	sync_lock_init(&lock);
	a64_store_relaxed(&forks, 0);
	uffd_lift_fork_child();
	if (a32_load_relaxed(&uffd.state) == UFFD_CLOSED)
		return;
	close_files();
	drop_bell();
	watchset_fork_child(&uffd.set);
	witness_fork_child(&uffd.witness);
	a32_store_relaxed(&uffd.state, UFFD_CLOSED);
}
