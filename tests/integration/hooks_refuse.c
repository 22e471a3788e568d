/* SPDX-License-Identifier: MIT */
/*
 * hooks_refuse: where hooks cannot or may not be had, and what the options of uhmm_mm_open() come to. Each case is a process of
 * its own, made before the library was used.
 */
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "hooks_common.h"
#include "hooks_machine.h"

#define CHECK(condition)                                                                                                    \
	do {                                                                                                                \
		if (!(condition)) {                                                                                         \
			printf("%s:%d: %s\n", __func__, __LINE__, #condition);                                              \
			return 1;                                                                                           \
		}                                                                                                           \
	} while (0)

static int open_with(uint32_t monitors, struct uhmm_mm **mm)
{
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = monitors};

	return uhmm_mm_open(mm, &options);
}

/* As other libraries do it: into the text, made writable. False where that is denied. */
static bool poke(void *at, const void *bytes, size_t len)
{
	uintptr_t page = (uintptr_t)at & ~(PAGE - 1);

	if (bare_call(SYS_mprotect, (long)page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0, 0) != 0)
		return false;
	for (size_t i = 0; i < len; i++)
		poke_byte((unsigned char *)at + i, ((const unsigned char *)bytes)[i]);
	__builtin___clear_cache((char *)at, (char *)at + len);
	bare_call(SYS_mprotect, (long)page, 2 * PAGE, PROT_READ | PROT_EXEC, 0, 0, 0);
	return true;
}

