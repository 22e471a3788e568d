/* SPDX-License-Identifier: MIT */
/*
 * hooks_files: calls that take pages away from a file, and what a notifier over a mapping of it hears (G3, G11; R32, R33).
 *
 * Operation x mapping x way: eight pages of a file are mapped, some of them watched; ftruncate, truncate, fallocate, open and
 * the
 * like are called by libc's function, by number, in a signal handler, in a vfork child. Then once more with the mapping made
 * after
 * the notifier, by mmap(MAP_FIXED) and by mremap(). The start must come while the page is there, the end when it is gone. Then
 * all of it without hooks, where nobody may hear anything: the negative control.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../emulated.h"
#include "hooks_common.h"

#define BYTE 0x5a
#define PAGES 8u
#define RW (PROT_READ | PROT_WRITE)
#define UNSUPPORTED (-2)

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

static bool by_number;
static long last;
static int last_errno;

struct file {
	char path[128]; /* empty: a memfd */
	int fd;
	char *at;       /* its pages */
};

#define CALL(name, ...) (last = by_number ? syscall(SYS_##name, __VA_ARGS__) : (long)name(__VA_ARGS__), last_errno = errno)

static const char *name_of(struct file *f)
{
	static char name[32];

	if (f->path[0])
		return f->path;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", f->fd);
	return name;
}

static void opened(void)
{
	if (last >= 0) {
		bare_call(SYS_close, last, 0, 0, 0, 0, 0);
		last = 0;
	}
}

