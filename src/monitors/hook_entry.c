/* SPDX-License-Identifier: MIT */
/*
 * hook_entry.c: where the patched functions lead. Reached by a jump, so the caller's registers, stack and return address are as
 * the caller left them; from there on these are C functions that take six register arguments, whatever the callee's prototype.
 */
#include "monitors/hook_entry.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "core/fast.h"
#include "monitors/hook_calls.h"
#include "monitors/hook_files.h"
#include "monitors/hook_table.h"
#include "monitors/hook_text.h"

/* Written before the entry leads here. */
static struct uhmm_aptr originals[HOOK_CALLS], chained[HOOK_CALLS];

static patch_fn original_of(enum hook_call call)
{
	return (patch_fn)aptr_load_acquire(&originals[call]);
}

static patch_fn chained_of(enum hook_call call)
{
	return (patch_fn)aptr_load_acquire(&chained[call]);
}

/* Written out field by field: an initialiser would clear the rest as well, at a price in every call. */
#define OP(op, nr, a, b, c, d, e, f)                                                                                        \
	struct hook_op op;                                                                                                  \
	op.number = nr, op.original = NULL, op.ranges = 0;                                                                  \
	op.arg[0] = a, op.arg[1] = b, op.arg[2] = c, op.arg[3] = d, op.arg[4] = e, op.arg[5] = f

#define ENTRY(name, nr, prepare)                                                                                            \
	static long name(long a, long b, long c, long d, long e, long f)                                                    \
	{                                                                                                                   \
		OP(op, nr, a, b, c, d, e, f);                                                                               \
		prepare(&op);                                                                                               \
		return hook_run(&op);                                                                                       \
	}

/* libc's functions that are no more than the system call: made here, in this frame (see hook_op.h). */
ENTRY(munmap_any, SYS_munmap, hook_prepare_munmap)
ENTRY(on_mmap, SYS_mmap, hook_prepare_mmap)
ENTRY(on_mremap, SYS_mremap, hook_prepare_mremap)
ENTRY(madvise_any, SYS_madvise, hook_prepare_madvise)
ENTRY(on_shmat, SYS_shmat, hook_prepare_shmat)
ENTRY(on_shmdt, SYS_shmdt, hook_prepare_shmdt)
ENTRY(mprotect_any, SYS_mprotect, hook_prepare_mprotect)
ENTRY(on_remap_file_pages, SYS_remap_file_pages, hook_prepare_remap_file_pages)

/*
 * The call that counts: one listener, not nested, a proper range. The same steps as in hook_run() without a struct hook_op,
 * whose two dozen stores would all have to leave the store buffer before the first locked instruction of the start.
 */
static long on_munmap(long a, long b)
{
	struct hook_record *r = core_thread()->hooks[0];
	struct hook_table *table;
	uintptr_t start = mm_untag((uintptr_t)a), end = hook_end_of(start, (uintptr_t)b);
	struct uhmm_invalidation inv;
	struct uhmm_mm *mm;
	bool lifted;
	int before;
	long result;

	if (__builtin_expect(!r || a64_load_relaxed(&r->word) || !hook_is_aligned(start) || end <= start, 0))
		return munmap_any(a, b, 0, 0, 0, 0);
	table = r->table;
	a64_store_relaxed(&r->word, a64_load_acquire(&table->epoch) << 8 | 1); /* acquire: as in hook_enter() */
	fence_light();
	mm = aptr_load_acquire(&table->mm[0]);
	before = *r->error;
	inv.private_event.start = start, inv.private_event.end = end, inv.private_event.owner = NULL;
	inv.private_event.kind = UHMM_EVENT_UNMAP, inv.private_event.flags = 0;
	if (__builtin_expect(a32_load_relaxed(&table->used) > 1 || !mm || core_start(mm, &inv, start, end) != 0, 0)) {
		hook_leave(r, 0);
		return munmap_any(a, b, 0, 0, 0, 0);
	}
	*r->error = before;
	lifted = __builtin_expect(a32_load_relaxed(&uffd_lifting) != 0, 0) && uffd_lift(start, end);
	result = port_call_3(SYS_munmap, a, b, 0);
	if (__builtin_expect(lifted, 0))
		uffd_lifted(start, end, result != 0);
	core_end(&inv, result == 0 || lifted);
	if (__builtin_expect(result != 0, 0)) {
		before = (int)-result;
		result = -1;
	}
	*r->error = before;
	hook_leave(r, 0);
	return result;
}

