/* SPDX-License-Identifier: MIT */
/*
 * entries.c: libc's mapping functions. They are patched as the library's hooks are (src/monitors/patch.h), and what each does
 * to which range is asked of the same table (src/monitors/hook_calls.h). Why not a notifier over the whole address space:
 *
 *   - an address space has a service thread. A program with one thread more is no longer the same program: unshare() and
 *     setns() fail, malloc and stdio lock;
 *   - a notifier hears which pages change, not by which call, nor of calls that failed, and memory that is handed out
 *     comes to it as an unmap;
 *   - every call would go the slow way, through callbacks, from where the caller is some frames further.
 */
#include "inside.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "monitors/hook_calls.h"
#include "monitors/patch.h"
#include "monitors/proc.h"
#include "port/linux_new.h"
#include "port/sync.h"

enum {
	SITE_MUNMAP,
	SITE_MMAP,
	SITE_MREMAP,
	SITE_MADVISE,
	SITE_PROCESS_MADVISE,
	SITE_BRK,
	SITE_SHMAT,
	SITE_SHMDT,
	SITE_MPROTECT,
	SITE_PKEY_MPROTECT,
	SITE_REMAP_FILE_PAGES,
	SITE_DLCLOSE,
	SITES
};

static struct uhmm_aptr originals[SITES]; /* written before the entry leads here */

static patch_fn original_of(unsigned site)
{
	return (patch_fn)aptr_load_acquire(&originals[site]);
}

typedef long (*syscall_fn)(long, long, long, long, long, long, long);
extern syscall_fn watch_syscall_real __attribute__((visibility("hidden")));

/* ---- what it was ---- */

static enum watch_kind kind_of_advice(long advice)
{
	return advice == MADV_DONTNEED ? WATCH_DONTNEED : advice == MADV_FREE ? WATCH_FREE : WATCH_ADVICE;
}

static enum watch_kind kind_of(const struct hook_op *op)
{
	switch (op->number) {
	case SYS_munmap:
		return WATCH_MUNMAP;
	case SYS_mmap:
		return op->ranges ? WATCH_MMAP_FIXED : WATCH_MMAP;
	case SYS_mremap:
		return op->result != op->arg[0] ? WATCH_MREMAP_MOVE : WATCH_MREMAP_SIZE;
	case SYS_brk:
		return op->ranges ? WATCH_BRK_DOWN : WATCH_BRK_UP;
	case SYS_shmat:
		return WATCH_SHMAT;
	case SYS_shmdt:
		return WATCH_SHMDT;
	case SYS_remap_file_pages:
		return WATCH_REMAP_FILE;
	case SYS_madvise:
		return kind_of_advice(op->arg[2]);
	default:
		return WATCH_PROTECT;
	}
}

/* Pages that a device holds stay what they are under another protection, and are not taken by MADV_FREE. */
static bool takes_pages(enum watch_kind kind)
{
	return kind != WATCH_PROTECT && kind != WATCH_FREE;
}

/* What hooks of today's caches announce: UCX's and libfabric's both know these calls, and DONTNEED. */
static enum watch_cause cause_of(const struct hook_op *op, bool by_number, uint32_t range)
{
	if (by_number)
		return WATCH_BY_NUMBER;
	if (op->number == SYS_madvise && op->arg[2] != MADV_DONTNEED && op->arg[2] != MADV_REMOVE)
		return WATCH_UNKNOWN_CALL;
	if (op->number == SYS_remap_file_pages || op->number == SYS_process_madvise)
		return WATCH_UNKNOWN_CALL;
	return op->number == SYS_mremap && range == 1 ? WATCH_ONTO : WATCH_HEARD;
}

static uint64_t length(uintptr_t start, uintptr_t end)
{
	return start < end ? end - start : 0;
}

static uint64_t bytes_of(const struct hook_op *op, enum watch_kind kind)
{
	if (kind == WATCH_MREMAP_MOVE)
		return (uint64_t)mm_page_ceil((uintptr_t)op->arg[2]);
	return op->ranges ? length(op->range[0].start, op->range[0].end) : length(op->given_start, op->given_end);
}

/* ---- one call ---- */

struct call {
	struct hook_op op;
	struct watch_state *s;
	uint64_t start_ns;
	uintptr_t caller;
	bool by_number;
};

