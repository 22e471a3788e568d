/* SPDX-License-Identifier: MIT */
/*
 * lab.h: the race lab for people with a locking scheme of their own.
 *
 * A *model* is how a driver keeps its mappings right: what it does when it is told of a change, and how it gets at a page. A
 * *scenario* is one race: what the CPU side does to the address space while devices use it. The lab runs every pair under every
 * schedule up to a bound, one operation at a time, and checks after each step that nobody uses a page that the process no
 * longer has. Link with -luhmm-lab, call lab_main(), and see examples/my_driver_model.c.
 *
 * Everything below is called by fibers of one execution, or in set-up and check where said. Executions are deterministic: use
 * no clock, no randomness, no memory but lab_alloc()'s, no threads, no system calls. Static variables that change break
 * replays, which the lab reports. Words that fibers share without a lock are struct uhmm_a32/a64/aptr through the operations
 * below; plain accesses that are not ordered by locks or acquire/release are reported as data races in code compiled with
 * -fsanitize=thread -c (the lab has that runtime in it; do not link with it).
 *
 * Stability: experimental; may change with each 0.x version. Not part of libuhmm's ABI.
 */
#ifndef UHMM_LAB_H
#define UHMM_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uhmm/mm.h>
#include <uhmm/notifier.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the simulated machine ---- */

#define LAB_PAGES 16u                              /* of the simulated address space */
#define LAB_BASE UINT64_C(0x700000000000)          /* address of page 0 */
#define LAB_ADDR(page) ((uintptr_t)(LAB_BASE + (uint64_t)(page) * 4096u))
#define LAB_PAGE_OF(addr) ((uint32_t)(((uint64_t)(addr) - LAB_BASE) / 4096u))
#define LAB_HUGE 4u                                /* pages of a simulated huge page, aligned */

/* A frame of physical memory; 0: none. Frames are never reused within an execution unless the scenario asks for it. */
typedef uint32_t lab_frame;

enum lab_kind { LAB_ANON, LAB_FILE_SHARED, LAB_FILE_PRIVATE };
#define LAB_READ 1u
#define LAB_WRITE 2u

/*
 * The CPU side: what threads of the process, or the kernel on its own account, do. Each is a sequence of steps and emits start
 * and end to listeners where Linux does. 0 or a negative errno. Each page of a file mapping is the only page of a file of its
 * own. -EINVAL: not pages of the address space. -ENOMEM: holes, as Linux; or a call that fails although nothing is wrong, if
 * the scenario allows for failures.
 */
int lab_cpu_mmap(uint32_t page, uint32_t count, enum lab_kind kind, uint32_t prot); /* MAP_FIXED: replaces what is there */
int lab_cpu_munmap(uint32_t page, uint32_t count);
int lab_cpu_mremap(uint32_t from, uint32_t count, uint32_t to);
int lab_cpu_dontneed(uint32_t page, uint32_t count);
int lab_cpu_madv_free(uint32_t page, uint32_t count);     /* frames may go later, by lab_cpu_reclaim() */
int lab_cpu_mprotect(uint32_t page, uint32_t count, uint32_t prot);
int lab_cpu_fork(void);                                   /* the child lives on, and writes nothing */
int lab_cpu_read(uint32_t page, uint32_t *value);         /* -EFAULT */
int lab_cpu_write(uint32_t page, uint32_t value);         /* -EFAULT; breaks COW, replaces the zero page */
int lab_cpu_writeback(uint32_t page);                     /* file page: write-protect, clean, write to storage */
int lab_cpu_truncate(uint32_t page, uint32_t count);      /* of the file behind a file mapping: pages go although referenced */
int lab_cpu_migrate(uint32_t page);                       /* to a new frame; -EAGAIN if somebody else holds references */
int lab_cpu_replace(uint32_t page);                       /* by a copy in a new frame, references or not (uprobes, KSM) */
int lab_cpu_collapse(uint32_t page);                      /* LAB_HUGE frames into one huge one; -EBUSY if referenced */
int lab_cpu_reclaim(uint32_t page, bool nonblock);        /* swap out, or drop after MADV_FREE; -EAGAIN: a listener refused */
int lab_cpu_drop(uint32_t page);                          /* without swap: what MADV_FREE gave up; -EAGAIN: is not, any more */
int lab_cpu_populate(uint32_t page);                      /* MADV_POPULATE_WRITE: the process's own, and dirty; -EFAULT */