static long on_madvise(long a, long b, long c, long d, long e, long f)
{
	struct hook_file_op op = {.call = HOOK_FILE_REMOVE, .arg = {a, b, c}};

	if (__builtin_expect((int)c == MADV_REMOVE, 0))
		return hook_file_run(&op);
	return madvise_any(a, b, c, d, e, f);
}

static long on_mprotect(long a, long b, long c, long d, long e, long f)
{
	if (__builtin_expect(patch_is_text((uintptr_t)a, hook_end_of((uintptr_t)a, (uintptr_t)b)), 0))
		return hook_mprotect_text(a, b, c, NULL);
	return mprotect_any(a, b, c, d, e, f);
}

static long on_process_madvise(long a, long b, long c, long d, long e, long f)
{
	OP(op, SYS_process_madvise, a, b, c, d, e, f);
	return hook_process_madvise(&op);
}

/* These do more: brk() keeps libc's idea of the break, pkey_mprotect() has a case without the system call. */
static long on_brk(long a, long b, long c, long d, long e, long f)
{
	OP(op, SYS_brk, a, b, c, d, e, f);
	op.original = original_of(HOOK_BRK);
	op.wide = false;
	hook_prepare_brk(&op);
	return hook_run(&op);
}

static long on_pkey_mprotect(long a, long b, long c, long d, long e, long f)
{
	OP(op, SYS_pkey_mprotect, a, b, c, d, e, f);
	op.original = original_of(HOOK_PKEY_MPROTECT);
	op.wide = false;
	hook_prepare_mprotect(&op);
	return hook_run(&op);
}

/*
 * A thread's last calls (its stack's pages go back, other stacks are unmapped) come when ThreadSanitizer has already dismantled
 * what it keeps about the thread, so code that it instruments crashes there. Such calls are told by the core having let go
 * of the thread, or, where it never had it, by libc's own signal being blocked. They go unannounced in such builds.
 */
#ifdef PORT_TSAN
#define LIBC_CANCEL (UINT64_C(1) << 31) /* signal 32 */

static __attribute__((no_sanitize("thread"), noinline)) long bare(long number, long a, long b, long c)
{
	const long d = 8; /* the size of a signal mask; the other callers have no fourth argument */

	PORT_CALL_4(number, a, b, c, d);
}

/* As libc gives it. */
static __attribute__((no_sanitize("thread"), noinline)) long bare_as_libc(long number, long a, long b, long c)
{
	long result = bare(number, a, b, c);

	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}

static __attribute__((no_sanitize("thread"), noinline)) bool thread_is_dismantled(void)
{
	/* Not by core_thread(), which is instrumented. */
	const struct core_thread *t = (const struct core_thread *)(const void *)&port_thread_area;
	uint64_t mask = 0;

	if (t->slot || t->slow_only)
		return !t->slot; /* it has taken part; does it still? */
	bare(SYS_rt_sigprocmask, 0, 0, (long)(uintptr_t)&mask);
	return mask & LIBC_CANCEL;
}

static __attribute__((no_sanitize("thread"))) long munmap_entry(long a, long b)
{
	return thread_is_dismantled() ? bare_as_libc(SYS_munmap, a, b, 0) : on_munmap(a, b);
}

static __attribute__((no_sanitize("thread"))) long madvise_entry(long a, long b, long c, long d, long e, long f)
{
	return thread_is_dismantled() ? bare_as_libc(SYS_madvise, a, b, c) : on_madvise(a, b, c, d, e, f);
}
#else
#define munmap_entry on_munmap
#define madvise_entry on_madvise
#endif

static long on_dlclose(long handle)
{
	return hook_dlclose(original_of(HOOK_DLCLOSE), handle);
}

/* ---- calls that take pages from files; what does not concern us goes straight on ---- */

