/* SPDX-License-Identifier: MIT */
/*
 * hook_text.h: somebody else writes into libc's text while we have jumps there: another library that patches the same
 * functions, or
 * that puts back what it saved before we came. Libraries that do so make the text writable by mprotect(), write, and make it
 * executable again; the first of these calls comes by here before a byte is changed:
 *
 *   mprotect(text, PROT_WRITE ..)    everything is invalidated, every address space is unsettled: caches keep nothing
 *   ... they write ...               our jump may be gone; calls may be unseen
 *   mprotect(text, no PROT_WRITE)    what is there now is looked at; our jumps are put in again, on top of theirs where there
 *   are
 *                                    some; threads are looked at as when watching began (R25), then all are settled again
 *
 * In the patching thread, in between two of its patches: so neither writes where the other does. Those who write in another way
 * (another thread while this one is in here, /proc/self/mem, an inline system call, a debugger) are noticed by looking at one
 * jump, another each time, whenever a notifier is inserted, and at all of them by uhmm_mm_open().
 */
#ifndef MONITORS_HOOK_TEXT_H
#define MONITORS_HOOK_TEXT_H

#include <stdint.h>

#include "monitors/patch.h"

/* mprotect() of a range for which patch_is_text() holds. original: what to call, or NULL for the system call. */
long hook_mprotect_text(long start, long len, long prot, patch_fn original);

/* From an insert: looks at one jump. */
void hook_text_look(void);

/* Drops everything: what was looked up while our jumps were out may be stale, and nobody was told. */
void hook_text_drop(void);

#endif