/*
 * Who is told by the simulated kernel itself, as a driver with the old notifiers was. Set-up only. Where nobody listens to
 * start, an invalidation's callback for invariant 1 is `end`.
 */
struct lab_listener {
	/* As <uhmm/notifier.h>'s invalidate: 0, or -EAGAIN to an event with UHMM_EVENT_NONBLOCK. NULL: not told. */
	int (*start)(struct lab_listener *l, const struct uhmm_event *event);
	void (*end)(struct lab_listener *l, const struct uhmm_event *event, bool changed); /* NULL: not told */
	struct lab_listener *next; /* the lab's */
};
void lab_listen(struct lab_listener *l);
/*
 * The simulated process's address space in the shipped core; made at the first call, in set-up. From then on the simulated
 * kernel announces each change by uhmm_invalidate_start() and _end(), unless lab_silence(true): then it tells nobody, and
 * whoever makes the change brackets it, as the hooks do.
 */
struct uhmm_mm *lab_mm(void);
void lab_silence(bool silent);

/* ---- the device side ---- */

struct lab_device;          /* one of config.devices; made by the lab */
uint32_t lab_device_index(const struct lab_device *d);
void *lab_device_state(struct lab_device *d); /* model->state_size bytes, zeroed */

/*
 * Look the page up in the CPU's page table, faulting it in (write: breaking COW) as get_user_pages() does. Takes a reference
 * that lab_put() drops. -EFAULT: not mapped, or not so. One step for each thing the kernel does.
 */
int lab_grab(struct lab_device *d, uint32_t page, uint32_t access, lab_frame *frame);
void lab_put(struct lab_device *d, lab_frame frame);
/* Two kinds of pin beside: long-term (blocks migration) and with write intent unshared at fork. */
int lab_pin(struct lab_device *d, uint32_t page, uint32_t access, lab_frame *frame);
void lab_unpin(struct lab_device *d, lab_frame frame);

/* The device's page table: one entry a page. Programming replaces; clearing flushes the TLB too. */
void lab_map(struct lab_device *d, uint32_t page, lab_frame frame, uint32_t access);
void lab_unmap(struct lab_device *d, uintptr_t start, uintptr_t end);
void lab_protect(struct lab_device *d, uintptr_t start, uintptr_t end); /* take write access away */
/* What the entry says: 0 if invalid. No step. */
lab_frame lab_mapped(const struct lab_device *d, uint32_t page, uint32_t *access);

/* The device touches memory through its page table. -EFAULT: no valid entry with that access; the caller faults the page in. */
int lab_load(struct lab_device *d, uint32_t page, uint32_t *value);
int lab_store(struct lab_device *d, uint32_t page, uint32_t value);
/* The same through a frame that the driver holds on to, without a page-table entry. */
void lab_load_frame(struct lab_device *d, uint32_t page, lab_frame frame, uint32_t *value);
void lab_store_frame(struct lab_device *d, uint32_t page, lab_frame frame, uint32_t value);

/*
 * The page moves into the device's memory, to *frame, and the CPU's next access brings it home. `owner` is in the event.
 * -EAGAIN: referenced. -EINVAL: not anonymous, or there already. lab_vram_move(): the device moves it within its memory; no
 * event, since the CPU's page table has nothing to say about that. -EFAULT: not there.
 */
int lab_migrate_to_device(struct lab_device *d, uint32_t page, const void *owner, lab_frame *frame);
int lab_vram_move(struct lab_device *d, uint32_t page, lab_frame *frame);
/*
 * The device takes the page for itself alone, with a reference: UHMM_EVENT_EXCLUSIVE with `owner`. The CPU's next access takes
 * it back, by the same event without an owner. -EBUSY: somebody else came between.
 */
