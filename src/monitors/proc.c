/* SPDX-License-Identifier: MIT */
#include "monitors/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include "port/mm.h"
#include "port/text.h"

/* ---- a file read line by line; a line that does not fit is cut ---- */

struct lines {
	int fd;
	char buf[1024];
	size_t used; /* bytes in buf */
	size_t line; /* bytes of the line handed out last, its newline included */
};

static long read_more(struct lines *l)
{
	char *to = l->buf + l->used;
	long got = port_syscall(SYS_read, l->fd, (long)(uintptr_t)to, (long)(sizeof(l->buf) - l->used), 0, 0, 0);

	if (got > 0)
		l->used += (size_t)got;
	return got;
}

/* Drops the rest of a line that filled the buffer. */
static void skip_rest(struct lines *l)
{
	char *newline;

	for (;;) {
		l->used = 0;
		if (read_more(l) <= 0)
			return;
		newline = memchr(l->buf, '\n', l->used);
		if (newline) {
			l->line = (size_t)(newline - l->buf) + 1;
			return;
		}
	}
}

/* The next line without its newline, or NULL. */
static char *next_line(struct lines *l)
{
	bool cut = l->line == sizeof(l->buf) && l->used == sizeof(l->buf);
	char *newline;

	if (cut) {
		l->line = 0;
		skip_rest(l);
	}
	memmove(l->buf, l->buf + l->line, l->used - l->line);
	l->used -= l->line;
	l->line = 0;
	while (!(newline = memchr(l->buf, '\n', l->used))) {
		if (l->used == sizeof(l->buf)) {
			l->line = l->used;
			l->buf[sizeof(l->buf) - 1] = '\0';
			return l->buf;
		}
		if (read_more(l) <= 0)
			return NULL;
	}
	*newline = '\0';
	l->line = (size_t)(newline - l->buf) + 1;
	return l->buf;
}

/* ---- numbers ---- */

static int digit(char c, unsigned base)
{
	unsigned v = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 99;

	return v < base ? (int)v : -1;
}

static const char *number(const char *p, unsigned base, uint64_t *out)
{
	*out = 0;
	for (; digit(*p, base) >= 0; p++)
		*out = *out * base + (unsigned)digit(*p, base);
	return p;
}

static const char *skip(const char *p, char c)
{
	while (*p == c)
		p++;
	return p;
}

static const char *skip_to(const char *p, char c)
{
	while (*p && *p != c)
		p++;
	return p;
}

static char *append(char *to, const char *text)
{
	size_t n = strlen(text);

	memcpy(to, text, n + 1);
	return to + n;
}

static char *append_number(char *to, unsigned value)
{
	char digits[12];
	int n = 0;

	do
		digits[n++] = (char)('0' + value % 10);
	while ((value /= 10) != 0);
	while (n > 0)
		*to++ = digits[--n];
	*to = '\0';
	return to;
}

/* ---- mappings ---- */

/* "start-end perms offset major:minor inode   path" */
static void parse_mapping(const char *p, struct proc_mapping *m, const char **name)
{
	uint64_t value;

	p = number(p, 16, &value);
	m->start = (uintptr_t)value;
	p = number(skip(p, '-'), 16, &value);
	m->end = (uintptr_t)value;
	p = skip(p, ' ');
	m->exec = strnlen(p, 4) == 4 && p[2] == 'x';
	p = number(skip(skip_to(p, ' '), ' '), 16, &m->offset);
	p = skip(skip_to(skip(p, ' '), ' '), ' ');
	p = number(p, 10, &m->inode);
	*name = skip(p, ' ');
	m->sysv = strncmp(*name, "/SYSV", 5) == 0;
	m->file = **name == '/';
}

int proc_mapping_find(uintptr_t addr, struct proc_mapping *out, char *path, size_t path_size)
{
	struct lines l = {.fd = text_open("/proc/self/maps")};
	const char *name, *line;
	int err = -ENOENT;

	if (l.fd < 0)
		return l.fd;
	while (err && (line = next_line(&l))) {
		parse_mapping(line, out, &name);
		if (out->end > addr)
			err = 0;
	}
	if (!err && path) {
		size_t n = strlen(name);

		if (n >= path_size || l.line == sizeof(l.buf))
			out->file = false;
		else
			memcpy(path, name, n + 1);
	}
	text_close(l.fd);
	return err;
}