static void announce(struct call *c)
{
	for (uint32_t i = 0; i < c->op.ranges; i++)
		if (cause_of(&c->op, c->by_number, i) == WATCH_HEARD)
			watch_shadow_announce(c->s, &watch_self,
					      (struct watch_range){c->op.range[i].start, c->op.range[i].end});
}

static void tell_shadow(struct call *c, enum watch_kind kind, uint32_t site)
{
	const struct hook_op *op = &c->op;

	for (uint32_t i = 0; i < op->ranges; i++)
		if (op->range[i].changed)
			watch_shadow_changed(c->s, &watch_self, (struct watch_range){op->range[i].start, op->range[i].end},
					     kind, cause_of(op, c->by_number, i), site);
	if (op->given_start < op->given_end)
		watch_shadow_changed(c->s, &watch_self, (struct watch_range){op->given_start, op->given_end}, kind,
				     WATCH_UNSEEN, site);
}

static void conclude(struct call *c)
{
	struct hook_op *op = &c->op;
	struct watch_change change = {
		.kind = kind_of(op), .failed = hook_failed(op), .start_ns = c->start_ns, .caller = c->caller};
	uint32_t site;

	change.ns = watch_now_ns() - c->start_ns;
	change.bytes = bytes_of(op, change.kind);
	change.addr = op->ranges ? op->range[0].start : op->given_start;
	/* Nothing that was ever there is touched by a question, nor by a failure before anything was done. */
	if (!op->ranges && op->given_start >= op->given_end && !change.failed && change.kind != WATCH_SHMDT)
		return;
	site = watch_note(c->s, &watch_self, &change);
	if (takes_pages(change.kind))
		tell_shadow(c, change.kind, site);
}

/* Advice that changes no page is nobody's business. */
static bool is_advice_only(const struct hook_op *op)
{
	enum uhmm_event_kind kind;

	return op->number == SYS_madvise && !hook_advice(op->arg[2], &kind);
}

/* As the program would have made it. */
static void make(struct call *c, int *error)
{
	const long *a = c->op.arg;

	if (!c->by_number) {
		hook_call_now(&c->op, error);
		return;
	}
	c->op.result = watch_syscall_real(c->op.number, a[0], a[1], a[2], a[3], a[4], a[5]);
	c->op.outcome(&c->op);
}

/* The call itself and what there is to say of it. errno is as the call left it. */
static void run(struct call *c)
{
	int *error = &errno;
	int saved;

	if (c->s) {
		announce(c);
		c->start_ns = watch_now_ns();
	}
	make(c, error);
	saved = *error;
	if (c->s)
		conclude(c);
	*error = saved;
}

static __attribute__((noinline)) long observe(struct call *c, hook_prepare prepare)
{
	struct watch_state *s = watch_enter(&watch_self);
	int saved = errno;

	prepare(&c->op);
	errno = saved;
	c->s = is_advice_only(&c->op) ? NULL : s;
	run(c);
	if (s)
		watch_leave(&watch_self);
	return c->op.result;
}

#define CALL(c, nr, ...)                                                                                                       \
	struct call c = {.op = {.number = nr, .arg = {__VA_ARGS__}}, .caller = (uintptr_t)__builtin_return_address(0)}

#define ENTRY(name, nr, prepare)                                                                                               \
	static long name(long a, long b, long c, long d, long e, long f)                                                       \
	{                                                                                                                      \
		CALL(call, nr, a, b, c, d, e, f);                                                                              \
		return observe(&call, prepare);                                                                                \
	}

ENTRY(on_munmap, SYS_munmap, hook_prepare_munmap)
ENTRY(on_mmap, SYS_mmap, hook_prepare_mmap)
ENTRY(on_mremap, SYS_mremap, hook_prepare_mremap)
ENTRY(on_madvise, SYS_madvise, hook_prepare_madvise)
ENTRY(on_shmat, SYS_shmat, hook_prepare_shmat)
ENTRY(on_shmdt, SYS_shmdt, hook_prepare_shmdt)
ENTRY(on_mprotect, SYS_mprotect, hook_prepare_mprotect)
ENTRY(on_remap_file_pages, SYS_remap_file_pages, hook_prepare_remap_file_pages)