int lab_make_exclusive(struct lab_device *d, uint32_t page, const void *owner, lab_frame *frame);
/* The driver says that it has written the frame: for file pages, which are written back only if somebody does. */
void lab_mark_dirty(struct lab_device *d, lab_frame frame);
/*
 * A registration cache's user begins: what this fiber does by lab_load_frame() and lab_store_frame() from here on counts as one
 * get, which may finish on the pages that it was given although they are taken away meanwhile. lab_use_end() takes what
 * lab_use_begin() returned. No steps.
 */
uint32_t lab_use_begin(void);
void lab_use_end(uint32_t before);
/* `who` (not 0) says that it has the page for itself alone; loses if another has said so and not given it up. */
void lab_own(uint32_t page, uint32_t who);
void lab_disown(uint32_t page, uint32_t who);

/* ---- locks, words, waiting, choices ---- */

/* Where in the source an operation is, and its words, for timelines. The macros below make it; static. */
#ifndef LAB_SITE_DECLARED
#define LAB_SITE_DECLARED
struct lab_site {
	const char *file, *function, *text;
	uint32_t line;
};
#endif
#define LAB_HERE(words)                                                                                                     \
	(__extension__({                                                                                                    \
		static const struct lab_site lab_here_ = {__FILE__, __func__, words, __LINE__};                             \
		&lab_here_;                                                                                                 \
	}))

/* Zeroed: free. */
struct lab_lock {
	void *private_lock[4];
};
#define lab_lock(l) lab_lock_at((l), LAB_HERE("lock(" #l ")"))
#define lab_trylock(l) lab_trylock_at((l), LAB_HERE("trylock(" #l ")"))
#define lab_unlock(l) lab_unlock_at((l), LAB_HERE("unlock(" #l ")"))
void lab_lock_at(struct lab_lock *l, const struct lab_site *site);
bool lab_trylock_at(struct lab_lock *l, const struct lab_site *site);
void lab_unlock_at(struct lab_lock *l, const struct lab_site *site);

/* The memory order is in the name; fetch_add is a full barrier. lab_await() waits until the word has that value. */
#define lab_load_relaxed(a) lab_load_relaxed_at((a), LAB_HERE("load_relaxed(" #a ")"))
#define lab_load_acquire(a) lab_load_acquire_at((a), LAB_HERE("load_acquire(" #a ")"))
#define lab_store_relaxed(a, v) lab_store_relaxed_at((a), (v), LAB_HERE("store_relaxed(" #a ", " #v ")"))
#define lab_store_release(a, v) lab_store_release_at((a), (v), LAB_HERE("store_release(" #a ", " #v ")"))
#define lab_fetch_add(a, v) lab_fetch_add_at((a), (v), LAB_HERE("fetch_add(" #a ", " #v ")"))
#define lab_fence() lab_fence_at(LAB_HERE("fence()"))
#define lab_await(a, value) lab_await_at((a), (value), LAB_HERE("await(" #a ", " #value ")"))
uint32_t lab_load_relaxed_at(const struct uhmm_a32 *a, const struct lab_site *site);
uint32_t lab_load_acquire_at(const struct uhmm_a32 *a, const struct lab_site *site);
void lab_store_relaxed_at(struct uhmm_a32 *a, uint32_t v, const struct lab_site *site);
void lab_store_release_at(struct uhmm_a32 *a, uint32_t v, const struct lab_site *site);
uint32_t lab_fetch_add_at(struct uhmm_a32 *a, uint32_t v, const struct lab_site *site);
void lab_fence_at(const struct lab_site *site);
void lab_await_at(struct uhmm_a32 *a, uint32_t value, const struct lab_site *site);
/* Gives way: this fiber goes on after another has made a step. For loops that wait without sleeping. */
void lab_relax(void);
/* Each of 0..n-1 is tried; n is 1 to 255. */
uint32_t lab_pick(uint32_t n);
/* Zeroed memory of this execution. Set-up or fibers; never fails (a lab with too small an arena says so and stops). */
void *lab_alloc_zeroed(size_t size);

/* ---- fibers ---- */

/* Set-up only. Names appear in timelines, at most 11 characters. */
void lab_spawn(const char *name, void (*fn)(void *arg), void *arg);
/* A fiber that need not end: it may sleep for ever once all others have ended. */
void lab_spawn_daemon(const char *name, void (*fn)(void *arg), void *arg);

