/* SPDX-License-Identifier: MIT */
/*
 * ucx.c: UCX's registration caches, fed by our hooks.
 *
 * UCX's cache registers with its table locked, and an unmapping reported meanwhile is queued and applied by the next look-up.
 * So it does not lose events; what it lacks is one *after* the change. Its hooks report before the change only:
 *
 *	munmap(): reports; the region is dropped
 *	                                                another thread: a miss, registers the doomed pages (R1, R32)
 *	the kernel unmaps
 *	                                                hits what was registered: stale
 *
 * We report twice, before and after. Who registered in between is dropped by the second report, which comes before the call
 * returns to the program; who looks up after that sees the queue.
 *
 * UCX tells nobody what it has registered, so the whole address space is watched.
 *
 * ucm_vm_munmap() may be called inside munmap() and free(): it takes UCX's event lock for reading, and the caches' handlers
 * allocate from pools that are extended by ucm_orig_mmap(). That one is a system call which is meant to be seen by nobody, but
 * goes through libc's syscall(), hence through our hooks, with a spin lock held that the handler takes: ours stands before it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ucm/api/ucm.h>

#include <uhmm/mm.h>
#include <uhmm/notifier.h>
#include <uhmm/ucx.h>

#include "integrations/say.h"

#define EXPORT __attribute__((visibility("default")))

static const char OURS[] = "uhmm-ucx";
static const char WITHOUT_US[] = "UCX goes on with its own hooks";

#define SPACE_START ((uintptr_t)4096)
#if defined(__aarch64__)
#define SPACE_END ((uintptr_t)1 << 48)
#else
#define SPACE_END ((uintptr_t)1 << 47)
#endif

static struct {
	struct uhmm_mm *mm;
	struct uhmm_notifier everything;
	void (*vm_munmap)(void *addr, size_t len);
} ucx;

static void report(const struct uhmm_event *event)
{
	const uintptr_t page = 4096;
	uintptr_t start = event->start & ~(page - 1), end = (event->end + page - 1) & ~(page - 1);

	/* A fork leaves pinned pages where they are; UCX has handlers of its own for what it does not pin. */
	if (event->kind == UHMM_EVENT_RELEASE)
		return;
	if (end > SPACE_END)
		end = SPACE_END;
	if (start < end)
		ucx.vm_munmap((void *)start, end - start);
}

static int on_invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	report(event);
	return 0;
}

static void on_end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	(void)n;
	if (changed)
		report(event);
}

static const struct uhmm_notifier_ops ops = {.invalidate = on_invalidate, .end = on_end};

/* ---- finding UCX ---- */

/* libucm's, not ours. */
static void *ucm_symbol(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name), *handle;

	if (found)
		return found;
	handle = dlopen("libucm.so.0", RTLD_LAZY | RTLD_NOLOAD);
	if (!handle)
		return NULL;
	found = dlsym(handle, name);
	dlclose(handle);
	return found;
}

static void keep_loaded(void *inside)
{
	Dl_info where;

	if (dladdr(inside, &where) && where.dli_fname)
		dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

static int insert_notifier(void)
{
	return uhmm_notifier_insert(ucx.mm, &ucx.everything, (void *)SPACE_START, SPACE_END - SPACE_START, &ops);
}

static int watch_everything(void)
{
	const struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_HOOKS};
	int err = uhmm_mm_open(&ucx.mm, &options);

	if (err)
		return err;
	err = insert_notifier();
	if (err)
		uhmm_mm_close(ucx.mm);
	return err;
}

/* In the child every notifier is the parent's. The first makes a thread of the core's, so it waits until a cache asks. */
static bool inherited;

static void in_child(void)
{
	inherited = true;
}

