/* SPDX-License-Identifier: MIT */
/* note.c: the process's record: attaching to it, counting, events. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <port_call.h>

_Thread_local struct watch_self watch_self __attribute__((tls_model("initial-exec")));

enum { PHASE_NONE, PHASE_ATTACHING, PHASE_ATTACHED, PHASE_OFF };

/* Written by the constructor, before any entry is patched. */
static char directory[200];
static uint32_t options;
static bool hooked;
static char status_text[128];
static struct watch_state *state;

long watch_call(long number, long a, long b, long c, long d, long e, long f)
{
	return port_call_6(number, a, b, c, d, e, f);
}

uint64_t watch_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void watch_copy_text(char *to, const char *from, size_t size)
{
	size_t n = strnlen(from, size - 1);

	memcpy(to, from, n);
	to[n] = '\0';
}

/* ---- memory behind the record ---- */

#define PIECE 32768u
_Static_assert(sizeof(struct watch_record) <= 64u * PIECE, "one bit for each piece");

/*
 * A shared mapping of a full file system answers the first touch of a page with SIGBUS. The kernel is asked to fetch the pages
 * before; where it does not know how to (before 5.14), the touch is risked.
 */
static bool piece_usable(struct watch_state *s, size_t piece)
{
	uint64_t bit = UINT64_C(1) << piece;
	size_t len = sizeof(struct watch_record) - piece * PIECE;
	long err;

	if (atomic_load_explicit(&s->usable, memory_order_relaxed) & bit)
		return true;
	if (atomic_load_explicit(&s->unusable, memory_order_relaxed) & bit)
		return false;
	err = watch_call(SYS_madvise, (long)((uintptr_t)s->record + piece * PIECE), (long)(len < PIECE ? len : PIECE), 23, 0, 0,
			 0); /* MADV_POPULATE_WRITE */
	atomic_fetch_or_explicit(err && err != -EINVAL ? &s->unusable : &s->usable, bit, memory_order_relaxed);
	return !err || err == -EINVAL;
}

bool watch_usable(struct watch_state *s, const void *at, size_t len)
{
	uintptr_t offset = (uintptr_t)at - (uintptr_t)s->record;

	return piece_usable(s, offset / PIECE) && piece_usable(s, (offset + len - 1) / PIECE);
}

/* ---- attaching ---- */

/* The text and a decimal number; no stdio, which may allocate. */
static char *put_text(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	*to = '\0';
	return to;
}

static char *put_number(char *to, uint32_t n)
{
	char digits[12];
	int count = 0;

	do {
		digits[count++] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	while (count)
		*to++ = digits[--count];
	*to = '\0';
	return to;
}

/* One file for each image: an exec() of the same process finds its predecessor's. */
static int create_file(uint32_t pid)
{
	char path[sizeof(directory) + 32];
	char *end = put_number(put_text(put_text(path, directory), "/"), pid);
	long fd = -EEXIST;

	for (uint32_t n = 0; n < 4096 && fd == -EEXIST; n++) {
		put_number(put_text(end, "."), n);
		fd = watch_call(SYS_openat, AT_FDCWD, (long)(uintptr_t)path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
				0600, 0, 0);
	}
	return (int)fd;
}

/* Growing a file beyond this process's limit kills it. */
static bool file_may_have(uint64_t size)
{
	uint64_t limit[2] = {0, 0};

	return watch_call(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)(uintptr_t)limit, 0, 0) == 0 && limit[0] >= size;
}

static struct watch_record *map_record(uint32_t pid)
{
	const long size = (long)sizeof(struct watch_record);
	long at = -1;
	int fd = file_may_have((uint64_t)size) ? create_file(pid) : -1;