static long on_ftruncate(long a, long b)
{
	const struct hook_file_op op = {
		.call = HOOK_FILE_FTRUNCATE, .arg = {(int)a, b}, .original = original_of(HOOK_FTRUNCATE), .from = {a, b}};

	return hook_file_run(&op);
}

static long on_truncate(long a, long b)
{
	const struct hook_file_op op = {
		.call = HOOK_FILE_TRUNCATE, .arg = {a, b}, .original = original_of(HOOK_TRUNCATE), .from = {a, b}};

	return hook_file_run(&op);
}

static long on_fallocate(long a, long b, long c, long d)
{
	const struct hook_file_op op = {.call = HOOK_FILE_FALLOCATE,
					.arg = {(int)a, (int)b, c, d},
					.original = original_of(HOOK_FALLOCATE),
					.from = {a, b, c, d},
					.cancellation_point = true};

	return hook_file_run(&op);
}

static long open_truncating(patch_fn original, bool cancellation_point, long path, long flags, long mode)
{
	const struct hook_file_op op = {.call = HOOK_FILE_OPENAT,
					.arg = {AT_FDCWD, path, (int)flags, mode},
					.original = original,
					.from = {path, flags, mode},
					.cancellation_point = cancellation_point};

	return hook_file_run(&op);
}

static long on_open(long a, long b, long c)
{
	patch_fn original = original_of(HOOK_OPEN);

	return b & O_TRUNC ? open_truncating(original, true, a, b, c) : original(a, b, c, 0, 0, 0, 0);
}

/* libc's own: fopen() with "c" in its mode, shm_open(), posix_spawn(). */
static long on_open_nocancel(long a, long b, long c)
{
	patch_fn original = original_of(HOOK_OPEN_NOCANCEL);

	return b & O_TRUNC ? open_truncating(original, false, a, b, c) : original(a, b, c, 0, 0, 0, 0);
}

static long on_openat(long a, long b, long c, long d)
{
	patch_fn original = original_of(HOOK_OPENAT);
	const struct hook_file_op op = {.call = HOOK_FILE_OPENAT,
					.arg = {(int)a, b, (int)c, d},
					.original = original,
					.from = {a, b, c, d},
					.cancellation_point = true};

	return c & O_TRUNC ? hook_file_run(&op) : original(a, b, c, d, 0, 0, 0);
}

static long on_creat(long a, long b)
{
	const struct hook_file_op op = {.call = HOOK_FILE_OPENAT,
					.arg = {AT_FDCWD, a, O_CREAT | O_WRONLY | O_TRUNC, b},
					.original = original_of(HOOK_CREAT),
					.from = {a, b},
					.cancellation_point = true};

	return hook_file_run(&op);
}

/*
 * syscall() of anything else must find its stack and return address untouched: it may be a clone() whose child returns on
 * another stack. So the number is looked up before there is a frame, and only a register is used that nobody expects anything
 * in: rax, which the call overwrites anyway, or x16, which belongs to whatever stands between a caller and a function.
 */
#define NUMBERS 512
unsigned char hook_numbers[NUMBERS] __attribute__((visibility("hidden")));
extern struct uhmm_aptr hook_syscall_original __attribute__((visibility("hidden")));
struct uhmm_aptr hook_syscall_original; /* read by the lines in assembly below */

long hook_on_number(long number, long a, long b, long c, long d, long e, long f) __attribute__((visibility("hidden"), used));
long hook_on_number(long number, long a, long b, long c, long d, long e, long f)
{
	enum hook_call call = hook_call_of(number);
	OP(op, number, a, b, c, d, e, f);

	if (hook_is_file_call(number))
		return hook_file_by_number(number, op.arg);
	if (call == HOOK_MADVISE)
		return on_madvise(a, b, c, d, e, f);
	if (call == HOOK_PROCESS_MADVISE)
		return hook_process_madvise(&op);
	hook_prepare_of(call)(&op);
	return hook_run(&op);
}

void hook_on_syscall(void) __attribute__((visibility("hidden")));
#if defined(__x86_64__)
__asm__(".text\n"
	".p2align 4\n"
	".type hook_on_syscall, @function\n"
	"hook_on_syscall:\n"
	"	endbr64\n"
	"	cmpq $511, %rdi\n"
	"	ja 1f\n"
	"	leaq hook_numbers(%rip), %rax\n"
	"	cmpb $0, (%rax,%rdi)\n"
	"	jne hook_on_number\n"
	"1:	jmp *hook_syscall_original(%rip)\n"
	".size hook_on_syscall, .-hook_on_syscall\n");
