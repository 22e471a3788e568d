/* SPDX-License-Identifier: MIT */
/* support.c: watchdog, randomness, raw calls, page identities and their ledger. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "races.h"

static atomic_uint_fast64_t progress;
static unsigned watchdog_s;

void race_die(const char *what, ...)
{
	va_list ap;

	va_start(ap, what);
	vfprintf(stderr, what, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(1);
}

void race_progress(void)
{
	atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
}

/* SIGALRM and not a thread: it also ends a process all of whose threads hang. Only async-signal-safe calls. */
static void on_alarm(int sig)
{
	static uint_fast64_t last = UINT64_MAX;
	uint_fast64_t now = atomic_load_explicit(&progress, memory_order_relaxed);
	static const char line[] = "HANG: nothing moved\n";

	(void)sig;
	if (now == last) {
		(void)!write(2, line, sizeof(line) - 1);
		_exit(1);
	}
	last = now;
	alarm(watchdog_s);
}

void race_watchdog(unsigned seconds)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };

	watchdog_s = seconds;
	sigaction(SIGALRM, &sa, NULL);
	alarm(seconds);
}

void race_watchdog_off(void)
{
	alarm(0);
}

uint64_t race_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void race_spin(uint64_t turns)
{
	for (uint64_t i = 0; i < turns; i++)
		__asm__ volatile("" ::: "memory");
}

void race_delay(uint64_t turns_max, uint64_t *seed)
{
	uint64_t r;

	if (!turns_max)
		return;
	r = race_random(seed);
	race_spin((r >> 8) % turns_max);
	if (r % 16 == 0)
		sched_yield();
}

void race_pause(unsigned *spins)
{
	/* With fewer processors than threads only the scheduler can help. */
	if (++*spins % 64 == 0)
		sched_yield();
	else
		race_spin(8);
}

void *race_map_page(void)
{
	/* Where the kernel puts nothing by itself, so that nobody else is given the hole that a change makes. */
	unsigned char *p = mmap((void *)0x7ea000000000, 3 * RACE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + RACE_PAGE, RACE_PAGE, PROT_READ | PROT_WRITE))
		race_die("no page to race for: %s", strerror(errno));
	return p + RACE_PAGE;
}

/* Where this thread goes on when the page that it looks at is not there. */
static _Thread_local sigjmp_buf *fault_to;

static void on_fault(int sig)
{
	if (!fault_to) {
		signal(sig, SIG_DFL); /* a fault of ours: happens again and ends the process */
		return;
	}
	siglongjmp(*fault_to, 1);
}

void race_catch_faults(void)
{
	/* NODEFER, so that leaving by siglongjmp need not restore a mask, which would be a system call for each look. */
	struct sigaction sa = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

static atomic_uint_fast64_t next_identity = 1;

/* What is there may change under us in ways that no compiler or sanitizer knows of, hence assembly where possible. */
static uint64_t peek(void *addr)
{
#if defined(__x86_64__)
	uint64_t v;

	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*(uint64_t *)addr) : "memory");
	return v;
#else
	return __atomic_load_n((uint64_t *)addr, __ATOMIC_ACQUIRE);
#endif
}

/* Stores v if zero is there; what was there. */
static uint64_t claim(void *addr, uint64_t v)
{
	uint64_t seen = 0;

#if defined(__x86_64__)
	__asm__ volatile("lock cmpxchgq %2, %1" : "+a"(seen), "+m"(*(uint64_t *)addr) : "r"(v) : "memory", "cc");
#else
	__atomic_compare_exchange_n((uint64_t *)addr, &seen, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
#endif
	return seen;
}

uint64_t race_identity(void *addr)
{
	sigjmp_buf here;
	uint64_t seen, fresh;

	if (sigsetjmp(here, 0)) {
		fault_to = NULL;
		return 0;
	}
	fault_to = &here;
	atomic_signal_fence(memory_order_seq_cst);
	seen = peek(addr);
	if (!seen) {
		fresh = atomic_fetch_add_explicit(&next_identity, 1, memory_order_relaxed);
		seen = claim(addr, fresh);
		if (!seen)
			seen = fresh;
	}
	atomic_signal_fence(memory_order_seq_cst);
	fault_to = NULL;
	return seen;
}

void race_ledger_init(struct race_ledger *l, uint64_t changes)
{
	memset(l, 0, sizeof(*l));
	/* An identity a change, and now and then one more for a page that was gone before its identity was written. */
	l->base = atomic_load(&next_identity);
	l->size = 4 * changes + 65536;
	l->retired_at = calloc(l->size, sizeof(*l->retired_at));
	if (!l->retired_at)
		race_die("no memory for the ledger");
}

void race_ledger_free(struct race_ledger *l)
{
	free(l->retired_at);
	l->retired_at = NULL;
}

static _Atomic uint32_t *entry(struct race_ledger *l, uint64_t identity)
{
	if (identity < l->base || identity - l->base >= l->size)
		race_die("a page says that it is number %llu, which nobody drew", (unsigned long long)identity);
	return &l->retired_at[identity - l->base];
}

void race_retire(struct race_ledger *l, uint64_t identity, uint64_t k)
{
	atomic_store_explicit(entry(l, identity), (uint32_t)k, memory_order_relaxed);
}

bool race_is_stale(struct race_ledger *l, uint64_t identity, uint64_t k)
{
	uint32_t at = atomic_load_explicit(entry(l, identity), memory_order_relaxed);

	return at && at <= k;
}