	if (fd < 0)
		return NULL;
	if (watch_call(SYS_ftruncate, fd, size, 0, 0, 0, 0) == 0)
		at = watch_call(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	watch_call(SYS_close, fd, 0, 0, 0, 0, 0);
	if (at < 0 && at > -4096)
		return NULL;
	/* A forked child attaches to a record of its own. */
	watch_call(SYS_madvise, at, size, MADV_DONTFORK, 0, 0, 0);
	return (struct watch_record *)(uintptr_t)at;
}

static void describe(struct watch_record *r, uint32_t pid)
{
	long n = watch_call(SYS_readlink, (long)(uintptr_t) "/proc/self/exe", (long)(uintptr_t)r->program, WATCH_PATH - 1, 0, 0,
			    0);

	r->program[n > 0 ? n : 0] = '\0';
	watch_copy_text(r->command, program_invocation_short_name, sizeof(r->command));
	memcpy(r->status, status_text, sizeof(r->status));
	r->magic = WATCH_MAGIC;
	r->pid = pid;
	r->parent = (uint32_t)watch_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
	r->hooked = hooked;
	atomic_store_explicit(&r->begin_ns, watch_now_ns(), memory_order_relaxed);
	atomic_store_explicit(&r->ready, 1, memory_order_release);
}

static uint32_t attach(struct watch_state *s)
{
	uint32_t pid = (uint32_t)watch_call(SYS_getpid, 0, 0, 0, 0, 0, 0);

	s->record = map_record(pid);
	if (!s->record)
		return PHASE_OFF;
	if (!watch_usable(s, s->record, offsetof(struct watch_record, sites) + 1))
		return PHASE_OFF;
	s->shadow = (struct watch_shadow_set *)(void *)(s + 1);
	s->life = watch_now_ns() ^ (uint64_t)pid << 40;
	describe(s->record, pid);
	return PHASE_ATTACHED;
}

/* The first to come attaches; a signal handler on top of it goes without, as it could wait for its own thread. */
static bool attached(struct watch_state *s, struct watch_self *self)
{
	uint32_t phase = PHASE_NONE;

	if (self->depth > 1)
		return false;
	if (atomic_compare_exchange_strong(&s->phase, &phase, PHASE_ATTACHING))
		atomic_store_explicit(&s->phase, phase = attach(s), memory_order_release);
	while (phase == PHASE_ATTACHING) {
		watch_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
		phase = atomic_load_explicit(&s->phase, memory_order_acquire);
	}
	return phase == PHASE_ATTACHED;
}

struct watch_state *watch_enter(struct watch_self *self)
{
	struct watch_state *s = state;