/* ---- models and scenarios ---- */

struct lab_model {
	const char *name;      /* required; [a-z_]+ */
	const char *about;     /* required; one line */
	size_t state_size;     /* of each device's state */
	/* Set-up: begin to listen for changes of [start, end). Required. */
	void (*attach)(struct lab_device *d, uintptr_t start, uintptr_t end);
	/*
	 * A fiber of the device wants to read or write a page: make it usable as the scheme demands, and use it by lab_load()
	 * or lab_store() (access says which; value in or out). 0; -EFAULT: the process has no such page; -EBUSY: gave up after
	 * a bounded number of tries. Required.
	 */
	int (*use)(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value);
	/*
	 * After attach and in any fiber: begin to listen later, for scenarios about that (R6). NULL: the scenario is not run.
	 */
	void (*attach_late)(struct lab_device *d, uintptr_t start, uintptr_t end);
	/*
	 * The driver gives everything back, listening included, while the CPU side goes on (R12). NULL: the scenario is not
	 * run.
	 */
	void (*detach)(struct lab_device *d);
	/* The model needs weak memory to lose, or to be worth trying. */
	bool weak;
	/*
	 * What some scenarios need beside; NULL: they are not run. An atomic addition by the device (R18, R23), 0 or as use().
	 * The device's page tables leave its memory, and come back; fibers in use() wait meanwhile (R14).
	 */
	int (*atomic_add)(struct lab_device *d, uint32_t page, uint32_t delta, uint32_t *old);
	void (*evict)(struct lab_device *d);
	void (*restore)(struct lab_device *d);
};

struct lab_setup {
	uint32_t devices, invalidators;        /* as asked for */
	struct lab_device *device[4];
	const struct lab_model *model;
};

enum {
	LAB_NEEDS_LATE = 1u << 0,    /* attach_late */
	LAB_NEEDS_DETACH = 1u << 1,
	LAB_NEEDS_ATOMIC = 1u << 2,  /* atomic_add */
	LAB_NEEDS_EVICT = 1u << 3,   /* evict and restore */
	LAB_NEEDS_NAMED = 1u << 4    /* only models that the scenario names: it is about something beside <uhmm/lab.h> */
};

struct lab_scenario {
	const char *id;        /* required; unique, at most 15 characters */
	const char *title;     /* required; one line */
	const char *expected;  /* names of models, space-separated: "interval kvm" hold; the others that are run lose */
	const char *losers;    /* names of the models that must lose it */
	/* Maps memory, attaches devices, spawns fibers. Required. */
	void (*setup)(const struct lab_setup *s);
	/* After all fibers have ended: what must be true then, beside the invariants; lab_fail() if not. May be NULL. */
	void (*check)(const struct lab_setup *s);
	uint32_t devices_max, invalidators_max; /* 0: 1 */
	uint32_t failures;     /* how many allocations and calls may fail in one execution */
	bool reuse_frames;     /* a freed frame is given out again at once, instead of never */
	uint32_t needs;        /* LAB_NEEDS_*: of a model, to be run here at all */
	bool core_only;        /* runs without a model (the shipped parts are in the scenario itself) */
};

/*
 * What loses, checked after every step:
 *   1 a valid device entry names a frame that is not the CPU's, and no covering invalidation still has its callback to run
 *   2 a device access after that callback touches the old frame
 *   3 a byte written by either side is in no copy that a later reader can reach
 *   4 two sides believe that they own a page exclusively
 *   5 nobody can run and somebody is unfinished; or a side goes on for longer than the bound
 *   6 an invalidation that started and never ended, or the reverse
 *   7 a data race; 8 a failed assertion, or lab_fail()
 */
void lab_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * The command line of `uhmm races` for these scenarios and models beside the built-in ones (arrays end with NULL; either may be
 * NULL). Exit status: 0 as expected, 1 not, 2 bad usage.
 */
int lab_main(int argc, char **argv, const struct lab_scenario *const *scenarios, const struct lab_model *const *models);

#ifdef __cplusplus
}
#endif

#endif
