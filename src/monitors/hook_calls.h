/* SPDX-License-Identifier: MIT */
/*
 * hook_calls.h: what each mapping call does to which range, and what its result says about it.
 *
 *   call               announced before, as             changed?                            given out
 *   munmap             [addr, +len) UNMAP               it succeeded
 *   mmap MAP_FIXED     [addr, +len) UNMAP               it succeeded, or the old is gone
 *   mmap                                                                                    result
 *   mremap moving      old REMAP, fixed target UNMAP    it moved, or may have in part       result
 *   mremap shrinking   the tail UNMAP                   it succeeded
 *   mremap growing     old REMAP if it may move         it moved                            result, or the new tail
 *   madvise            by advice, see hook_advice()     it succeeded, or part of it
 *   process_madvise    the same, one range at a time, if the target is this process
 *   mprotect, pkey_..  [addr, +len) PROTECT             it succeeded, or part of it
 *   brk down           the pages given back UNMAP       it succeeded
 *   brk up                                                                                  the new pages
 *   shmat SHM_REMAP    [addr, +segment) UNMAP           it succeeded, or the old is gone    result
 *   shmdt              [addr, +segment) UNMAP           it succeeded
 *   remap_file_pages   [addr, +len) REMAP               it succeeded, or the old is gone
 *   dlclose            hook_dlclose.c
 *   truncate and such  hook_files.c
 *
 * A call that failed has changed nothing where the kernel checks before it acts. Where it acts piece by piece (madvise,
 * mprotect over several mappings) or takes away before it puts (mmap, shmat over something), the address space is asked. mremap
 * to a fixed place does both, and leaves a target that looks as it did: its failures count as changes.
 */
#ifndef MONITORS_HOOK_CALLS_H
#define MONITORS_HOOK_CALLS_H

#include <stdbool.h>
#include <sys/mman.h>

#include "monitors/hook_op.h"
#include "port/mm.h"

/* The functions, in this order, of hook_sites(). */
enum hook_call {
	HOOK_MUNMAP,
	HOOK_MMAP,
	HOOK_MREMAP,
	HOOK_MADVISE,
	HOOK_PROCESS_MADVISE,
	HOOK_BRK,
	HOOK_SHMAT,
	HOOK_SHMDT,
	HOOK_MPROTECT,
	HOOK_PKEY_MPROTECT,
	HOOK_REMAP_FILE_PAGES,
	HOOK_BY_NUMBER, /* those above can also be called by syscall() */
	HOOK_SYSCALL = HOOK_BY_NUMBER,
	HOOK_DLCLOSE,
	HOOK_FTRUNCATE, /* from here on: hook_files.h */
	HOOK_TRUNCATE,
	HOOK_FALLOCATE,
	HOOK_OPEN,
	HOOK_OPEN_NOCANCEL,
	HOOK_OPENAT,
	HOOK_CREAT,
	HOOK_CALLS
};

/* Before one call: its ranges and its outcome function. op->number and arg are set, ranges is 0. */
typedef void (*hook_prepare)(struct hook_op *op);
hook_prepare hook_prepare_of(enum hook_call call);

void hook_prepare_mremap(struct hook_op *op);
void hook_prepare_madvise(struct hook_op *op);
void hook_prepare_brk(struct hook_op *op);
void hook_prepare_shmat(struct hook_op *op);
void hook_prepare_shmdt(struct hook_op *op);
void hook_prepare_mprotect(struct hook_op *op);
void hook_prepare_remap_file_pages(struct hook_op *op);

/* Takes several ranges, hence several steps. */
long hook_process_madvise(struct hook_op *op);

/* dlclose(), with the original to call. */
long hook_dlclose(patch_fn original, long handle);

/* ---- ranges as the kernel takes them ---- */

static inline bool hook_is_aligned(uintptr_t addr)
{
	return addr == mm_page_floor(addr);
}

/* The end of a range whose length the kernel rounds up to pages; start itself if that wraps or leaves user space. */
static inline uintptr_t hook_end_of(uintptr_t start, uintptr_t len)
{
	uintptr_t rounded = mm_page_ceil(len);

	return rounded >= len && start < MM_ADDR_END && rounded <= MM_ADDR_END - start ? start + rounded : start;
}

/* A range that begins at a page or fails. The address may be tagged. */
static inline void hook_add_pages(struct hook_op *op, uintptr_t start, uintptr_t len, enum uhmm_event_kind kind)
{
	start = mm_untag(start);
	if (hook_is_aligned(start))
		hook_add(op, start, hook_end_of(start, len), kind);
}

/* ---- munmap and mmap are the hot ones: all of it in the caller's frame ---- */

static inline void hook_if_succeeded(struct hook_op *op)
{
	for (uint32_t i = 0; i < op->ranges; i++)
		op->range[i].changed = !hook_failed(op);
}

static inline void hook_give(struct hook_op *op, uintptr_t start, uintptr_t end)
{
	op->given_start = start;
	op->given_end = end;
}

static inline void hook_prepare_munmap(struct hook_op *op)
{
	hook_add_pages(op, (uintptr_t)op->arg[0], (uintptr_t)op->arg[1], UHMM_EVENT_UNMAP);
	op->outcome = hook_if_succeeded;
}

/* Lengths of mappings of huge pages are rounded up to their page size, whether a flag says it or the file does. */
uintptr_t hook_mmap_len(const struct hook_op *op);
/* For calls that clear a place before they put something there, and may fail in between. */
bool hook_replaced(const struct hook_op *op, const struct hook_range *r);

/* A file was mapped: hook_files.h. */
void hook_mmap_note(const struct hook_op *op);

static inline void hook_mmap_outcome(struct hook_op *op)
{
	if (__builtin_expect(!((unsigned)op->arg[3] & MAP_ANONYMOUS), 0))
		hook_mmap_note(op);
	if (op->ranges)
		op->range[0].changed = hook_replaced(op, &op->range[0]);
	else if (!hook_failed(op))
		hook_give(op, (uintptr_t)op->result, hook_end_of((uintptr_t)op->result, hook_mmap_len(op)));
}

static inline void hook_prepare_mmap(struct hook_op *op)
{
	int flags = (int)op->arg[3];

	/* MAP_FIXED_NOREPLACE takes nothing away; kernels that know it ignore MAP_FIXED beside it. */
	if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == MAP_FIXED)
		hook_add_pages(op, (uintptr_t)op->arg[0], hook_mmap_len(op), UHMM_EVENT_UNMAP);
	op->outcome = hook_mmap_outcome;
}

/* True for the system calls of the table. */
bool hook_is_mapping_call(long number);
/* Which of the calls above it is, or HOOK_CALLS. */
enum hook_call hook_call_of(long number);

/* What an madvise() value does to pages: false, nothing that a device would notice; true, *kind. */
bool hook_advice(long advice, enum uhmm_event_kind *kind);

#endif
