/* SPDX-License-Identifier: MIT */
/*
 * hook_entry.c: where the patched functions lead. Reached by a jump, so the caller's registers, stack and return address are as
 * the caller left them; from there on these are C functions that take six register arguments, whatever the callee's prototype.
 */
#include "monitors/hook_entry.h"

#include <sys/syscall.h>

#include "core/fast.h"
#include "monitors/hook_calls.h"
#include "monitors/hook_table.h"

/* Written before the entry leads here. */
static struct uhmm_aptr originals[HOOK_CALLS];

static patch_fn original_of(enum hook_call call)
{
	return (patch_fn)aptr_load_acquire(&originals[call]);
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
ENTRY(on_madvise, SYS_madvise, hook_prepare_madvise)
ENTRY(on_shmat, SYS_shmat, hook_prepare_shmat)
ENTRY(on_shmdt, SYS_shmdt, hook_prepare_shmdt)
ENTRY(on_mprotect, SYS_mprotect, hook_prepare_mprotect)
ENTRY(on_remap_file_pages, SYS_remap_file_pages, hook_prepare_remap_file_pages)

/*
 * The call that counts: one listener, not nested, a proper range. The same steps as in hook_run() without a struct hook_op,
 * whose two dozen stores would all have to leave the store buffer before the first locked instruction of the start.
 */
static long on_munmap(long a, long b)
{
	struct hook_record *r = core_thread()->hooks[0];
	struct hook_table *table;
	uintptr_t start = (uintptr_t)a, end = hook_end_of(start, (uintptr_t)b);
	struct uhmm_invalidation inv;
	struct uhmm_mm *mm;
	int before;
	long result;

	if (__builtin_expect(!r || a64_load_relaxed(&r->word) || !hook_is_aligned(start) || end <= start, 0))
		return munmap_any(a, b, 0, 0, 0, 0);
	table = r->table;
	a64_store_relaxed(&r->word, a64_load_relaxed(&table->epoch) << 8 | 1);
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
	result = port_call_3(SYS_munmap, a, b, 0);
	core_end(&inv, result == 0);
	if (__builtin_expect(result != 0, 0)) {
		before = (int)-result;
		result = -1;
	}
	*r->error = before;
	hook_leave(r, 0);
	return result;
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
	hook_prepare_brk(&op);
	return hook_run(&op);
}

static long on_pkey_mprotect(long a, long b, long c, long d, long e, long f)
{
	OP(op, SYS_pkey_mprotect, a, b, c, d, e, f);
	op.original = original_of(HOOK_PKEY_MPROTECT);
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
	register long r10 __asm__("r10") = 8; /* the size of a signal mask; the other callers have no fourth argument */
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
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

/*
 * syscall() of anything else must find its stack and return address untouched: it may be a clone() whose child returns on
 * another stack. So the number is looked up before there is a frame, and only rax is used, which the call overwrites anyway.
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

	if (call == HOOK_PROCESS_MADVISE)
		return hook_process_madvise(&op);
	hook_prepare_of(call)(&op);
	return hook_run(&op);
}

void hook_on_syscall(void) __attribute__((visibility("hidden")));
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

#define SITE(call, symbol, fn, must)                                                                                        \
	[call] = {.name = symbol, .hook = (void (*)(void))(fn), .original = &originals[call], .required = must}

static struct patch_site sites[HOOK_CALLS] = {
	SITE(HOOK_MUNMAP, "munmap", munmap_entry, true),
	SITE(HOOK_MMAP, "mmap", on_mmap, true),
	SITE(HOOK_MREMAP, "mremap", on_mremap, true),
	SITE(HOOK_MADVISE, "madvise", madvise_entry, true),
	SITE(HOOK_PROCESS_MADVISE, "process_madvise", on_process_madvise, false),
	SITE(HOOK_BRK, "brk", on_brk, true),
	SITE(HOOK_SHMAT, "shmat", on_shmat, true),
	SITE(HOOK_SHMDT, "shmdt", on_shmdt, true),
	SITE(HOOK_MPROTECT, "mprotect", on_mprotect, true),
	SITE(HOOK_PKEY_MPROTECT, "pkey_mprotect", on_pkey_mprotect, false),
	SITE(HOOK_REMAP_FILE_PAGES, "remap_file_pages", on_remap_file_pages, false),
	[HOOK_SYSCALL] = {.name = "syscall", .hook = hook_on_syscall, .original = &hook_syscall_original, .required = true},
	SITE(HOOK_DLCLOSE, "dlclose", on_dlclose, true),
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
		hook_numbers[number] = hook_is_mapping_call(number);
	return sites;
}
