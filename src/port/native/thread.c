/* SPDX-License-Identifier: MIT */
#include "port/thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "port/inject.h"
#include "port/mm.h"
#include "port/sync.h"

__thread struct port_thread_area port_thread_area;

/* glibc keeps the first 32 keys inside struct pthread; setting a later one allocates, which a hook inside free() must not. */
#define KEYS_WITHOUT_ALLOCATION 32u
/*
 * The program's static thread-local storage lives on it too, and a sanitizer alone has 900 KiB of that; pages cost when
 * touched.
 */
#define SERVICE_STACK_SIZE (1u << 20)

static pthread_key_t exit_key;
static bool have_exit_key;
static struct uhmm_aptr exit_fn;

static void on_thread_exit(void *area)
{
	((void (*)(void *))aptr_load_acquire(&exit_fn))(area);
}

/* At load time, while keys are few. */
__attribute__((constructor)) static void make_exit_key(void)
{
	have_exit_key = pthread_key_create(&exit_key, on_thread_exit) == 0 && exit_key < KEYS_WITHOUT_ALLOCATION;
}

int thread_exit_register(void (*fn)(void *area))
{
	if (!have_exit_key)
		return -EAGAIN;
	aptr_store_release(&exit_fn, (void *)fn);
	return -pthread_setspecific(exit_key, thread_area());
}

uint32_t thread_id(void)
{
	return (uint32_t)port_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

/* Any other failure says nothing about the thread. */
bool thread_is_gone(uint32_t id)
{
	long process = port_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);

	return port_syscall(SYS_tgkill, process, (long)id, 0, 0, 0, 0) == -ESRCH;
}

struct service_start {
	void (*fn)(void *arg);
	void *arg;
};

static void *service_main(void *start)
{
	struct service_start s = *(struct service_start *)start;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	s.fn(s.arg);
	return NULL;
}

static int create_with_signals_blocked(pthread_t *handle, const pthread_attr_t *attr, struct service_start *start)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(handle, attr, service_main, start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

int thread_service_start(struct thread_service *t, void (*fn)(void *arg), void *arg, const char *name)
{
	struct service_start *start;
	pthread_attr_t attr;
	pthread_t handle;
	int err;

	if (PORT_INJECT(INJECT_THREAD))
		return -EAGAIN;
	err = mm_map(SERVICE_STACK_SIZE, &t->stack);
	if (err)
		return err;
	start = t->stack; /* the far end of the stack: read before the thread could ever grow down to it */
	*start = (struct service_start){.fn = fn, .arg = arg};
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, t->stack, SERVICE_STACK_SIZE);
	err = create_with_signals_blocked(&handle, &attr, start);
	pthread_attr_destroy(&attr);
	if (err) {
		mm_unmap(t->stack, SERVICE_STACK_SIZE);
		return err;
	}
	pthread_setname_np(handle, name);
	t->handle = (void *)handle;
	return 0;
}

void thread_service_join(struct thread_service *t)
{
	pthread_join((pthread_t)t->handle, NULL);
	mm_unmap(t->stack, SERVICE_STACK_SIZE);
}

int thread_cancel_disable(void)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	return old;
}

void thread_cancel_restore(int state)
{
	int ignored;

	pthread_setcancelstate(state, &ignored);
}

void thread_cancel_point(void)
{
	pthread_testcancel();
}

int thread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	return -pthread_atfork(prepare, parent, child);
}

/*
 * A handler returns to code that makes the system call which ends it, so that code's address on the stack marks a signal frame.
 * There is one such piece of code in the process.
 */
#if defined(__x86_64__)
/* What the kernel keeps for a signal. libc installs every handler with the one restorer it has. */
struct kernel_sigaction {
	void *handler;
	unsigned long flags;
	uintptr_t restorer;
	uint64_t mask;
};

/* 0: this process has no handler at all. */
static uintptr_t find_restorer(void)
{
	for (long sig = 1; sig <= 64; sig++) {
		struct kernel_sigaction old = {.restorer = 0};

		if (port_syscall(SYS_rt_sigaction, sig, 0, (long)(uintptr_t)&old, sizeof(old.mask), 0, 0) == 0 && old.restorer)
			return old.restorer;
	}
	return 0;
}

__attribute__((no_sanitize("address", "thread")))
static bool stack_has_restorer(const uintptr_t *from, const uintptr_t *to)
{
	uintptr_t restorer = find_restorer();

	while (restorer && from < to)
		if (*from++ == restorer)
			return true;
	return false;
}
#elif defined(__aarch64__)
/* The kernel's own code, or an emulator's, which libc knows nothing of. Unwinders know it by these instructions, too. */
static const uint32_t restorer_code[] = {0xd2801168u /* mov x8, #139 */, 0xd4000001u /* svc #0 */};

/* rt_sigprocmask() reads the mask before it refuses what to do with it. */
static bool is_readable(uintptr_t addr)
{
	return port_syscall(SYS_rt_sigprocmask, 99, (long)addr, 0, sizeof(uint64_t), 0, 0) == -EINVAL;
}

/* Not what an earlier handler left: that is below the frames that are in use. */
__attribute__((no_sanitize("address", "thread")))
static bool stack_has_restorer(const uintptr_t *from, const uintptr_t *to)
{
	static struct uhmm_a64 known;

	for (; from < to; from++) {
		uintptr_t word = *from;

		if (word == a64_load_relaxed(&known) && word)
			return true;
		if (word < 4096 || word % 4 || word >= (uintptr_t)1 << 52 || !is_readable(word) ||
		    ((const uint32_t *)word)[0] != restorer_code[0] || ((const uint32_t *)word)[1] != restorer_code[1])
			continue;
		a64_store_relaxed(&known, word);
		return true;
	}
	return false;
}
#else
static bool stack_has_restorer(const uintptr_t *from, const uintptr_t *to)
{
	(void)from;
	(void)to;
	return false;
}
#endif

bool thread_in_signal_handler_since(const void *since)
{
	const uintptr_t *here = __builtin_frame_address(0), *there = since;

	return here < there && (uintptr_t)there - (uintptr_t)here < (8u << 20) && stack_has_restorer(here, there);
}