#else
__asm__(".text\n"
	".p2align 4\n"
	".type hook_on_syscall, %function\n"
	"hook_on_syscall:\n"
	"	hint #34\n" /* bti c */
	"	cmp x0, #512\n"
	"	b.hs 1f\n"
	"	adrp x16, hook_numbers\n"
	"	add x16, x16, :lo12:hook_numbers\n"
	"	ldrb w16, [x16, x0]\n"
	"	cbnz w16, 2f\n"
	"1:	adrp x16, hook_syscall_original\n"
	"	ldr x16, [x16, :lo12:hook_syscall_original]\n"
	"	br x16\n"
	"2:	b hook_on_number\n"
	".size hook_on_syscall, .-hook_on_syscall\n");
#endif

/* ---- where somebody else's jump was at the entry: what it led to is called in place of the system call ---- */

#ifdef PORT_TSAN
#define IF_DISMANTLED(nr, a, b, c)                                                                                          \
	if (thread_is_dismantled())                                                                                         \
	return bare_as_libc(nr, a, b, c)
#else
#define IF_DISMANTLED(nr, a, b, c)
#endif

#define CHAINED(name, call, nr, prepare, is_wide)                                                                           \
	static long chained_##name(long a, long b, long c, long d, long e, long f)                                          \
	{                                                                                                                   \
		OP(op, nr, a, b, c, d, e, f);                                                                               \
		op.original = chained_of(call), op.wide = is_wide;                                                          \
		prepare(&op);                                                                                               \
		return hook_run(&op);                                                                                       \
	}

CHAINED(munmap, HOOK_MUNMAP, SYS_munmap, hook_prepare_munmap, false)
CHAINED(mmap, HOOK_MMAP, SYS_mmap, hook_prepare_mmap, true)
CHAINED(mremap, HOOK_MREMAP, SYS_mremap, hook_prepare_mremap, true)
CHAINED(madvise_any, HOOK_MADVISE, SYS_madvise, hook_prepare_madvise, false)
CHAINED(brk, HOOK_BRK, SYS_brk, hook_prepare_brk, false)
CHAINED(shmat, HOOK_SHMAT, SYS_shmat, hook_prepare_shmat, true)
CHAINED(shmdt, HOOK_SHMDT, SYS_shmdt, hook_prepare_shmdt, false)
CHAINED(mprotect_any, HOOK_MPROTECT, SYS_mprotect, hook_prepare_mprotect, false)
CHAINED(pkey_mprotect, HOOK_PKEY_MPROTECT, SYS_pkey_mprotect, hook_prepare_mprotect, false)
CHAINED(remap_file_pages, HOOK_REMAP_FILE_PAGES, SYS_remap_file_pages, hook_prepare_remap_file_pages, false)

static long chained_madvise(long a, long b, long c, long d, long e, long f)
{
	const struct hook_file_op op = {
		.call = HOOK_FILE_REMOVE, .arg = {a, b, c}, .original = chained_of(HOOK_MADVISE), .from = {a, b, c}};

	if ((int)c == MADV_REMOVE)
		return hook_file_run(&op);
	return chained_madvise_any(a, b, c, d, e, f);
}

static long chained_mprotect(long a, long b, long c, long d, long e, long f)
{
	if (patch_is_text((uintptr_t)a, hook_end_of((uintptr_t)a, (uintptr_t)b)))
		return hook_mprotect_text(a, b, c, chained_of(HOOK_MPROTECT));
	return chained_mprotect_any(a, b, c, d, e, f);
}

static long chained_process_madvise(long a, long b, long c, long d, long e, long f)
{
	OP(op, SYS_process_madvise, a, b, c, d, e, f);
	op.original = chained_of(HOOK_PROCESS_MADVISE), op.wide = true;
	return hook_process_madvise(&op);
}

static long chained_dlclose(long handle)
{
	return hook_dlclose(chained_of(HOOK_DLCLOSE), handle);
}

