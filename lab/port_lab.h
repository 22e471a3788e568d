/* SPDX-License-Identifier: MIT */
/*
 * port_lab.h: what src/port/lab asks of the lab's machine, and what scenarios ask of src/port/lab.
 */
#ifndef LAB_PORT_LAB_H
#define LAB_PORT_LAB_H

#include <stdint.h>

/* System calls other than gettid and getpid, and the seam's madvise. Weak: -ENOSYS unless somebody defines it. */
long lab_syscall(long number, const long arg[6]);

/* The handlers that the code under test gave to thread_atfork(), in the order that fork() runs them. */
void lab_fork_prepare(void);
void lab_fork_parent(void);
void lab_fork_child(void);

#endif
