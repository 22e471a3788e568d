/* SPDX-License-Identifier: MIT */
/*
 * hooks.h: the hooks monitor, as uhmm_mm_open() sees it.
 *
 * hooks.c        which address spaces listen; who is inside a hook; attach and detach
 * hook_op.c      one announced call: start in every listening address space, the call, end or abort
 * hook_calls.c   what each of libc's functions does to which range, and what its result means
 * hook_files.c   truncation and the like, which take pages from files and so from their mappings; file_filter.c: from which
 * hook_text.c    somebody else who writes into libc's text while we are there
 * hook_dlclose.c dlclose(), whose unmapping happens inside the dynamic linker
 * hook_entry.c   the patched functions' new targets
 * patch.c        the patching; patch_<machine>.c the bytes, plan_<machine>.c where they can be put
 * settle.c       R25: threads that were inside a mapping call when watching began
 */
#ifndef MONITORS_HOOKS_H
#define MONITORS_HOOKS_H

#include <stdbool.h>
#include <stddef.h>

struct uhmm_mm;

/*
 * From the return on, mapping calls are announced to mm. Waits up to a millisecond for calls that had begun before; if some may
 * be left, mm is marked unsettled and a service thread goes on looking.
 * -EOPNOTSUPP, -EBUSY, -EPERM, -ENOMEM as in <uhmm/mm.h>; -ENOMEM also when HOOKS_MMS listen already.
 */
int hooks_attach(struct uhmm_mm *mm);

/* No hook uses mm any more once this has returned. The last one to leave has libc's bytes put back. */
void hooks_detach(struct uhmm_mm *mm);

/*
 * Puts our jumps in again where somebody else has overwritten them, and lets the address spaces settle; see hook_text.h. Where
 * they cannot be put in, or somebody is just opening or closing, everything stays unsettled until the next time.
 * True: they are in again, and what was looked up before may be stale.
 */
bool hooks_repair(void);

/* In the child, after core_fork_child(). */
void hooks_fork_child(void);

/* One line for people: installed, or why not. As snprintf() writes and returns it. */
size_t hooks_status(char *text, size_t size);

#endif