	if (!s)
		return NULL;
	self->depth++;
	if (__builtin_expect(atomic_load_explicit(&s->phase, memory_order_acquire) != PHASE_ATTACHED, 0) &&
	    !attached(s, self)) {
		self->depth--;
		return NULL;
	}
	if (self->life != s->life) {
		self->life = s->life;
		self->tid = (uint32_t)watch_call(SYS_gettid, 0, 0, 0, 0, 0, 0);
		self->named = false;
	}
	return s;
}

void watch_leave(struct watch_self *self)
{
	self->depth--;
}

/* ---- counting ---- */

static void add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static void raise_to(_Atomic uint64_t *to, uint64_t n)
{
	uint64_t seen = atomic_load_explicit(to, memory_order_relaxed);

	while (seen < n && !atomic_compare_exchange_weak_explicit(to, &seen, n, memory_order_relaxed, memory_order_relaxed))
		;
}

static unsigned size_class(uint64_t bytes)
{
	return bytes <= 4096 ? 0 : bytes <= 65536 ? 1 : bytes <= 2097152 ? 2 : 3;
}

static void count(struct watch_count *to, const struct watch_change *c)
{
	if (c->failed) {
		add(&to->failed, 1);
		return;
	}
	add(&to->calls, 1);
	add(&to->bytes, c->bytes);
	add(&to->ns, c->ns);
	raise_to(&to->ns_max, c->ns);
	raise_to(&to->bytes_max, c->bytes);
	add(&to->sizes[size_class(c->bytes)], 1);
}

/* ---- sites ---- */

static bool fill_site(struct watch_state *s, uint32_t place, uintptr_t pc, enum watch_kind kind)
{
	struct watch_site *site = &s->record->sites[place];
	uint64_t base = 0;

	if (!watch_usable(s, site, sizeof(*site)))
		return false;
	site->object = watch_object_of(s, pc, &base);
	site->offset = pc - base;
	site->kind = kind;
	s->pc[place] = pc;
	atomic_store_explicit(&site->state, 2, memory_order_release);
	return true;
}

static uint32_t new_site(struct watch_state *s, uintptr_t pc, enum watch_kind kind)
{
	_Atomic uint32_t *used = &s->record->sites_used;
	uint32_t place = atomic_load_explicit(used, memory_order_relaxed);

	do {
		if (place >= WATCH_SITES)
			return WATCH_SITES;
	} while (!atomic_compare_exchange_weak(used, &place, place + 1));
	return fill_site(s, place, pc, kind) ? place : WATCH_SITES;
}

/* Two threads that come at once may make two sites of one; the tool adds them up. */
static uint32_t site_place(struct watch_state *s, uintptr_t pc, enum watch_kind kind)
{
	const uint32_t mask = 2 * WATCH_SITES - 1;
	uint32_t at = (uint32_t)(((pc ^ (uint64_t)kind << 56) * UINT64_C(0x9e3779b97f4a7c15)) >> 40);
	uint16_t place = 0;

	for (uint32_t i = 0; i <= mask; i++) {
		_Atomic uint16_t *slot = &s->index[(at + i) & mask];

		place = atomic_load_explicit(slot, memory_order_acquire);
		if (!place) {
			uint32_t fresh = new_site(s, pc, kind);

			if (fresh < WATCH_SITES)
				atomic_compare_exchange_strong(slot, &place, (uint16_t)(fresh + 1));
			return fresh;
		}
		if (s->pc[place - 1] == pc && s->record->sites[place - 1].kind == kind)
			return place - 1u;
	}
	return WATCH_SITES;
}

void watch_forget_sites(struct watch_state *s)
{
	for (uint32_t i = 0; i < 2 * WATCH_SITES; i++)
		atomic_store_explicit(&s->index[i], 0, memory_order_relaxed);
}

/* ---- events ---- */

static void name_thread(struct watch_state *s, struct watch_self *self)
{
	struct watch_record *r = s->record;
	uint32_t place = atomic_fetch_add(&r->threads_used, 1);
	struct watch_thread *t = &r->threads[place < WATCH_THREADS ? place : 0];

	self->named = true;
	if (place >= WATCH_THREADS || !watch_usable(s, t, sizeof(*t)))
		return;
	t->tid = self->tid;
	watch_call(SYS_prctl, PR_GET_NAME, (long)(uintptr_t)t->name, 0, 0, 0, 0);
	atomic_store_explicit(&t->state, 2, memory_order_release);
}

/* A position of the ring, or NULL: it is full. */
static struct watch_event *claim_event(struct watch_state *s, uint64_t *position)
{
	struct watch_record *r = s->record;
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	struct watch_event *e;