#ifdef PORT_TSAN
static __attribute__((no_sanitize("thread"))) long chained_munmap_entry(long a, long b)
{
	IF_DISMANTLED(SYS_munmap, a, b, 0);
	return chained_munmap(a, b, 0, 0, 0, 0);
}

static __attribute__((no_sanitize("thread"))) long chained_madvise_entry(long a, long b, long c)
{
	IF_DISMANTLED(SYS_madvise, a, b, c);
	return chained_madvise(a, b, c, 0, 0, 0);
}
#else
#define chained_munmap_entry chained_munmap
#define chained_madvise_entry chained_madvise
#endif

#define SITE(call, symbol, fn, chained_fn, how)                                                                             \
	[call] = {.name = symbol,                                                                                           \
		  .hook = (void (*)(void))(fn),                                                                             \
		  .original = &originals[call],                                                                             \
		  .chained_hook = (void (*)(void))(chained_fn),                                                             \
		  .chained = &chained[call],                                                                                \
		  .need = how}

static struct patch_site sites[HOOK_CALLS] = {
	SITE(HOOK_MUNMAP, "munmap", munmap_entry, chained_munmap_entry, PATCH_REQUIRED),
	SITE(HOOK_MMAP, "mmap", on_mmap, chained_mmap, PATCH_REQUIRED),
	SITE(HOOK_MREMAP, "mremap", on_mremap, chained_mremap, PATCH_REQUIRED),
	SITE(HOOK_MADVISE, "madvise", madvise_entry, chained_madvise_entry, PATCH_REQUIRED),
	SITE(HOOK_PROCESS_MADVISE, "process_madvise", on_process_madvise, chained_process_madvise, PATCH_IF_THERE),
	SITE(HOOK_BRK, "brk", on_brk, chained_brk, PATCH_REQUIRED),
	SITE(HOOK_SHMAT, "shmat", on_shmat, chained_shmat, PATCH_REQUIRED),
	SITE(HOOK_SHMDT, "shmdt", on_shmdt, chained_shmdt, PATCH_REQUIRED),
	SITE(HOOK_MPROTECT, "mprotect", on_mprotect, chained_mprotect, PATCH_REQUIRED),
	SITE(HOOK_PKEY_MPROTECT, "pkey_mprotect", on_pkey_mprotect, chained_pkey_mprotect, PATCH_IF_THERE),
	SITE(HOOK_REMAP_FILE_PAGES, "remap_file_pages", on_remap_file_pages, chained_remap_file_pages, PATCH_IF_THERE),
	[HOOK_SYSCALL] = {.name = "syscall",
			  .hook = hook_on_syscall,
			  .original = &hook_syscall_original,
			  .need = PATCH_REQUIRED},
	SITE(HOOK_DLCLOSE, "dlclose", on_dlclose, chained_dlclose, PATCH_REQUIRED),
	SITE(HOOK_FTRUNCATE, "ftruncate", on_ftruncate, NULL, PATCH_IF_POSSIBLE),
	SITE(HOOK_TRUNCATE, "truncate", on_truncate, NULL, PATCH_IF_POSSIBLE),
	SITE(HOOK_FALLOCATE, "fallocate", on_fallocate, NULL, PATCH_IF_POSSIBLE),
	SITE(HOOK_OPEN, "open", on_open, NULL, PATCH_IF_POSSIBLE),
	SITE(HOOK_OPEN_NOCANCEL, "__open64_nocancel", on_open_nocancel, NULL, PATCH_IF_POSSIBLE),
	SITE(HOOK_OPENAT, "openat", on_openat, NULL, PATCH_IF_POSSIBLE),
	SITE(HOOK_CREAT, "creat", on_creat, NULL, PATCH_IF_POSSIBLE),
};

void hook_sites_resolve(void)
{
	patch_resolve(sites, HOOK_CALLS);
}

/* Before any entry is patched. */
struct patch_site *hook_sites(size_t *n)
{
	*n = HOOK_CALLS;
	for (long number = 0; number < NUMBERS; number++)
		hook_numbers[number] = hook_is_mapping_call(number) || hook_is_file_call(number);
	return sites;
}