static void *executable_near(const void *entry)
{
	long hint = ((long)entry & ~0xfffffl) - (64l << 20);

	return (void *)bare_call(SYS_mmap, hint, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static unsigned char *entry_of(const char *name)
{
	return dlsym(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), name);
}

/* An address space whose hooks do not work, in a process that somebody has patched. */
static int refused(int expected)
{
	struct uhmm_mm *mm = (void *)1;
	struct watch w;
	char *p;

	CHECK(open_with(UHMM_MONITOR_HOOKS, &mm) == expected);
	CHECK(mm == (void *)1);
	CHECK(open_with(UHMM_MONITOR_AUTO, &mm) == 0);
	CHECK(uhmm_mm_monitors(mm) == UHMM_MONITOR_EXPLICIT);
	p = bare_map(PAGE, 1);
	watch_on(mm, &w, p, PAGE);
	CHECK(mprotect(p, PAGE, PROT_READ) == 0);
	watch_off(&w);
	CHECK(w.starts == 0);
	uhmm_mm_close(mm);
	return 0;
}

/* An address space that hears what goes through libc, in a process that somebody has patched; and whose name we know. */
static int chained(const char *expected)
{
	char text[512];
	struct uhmm_mm *mm = open_hooks();
	struct watch w;
	char *p = bare_map(PAGE, 1);

	CHECK(uhmm_hooks_status(text, sizeof(text)) < sizeof(text));
	if (!strstr(text, expected)) {
		printf("status: %s\n", text);
		return 1;
	}
	CHECK(uhmm_hooks_status(NULL, 0) == strlen(text));
	watch_on(mm, &w, p, PAGE);
	CHECK(mprotect(p, PAGE, PROT_READ) == 0);
	watch_off(&w);
	CHECK(w.starts == 1 && w.drops == 1);
	uhmm_mm_close(mm);
	bare_unmap(p, PAGE);
	return 0;
}

static int refused_because_of(int expected, const char *why)
{
	char text[512];

	CHECK(refused(expected) == 0);
	uhmm_hooks_status(text, sizeof(text));
	if (strstr(text, why))
		return 0;
	printf("status: %s\n", text);
	return 1;
}

/* mprotect's own first instruction, executed elsewhere: a patch that works. */
static int jump_there_already(void)
{
	unsigned char *entry = entry_of("mprotect"), *copy, jump[JUMP_LEN], saved[JUMP_LEN];

	if (!first_can_be_moved(entry)) {
		printf("skipped: an unfamiliar libc\n");
		return SKIP;
	}
	copy = executable_near(entry);
	memcpy(copy, entry, JUMP_LEN);
	make_far_jump(copy + JUMP_LEN, (uintptr_t)(entry + JUMP_LEN));
	__builtin___clear_cache((char *)copy, (char *)copy + JUMP_LEN + FAR_JUMP_LEN);
	make_jump(jump, entry, copy);
	memcpy(saved, entry, sizeof(saved));
	if (!poke(entry, jump, sizeof(jump)))
		return SKIP;
	CHECK(chained("mprotect leads on to code in anonymous memory") == 0);
	CHECK(memcmp(entry, jump, sizeof(jump)) == 0);
	CHECK(poke(entry, saved, sizeof(saved)));
	uhmm_mm_close(open_hooks());
	return 0;
}

static int breakpoint_there_already(void)
{
	unsigned char *entry = entry_of("remap_file_pages");

	if (!poke(entry, breakpoint, sizeof(breakpoint)))
		return SKIP;
	return refused_because_of(-EBUSY, "remap_file_pages: patched by somebody unknown");
}

/* Not a jump, but not what the file says either. */
static int other_bytes_already(void)
{
	unsigned char *entry = entry_of("shmdt");

	if (!first_can_be_moved(entry) || !poke(entry, another_number, sizeof(another_number)))
		return SKIP;
	return refused(-EBUSY);
}

static int patched_between_two_opens(void)
{
	unsigned char *entry = entry_of("remap_file_pages");

	uhmm_mm_close(open_hooks());
	if (!poke(entry, jump_to_itself, sizeof(jump_to_itself)))
		return SKIP;
	return refused(-EBUSY);
}

/* Somebody patches on top of our hook and keeps a copy of it: that must go on working when we leave. */
static int patched_on_top_of_us(void)
{
	unsigned char *entry = entry_of("munmap"), theirs[JUMP_LEN];
	struct uhmm_mm *mm = open_hooks();
	unsigned char *copy;
	char *p;

	CHECK(jumps_to(entry));
	copy = executable_near(entry);
	make_jump(copy, copy, jumps_to(entry));
	__builtin___clear_cache((char *)copy, (char *)copy + JUMP_LEN);
	make_jump(theirs, entry, copy);
	if (!poke(entry, theirs, sizeof(theirs)))
		return SKIP;
	uhmm_mm_close(mm);
	CHECK(memcmp(entry, theirs, sizeof(theirs)) == 0);
	p = bare_map(PAGE, 1);
	CHECK(munmap(p, PAGE) == 0);
	CHECK(peek((uintptr_t)p) == -1);
	return chained("munmap leads on to code in anonymous memory");
}

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

/* Memory-deny-write-execute: nothing that was ever writable becomes executable. */
static int write_xor_execute(void)
{
	struct uhmm_mm *mm;
	struct watch w;
	char *p;

	if (prctl(PR_SET_MDWE, 1, 0, 0, 0) != 0) {
		printf("skipped: no PR_SET_MDWE before 6.3\n");
		return SKIP;
	}
	mm = open_hooks();
	p = bare_map(PAGE, 1);
	watch_on(mm, &w, p, PAGE);
	CHECK(munmap(p, PAGE) == 0);
	watch_off(&w);
	CHECK(w.drops == 1);
	uhmm_mm_close(mm);
	uhmm_mm_close(open_hooks());
	return 0;
}

static int no_executable_files(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		return SKIP;
	return refused(-EPERM);
}

/* Rule 2: explicit calls reach the one they name, hook events those that asked, whichever are open. */
static int several_at_once(void)
{
	enum { MANY = 9 };
	struct uhmm_mm *mm[MANY], *explicit_only;
	struct watch w[MANY], we;
	char *p;

	CHECK(open_with(UHMM_MONITOR_EXPLICIT, &explicit_only) == 0);
	for (int i = 0; i < MANY; i++)
		mm[i] = open_hooks();
	uhmm_mm_close(mm[0]);
	uhmm_mm_close(mm[4]);
	p = bare_map(PAGE, 1);
	watch_on(explicit_only, &we, p, PAGE);
	for (int i = 0; i < MANY; i++)
		if (i != 0 && i != 4)
			watch_on(mm[i], &w[i], p, PAGE);
	CHECK(madvise(p, PAGE, MADV_DONTNEED) == 0);
	CHECK(munmap(p, PAGE) == 0);
	for (int i = 0; i < MANY; i++) {
		if (i == 0 || i == 4)
			continue;
		watch_off(&w[i]);
		CHECK(w[i].starts == 2 && w[i].drops == 2);
		uhmm_mm_close(mm[i]);
	}
	watch_off(&we);
	CHECK(we.starts == 0);
	uhmm_mm_close(explicit_only);
	return 0;
}

/* Of aarch64 kernels with pages of 16 or 64 KiB: sysconf() of the program's own goes before libc's. */
static bool large_pages;

__attribute__((no_sanitize("thread"))) /* the sanitizer asks before it is there */
long sysconf(int name)
{
	static long (*libc_sysconf)(int);

	if (name == _SC_PAGESIZE && large_pages)
		return 65536;
	if (!libc_sysconf)
		libc_sysconf = (long (*)(int))(uintptr_t)dlsym(RTLD_NEXT, "sysconf");
	return libc_sysconf(name);
}

static int kernel_with_large_pages(void)
{
	large_pages = true;
	CHECK(refused(-EOPNOTSUPP) == 0);
	large_pages = false;
	uhmm_mm_close(open_hooks());
	return 0;
}

static int options(void)
{
	struct {
		struct uhmm_mm_options options;
		char more[16];
	} newer = {.options = {.size = sizeof(newer), .monitors = UHMM_MONITOR_EXPLICIT}};
	struct uhmm_mm_options o = {.size = sizeof(o), .monitors = UHMM_MONITOR_EXPLICIT};
	struct uhmm_mm *mm = NULL;

	CHECK(uhmm_mm_open(NULL, NULL) == -EINVAL);
	CHECK(uhmm_mm_open(&mm, &newer.options) == 0);
	CHECK(uhmm_mm_monitors(mm) == UHMM_MONITOR_EXPLICIT);
	uhmm_mm_close(mm);
	mm = NULL;
	newer.more[7] = 1;
	CHECK(uhmm_mm_open(&mm, &newer.options) == -E2BIG);
	o.size = sizeof(o) - 1;
	CHECK(uhmm_mm_open(&mm, &o) == -EINVAL);
	o.size = 0;
	CHECK(uhmm_mm_open(&mm, &o) == -EINVAL);
	o.size = (size_t)1 << 40;
	CHECK(uhmm_mm_open(&mm, &o) == -E2BIG);
	CHECK(open_with(UHMM_MONITOR_TRAP, &mm) == -EOPNOTSUPP); /* docs/trap.md */
	CHECK(open_with(UHMM_MONITOR_HOOKS | UHMM_MONITOR_TRAP, &mm) == -EOPNOTSUPP);
	CHECK(open_with(UHMM_MONITOR_KMOD, &mm) == -EOPNOTSUPP);
	CHECK(open_with(1u << 20, &mm) == -EINVAL);
	o = (struct uhmm_mm_options){.size = sizeof(o), .fault_threads = 1};
	CHECK(uhmm_mm_open(&mm, &o) == -EINVAL);
	CHECK(mm == NULL);
	uhmm_mm_close(NULL);
	CHECK(uhmm_mm_open(&mm, NULL) == 0);
	CHECK(uhmm_mm_monitors(mm) & UHMM_MONITOR_EXPLICIT);
	uhmm_mm_close(mm);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	{"a jump in place", jump_there_already},
	{"a breakpoint in place", breakpoint_there_already},
	{"other bytes in place", other_bytes_already},
	{"patched between two opens", patched_between_two_opens},
	{"patched on top of us", patched_on_top_of_us},
	{"write xor execute", write_xor_execute},
	{"no executable files in memory", no_executable_files},
	{"kernel with large pages", kernel_with_large_pages},
	{"several at once", several_at_once},
	{"options", options},
};

static int in_child(int (*run)(void))
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		int rc;

		alarm(30);
		rc = run();
		fflush(stdout);
		_exit(rc);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void)
{
	int failures = 0, skips = 0;
	size_t n = sizeof(cases) / sizeof(cases[0]);

	for (size_t i = 0; i < n; i++) {
		int rc = in_child(cases[i].run);

		printf("%s: %s (%d)\n", cases[i].name, rc == 0 ? "ok" : rc == SKIP ? "skipped" : "FAILED", rc);
		failures += rc != 0 && rc != SKIP;
		skips += rc == SKIP;
		fflush(stdout);
	}
	return failures ? 1 : skips == (int)n ? SKIP : 0;
}
