/* SPDX-License-Identifier: MIT */
#include "monitors/settle.h"

#include <sys/syscall.h>

#include "core/core.h"
#include "monitors/hook_calls.h"
#include "monitors/hook_table.h"
#include "monitors/patch.h"
#include "monitors/proc.h"
#include "port/clock.h"
#include "port/mm.h"
#include "port/thread.h"

#define BRIEFLY_NS 1000000u
#define PAUSE_NS 50000u       /* between looks within that millisecond */
#define LOOK_EVERY_NS 5000000u /* of the service thread */
#define TICKS_ENOUGH 2u

struct pending {
	int tid;
	uint64_t ticks; /* user time when it was taken down */
};

struct watched {
	struct uhmm_mm *mm;
	uint64_t epoch;
};

static struct sync_lock lock = SYNC_LOCK_INIT; /* innermost, but for the kernel's */
static struct pending *pending;
static size_t pending_count, pending_room;
static bool unknown; /* /proc says nothing: never settled */
static struct uhmm_a32 suspended; /* written under the lock; somebody may be writing where our jumps are */
static struct watched watched[HOOKS_MMS];
static struct thread_service service;
static bool service_runs;       /* started and not joined */
static bool service_done;       /* it has found nothing left to do and ends */
static struct uhmm_a32 generation; /* a service thread ends when this is no longer its own */

bool settle_is_suspended(void)
{
	return a32_load_relaxed(&suspended);
}

/* ---- threads; under the lock ---- */

/* This thread and the core's own are not inside anything. */
static bool take_down(int tid, void *not_inside)
{
	const int *skip = not_inside;

	if (tid == skip[0] || tid == skip[1])
		return true;
	if (pending_count < pending_room)
		pending[pending_count] = (struct pending){.tid = tid, .ticks = proc_thread_user_ticks(tid)};
	pending_count++;
	return true;
}

static void drop_pending(void)
{
	struct pending *old = pending;
	size_t room = pending_room;

	/* First: a fork in between must not leave the child with something to unmap again. */
	pending = NULL;
	pending_count = pending_room = 0;
	fence_signal();
	if (old)
		mm_unmap(old, room * sizeof(*old));
}

static bool is_elsewhere(const struct pending *p)
{
	struct proc_thread t = proc_thread_look(p->tid);
	uint64_t ticks;

	switch (t.doing) {
	case PROC_GONE:
		return true;
	case PROC_IN_CALL:
		return !hook_is_mapping_call(t.call);
	case PROC_STOPPED_IN_USER:
		return !patch_covers(t.pc);
	default:
		ticks = proc_thread_user_ticks(p->tid);
		return ticks != UINT64_MAX && p->ticks != UINT64_MAX && ticks >= p->ticks + TICKS_ENOUGH;
	}
}

void settle_begin(void)
{
	int skip[2] = {(int)port_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0), (int)core_service_thread()};
	size_t room = 256;
	void *at;

	sync_lock_acquire(&lock);
	unknown = false;
	do {
		drop_pending();
		if (mm_map(room * sizeof(*pending), &at) != 0) {
			unknown = true;
			break;
		}
		pending = at;
		pending_room = room;
		unknown = proc_threads_each(take_down, skip) != 0;
		room = pending_count + pending_count / 2;
	} while (!unknown && pending_count > pending_room);
	sync_lock_release(&lock);
}

static bool threads_settled(uint64_t deadline_ns)
{
	size_t i = 0;

	while (i < pending_count && clock_now_ns() < deadline_ns) {
		if (is_elsewhere(&pending[i]))
			pending[i] = pending[--pending_count];
		else
			i++;
	}
	if (!unknown && pending_count == 0 && pending)
		drop_pending();
	return !unknown && pending_count == 0;
}

/* ---- address spaces; under the lock ---- */

static void settled(struct watched *w)
{
	core_mm_set_unsettled(w->mm, false);
	w->mm = NULL;
}

/* Whoever was on the way through a hook, or is in a dlclose(), since before the epoch has left: this thread, too. */
static bool listener_is_past(uint64_t epoch)
{
	return hook_all_past(epoch, NULL) && hook_closings_past(epoch);
}

/* True if none is left. */
static bool look(uint64_t deadline_ns)
{
	bool threads = threads_settled(deadline_ns);
	bool none = true;

	for (uint32_t i = 0; i < HOOKS_MMS; i++) {
		if (watched[i].mm && threads && !settle_is_suspended() && listener_is_past(watched[i].epoch))
			settled(&watched[i]);
		none &= !watched[i].mm;
	}
	return none;
}