static void do_ftruncate(struct file *f) { CALL(ftruncate, f->fd, (off_t)(4 * PAGE)); }
static void do_ftruncate_odd(struct file *f) { CALL(ftruncate, f->fd, (off_t)(4 * PAGE + 1)); }
static void do_ftruncate_grow(struct file *f) { CALL(ftruncate, f->fd, (off_t)(16 * PAGE)); }
static void do_ftruncate_same(struct file *f) { CALL(ftruncate, f->fd, (off_t)(8 * PAGE)); }
static void do_ftruncate_refused(struct file *f) { CALL(ftruncate, f->fd, (off_t)-1); }
static void do_ftruncate_readonly(struct file *f)
{
	int fd = open(name_of(f), O_RDONLY);

	CALL(ftruncate, fd, (off_t)0);
	close(fd);
}
static void do_truncate(struct file *f) { CALL(truncate, name_of(f), (off_t)(4 * PAGE)); }
static void do_truncate_link(struct file *f)
{
	char link_name[160];

	snprintf(link_name, sizeof(link_name), "/tmp/uhmm-hooks-link.%d", (int)getpid());
	unlink(link_name);
	if (symlink(name_of(f), link_name) != 0)
		last = UNSUPPORTED;
	else
		CALL(truncate, link_name, (off_t)(4 * PAGE));
	unlink(link_name);
}
static void do_truncate_renamed(struct file *f)
{
	char other[160];

	if (!f->path[0]) {
		last = UNSUPPORTED;
		return;
	}
	snprintf(other, sizeof(other), "%s.renamed", f->path);
	rename(f->path, other);
	CALL(truncate, other, (off_t)(4 * PAGE));
	rename(other, f->path);
}
static void do_truncate_hard_link(struct file *f)
{
	char other[160];

	snprintf(other, sizeof(other), "%s.linked", f->path);
	if (!f->path[0] || link(f->path, other) != 0) {
		last = UNSUPPORTED;
		return;
	}
	CALL(truncate, other, (off_t)(4 * PAGE));
	unlink(other);
}
static void do_ftruncate_unlinked(struct file *f)
{
	if (f->path[0])
		unlink(f->path);
	CALL(ftruncate, f->fd, (off_t)(4 * PAGE));
}
static void fall(struct file *f, int mode, off_t offset, off_t len)
{
	CALL(fallocate, f->fd, mode, offset, len);
	if (last && (last_errno == EOPNOTSUPP || last_errno == EINVAL))
		last = UNSUPPORTED;
}
static void do_punch(struct file *f) { fall(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * PAGE, 2 * PAGE); }
static void do_punch_beyond(struct file *f) { fall(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64 * PAGE, PAGE); }
static void do_zero(struct file *f) { fall(f, FALLOC_FL_ZERO_RANGE, 2 * PAGE, 2 * PAGE); }
static void do_collapse(struct file *f) { fall(f, FALLOC_FL_COLLAPSE_RANGE, 2 * PAGE, 2 * PAGE); }
static void do_insert(struct file *f) { fall(f, FALLOC_FL_INSERT_RANGE, 2 * PAGE, 2 * PAGE); }
static void do_allocate(struct file *f) { fall(f, 0, 0, 16 * PAGE); }
static void do_posix_fallocate(struct file *f) { last = posix_fallocate(f->fd, 0, 16 * PAGE); }
static void do_punch_refused(struct file *f) { CALL(fallocate, f->fd, FALLOC_FL_PUNCH_HOLE, (off_t)0, (off_t)PAGE); }
#ifdef SYS_open
static void do_open(struct file *f) { CALL(open, name_of(f), O_RDWR | O_TRUNC, 0); opened(); }
static void do_creat(struct file *f) { CALL(creat, name_of(f), 0600); opened(); }
#else
static void do_open(struct file *f) { last = open(name_of(f), O_RDWR | O_TRUNC); opened(); }
static void do_creat(struct file *f) { last = creat(name_of(f), 0600); opened(); }
#endif
static void do_open_reading(struct file *f) { last = open(name_of(f), O_RDONLY); opened(); }
static void do_openat(struct file *f) { CALL(openat, AT_FDCWD, name_of(f), O_WRONLY | O_TRUNC, 0); opened(); }
static void do_openat_dir(struct file *f)
{
	int dir = open("/tmp", O_PATH);

	if (strncmp(f->path, "/tmp/", 5) != 0)
		last = UNSUPPORTED;
	else
		CALL(openat, dir, f->path + 5, O_WRONLY | O_TRUNC, 0);
	close(dir);
	opened();
}
static void do_open_excl(struct file *f) { last = open(name_of(f), O_CREAT | O_EXCL | O_TRUNC | O_RDWR, 0600); }
static void do_open_path(struct file *f) { last = open(name_of(f), O_PATH | O_TRUNC); opened(); }
static void do_openat2(struct file *f)
{
	struct { uint64_t flags, mode, resolve; } how = {.flags = O_RDWR | O_TRUNC};

	last = syscall(SYS_openat2, AT_FDCWD, name_of(f), &how, sizeof(how));
	if (last < 0 && (errno == ENOSYS || errno == ELOOP))
		last = UNSUPPORTED;
	opened();
}
static void do_openat2_bad(struct file *f)
{
	last = syscall(SYS_openat2, AT_FDCWD, name_of(f), (void *)8, (size_t)24);
	last_errno = errno;
}
static void do_fopen(struct file *f)
{
	FILE *file = fopen(name_of(f), "w");

	last = file ? 0 : -1;
	if (file)
		fclose(file);
}
static void do_fopen_no_cancel(struct file *f)
{
	FILE *file = fopen(name_of(f), "wc");

	last = file ? 0 : -1;
	if (file)
		fclose(file);
}
static void do_freopen(struct file *f)
{
	FILE *file = freopen(name_of(f), "w", fopen("/dev/null", "r"));

	last = file ? 0 : -1;
	if (file)
		fclose(file);
}
/* A second mapping, of which a part is removed. */
static void do_remove_elsewhere(struct file *f)
{
	char *p = (char *)bare_call(SYS_mmap, 0, 4 * PAGE, RW, MAP_SHARED, f->fd, (long)(2 * PAGE));

	CALL(madvise, p, 2 * PAGE, MADV_REMOVE);
	if (last && last_errno == EOPNOTSUPP)
		last = UNSUPPORTED;
	bare_unmap(p, 4 * PAGE);
}
static void do_other_file(struct file *f)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);

	(void)f;
	if (fd < 0 || bare_call(SYS_ftruncate, fd, 1 << 20, 0, 0, 0, 0) != 0) {
		last = UNSUPPORTED;
		return;
	}
	CALL(ftruncate, fd, (off_t)0);
	close(fd);
}

