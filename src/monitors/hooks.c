/* SPDX-License-Identifier: MIT */
#include "monitors/hooks.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "core/core.h"
#include "monitors/hook_entry.h"
#include "monitors/hook_files.h"
#include "monitors/hook_table.h"
#include "monitors/hook_text.h"
#include "monitors/patch.h"
#include "monitors/settle.h"
#include "port/mm.h"

/*
 * Records of threads: a fixed table, so that a thread's first hook, which may be inside free(), allocates nothing. A
 * thread that has gone leaves its record behind, because code runs in it until the very end; the record is found by its
 * thread id when the table is full. Threads beyond count themselves in and out of one shared word.
 */
#define RECORDS 4096u

static struct hook_record records[RECORDS];
static struct uhmm_a32 records_used, sharers;

struct uhmm_aptr hook_table;
static struct uhmm_a32 gate; /* changes when a hook was left while somebody waited */

/* Guards everything below and the patches; never taken in a hook. Outermost: nothing of the core is held. */
static struct sync_lock lock = SYNC_LOCK_INIT;
static uint32_t listeners;
static struct uhmm_mm *attached[HOOKS_MMS]; /* the table again, in memory that survives a fork */
static struct core_watch_hook watching[HOOKS_MMS]; /* of the address space in that place */
static bool installed;
static struct uhmm_a32 home; /* the process's id */

static struct hook_table *table(void)
{
	return aptr_load_relaxed(&hook_table);
}

/* ---- records ---- */