/* These do more than the system call: see src/monitors/hook_entry.c. */
static long on_brk(long a, long b, long c, long d, long e, long f)
{
	CALL(call, SYS_brk, a, b, c, d, e, f);
	call.op.original = original_of(SITE_BRK);
	return observe(&call, hook_prepare_brk);
}

static long on_pkey_mprotect(long a, long b, long c, long d, long e, long f)
{
	CALL(call, SYS_pkey_mprotect, a, b, c, d, e, f);
	call.op.original = original_of(SITE_PKEY_MPROTECT);
	return observe(&call, hook_prepare_mprotect);
}

/* ---- process_madvise: several ranges, of which the kernel says how far it came ---- */

static void note_vector(struct watch_state *s, const struct call *c)
{
	const struct iovec *v = (const struct iovec *)(uintptr_t)c->op.arg[1];
	uint64_t left = (uint64_t)c->op.result;

	for (; left; v++) {
		uint64_t len = v->iov_len < left ? v->iov_len : left;
		struct watch_change change = {.kind = kind_of_advice(c->op.arg[3]),
					      .bytes = len,
					      .addr = (uintptr_t)v->iov_base,
					      .start_ns = c->start_ns,
					      .ns = watch_now_ns() - c->start_ns,
					      .caller = c->caller};
		struct watch_range range = {change.addr, hook_end_of(change.addr, len)};
		uint32_t site = watch_note(s, &watch_self, &change);

		if (takes_pages(change.kind))
			watch_shadow_changed(s, &watch_self, range, change.kind, cause_of(&c->op, c->by_number, 0), site);
		left -= len;
	}
}

static long observe_vector(struct call *c)
{
	struct watch_state *s = watch_enter(&watch_self);
	enum uhmm_event_kind kind;
	int *error = &errno;
	int saved;

	const long *a = c->op.arg;

	c->start_ns = watch_now_ns();
	if (c->by_number)
		c->op.result = watch_syscall_real(c->op.number, a[0], a[1], a[2], a[3], a[4], a[5]);
	else
		c->op.result = hook_bare_call(&c->op, error);
	saved = *error;
	if (s && c->op.result > 0 && hook_advice(c->op.arg[3], &kind) && proc_pidfd_is_self((int)c->op.arg[0]))
		note_vector(s, c);
	if (s)
		watch_leave(&watch_self);
	*error = saved;
	return c->op.result;
}

static long on_process_madvise(long a, long b, long c, long d, long e, long f)
{
	CALL(call, SYS_process_madvise, a, b, c, d, e, f);
	return observe_vector(&call);
}

/* ---- dlclose: the unmapping happens inside the dynamic linker ---- */

#pragma weak _dl_find_object

static void note_unloaded(struct watch_state *s, const struct dl_find_object *o, uint64_t start_ns, uintptr_t caller)
{
	struct watch_range range = {(uintptr_t)o->dlfo_map_start, (uintptr_t)o->dlfo_map_end};
	struct watch_change change = {.kind = WATCH_DLCLOSE,
				      .addr = range.start,
				      .bytes = range.end - range.start,
				      .start_ns = start_ns,
				      .ns = watch_now_ns() - start_ns,
				      .caller = caller};
	uint32_t site = watch_note(s, &watch_self, &change);

	watch_shadow_changed(s, &watch_self, range, WATCH_DLCLOSE, WATCH_UNKNOWN_CALL, site);
	watch_forget_sites(s);
}

static long on_dlclose(long handle)
{
	const struct link_map *map = (const struct link_map *)handle;
	uint64_t start_ns = watch_now_ns();
	struct dl_find_object o, after;
	bool known = map && _dl_find_object && _dl_find_object(map->l_ld, &o) == 0;
	long result = (int)original_of(SITE_DLCLOSE)(handle, 0, 0, 0, 0, 0, 0);
	struct watch_state *s;

	if (result || !known || _dl_find_object(o.dlfo_map_start, &after) == 0)
		return result; /* it stays for others who have opened it */
	s = watch_enter(&watch_self);
	if (s) {
		note_unloaded(s, &o, start_ns, (uintptr_t)__builtin_return_address(0));
		watch_leave(&watch_self);
	}
	return result;
}