enum { NOTHING, KEPT, DROPPED };

struct row {
	const char *name;
	void (*run)(struct file *f);
	size_t first, pages;
	int expect;
	int byte_after; /* of the first watched page when the end comes; -2: whatever */
	bool one_way;   /* no second way by number */
};

static const struct row rows[] = {
	{"ftruncate: what goes", do_ftruncate, 4, 4, DROPPED, -1, false},
	{"ftruncate: what stays", do_ftruncate, 0, 4, NOTHING, 0, false},
	{"ftruncate: both", do_ftruncate, 3, 2, DROPPED, BYTE, false},
	{"ftruncate inside a page: the page", do_ftruncate_odd, 4, 1, NOTHING, 0, false},
	{"ftruncate inside a page: the next", do_ftruncate_odd, 5, 1, DROPPED, -1, false},
	{"ftruncate, growing", do_ftruncate_grow, 0, 8, NOTHING, 0, false},
	{"ftruncate to the same size", do_ftruncate_same, 0, 8, NOTHING, 0, false},
	{"ftruncate, refused", do_ftruncate_refused, 0, 8, NOTHING, 0, false},
	{"ftruncate, opened for reading", do_ftruncate_readonly, 0, 8, KEPT, BYTE, false},
	{"ftruncate, unlinked", do_ftruncate_unlinked, 4, 1, DROPPED, -1, false},
	{"truncate", do_truncate, 4, 1, DROPPED, -1, false},
	{"truncate by a symbolic link", do_truncate_link, 4, 1, DROPPED, -1, false},
	{"truncate, renamed", do_truncate_renamed, 4, 1, DROPPED, -1, false},
	{"truncate by a hard link", do_truncate_hard_link, 4, 1, DROPPED, -1, false},
	{"fallocate PUNCH_HOLE", do_punch, 2, 2, DROPPED, 0, false},
	{"fallocate PUNCH_HOLE: before and behind", do_punch, 4, 4, NOTHING, 0, false},
	{"fallocate PUNCH_HOLE behind the end", do_punch_beyond, 0, 8, NOTHING, 0, false},
	{"fallocate PUNCH_HOLE, refused", do_punch_refused, 0, 8, KEPT, BYTE, false},
	{"fallocate ZERO_RANGE", do_zero, 2, 1, DROPPED, 0, false},
	{"fallocate COLLAPSE_RANGE", do_collapse, 6, 1, DROPPED, -1, false},
	{"fallocate COLLAPSE_RANGE: before", do_collapse, 0, 2, NOTHING, 0, false},
	{"fallocate INSERT_RANGE", do_insert, 2, 1, DROPPED, 0, false},
	{"fallocate", do_allocate, 0, 8, NOTHING, 0, false},
	{"posix_fallocate", do_posix_fallocate, 0, 8, NOTHING, 0, true},
	{"open O_TRUNC", do_open, 0, 1, DROPPED, -1, false},
	{"open without", do_open_reading, 0, 8, NOTHING, 0, true},
	{"open O_TRUNC O_EXCL", do_open_excl, 0, 8, NOTHING, 0, true},
	{"open O_TRUNC O_PATH", do_open_path, 0, 8, NOTHING, 0, true},
	{"openat O_TRUNC", do_openat, 7, 1, DROPPED, -1, false},
	{"openat O_TRUNC in a directory", do_openat_dir, 7, 1, DROPPED, -1, false},
	{"openat2 O_TRUNC", do_openat2, 7, 1, DROPPED, -1, true},
	{"openat2, bad pointer", do_openat2_bad, 0, 8, NOTHING, 0, true},
	{"creat", do_creat, 7, 1, DROPPED, -1, false},
	{"fopen w", do_fopen, 7, 1, DROPPED, -1, true},
	{"fopen wc", do_fopen_no_cancel, 7, 1, DROPPED, -1, true},
	{"freopen w", do_freopen, 7, 1, DROPPED, -1, true},
	{"MADV_REMOVE in another mapping", do_remove_elsewhere, 2, 1, DROPPED, 0, false},
	{"MADV_REMOVE in another mapping: beside", do_remove_elsewhere, 4, 4, NOTHING, 0, false},
	{"another file", do_other_file, 0, 8, NOTHING, 0, false},
};

