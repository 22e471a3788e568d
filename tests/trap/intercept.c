/* SPDX-License-Identifier: MIT */
/*
 * intercept.c: an interceptor by SIGSYS, which a seccomp filter (TRAP, TRAP_MASKS) or dispatch sends to the thread that makes
 * the call. The signal is forced: where it is blocked, ignored or left to its default, the process dies.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>

#include "trap.h"

struct sighting seen;
bool look_at_pages = true;

int byte_at(const void *page)
{
	unsigned char byte;
	struct iovec local = {.iov_base = &byte, .iov_len = 1}, remote = {.iov_base = (void *)(uintptr_t)page, .iov_len = 1};
	long pid = gate_call(SYS_getpid, 0, 0, 0, 0, 0, 0);

	return gate_call(SYS_process_vm_readv, pid, (long)&local, 1, (long)&remote, 1, 0) == 1 ? byte : -1;
}

static uint64_t *mask_of(ucontext_t *context)
{
	return (uint64_t *)&context->uc_sigmask; /* the kernel's are eight bytes */
}

/* rt_sigprocmask for the interrupted thread, whose mask comes back with the handler's return; SIGSYS never gets in. */
static long set_mask(ucontext_t *context, long how, const uint64_t *set, uint64_t *old)
{
	const uint64_t sigsys = UINT64_C(1) << (SIGSYS - 1);
	uint64_t was = *mask_of(context);

	if (set && how == SIG_BLOCK)
		*mask_of(context) |= *set & ~sigsys;
	else if (set && how == SIG_UNBLOCK)
		*mask_of(context) &= ~*set;
	else if (set)
		*mask_of(context) = *set & ~sigsys;
	if (old)
		*old = was;
	return 0;
}

static bool is_mapping_call(long number)
{
	for (const long *n = mapping_calls; *n >= 0; n++)
		if (*n == number)
			return true;
	return false;
}

static void on_sigsys(int sig, siginfo_t *info, void *opaque)
{
	ucontext_t *context = opaque;
	greg_t *r = context->uc_mcontext.gregs;
	bool counts = look_at_pages && is_mapping_call(info->si_syscall);
	const void *at = (const void *)r[REG_RDI];

	(void)sig;
	seen.all++;
	if (info->si_syscall == SYS_rt_sigprocmask) {
		r[REG_RAX] = set_mask(context, r[REG_RDI], (const uint64_t *)r[REG_RSI], (uint64_t *)r[REG_RDX]);
		return;
	}
	if (counts) {
		seen.calls++;
		seen.number = info->si_syscall;
		seen.before = byte_at(at);
	}
	r[REG_RAX] = gate_call(info->si_syscall, r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]);
	if (counts)
		seen.after = byte_at(at);
}

/* With a way back through the gate: libc's own is intercepted by dispatch like everything else. */
int set_action(int sig, void (*fn)(int, siginfo_t *, void *), int flags, uint64_t mask)
{
	struct {
		void (*fn)(int, siginfo_t *, void *);
		unsigned long flags;
		char *restorer;
		uint64_t mask;
	} action = {fn, (unsigned long)(flags | SA_SIGINFO | 0x04000000 /* SA_RESTORER */), gate_sigreturn, mask};

	return (int)bare_call(SYS_rt_sigaction, sig, (long)&action, 0, sizeof(mask), 0, 0);
}

static volatile char selector;

void dispatch_pause(bool pause)
{
	selector = pause ? SYSCALL_DISPATCH_FILTER_ALLOW : SYSCALL_DISPATCH_FILTER_BLOCK;
}

int intercept(enum way way)
{
	struct filter_spec spec = {
		.action = SECCOMP_RET_TRAP,
		.flags = SECCOMP_FILTER_FLAG_TSYNC,
		.numbers = way == TRAP_MASKS ? mapping_and_mask_calls : mapping_calls,
		.only_own_text = way == TRAP_OWN_TEXT,
	};

	memset(&seen, 0, sizeof(seen));
	if (way == NO_WAY)
		return 0;
	if (set_action(SIGSYS, on_sigsys, SA_NODEFER, 0))
		return -1;
	if (way != DISPATCH)
		return filter_install(&spec);
	dispatch_pause(true);
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, gate_start, gate_end - gate_start, &selector))
		return -errno;
	dispatch_pause(false);
	return 0;
}

/* ---- inline calls ---- */

char *map_inline(size_t len, int fill)
{
	long p = bare_call(SYS_mmap, 0, (long)len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p < 0 && p > -4096)
		return NULL;
	memset((void *)p, fill, len);
	return (char *)p;
}

long unmap_inline(void *at, size_t len)
{
	return bare_call(SYS_munmap, (long)at, (long)len, 0, 0, 0, 0);
}

int send_self(int sig)
{
	long pid = bare_call(SYS_getpid, 0, 0, 0, 0, 0, 0), tid = bare_call(SYS_gettid, 0, 0, 0, 0, 0, 0);

	return (int)bare_call(SYS_tgkill, pid, tid, sig, 0, 0, 0);
}

bool block_all_signals(void)
{
	uint64_t all = ~UINT64_C(0);

	return bare_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof(all), 0, 0) == 0;
}