/*
 * ---- syscall() ----
 *
 * In front of libc's by the order of symbol look-up, not patched: a program's own copy of this library patches that one, and
 * cannot chain to a hook without a frame. As in src/monitors/hook_entry.c, what is not a mapping call finds its stack and
 * return address untouched, because it may be a clone() whose child returns on another stack.
 */

/* Before the constructor has looked for libc's. */
static long early_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long result = watch_call(number, a, b, c, d, e, f);

	if ((unsigned long)result <= -4096ul)
		return result;
	errno = (int)-result;
	return -1;
}

unsigned char watch_numbers[512] __attribute__((visibility("hidden")));
syscall_fn watch_syscall_real = early_syscall; /* written by the constructor */

long watch_on_number(long number, long a, long b, long c, long d, long e, long f) __attribute__((visibility("hidden"), used));
long watch_on_number(long number, long a, long b, long c, long d, long e, long f)
{
	CALL(call, number, a, b, c, d, e, f);
	call.by_number = true;
	if (number == SYS_process_madvise)
		return observe_vector(&call);
	return observe(&call, hook_prepare_of(hook_call_of(number)));
}

__asm__(".text\n"
	".p2align 4\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	endbr64\n"
	"	cmpq $511, %rdi\n"
	"	ja 1f\n"
	"	leaq watch_numbers(%rip), %rax\n"
	"	cmpb $0, (%rax,%rdi)\n"
	"	jne watch_on_number\n"
	"1:	jmp *watch_syscall_real(%rip)\n"
	".size syscall, .-syscall\n");

/* Who patched an entry before this constructor came is not chained to: then nothing is watched, and that is said. */
#define SITE(place, symbol, fn, how)                                                                                           \
	[place] = {.name = symbol, .hook = (void (*)(void))(fn), .original = &originals[place], .need = how}

static struct patch_site sites[SITES] = {
	SITE(SITE_MUNMAP, "munmap", on_munmap, PATCH_REQUIRED),
	SITE(SITE_MMAP, "mmap", on_mmap, PATCH_REQUIRED),
	SITE(SITE_MREMAP, "mremap", on_mremap, PATCH_REQUIRED),
	SITE(SITE_MADVISE, "madvise", on_madvise, PATCH_REQUIRED),
	SITE(SITE_PROCESS_MADVISE, "process_madvise", on_process_madvise, PATCH_IF_THERE),
	SITE(SITE_BRK, "brk", on_brk, PATCH_REQUIRED),
	SITE(SITE_SHMAT, "shmat", on_shmat, PATCH_REQUIRED),
	SITE(SITE_SHMDT, "shmdt", on_shmdt, PATCH_REQUIRED),
	SITE(SITE_MPROTECT, "mprotect", on_mprotect, PATCH_REQUIRED),
	SITE(SITE_PKEY_MPROTECT, "pkey_mprotect", on_pkey_mprotect, PATCH_IF_THERE),
	SITE(SITE_REMAP_FILE_PAGES, "remap_file_pages", on_remap_file_pages, PATCH_IF_THERE),
	SITE(SITE_DLCLOSE, "dlclose", on_dlclose, PATCH_REQUIRED),
};

/* Those that go through the table of hook_calls.h. */
static const short numbers[] = {
	SYS_munmap, SYS_mmap,  SYS_mremap,   SYS_madvise,       SYS_process_madvise,  SYS_brk,
	SYS_shmat,  SYS_shmdt, SYS_mprotect, SYS_pkey_mprotect, SYS_remap_file_pages,
};

bool watch_entries_overwritten(void)
{
	return !patch_is_whole();
}

void watch_syscall_setup(void)
{
	syscall_fn real = (syscall_fn)dlsym(RTLD_NEXT, "syscall");

	if (real)
		watch_syscall_real = real;
}

int watch_entries_install(const char **status)
{
	int err;

	sync_heavy_barrier_setup();
	patch_resolve(sites, SITES);
	err = patch_install(sites, SITES);
	*status = patch_status();
	for (size_t i = 0; !err && i < sizeof(numbers) / sizeof(numbers[0]); i++)
		watch_numbers[numbers[i]] = 1;
	return err;
}