/* ---- kinds of files and mappings ---- */

enum on { ON_TMP, ON_SHM, ON_MEMFD, ON_OVERLAY, ON_KINDS };
static const char *const on_names[ON_KINDS] = {"/tmp", "/dev/shm", "memfd", "overlay"};
enum mapped { SHARED, PRIVATE, PRIVATE_WRITTEN, MAPPED_KINDS };
static const char *const mapped_names[MAPPED_KINDS] = {"shared", "private", "private, written to"};
enum when { BEFORE, FIXED_AFTER, MREMAP_AFTER, WHENS };
static const char *const when_names[WHENS] = {"", ", mapped after the insert", ", moved there after the insert"};

static char overlay[128]; /* a directory; empty: none */
static char overlay_parts[64];

static void make_overlay(void)
{
	char command[64] = "/tmp/uhmm-hooks-overlay.XXXXXX", options[256];
	static const char *const parts[] = {"lower", "upper", "work", "merged"};
	char part[128];

	if (!mkdtemp(command))
		return;
	strcpy(overlay_parts, command);
	for (int i = 0; i < 4; i++) {
		snprintf(part, sizeof(part), "%s/%s", command, parts[i]);
		if (mkdir(part, 0700) != 0)
			return;
	}
	snprintf(options, sizeof(options), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", command, command, command);
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("overlay", part, "overlay", 0, options) != 0) {
		printf("overlay: skipped, it cannot be mounted here (%s)\n", strerror(errno));
		return;
	}
	strcpy(overlay, part);
}

static void remove_overlay(void)
{
	char command[128];

	if (overlay[0])
		umount2(overlay, MNT_DETACH);
	snprintf(command, sizeof(command), "rm -rf '%s'", overlay_parts);
	if (overlay_parts[0] && system(command) != 0)
		printf("%s is left behind\n", overlay_parts);
}

static bool make_file(struct file *f, enum on on)
{
	static const char *const dirs[] = {"/tmp", "/dev/shm", "", overlay};
	char page[PAGE];

	f->path[0] = '\0';
	if (on == ON_OVERLAY && !overlay[0])
		return false;
	if (on == ON_MEMFD) {
		f->fd = (int)syscall(SYS_memfd_create, "uhmm-hooks-files", 0);
	} else {
		snprintf(f->path, sizeof(f->path), "%s/uhmm-hooks-files.%d", dirs[on], (int)getpid());
		unlink(f->path);
		f->fd = (int)bare_call(SYS_openat, AT_FDCWD, (long)f->path, O_RDWR | O_CREAT | O_TRUNC, 0600, 0, 0);
	}
	if (f->fd < 0)
		return false;
	memset(page, BYTE, sizeof(page));
	for (size_t i = 0; i < PAGES; i++)
		if (pwrite(f->fd, page, PAGE, (off_t)(i * PAGE)) != (ssize_t)PAGE)
			return false;
	return true;
}

static void drop_file(struct file *f)
{
	if (f->path[0])
		unlink(f->path);
	close(f->fd);
}

static void map_file(struct file *f, enum mapped mapped, enum when when)
{
	long flags = mapped == SHARED ? MAP_SHARED : MAP_PRIVATE;

	if (when == BEFORE) {
		bare_call(SYS_mmap, (long)f->at, PAGES * PAGE, RW, flags | MAP_FIXED, f->fd, 0);
	} else if (when == FIXED_AFTER) {
		if (mmap(f->at, PAGES * PAGE, RW, (int)flags | MAP_FIXED, f->fd, 0) != f->at)
			abort();
	} else {
		char *p = (char *)bare_call(SYS_mmap, 0, PAGES * PAGE, RW, flags, f->fd, 0);

		if (mremap(p, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, f->at) != f->at)
			abort();
	}
	for (size_t i = 0; i < PAGES * PAGE; i += PAGE) {
		volatile char *c = f->at + i;

		if (mapped == PRIVATE)
			(void)*c;
		else
			*c = BYTE;
	}
}

