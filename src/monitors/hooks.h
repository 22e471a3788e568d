/* SPDX-License-Identifier: MIT */
/*
 * hooks.h: the hooks monitor, as uhmm_mm_open() sees it.
 *
 * hooks.c        which address spaces listen; who is inside a hook; attach and detach
 * hook_op.c      one announced call: start in every listening address space, the call, end or abort
 * hook_calls.c   what each of libc's functions does to which range, and what its result means
 * hook_dlclose.c dlclose(), whose unmapping happens inside the dynamic linker
 * hook_entry.c   the patched functions' new targets; x86-64
 * settle.c       R25: threads that were inside a mapping call when watching began
 */
#ifndef MONITORS_HOOKS_H
#define MONITORS_HOOKS_H

#include <stdbool.h>

struct uhmm_mm;

/*
 * From the return on, mapping calls are announced to mm. Waits up to a millisecond for calls that had begun before; if some may
 * be left, mm is marked unsettled and a service thread goes on looking.
 * -EOPNOTSUPP, -EBUSY, -EPERM, -ENOMEM as in <uhmm/mm.h>; -ENOMEM also when HOOKS_MMS listen already.
 */
int hooks_attach(struct uhmm_mm *mm);

/* No hook uses mm any more once this has returned. The last one to leave has libc's bytes put back. */
void hooks_detach(struct uhmm_mm *mm);

/* In the child, after core_fork_child(). */
void hooks_fork_child(void);

/* One line for people: installed, or why not. */
const char *hooks_status(void);

#endif
