/* SPDX-License-Identifier: MIT */
#include "monitors/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "port/linux_new.h"
#include "port/mm.h"
#include "port/sync.h"
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
	uint64_t value, major, minor;

	p = number(p, 16, &value);
	m->start = (uintptr_t)value;
	p = number(skip(p, '-'), 16, &value);
	m->end = (uintptr_t)value;
	p = skip(p, ' ');
	m->write = strnlen(p, 4) == 4 && p[1] == 'w';
	m->exec = strnlen(p, 4) == 4 && p[2] == 'x';
	p = number(skip(skip_to(p, ' '), ' '), 16, &m->offset);
	p = number(skip(p, ' '), 16, &major);
	p = number(skip(p, ':'), 16, &minor);
	m->dev = makedev((unsigned)major, (unsigned)minor);
	p = number(skip(p, ' '), 10, &m->inode);
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

int proc_mappings_each(bool (*fn)(const struct proc_mapping *m, const char *name, void *arg), void *arg)
{
	struct lines l = {.fd = text_open("/proc/self/maps")};
	struct proc_mapping m;
	const char *name, *line;

	if (l.fd < 0)
		return l.fd;
	while ((line = next_line(&l))) {
		parse_mapping(line, &m, &name);
		if (!fn(&m, name, arg))
			break;
	}
	text_close(l.fd);
	return 0;
}

int proc_query_open(void)
{
	struct procmap_query q = {.size = sizeof(q), .query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA};
	int fd = text_open("/proc/self/maps");
	long err;

	if (fd < 0)
		return fd;
	err = port_syscall(SYS_ioctl, fd, PROCMAP_QUERY, (long)(uintptr_t)&q, 0, 0, 0);
	if (!err || err == -ENOENT)
		return fd;
	text_close(fd);
	return -ENOTTY;
}

int proc_query_files(int fd, uintptr_t start, uintptr_t end, void (*fn)(const struct proc_mapping *m, void *arg), void *arg)
{
	while (start < end) {
		struct procmap_query q = {.size = sizeof(q),
					  .query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA | PROCMAP_QUERY_FILE_BACKED_VMA,
					  .query_addr = start};
		long err = port_syscall(SYS_ioctl, fd, PROCMAP_QUERY, (long)(uintptr_t)&q, 0, 0, 0);
		struct proc_mapping m;

		if (err)
			return err == -ENOENT ? 0 : (int)err;
		m = (struct proc_mapping){.start = (uintptr_t)q.vma_start,
					  .end = (uintptr_t)q.vma_end,
					  .offset = q.vma_offset,
					  .inode = q.inode,
					  .dev = makedev(q.dev_major, q.dev_minor),
					  .write = q.vma_flags & PROCMAP_QUERY_VMA_WRITABLE,
					  .exec = q.vma_flags & PROCMAP_QUERY_VMA_EXECUTABLE};
		if (m.start >= end)
			return 0;
		fn(&m, arg);
		start = m.end;
	}
	return 0;
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
static struct proc_thread look(int tid)
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

/*
 * Under an emulator the kernel tells the numbers and addresses of its own machine. This very reading shows it: the thread that
 * reads is inside a pread64().
 */
static bool speaks_of_this_machine(void)
{
	enum { ASK, YES, NO };
	static struct uhmm_a32 known;
	uint32_t answer = a32_load_relaxed(&known);
	struct proc_thread self;

	if (answer == ASK) {
		self = look((int)port_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0));
		answer = self.doing == PROC_IN_CALL && self.call == SYS_pread64 ? YES : NO;
		a32_store_relaxed(&known, answer);
	}
	return answer == YES;
}

struct proc_thread proc_thread_look(int tid)
{
	struct proc_thread t = look(tid);

	if ((t.doing == PROC_IN_CALL || t.doing == PROC_STOPPED_IN_USER) && !speaks_of_this_machine())
		t.doing = PROC_UNKNOWN;
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

#define WORKER_FLAG 0x10u /* PF_IO_WORKER */

/* Behind the name: the state, then five numbers, then the flags. */
bool proc_thread_is_worker(int tid, bool *idle)
{
	char text[512];
	long got = read_task_file(tid, "/stat", text, sizeof(text));
	const char *p = got > 0 ? strrchr(text, ')') : NULL;
	uint64_t flags;

	*idle = false;
	if (!p)
		return false;
	p = skip(p + 1, ' ');
	*idle = *p == 'S';
	for (int field = 0; field < 6; field++)
		p = skip(skip_to(p, ' '), ' ');
	number(p, 10, &flags);
	return flags & WORKER_FLAG;
}

/* "id parent major:minor root where options [tags..] - type ..": a mount of the device says what it is. */
bool proc_device_is_memory(uint64_t dev)
{
	struct lines l = {.fd = text_open("/proc/self/mountinfo")};
	const char *line, *p;
	bool memory = false, found = false;
	uint64_t major, minor;

	if (l.fd < 0)
		return false;
	while (!found && (line = next_line(&l))) {
		p = skip(skip_to(skip(skip_to(line, ' '), ' '), ' '), ' ');
		p = number(p, 10, &major);
		number(skip(p, ':'), 10, &minor);
		found = makedev((unsigned)major, (unsigned)minor) == dev;
		p = found ? strstr(p, " - ") : NULL;
		memory = p && (strncmp(p + 3, "tmpfs ", 6) == 0 || strncmp(p + 3, "hugetlbfs ", 10) == 0);
	}
	text_close(l.fd);
	return memory;
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
