/* SPDX-License-Identifier: MIT */
/*
 * fork.c: the handlers around libc's fork(). Prepare leaves the whole address space invalidating and holds no lock when it
 * returns (R29, see src/core/fork.c).
 *
 *   child of                    what it finds
 *   fork()                      every address space usable and empty, hooks working
 *   vfork(), posix_spawn()      its parent's, which stands still meanwhile: a mapping call is announced there, as it must be
 *   clone(CLONE_VM), no TLS     the same; it must not make mapping calls while the thread whose TLS it shares makes one
 *   _Fork(), bare fork or clone without CLONE_VM
 *                               no handler runs: nobody listens to its hooks and it must not use the library before exec
 */
#include "monitors/fork.h"

#include "core/core.h"
#include "monitors/hooks.h"
#include "monitors/uffd.h"

static struct sync_lock lock = SYNC_LOCK_INIT;
static bool watching;

static void prepare(void)
{
	core_fork_prepare();
	uffd_fork_prepare();
}

static void in_parent(void)
{
	uffd_fork_parent();
	core_fork_parent();
}

static void in_child(void)
{
	sync_lock_init(&lock);
	core_fork_child();
	uffd_fork_child();
	hooks_fork_child();
}

int fork_watch(void)
{
	int err = 0;

	sync_lock_acquire(&lock);
	if (!watching)
		err = thread_atfork(prepare, in_parent, in_child);
	watching = !err;
	sync_lock_release(&lock);
	return err;
}