static uint32_t self_pid(void)
{
	return (uint32_t)port_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static struct hook_record *claim(uint32_t i, uint32_t expected, uint32_t tid)
{
	if (!a32_cas_full(&records[i].tid, expected, tid))
		return NULL;
	a64_store_relaxed(&records[i].word, 0);
	return &records[i];
}

static struct hook_record *reclaim(uint32_t self)
{
	for (uint32_t i = 0; i < RECORDS; i++) {
		uint32_t tid = a32_load_relaxed(&records[i].tid);
		struct hook_record *r = NULL;

		/* Its id may be ours by now; then it is not this thread's all the same, since this thread has none. */
		if (tid == 0 || tid == self || thread_is_gone(tid))
			r = claim(i, tid, self);
		if (r)
			return r;
	}
	return NULL;
}

struct hook_record *hook_record_first(struct core_thread *t)
{
	uint32_t self = thread_id(), i = a32_load_relaxed(&records_used);
	struct hook_record *r = NULL;

	/* A vfork child, or one of clone(CLONE_VM): its thread-local storage may be another thread's, its id soon nobody's. */
	if (self_pid() != a32_load_relaxed(&home))
		return NULL;
	while (i < RECORDS && !a32_cas_full(&records_used, i, i + 1))
		i = a32_load_relaxed(&records_used);
	r = i < RECORDS ? claim(i, 0, self) : reclaim(self);
	if (r) {
		r->error = &errno;
		r->table = aptr_load_acquire(&hook_table);
	}
	t->hooks[0] = r;
	return r;
}

void hook_enter_shared(void)
{
	a32_fetch_add_full(&sharers, 1);
}

void hook_leave_shared(void)
{
	a32_fetch_sub_full(&sharers, 1);
	if (a32_load_relaxed(&((struct hook_table *)aptr_load_acquire(&hook_table))->waiters))
		hook_wake();
}

void hook_wake(void)
{
	a32_fetch_add_full(&gate, 1);
	sync_wake32(&gate);
}

bool hook_all_past(uint64_t epoch, const struct hook_record *but)
{
	uint32_t used = a32_load_acquire(&records_used);

	if (a32_load_acquire(&sharers))
		return false;
	for (uint32_t i = 0; i < used; i++) {
		uint64_t word = a64_load_acquire(&records[i].word);

		if (word && word >> 8 < epoch && &records[i] != but)
			return false;
	}
	return true;
}

/* After the table was changed: until every hook that may have read it before has returned. */
static void wait_past(uint64_t epoch)
{
	a32_fetch_add_full(&table()->waiters, 1);
	/* Pairs with the fence_light() in hook_enter() (they saw the change) and hook_leave() (they see us waiting). */
	sync_heavy_barrier();
	for (;;) {
		uint32_t seen = a32_load_acquire(&gate);

		/* A thread cannot wait for itself: a handler that closes on top of a mapping call, which nobody may. */
		if (hook_all_past(epoch, core_thread()->hooks[0]))
			break;
		sync_await32(&gate, sync_differs32, &seen, SYNC_FOREVER);
	}
	a32_fetch_sub_full(&table()->waiters, 1);
}

/* ---- the table; under the lock ---- */

static int make_table(void)
{
	size_t size = mm_page_ceil(sizeof(struct hook_table));
	void *at;
	int err;

	if (table())
		return 0;
	err = mm_map(size, &at);
	if (err)
		return err;
	port_syscall(SYS_madvise, (long)(uintptr_t)at, (long)size, MADV_WIPEONFORK, 0, 0, 0);
	a64_store_relaxed(&((struct hook_table *)at)->epoch, 1);
	aptr_store_release(&hook_table, at);
	return 0;
}

static uint64_t next_epoch(void)
{
	return a64_fetch_add_full(&table()->epoch, 1) + 1;
}

static void on_watch(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	(void)h;
	hook_text_look();
	hook_files_note(start, end);
}

/* Only before the address space is handed out, so that nobody walks its list of watch hooks. */
static int enlist(struct uhmm_mm *mm)
{
	for (uint32_t i = 0; i < HOOKS_MMS; i++) {
		if (attached[i])
			continue;
		attached[i] = mm;
		watching[i] = (struct core_watch_hook){.watch = on_watch};
		core_watch_hook_add(mm, &watching[i]);
		aptr_store_release(&table()->mm[i], mm);
		if (a32_load_relaxed(&table()->used) <= i)
			a32_store_release(&table()->used, i + 1);
		return 0;
	}
	return -ENOMEM;
}

static void delist(struct uhmm_mm *mm)
{
	for (uint32_t i = 0; i < HOOKS_MMS; i++) {
		if (attached[i] == mm) {
			attached[i] = NULL;
			aptr_store_release(&table()->mm[i], NULL);
		}
	}
}

static int install(void)
{
	size_t n;
	struct patch_site *sites = hook_sites(&n);
	int err = make_table();
	bool whole;

	a32_store_relaxed(&home, self_pid());
	sync_heavy_barrier_setup();
	/* While the text is writable its pages are not ours to switch: the writer would lose them under his hands. */
	whole = installed && (settle_is_suspended() ? patch_is_being_written() : patch_is_whole());
	if (!err && !whole)
		err = patch_install(sites, n);
	if (!err && !whole)
		settle_begin();
	if (!err)
		installed = true;
	return err;
}

static bool resume(void)
{
	if (!settle_is_suspended() || patch_is_being_written())
		return false;
	settle_resume(next_epoch());
	return true;
}

bool hooks_repair(void)
{
	bool resumed;

	if (!sync_lock_try(&lock))
		return false;
	resumed = installed && install() == 0 && resume();
	sync_lock_release(&lock);
	return resumed;
}

int hooks_attach(struct uhmm_mm *mm)
{
	bool resumed = false;
	int err;

	/* Ranges are rounded to pages as the kernel does it; a larger page would be more than what is announced. */
	if (!mm_page_size_fits())
		return -EOPNOTSUPP;
	/* The dynamic linker's lock comes first: constructors and destructors, which run under it, come here too. */
	hook_sites_resolve();
	sync_lock_acquire(&lock);
	err = install();
	if (!err)
		err = enlist(mm);
	if (!err) {
		listeners++;
		settle_watch(mm, next_epoch());
		resumed = resume();
	} else if (!listeners && installed) {
		patch_remove();
		installed = false;
	}
	sync_lock_release(&lock);
	if (resumed)
		hook_text_drop();
	if (!err)
		settle_briefly(mm);
	return err;
}

void hooks_detach(struct uhmm_mm *mm)
{
	uint64_t epoch;

	settle_forget(mm);
	sync_lock_acquire(&lock);
	delist(mm);
	epoch = next_epoch();
	if (--listeners == 0) {
		patch_remove();
		installed = false;
	}
	sync_lock_release(&lock);
	wait_past(epoch);
	/* Again: a hook that still found mm in the table may have put it on the list of the unsettled since (hook_text.c). */
	settle_forget(mm);
	/* See hook_dlclose.c: first those on the list, then who came off it before it could be told. */
	hook_closings_forget(mm);
	wait_past(next_epoch());
}

/*
 * The child has one thread, and this is it. Whoever held the lock, and whoever was inside a hook, is not here; an installation
 * that was under way is finished by the next attach, which looks at each page as it is.
 */
void hooks_fork_child(void)
{
	struct hook_record *mine = core_thread()->hooks[0];

	sync_lock_init(&lock);
	a32_store_relaxed(&home, self_pid());
	a32_store_relaxed(&sharers, 0);
	settle_fork_child();
	hook_closings_fork_child();
	for (uint32_t i = 0; i < RECORDS && i < a32_load_relaxed(&records_used); i++) {
		if (&records[i] == mine)
			continue;
		a64_store_relaxed(&records[i].word, 0);
		a32_store_relaxed(&records[i].tid, 0);
	}
	if (mine)
		a32_store_relaxed(&mine->tid, thread_id());
	if (!table())
		return;
	listeners = 0;
	a32_store_relaxed(&table()->waiters, 0);
	a64_store_relaxed(&table()->epoch, 1);
	for (uint32_t i = 0; i < HOOKS_MMS; i++) {
		aptr_store_relaxed(&table()->mm[i], attached[i]);
		if (attached[i]) {
			listeners++;
			a32_store_relaxed(&table()->used, i + 1);
		}
	}
}

size_t hooks_status(char *text, size_t size)
{
	const char *more = "";
	int length;

	sync_lock_acquire(&lock);
	if (installed && settle_is_suspended())
		more = "; somebody keeps libc's text writable: caches keep nothing";
	length = snprintf(text, size, "%s%s",
			  mm_page_size_fits() ? patch_status() : "hooks need pages of 4 KiB; this kernel's are larger", more);
	sync_lock_release(&lock);
	return (size_t)length;
}