/* ---- the ways ---- */

static const struct row *current;
static struct file *current_file;

static void run_current(void)
{
	errno = 7;
	last = 0;
	last_errno = 7;
	current->run(current_file);
	if (last == -1 && last_errno == ENOSYS)
		last = UNSUPPORTED; /* newer machines have no open() and creat() by number */
}

static void on_signal(int sig)
{
	(void)sig;
	run_current();
}

enum way { PLAIN, NUMBER, HANDLER, VFORK, WAYS };
static const char *const way_names[WAYS] = {"", ", by number", ", in a handler", ", in a vfork child"};

static void in_vfork_child(void)
{
	pid_t child = vfork();

	if (child == 0) {
		run_current();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void call_in(enum way way)
{
	by_number = way == NUMBER;
	if (way == HANDLER)
		raise(SIGUSR1);
	else if (way == VFORK)
		in_vfork_child();
	else
		run_current();
}

static int complain(const struct row *r, enum on on, enum mapped m, enum when when, enum way way, const struct watch *w)
{
	printf("%s (%s, %s%s%s): starts %d drops %d keeps %d, byte %d, then %d; call %ld errno %d\n", r->name,
	       on_names[on], mapped_names[m], when_names[when], way_names[way], w->starts, w->drops, w->keeps, w->byte_at_first,
	       w->byte_at_end, last, last_errno);
	return 1;
}

static int check(const struct row *r, enum on on, enum mapped m, enum when when, enum way way, struct watch *w, bool hooked)
{
	bool good;

	if (!hooked || r->expect == NOTHING)
		good = w->starts == 0 && w->drops == 0;
	else if (r->expect == KEPT)
		good = w->drops == 0 && w->starts == w->keeps;
	else
		good = w->drops >= 1 && w->starts == w->drops && w->keeps == 0 && w->kind == UHMM_EVENT_CLEAR &&
		       w->byte_at_first == BYTE &&
		       (r->byte_after == -2 || m == PRIVATE_WRITTEN || w->byte_at_end == r->byte_after);
	return good ? 0 : complain(r, on, m, when, way, w);
}

static int skipped_rows;

static int one(struct uhmm_mm *mm, const struct row *r, enum on on, enum mapped m, enum when when, enum way way, bool hooked)
{
	static char *place;
	struct file f = {.fd = -1};
	struct watch w;
	int bad = 0;

	if (!place)
		place = bare_map(PAGES * PAGE, 1);
	f.at = place;
	if (!make_file(&f, on))
		return 0;
	if (when == BEFORE)
		map_file(&f, m, when);
	else
		bare_call(SYS_mmap, (long)f.at, PAGES * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	watch_on(mm, &w, f.at + r->first * PAGE, r->pages * PAGE);
	if (when != BEFORE) {
		map_file(&f, m, when);
		w.starts = w.drops = w.keeps = 0;
	}
	current = r;
	current_file = &f;
	call_in(way);
	watch_off(&w);
	if (last == UNSUPPORTED)
		skipped_rows++;
	else
		bad = check(r, on, m, when, way, &w, hooked);
	drop_file(&f);
	return bad;
}

/* qemu-user's vfork() is a fork(), and it forgets MADV_REMOVE. */
static bool emulated_otherwise(const struct row *r, int way)
{
	return is_emulated() && (way == VFORK || strncmp(r->name, "MADV_REMOVE", 11) == 0);
}

/* stdio is not for signal handlers; ThreadSanitizer makes forks of vforks. */
static bool is_possible(const struct row *r, int way)
{
#ifdef __SANITIZE_THREAD__
	if (way == VFORK)
		return false;
#endif
	return !r->one_way || way == PLAIN || way == VFORK;
}

static int table(struct uhmm_mm *mm, bool hooked)
{
	int bad = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int on = 0; on < ON_KINDS; on++)
			for (int m = 0; m < MAPPED_KINDS; m++)
				for (int way = 0; way < WAYS; way++)
					if (!emulated_otherwise(&rows[i], way) && is_possible(&rows[i], way))
						bad += one(mm, &rows[i], (enum on)on, (enum mapped)m,
							   way == PLAIN ? (enum when)((on + m) % WHENS) : BEFORE,
							   (enum way)way, hooked);
	return bad;
}

/* ---- more ---- */

#define CHECK(condition)                                                                                                    \
	do {                                                                                                                \
		if (!(condition)) {                                                                                         \
			printf("%s:%d: %s\n", __func__, __LINE__, #condition);                                              \
			return 1;                                                                                           \
		}                                                                                                           \
	} while (0)

/* More mappings than there is room for: all of them hear it, as does what lies between some. */
static int many_mappings(struct uhmm_mm *mm)
{
	enum { MANY = 40 };
	static struct watch w[MANY];
	struct file f = {.fd = -1};
	char *p[MANY];

	CHECK(make_file(&f, ON_MEMFD));
	for (int i = 0; i < MANY; i++) {
		p[i] = (char *)bare_call(SYS_mmap, 0, 2 * PAGE, PROT_READ, MAP_SHARED, f.fd, (long)((size_t)(i % 7) * PAGE));
		(void)*(volatile char *)p[i];
		watch_on(mm, &w[i], p[i], 2 * PAGE);
	}
	CHECK(ftruncate(f.fd, 0) == 0);
	for (int i = 0; i < MANY; i++) {
		watch_off(&w[i]);
		CHECK(w[i].starts >= 1 && w[i].starts == w[i].drops);
		bare_unmap(p[i], 2 * PAGE);
	}
	drop_file(&f);
	return 0;
}

/* The child's own truncation is told to the child's own notifiers. */
static int in_forked_child(struct uhmm_mm *mm)
{
	struct file f = {.fd = -1};
	struct watch w;
	int status;
	pid_t child;

#ifdef __SANITIZE_THREAD__ /* which lets the child of a process with threads make none */
	return 0;
#endif
	CHECK(make_file(&f, ON_TMP));
	f.at = bare_map(PAGES * PAGE, 1);
	map_file(&f, SHARED, BEFORE);
	child = fork();
	if (child == 0) {
		watch_on(mm, &w, f.at, PAGES * PAGE);
		_exit(truncate(f.path, 0) == 0 && w.drops == 1 ? 0 : 1);
	}
	waitpid(child, &status, 0);
	drop_file(&f);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return 0;
}

/* Where a process may not ask the kernel for its own memory, openat2() is heard all the same. */
static int without_readv(struct uhmm_mm *mm)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	struct file f = {.fd = -1};
	struct watch w;
	int status;
	pid_t child;

#ifdef __SANITIZE_THREAD__ /* as above */
	return 0;
#endif
	CHECK(make_file(&f, ON_TMP));
	f.at = bare_map(PAGES * PAGE, 1);
	map_file(&f, SHARED, BEFORE);
	child = fork();
	if (child == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
			_exit(SKIP);
		watch_on(mm, &w, f.at, PAGES * PAGE);
		do_openat2_bad(&f);
		if (w.starts != 0 || last != -1 || (last_errno != EFAULT && last_errno != ENOSYS))
			_exit(1);
		do_openat2(&f);
		_exit(last == UNSUPPORTED ? SKIP : w.drops == 1 && w.byte_at_first == BYTE ? 0 : 1);
	}
	waitpid(child, &status, 0);
	drop_file(&f);
	CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SKIP));
	return 0;
}

