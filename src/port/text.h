/* SPDX-License-Identifier: MIT */
/*
 * text.h: pages of code, replaced while other threads run in them.
 *
 * Code is never written in place. A page is prepared elsewhere and then mapped over the old one, read-exec from the first
 * moment (a kernel that denies write-then-execute agrees), in one system call that holds the kernel's mapping lock from
 * taking the old page away to putting the new one there: a thread that fetches an instruction meanwhile faults, waits for
 * that lock and goes on in the new page. Nobody sees half a page or none. Everything returns 0 or a negative errno.
 */
#ifndef PORT_TEXT_H
#define PORT_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* A file in memory with these bytes, which nobody can change any more. -EPERM where the system forbids it; -ENOMEM. */
int text_image(const void *bytes, size_t len, int *fd);

/* Maps len bytes of a file over [at, at+len), private, read-exec. On failure the old pages are there still. */
int text_switch(void *at, size_t len, int fd, uint64_t offset);

/*
 * Address space of len bytes, inaccessible, from which every byte of [low, high) is reached by a direct jump of this machine's
 * (2 GiB, or 128 MiB), and the reverse. -ENOMEM: none free.
 */
int text_reserve_near(uintptr_t low, uintptr_t high, size_t len, void **out);

/* Every thread of the process has passed a core-serialising instruction: none goes on with what it fetched before. */
void text_sync_core(void);

/* Plain files, by bare system calls. text_open returns a descriptor (close-on-exec) for reading. */
int text_open(const char *path);
long text_read(int fd, void *out, size_t len, uint64_t offset);
void text_close(int fd);

#endif