	do {
		/* Acquire; pairs with the tool's release: it has read what was in this place. */
		if (head - atomic_load_explicit(&r->tail, memory_order_acquire) >= WATCH_EVENTS) {
			add(&r->dropped, 1);
			return NULL;
		}
		e = &r->events[head % WATCH_EVENTS];
		if (!watch_usable(s, e, sizeof(*e))) {
			add(&r->dropped, 1);
			return NULL;
		}
	} while (!atomic_compare_exchange_weak(&r->head, &head, head + 1));
	*position = head;
	return e;
}

static void put_event(struct watch_state *s, struct watch_self *self, const struct watch_event *what)
{
	struct watch_event *e;
	uint64_t position;

	if (!(options & WATCH_OPTION_TRACE))
		return;
	if (!self->named)
		name_thread(s, self);
	e = claim_event(s, &position);
	if (!e)
		return;
	e->start_ns = what->start_ns, e->ns = what->ns, e->addr = what->addr, e->len = what->len;
	e->tid = self->tid, e->site = what->site, e->kind = what->kind, e->flags = what->flags, e->cause = what->cause;
	/* Release; pairs with the tool's acquire. */
	atomic_store_explicit(&e->turn, position + 1, memory_order_release);
}

uint32_t watch_note(struct watch_state *s, struct watch_self *self, const struct watch_change *c)
{
	uint32_t place = site_place(s, watch_site_of(c->caller), c->kind);
	struct watch_event e = {
		.start_ns = c->start_ns, .ns = c->ns, .len = c->bytes, .site = place, .kind = (uint16_t)c->kind};

	count(&s->record->kinds[c->kind], c);
	count(place < WATCH_SITES ? &s->record->sites[place].count : &s->record->no_site, c);
	e.addr = c->addr;
	e.flags = c->failed ? WATCH_EVENT_FAILED : 0;
	put_event(s, self, &e);
	return place;
}

void watch_note_stale(struct watch_state *s, struct watch_self *self, uintptr_t addr, size_t len, enum watch_kind by,
		      enum watch_cause cause, uint32_t site)
{
	struct watch_record *r = s->record;
	struct watch_event e = {.start_ns = watch_now_ns(), .addr = addr, .len = len, .site = site, .kind = (uint16_t)by};

	if (by < WATCH_KINDS) {
		add(&r->shadow.deaf, 1);
		add(&r->kinds[by].stale, 1);
		if (site < WATCH_SITES)
			add(&r->sites[site].count.stale, 1);
	}
	add(&r->shadow.caused[cause], 1);
	e.flags = WATCH_EVENT_STALE_USE;
	e.cause = cause;
	put_event(s, self, &e);
}

/* ---- forks ---- */

static void before_fork(void)
{
	watch_self.fork_ns = watch_now_ns();
}

static void after_fork(void)
{
	struct watch_change c = {.kind = WATCH_FORK, .start_ns = watch_self.fork_ns};
	struct watch_state *s = watch_enter(&watch_self);

	if (!s)
		return;
	c.ns = watch_now_ns() - c.start_ns;
	c.caller = (uintptr_t)__builtin_return_address(0);
	watch_note(s, &watch_self, &c);
	watch_leave(&watch_self);
}

/* ---- life ---- */

static bool make_state(void)
{
	size_t size = sizeof(struct watch_state) + watch_shadow_size();
	long at = watch_call(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at < 0 && at > -4096)
		return false;
	if (watch_call(SYS_madvise, at, (long)size, MADV_WIPEONFORK, 0, 0, 0))
		return false;
	state = (struct watch_state *)(uintptr_t)at;
	return true;
}

static __attribute__((constructor)) void begin(void)
{
	const char *dir = getenv(WATCH_DIR_VARIABLE), *set = getenv(WATCH_OPTIONS_VARIABLE), *status = "switched off";

	watch_syscall_setup();
	if (!dir || strlen(dir) >= sizeof(directory) || dir[0] != '/' || !file_may_have(sizeof(struct watch_record)) ||
	    !make_state())
		return;
	memcpy(directory, dir, strlen(dir) + 1);
	options = set ? (uint32_t)strtoul(set, NULL, 10) : 0;
	watch_site_setup();
	watch_io_setup();
	/* Before the record, which says what came of it; what other constructors' threads do meanwhile attaches by itself. */
	if (!(options & WATCH_OPTION_NO_HOOKS))
		hooked = watch_entries_install(&status) == 0;
	watch_copy_text(status_text, status, sizeof(status_text));
	if (hooked)
		pthread_atfork(before_fork, after_fork, NULL);
	if (watch_enter(&watch_self))
		watch_leave(&watch_self);
}

static __attribute__((destructor)) void end(void)
{
	if (!state || atomic_load_explicit(&state->phase, memory_order_acquire) != PHASE_ATTACHED)
		return;
	if (hooked && watch_entries_overwritten())
		atomic_store_explicit(&state->record->overwritten, 1, memory_order_relaxed);
	atomic_store_explicit(&state->record->end_ns, watch_now_ns(), memory_order_release);
}
