/* SPDX-License-Identifier: MIT */
/*
 * hook_files.h: calls that take pages away from a file, and so from every mapping of it: ftruncate(), truncate(), fallocate()
 * that punches, collapses, inserts or zeroes, open(O_TRUNC), creat(), and madvise(MADV_REMOVE), which punches a hole that all
 * mappings of the file see.
 *
 *   call                          goes away                                    announced as
 *   ftruncate, truncate           whole pages from the new length on           CLEAR
 *   open(O_TRUNC), creat          everything                                   CLEAR
 *   PUNCH_HOLE, ZERO_RANGE,       the range, rounded outwards: some file       CLEAR
 *   WRITE_ZEROES                  systems drop pages that are partly in it
 *   COLLAPSE_RANGE, INSERT_RANGE  from the offset on: the rest moves           CLEAR
 *   MADV_REMOVE                   the range, in other mappings too             CLEAR
 *   other fallocate, growing      nothing
 *
 * Such a call on a file that nobody watches costs fstat() and a look at a filter. The filter holds the inode numbers of files
 * that are mapped where somebody watches, or that a hook saw mapped. It is brought up to date by the calls themselves, never by
 * those who insert notifiers: they only write the range down, and not even that before the first such call.
 *
 *   truncating                                   inserting a notifier, or after a mapping call of a file
 *   noted: what was written down by now
 *   brings the filter up to date, looks          write the range down (a full read-modify-write)
 *   (hit: finds the mappings, start)             insert; look the pages up
 *   the call
 *   anything written down since?
 *   then look again, announce what there is
 *
 * If the last look does not see what was written down, the pages are looked up after the call. If it does, the announcement
 * comes
 * late, but before the call returns. If what was written down was seen at first, the range is announced before the call, and
 * the insert counts it (G3).
 */
#ifndef MONITORS_HOOK_FILES_H
#define MONITORS_HOOK_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "monitors/hook_op.h"
#include "monitors/patch.h"

enum hook_file_call {
	HOOK_FILE_FTRUNCATE,
	HOOK_FILE_TRUNCATE,
	HOOK_FILE_FALLOCATE,
	HOOK_FILE_OPENAT,
	HOOK_FILE_OPENAT2,
	HOOK_FILE_REMOVE, /* madvise(MADV_REMOVE) */
	HOOK_FILE_CALLS
};

/*
 * Makes the call with its announcements. `original`, if not NULL, is called instead of the system call when nothing is to be
 * announced, with the arguments of libc's function, which begin at `from`: it has a cancellation point, or an errno of its own.
 */
struct hook_file_op {
	enum hook_file_call call;
	long arg[4];             /* of the system call; openat for open and creat */
	patch_fn original;
	long from[4];
	bool cancellation_point; /* in libc's function */
};
long hook_file_run(const struct hook_file_op *op);

/* By number: true for those that may be of interest; then hook_file_by_number() makes the call. */
bool hook_is_file_call(long number);
long hook_file_by_number(long number, const long arg[6]);
/* Those of them that cannot block for ever, as open() of a pipe does. */
bool hook_is_truncation(long number);

/* [start, end) is watched from now on, or a file has been mapped there. */
void hook_files_note(uintptr_t start, uintptr_t end);

#endif