static int attach_now(void)
{
	void (*set_external)(int) = (void (*)(int))ucm_symbol("ucm_set_external_event");
	int err;

	ucx.vm_munmap = (void (*)(void *, size_t))ucm_symbol("ucm_vm_munmap");
	if (!ucm_symbol("ucm_set_event_handler"))
		return -ENOENT;
	if (!set_external || !ucx.vm_munmap) {
		say(OURS, "this libucm takes no external events", 0, WITHOUT_US);
		return -ENOSYS;
	}
	if (dlsym(RTLD_DEFAULT, "ucm_orig_mmap") != (void *)ucm_orig_mmap) {
		say(OURS, "loaded after libucm, whose own mappings would be reported to it", 0, WITHOUT_US);
		return -ENOSYS;
	}
	keep_loaded((void *)set_external);
	if (pthread_atfork(NULL, NULL, in_child) != 0)
		return -ENOMEM;
	err = watch_everything();
	if (err) {
		say(OURS, err == -EBUSY ? "libc is patched by another library" : "no hooks", -err, WITHOUT_US);
		return err;
	}
	set_external(UCM_EVENT_VM_UNMAPPED);
	return 0;
}

/* Nobody takes it in a callback. A child of fork() may find it taken only if another thread was in here. */
static pthread_mutex_t attach_lock = PTHREAD_MUTEX_INITIALIZER;

EXPORT int uhmm_ucx_attach(void)
{
	static int result = -ENOENT;
	int err;

	pthread_mutex_lock(&attach_lock);
	if (result == -ENOENT)
		result = attach_now();
	if (result == 0 && inherited) {
		inherited = false;
		insert_notifier();
	}
	err = result;
	pthread_mutex_unlock(&attach_lock);
	return err;
}

/* ---- before libucm's own ---- */

typedef ucs_status_t (*set_handler_fn)(int, int, ucm_event_callback_t, void *);
typedef void (*set_opts_fn)(const ucm_global_config_t *);

/*
 * libucs' constructor tells libucm here how to hook, and libucm patches libc at once, whatever events are external. Unless it
 * is told not to: what UCX_MEM_MMAP_HOOK_MODE=none says, for which it is too late when our own constructor runs, and which
 * would be inherited by programs without us. The argument is libucs' own variable, whose first fields have been the same
 * since 1.8.
 */
EXPORT void ucm_set_global_opts(const ucm_global_config_t *opts)
{
	set_opts_fn next = (set_opts_fn)ucm_symbol("ucm_set_global_opts");
	ucm_global_config_t *theirs = (ucm_global_config_t *)(uintptr_t)opts;
	ucm_mmap_hook_mode_t wanted = opts->mmap_hook_mode;

	if (!next)
		return;
	if (!opts->enable_events || uhmm_ucx_attach() != 0) {
		next(opts);
		return;
	}
	if (wanted != UCM_MMAP_HOOK_NONE)
		theirs->mmap_hook_mode = UCM_MMAP_HOOK_NONE;
	next(theirs);
	if (wanted != UCM_MMAP_HOOK_NONE)
		theirs->mmap_hook_mode = wanted;
}

/* Every cache asks for its events here, whoever makes it and whenever; after a fork, too. */
EXPORT ucs_status_t ucm_set_event_handler(int events, int priority, ucm_event_callback_t cb, void *arg)
{
	set_handler_fn next = (set_handler_fn)ucm_symbol("ucm_set_event_handler");

	if (!next)
		return UCS_ERR_UNSUPPORTED;
	if (events & UCM_EVENT_VM_UNMAPPED)
		uhmm_ucx_attach();
	return next(events, priority, cb, arg);
}

/* What libucm promises, "without triggering events", by an instruction of our own. */
EXPORT void *ucm_orig_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	long result;
#if defined(__x86_64__)
	register long r10 __asm__("r10") = flags;
	register long r8 __asm__("r8") = fd;
	register long r9 __asm__("r9") = offset;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"((long)SYS_mmap), "D"(addr), "S"(length), "d"((long)prot), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = SYS_mmap;
	register long x0 __asm__("x0") = (long)addr;
	register long x1 __asm__("x1") = (long)length;
	register long x2 __asm__("x2") = prot;
	register long x3 __asm__("x3") = flags;
	register long x4 __asm__("x4") = fd;
	register long x5 __asm__("x5") = offset;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	result = x0;
#else
	void *mapped = mmap(addr, length, prot, flags, fd, offset);

	result = mapped == MAP_FAILED ? -errno : (long)mapped;
#endif
	if (result < 0 && result > -4096) {
		errno = (int)-result;
		return MAP_FAILED;
	}
	return (void *)result;
}
