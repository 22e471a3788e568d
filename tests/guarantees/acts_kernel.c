/* SPDX-License-Identifier: MIT */
/* acts_kernel.c: files by other ways than truncation, processes, and what the kernel does by itself. */
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "guarantees.h"

/* ---- files ---- */

/* The bytes that are there already, so that only where they are can differ afterwards. */
long act_write_file(int flag)
{
	static _Alignas(4096) unsigned char buffer[PAGE];
	int fd = area.fd;
	long result;

	if (flag) {
		fd = (int)BARE(openat, AT_FDCWD, area.name, O_RDWR | O_CLOEXEC | flag, 0);
		if (fd < 0)
			return fd;
	}
	buffer[0] = BYTE;
	result = CALL(pwrite64, fd, buffer, PAGE, area.watched - area.at);
	if (flag)
		BARE(close, fd);
	return result;
}

/* Units of the file from its beginning on. */
long act_cut(int mode, long units)
{
	return CALL(fallocate, area.fd, mode, 0, bytes(units));
}

long act_posix_fadvise(int fd, long offset, long len, int advice)
{
	return -posix_fadvise(fd, offset, len, advice);
}

/* ---- processes ---- */

/* The child holds the old page while the parent writes, and so gets another one. */
static long write_beside(pid_t child, int release[2])
{
	int status;

	if (child == 0) {
		char byte;

		bare_call(SYS_close, release[1], 0, 0, 0, 0, 0);
		bare_call(SYS_read, release[0], (long)&byte, 1, 0, 0, 0);
		bare_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
	}
	if (child > 0) {
		uint64_t before = frame_of(area.watched);

		area.watched[0] = BYTE;
		if (before && area.mapping == MAPPING_HUGETLB && frame_of(area.watched) == before)
			area.unavailable = "no huge page left for a copy";
	}
	bare_call(SYS_close, release[0], 0, 0, 0, 0, 0);
	bare_call(SYS_close, release[1], 0, 0, 0, 0, 0);
	if (child > 0)
		waitpid(child, &status, 0);
	return child > 0 ? 0 : -EAGAIN;
}

long act_fork_and_write(void)
{
	int release[2];

	if (pipe2(release, O_CLOEXEC) != 0)
		return -errno;
	return write_beside(fork(), release);
}

long act_fork_by_call(void)
{
	int release[2];
	pid_t child;

	if (pipe2(release, O_CLOEXEC) != 0)
		return -errno;
	child = (pid_t)(way == WAY_SYSCALL ? syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)
					   : bare_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0));
	return write_beside(child, release);
}

static char *const nothing[] = {(char *)"true", NULL};

long act_vfork_exec(void)
{
	pid_t child = vfork();

	if (child == 0) {
		if (way == WAY_LIBC)
			execv("/bin/true", nothing);
		else
			bare_call(SYS_execve, (long)"/bin/true", (long)nothing, (long)environ, 0, 0, 0);
		_exit(1);
	}
	return waitpid(child, NULL, 0);
}

long act_spawn(void)
{
	pid_t child;
	int err = posix_spawn(&child, "/bin/true", NULL, NULL, nothing, environ);

	return err ? -err : waitpid(child, NULL, 0);
}

/* ---- the kernel by itself ---- */

#define KSM "/sys/kernel/mm/ksm/"

static long read_setting(const char *name)
{
	char text[32] = "";
	int fd = (int)BARE(openat, AT_FDCWD, name, O_RDONLY, 0);

	if (fd < 0)
		return -1;
	BARE(read, fd, text, sizeof(text) - 1);
	BARE(close, fd);
	return atol(text);
}

static bool write_setting(const char *name, long value)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%ld", value), fd = (int)BARE(openat, AT_FDCWD, name, O_WRONLY, 0);
	bool ok = fd >= 0 && BARE(write, fd, text, len) == len;

	if (fd >= 0)
		BARE(close, fd);
	return ok;
}

/* Two pages alike, until they are one; ten rounds of the merging thread are more than it should need. */
long act_merge(void)
{
	long run = read_setting(KSM "run"), rounds = read_setting(KSM "full_scans");
	uint64_t before = look(area.watched).frame;

	memcpy(at(2), area.watched, unit);
	if (!before || rounds < 0 || BARE(madvise, at(0), 4 * unit, MADV_MERGEABLE) != 0 || !write_setting(KSM "run", 1)) {
		area.unavailable = "KSM cannot be started, or pages not be told apart";
		return -EPERM;
	}
	while (look(area.watched).frame == before && read_setting(KSM "full_scans") < rounds + 10)
		sched_yield();
	write_setting(KSM "run", run);
	if (look(area.watched).frame == before)
		area.unavailable = "KSM merges nothing here";
	return 0;
}

long act_swap_out(void)
{
	uint64_t before = look(area.watched).frame;

	BARE(madvise, at(0), 4 * unit, MADV_PAGEOUT);
	return look(area.watched).frame == before ? -EBUSY : 0;
}

/* ---- announced ---- */

long act_announce(bool changes)
{
	struct uhmm_event event = {.start = (uintptr_t)at(0), .end = (uintptr_t)at(4), .kind = UHMM_EVENT_UNMAP};
	struct uhmm_invalidation inv;

	if (uhmm_invalidate_start(current_mm, &inv, &event) != 0)
		return -EINVAL;
	if (changes) {
		BARE(munmap, at(0), 4 * unit);
		uhmm_invalidate_end(&inv);
	} else {
		uhmm_invalidate_abort(&inv);
	}
	return 0;
}