/* ---- pidfds ---- */

#define PIDFD_SELF_THREAD (-10000)
#define PIDFD_SELF_PROCESS (-20000)

bool proc_pidfd_is_self(int pidfd)
{
	char name[64];
	struct lines l = {.fd = -1};
	bool self = true;
	uint64_t pid;
	const char *line;

	if (pidfd == PIDFD_SELF_THREAD || pidfd == PIDFD_SELF_PROCESS)
		return true;
	if (pidfd < 0)
		return false;
	append_number(append(name, "/proc/self/fdinfo/"), (unsigned)pidfd);
	l.fd = text_open(name);
	if (l.fd < 0)
		return l.fd != -ENOENT;
	while ((line = next_line(&l))) {
		if (strncmp(line, "Pid:\t", 5) != 0)
			continue;
		number(line + 5, 10, &pid);
		self = pid == (uint64_t)port_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
	}
	text_close(l.fd);
	return self;
}

/* ---- threads ---- */

/* The text of /proc/self/task/<tid>/<file>, its end included; false if it cannot be read. */
static long read_task_file(int tid, const char *file, char *out, size_t size)
{
	char name[64];
	long got;
	int fd;

	append(append_number(append(name, "/proc/self/task/"), (unsigned)tid), file);
	fd = text_open(name);
	if (fd < 0)
		return fd;
	got = text_read(fd, out, size - 1, 0);
	text_close(fd);
	if (got >= 0)
		out[got] = '\0';
	return got;
}

/* "running", or "number args.. sp pc", or "-1 sp pc". */
struct proc_thread proc_thread_look(int tid)
{
	struct proc_thread t = {.doing = PROC_UNKNOWN};
	char text[256];
	long got = read_task_file(tid, "/syscall", text, sizeof(text));
	const char *last = text, *p;
	uint64_t value;

	if (got == -ENOENT || got == -ESRCH || got == 0)
		t.doing = PROC_GONE;
	if (got <= 0)
		return t;
	if (text[0] == 'r') {
		t.doing = PROC_RUNNING;
		return t;
	}
	for (p = text; *p; p++)
		if (*p == ' ')
			last = p + 1;
	number(last + 2, 16, &value); /* behind the 0x */
	t.pc = (uintptr_t)value;
	t.doing = text[0] == '-' ? PROC_STOPPED_IN_USER : PROC_IN_CALL;
	number(text, 10, &value);
	t.call = (long)value;
	return t;
}

/* "tid (name) state ..": the name may hold anything, parentheses too; user time is the 12th field behind it. */
uint64_t proc_thread_user_ticks(int tid)
{
	char text[512];
	long got = read_task_file(tid, "/stat", text, sizeof(text));
	const char *p;
	uint64_t ticks;

	p = got > 0 ? strrchr(text, ')') : NULL;
	if (!p)
		return UINT64_MAX;
	for (int field = 0; field < 12; field++)
		p = skip(skip_to(p, ' '), ' ');
	number(p, 10, &ticks);
	return ticks;
}

struct dirent64_head {
	uint64_t ino, off;
	unsigned short length;
	unsigned char type;
	char name[];
};

static bool each_entry(const char *buf, long len, bool (*fn)(int tid, void *arg), void *arg)
{
	const struct dirent64_head *d;
	uint64_t tid;

	for (long at = 0; at < len; at += d->length) {
		d = (const struct dirent64_head *)(const void *)(buf + at);
		if (digit(d->name[0], 10) < 0)
			continue;
		number(d->name, 10, &tid);
		if (!fn((int)tid, arg))
			return false;
	}
	return true;
}

int proc_threads_each(bool (*fn)(int tid, void *arg), void *arg)
{
	_Alignas(8) char buf[2048];
	int fd = text_open("/proc/self/task");
	long got;

	if (fd < 0)
		return fd;
	do
		got = port_syscall(SYS_getdents64, fd, (long)(uintptr_t)buf, sizeof(buf), 0, 0, 0);
	while (got > 0 && each_entry(buf, got, fn, arg));
	text_close(fd);
	return got < 0 ? (int)got : 0;
}
