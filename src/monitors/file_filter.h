/* SPDX-License-Identifier: MIT */
/*
 * file_filter.h: which files a truncation may matter for: a filter over inode numbers, and the ranges that were noted since it
 * was last brought up to date. No lock: all of it may be entered again by a signal handler at any point.
 */
#ifndef MONITORS_FILE_FILTER_H
#define MONITORS_FILE_FILTER_H

#include <stdbool.h>
#include <stdint.h>

/* [start, end) is watched, or a file was mapped there. Free until the first filter_position(). */
void filter_note(uintptr_t start, uintptr_t end);

/* Changes with every note. */
uint64_t filter_position(void);

/*
 * Brings the filter up to date with what was noted when the call began. False: /proc does not say (no descriptor to be had, not
 * mounted), and anything may be mapped.
 */
bool filter_update(void);

/* After filter_update(). True also for some that were never noted, by chance. */
bool filter_has(uint64_t inode);

#endif
