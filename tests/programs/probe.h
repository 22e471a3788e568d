/* SPDX-License-Identifier: MIT */
/*
 * probe.h: does the library hear of a change that a program makes in its own way? One page is watched by a notifier, and a
 * registration of it cached. For C programs of every kind, cgo and the Java virtual machine, hence without any type of ours.
 */
#ifndef TESTS_PROBE_H
#define TESTS_PROBE_H

/* "explicit", "hooks", "uffd", "auto". 0, or what uhmm_mm_open() said. One at a time. */
int probe_open(const char *monitor);
/* Watch the page at this address. 0 or a negative errno. */
int probe_watch(unsigned long address);
/* Once it has been changed: 1, told of, and another registration is handed out; 0, neither; -1, one of the two. */
int probe_seen(void);
void probe_close(void);

/* A line "WHAT MONITOR: VERDICT" of the report: yes, no, or the name of the errno with which the monitor was refused. */
void probe_report(const char *what, const char *monitor, int error, int seen);

/* All of it for one change: map() makes a page with something in it, change() takes it away. */
void probe_run(const char *what, const char *monitor, void *(*map)(void), void (*change)(void *page));

#endif