static struct watched *find(const struct uhmm_mm *mm)
{
	for (uint32_t i = 0; i < HOOKS_MMS; i++)
		if (watched[i].mm == mm)
			return &watched[i];
	return NULL;
}

/* There is room for all that listen. Without it, which one on its way out may cost for a moment, mm stays unsettled. */
static void take_on(struct uhmm_mm *mm, uint64_t epoch)
{
	struct watched *w = find(NULL);

	if (w)
		*w = (struct watched){.mm = mm, .epoch = epoch};
	core_mm_set_unsettled(mm, true);
}

void settle_watch(struct uhmm_mm *mm, uint64_t epoch)
{
	sync_lock_acquire(&lock);
	take_on(mm, epoch);
	sync_lock_release(&lock);
}

/* ---- the service thread ---- */

static bool differs(uint32_t value, const void *mine)
{
	return value != *(const uint32_t *)mine;
}

/* The next one may have been started while this one is on its way out: service_done is that one's then. */
static void serve(void *arg)
{
	uint32_t mine = (uint32_t)(uintptr_t)arg;
	bool over = false;

	while (!over && sync_await32(&generation, differs, &mine, clock_now_ns() + LOOK_EVERY_NS) != 0) {
		sync_lock_acquire(&lock);
		if (a32_load_relaxed(&generation) != mine)
			over = true;
		else
			service_done = over = look(SYNC_FOREVER) || settle_is_suspended(); /* settle_resume() starts another */
		sync_lock_release(&lock);
	}
}

/* Under the lock. */
static void start_service(void)
{
	uint32_t mine;

	if (service_runs && !service_done)
		return;
	if (service_runs)
		thread_service_join(&service); /* it has let go of the lock for the last time */
	service_done = false;
	mine = a32_fetch_add_full(&generation, 1) + 1;
	/* Without it the address space stays unsettled: slower, never wrong. */
	service_runs = thread_service_start(&service, serve, (void *)(uintptr_t)mine, "uhmm-settle") == 0;
}

void settle_briefly(struct uhmm_mm *mm)
{
	uint64_t deadline_ns = clock_now_ns() + BRIEFLY_NS;
	bool mine;

	/* Pairs with the fence_light() in hook_enter(): whose record we read as outside reads the table with mm in it. */
	sync_heavy_barrier();
	for (;;) {
		sync_lock_acquire(&lock);
		look(deadline_ns);
		mine = find(mm) != NULL;
		if (mine && clock_now_ns() >= deadline_ns)
			start_service();
		sync_lock_release(&lock);
		if (!mine || clock_now_ns() >= deadline_ns)
			return;
		clock_sleep_ns(PAUSE_NS);
	}
}

void settle_suspend(struct uhmm_mm *mm)
{
	sync_lock_acquire(&lock);
	a32_store_relaxed(&suspended, 1);
	if (find(mm))
		core_mm_set_unsettled(mm, true);
	else
		take_on(mm, 0);
	sync_lock_release(&lock);
}

void settle_resume(uint64_t epoch)
{
	/* As in settle_briefly(). */
	sync_heavy_barrier();
	sync_lock_acquire(&lock);
	a32_store_relaxed(&suspended, 0);
	for (uint32_t i = 0; i < HOOKS_MMS; i++)
		if (watched[i].mm)
			watched[i].epoch = epoch;
	if (!look(SYNC_FOREVER))
		start_service();
	sync_lock_release(&lock);
}

/*
 * The service thread is joined when nobody needs it; its stack goes with it. Without the lock, which it takes: meanwhile
 * another may be started, so what is joined is a copy.
 */
void settle_forget(struct uhmm_mm *mm)
{
	struct thread_service mine = {0};
	struct watched *w;
	bool join;

	sync_lock_acquire(&lock);
	w = find(mm);
	if (w)
		w->mm = NULL;
	join = service_runs;
	for (uint32_t i = 0; i < HOOKS_MMS; i++)
		join &= !watched[i].mm;
	if (join) {
		mine = service;
		service_runs = false;
		a32_fetch_add_full(&generation, 1);
		sync_wake32(&generation);
	}
	sync_lock_release(&lock);
	if (join)
		thread_service_join(&mine);
}

void settle_fork_child(void)
{
	sync_lock_init(&lock);
	service_runs = false;
	unknown = false;
	a32_store_relaxed(&suspended, 0);
	drop_pending();
	for (uint32_t i = 0; i < HOOKS_MMS; i++)
		if (watched[i].mm)
			settled(&watched[i]);
}
