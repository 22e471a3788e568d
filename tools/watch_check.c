/* SPDX-License-Identifier: MIT */
#include "watch_check.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- where it is ---- */

static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

/* As execvp() looks for it. */
static enum watchable find(const char *command, char path[PATH_MAX])
{
	const char *dirs = getenv("PATH");
	enum watchable answer = NOT_FOUND;

	if (strchr(command, '/')) {
		snprintf(path, PATH_MAX, "%s", command);
		if (access(path, X_OK) == 0 && is_file(path))
			return WATCHABLE;
		return access(path, F_OK) == 0 || errno == EACCES ? NOT_EXECUTABLE : NOT_FOUND;
	}
	if (!dirs)
		dirs = "/bin:/usr/bin";
	for (const char *dir = dirs; *command; dir++) {
		size_t n = strcspn(dir, ":");

		if ((size_t)snprintf(path, PATH_MAX, "%.*s%s%s", (int)n, dir, n ? "/" : "", command) < PATH_MAX &&
		    is_file(path)) {
			if (access(path, X_OK) == 0)
				return WATCHABLE;
			answer = NOT_EXECUTABLE;
		}
		dir += n;
		if (!*dir)
			break;
	}
	return answer;
}

/* ---- what it is ---- */

static bool runs_unseen(struct checked *c, const char *path, const char *what)
{
	snprintf(c->why, sizeof(c->why), "%.120s %s", path, what);
	return true;
}

/* The kernel tells the dynamic linker to ignore preloads. */
static bool is_privileged(struct checked *c, const char *path)
{
	struct stat st;
	char value[64];

	if (stat(path, &st))
		return false;
	if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
		return runs_unseen(c, path, "is set-user-ID: the dynamic linker ignores preloads in it");
	if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())
		return runs_unseen(c, path, "is set-group-ID: the dynamic linker ignores preloads in it");
	if (geteuid() != 0 && getxattr(path, "security.capability", value, sizeof(value)) > 0)
		return runs_unseen(c, path, "has file capabilities: the dynamic linker ignores preloads in it");
	return false;
}

static bool read_interpreter(int fd, const Elf64_Ehdr *e, char *out, size_t size)
{
	for (unsigned i = 0; i < e->e_phnum; i++) {
		Elf64_Phdr ph;
		ssize_t n;

		if (pread(fd, &ph, sizeof(ph), (off_t)(e->e_phoff + (Elf64_Off)i * e->e_phentsize)) != (ssize_t)sizeof(ph))
			return false;
		if (ph.p_type != PT_INTERP)
			continue;
		n = pread(fd, out, ph.p_filesz < size ? ph.p_filesz : size - 1, (off_t)ph.p_offset);
		out[n > 0 ? n : 0] = '\0';
		return n > 0;
	}
	return false;
}

static bool elf_runs_unseen(struct checked *c, const char *path, int fd, const unsigned char *head)
{
	char interpreter[PATH_MAX] = "";
	Elf64_Ehdr e;

	memcpy(&e, head, sizeof(e));
	if (head[EI_CLASS] != ELFCLASS64)
		return runs_unseen(c, path, "is a 32-bit program: this library is a 64-bit one");
#if defined(__x86_64__)
	if (e.e_machine != EM_X86_64)
		return runs_unseen(c, path, "is for another machine");
#elif defined(__aarch64__)
	if (e.e_machine != EM_AARCH64)
		return runs_unseen(c, path, "is for another machine");
#endif
	if (!read_interpreter(fd, &e, interpreter, sizeof(interpreter)))
		return runs_unseen(c, path, "is statically linked: nothing can be preloaded into it");
	if (!strstr(interpreter, "/ld-linux"))
		return runs_unseen(c, path, "does not use the GNU C library");
	return false;
}

/* #!interpreter argument; false: none. */
static bool script_interpreter(const char *head, char *out)
{
	size_t n = strcspn(head, "\n");
	size_t begin = 2 + strspn(head + 2, " \t"), len;

	if (strncmp(head, "#!", 2) != 0 || begin >= n)
		return false;
	len = strcspn(head + begin, " \t\n");
	memcpy(out, head + begin, len);
	out[len] = '\0';
	return true;
}

/* Fills in c->why; false: a preload works, or nothing is known against it. */
static bool file_runs_unseen(struct checked *c, const char *path, unsigned depth)
{
	unsigned char head[257] = {0};
	char interpreter[sizeof(head)];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool unseen = false;
	ssize_t n;

	if (fd < 0)
		return is_privileged(c, path); /* to be executed but not read */
	n = read(fd, head, sizeof(head) - 1);
	if (n >= (ssize_t)sizeof(Elf64_Ehdr) && memcmp(head, ELFMAG, SELFMAG) == 0)
		unseen = is_privileged(c, path) || elf_runs_unseen(c, path, fd, head);
	else if (depth < 4 && script_interpreter((const char *)head, interpreter))
		unseen = file_runs_unseen(c, interpreter, depth + 1);
	close(fd);
	return unseen;
}

enum watchable check_command(const char *command, struct checked *c)
{
	enum watchable found = find(command, c->path);

	if (found == WATCHABLE && file_runs_unseen(c, c->path, 0))
		return RUNS_UNSEEN;
	return found;
}