/* A pending cancellation is acted upon before the start; none comes between start and end. */
static struct file cancelled_file;
static sem_t cancelled, go;

static void *cancelled_thread(void *arg)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	sem_post(&cancelled);
	sem_wait(&go);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	open(cancelled_file.path, O_RDWR | O_TRUNC);
	return arg;
}

static int cancellation(struct uhmm_mm *mm)
{
	struct watch w;
	pthread_t t;
	void *result;

	CHECK(make_file(&cancelled_file, ON_TMP));
	cancelled_file.at = bare_map(PAGES * PAGE, 1);
	map_file(&cancelled_file, SHARED, BEFORE);
	watch_on(mm, &w, cancelled_file.at, PAGES * PAGE);
	sem_init(&cancelled, 0, 0);
	sem_init(&go, 0, 0);
	CHECK(pthread_create(&t, NULL, cancelled_thread, &w) == 0);
	sem_wait(&cancelled);
	pthread_cancel(t);
	sem_post(&go);
	pthread_join(t, &result);
	CHECK(result == PTHREAD_CANCELED);
	CHECK(w.starts == 0 && peek((uintptr_t)cancelled_file.at) == BYTE);
	CHECK(truncate(cancelled_file.path, 0) == 0);
	CHECK(w.drops == 1);
	watch_off(&w);
	drop_file(&cancelled_file);
	return 0;
}

/* open() of a pipe blocks, and can be cancelled there, O_TRUNC or not. */
static char pipe_name[64];

static void *open_pipe(void *arg)
{
	sem_post(&cancelled);
	open(pipe_name, O_WRONLY | O_TRUNC);
	return arg;
}

static int blocked_open(struct uhmm_mm *mm)
{
	pthread_t t;
	void *result;

	(void)mm;
	snprintf(pipe_name, sizeof(pipe_name), "/tmp/uhmm-hooks-pipe.%d", (int)getpid());
	unlink(pipe_name);
	CHECK(mkfifo(pipe_name, 0600) == 0);
	CHECK(pthread_create(&t, NULL, open_pipe, mm) == 0);
	sem_wait(&cancelled);
	pthread_cancel(t);
	pthread_join(t, &result);
	unlink(pipe_name);
	CHECK(result == PTHREAD_CANCELED);
	return 0;
}

/* A thread maps and watches while another truncates: whoever finished inserting before a truncation returned has heard
 * of it, or looks the pages up after it (R33). */
static atomic_int stop;
static int racing_fd;

static void *truncate_and_grow(void *arg)
{
	while (!stop) {
		if (ftruncate(racing_fd, 0) != 0 || ftruncate(racing_fd, PAGE) != 0)
			return NULL;
		sched_yield();
	}
	return arg;
}

static int racing(struct uhmm_mm *mm)
{
	struct file f = {.fd = -1};
	pthread_t t;
	void *result;

	CHECK(make_file(&f, ON_MEMFD));
	racing_fd = f.fd;
	stop = 0;
	CHECK(pthread_create(&t, NULL, truncate_and_grow, mm) == 0);
	for (int i = 0; i < 300; i++) {
		char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, f.fd, 0);
		struct watch w;
		int heard;

		watch_on(mm, &w, p, PAGE);
		do
			heard = w.drops;
		while (i % 3 == 0 && heard == 0); /* truncations go on, so one must come by */
		watch_off(&w);
		munmap(p, PAGE);
	}
	stop = 1;
	pthread_join(t, &result);
	drop_file(&f);
	CHECK(result == mm);
	return 0;
}

int main(void)
{
	struct uhmm_mm_options plain = {.size = sizeof(plain), .monitors = UHMM_MONITOR_EXPLICIT};
	struct sigaction sa = {.sa_handler = on_signal};
	struct uhmm_mm *mm, *deaf;
	int bad;

	make_overlay();
	sigaction(SIGUSR1, &sa, NULL);
	mm = open_hooks();
	bad = table(mm, true);
	printf("with hooks: %d wrong, %d not supported here\n", bad, skipped_rows);
	bad += many_mappings(mm) + cancellation(mm) + blocked_open(mm) + racing(mm);
	if (!is_emulated())
		bad += in_forked_child(mm) + without_readv(mm);
	uhmm_mm_close(mm);
	if (uhmm_mm_open(&deaf, &plain) != 0)
		return 1;
	bad += table(deaf, false);
	uhmm_mm_close(deaf);
	remove_overlay();
	return bad ? 1 : 0;
}
