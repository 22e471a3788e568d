/* SPDX-License-Identifier: MIT */
/*
 * lockcheck.c: which class of lock is taken while which other is held, as a graph that must stay without circles.
 *
 * The graph is one 64-bit word of successors for each class, so that "is there a way back" is a handful of word operations and
 * an edge is one atomic or. Two threads that add the two halves of a circle at once cannot both miss it: each adds its edge
 * with a full barrier and looks only then.
 *
 *	thread 1                            thread 2
 *	after[a] |= b                       after[b] |= a
 *	way from b back to a?               way from a back to b?
 *
 * A graph lock would be simpler and wrong: a signal handler may come while it is held, and announce a lock itself.
 */
#include "core/lockcheck.h"

#ifdef UHMM_LOCKCHECK

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if __has_include(<execinfo.h>)
#include <execinfo.h>
#define HAVE_EXECINFO 1
#endif

#include "core/thread.h"
#include "port/alloc.h"
#include "port/mm.h"
#include "port/sync.h"
#include "port/thread.h"

#define THREADS 512u
#define HELD 24u
#define FRAME_MAX ((uintptr_t)64 << 10) /* a caller farther up than this is no caller */

/* Class 0 is "no place left": it takes no edges. */
enum { CLASS_NONE, CLASS_NOTIFIER, CLASS_OPEN, CLASS_ALLOC, CLASS_FIRST_LOCK };

#define BIT(class) (UINT64_C(1) << (class))

struct held {
	const void *lock;
	const char *frame; /* of the function that took it: what lies above was there before */
	uint32_t class;
};

/*
 * One thread's locks. Written by its owner only; its own signal handlers push and pop in pairs, between any two instructions of
 * the owner's push and pop. So an entry is taken before it is filled in, and nothing is expected of those from n on but that
 * they are empty: what a handler pushed there and took away again has left it so.
 */
struct place {
	struct uhmm_a32 owned;
	uint32_t tid;
	uint32_t n;
	uint32_t lost; /* acquisitions that did not fit */
	struct held held[HELD];
};

enum { STACK_NONE, STACK_BEING_WRITTEN, STACK_THERE };

static struct place places[THREADS];
static struct uhmm_aptr names[LOCKCHECK_CLASSES];
/* Known before they are ever seen: an allocation may invalidate, and who waits for an end waits for the callbacks before it. */
static struct uhmm_a64 after[LOCKCHECK_CLASSES] = {[CLASS_OPEN] = {BIT(CLASS_NOTIFIER)}, [CLASS_ALLOC] = {BIT(CLASS_NOTIFIER)}};
static struct uhmm_a32 stack_state[LOCKCHECK_CLASSES][LOCKCHECK_CLASSES];
static struct lockcheck_stack stacks[LOCKCHECK_CLASSES][LOCKCHECK_CLASSES];
static struct uhmm_aptr report_handler; /* a pointer to the handler's pointer: data and functions do not mix */
static void (*report_function)(const struct lockcheck_report *report);

static struct place *claim_place(void)
{
	for (uint32_t i = 0; i < THREADS; i++) {
		if (a32_load_relaxed(&places[i].owned) == 0 && a32_cas_full(&places[i].owned, 0, 1)) {
			places[i].tid = thread_id();
			places[i].n = 0;
			places[i].lost = 0;
			memset(places[i].held, 0, sizeof(places[i].held));
			return &places[i];
		}
	}
	return NULL;
}

/*
 * NULL: more threads than places, or the child of a bare clone() in the thread-local storage of its parent, which runs
 * meanwhile with the same place. These go unchecked.
 */
static struct place *my_place(void)
{
	struct core_thread *t = core_thread();
	struct place *p = t->lockcheck;

	if (!p) {
		p = claim_place();
		t->lockcheck = p;
	}
	return p && p->tid == thread_id() ? p : NULL;
}

static uint32_t class_of(const char *name)
{
	for (uint32_t i = CLASS_FIRST_LOCK; i < LOCKCHECK_CLASSES; i++) {
		const char *there = aptr_load_acquire(&names[i]);

		if (!there && aptr_cas_full(&names[i], NULL, (void *)(uintptr_t)name))
			return i;
		there = aptr_load_acquire(&names[i]);
		if (there == name || strcmp(there, name) == 0)
			return i;
	}
	return CLASS_NONE;
}

static const char *name_of(uint32_t class)
{
	static const char *const pseudo[CLASS_FIRST_LOCK] = {"(none)", "(in notifier)", "(between start and end)",
							     "(allocating)"};
	const char *name = class < CLASS_FIRST_LOCK ? pseudo[class] : aptr_load_acquire(&names[class]);

	return name ? name : "?";
}

/*
 * By frame pointers. Every step must lead up the stack and not far, which is what makes it safe to run into code that was built
 * without them: such a register value is almost never a nearby, aligned, higher stack address, and then it is at least mapped.
 */
__attribute__((no_sanitize("address", "thread", "undefined"))) static void walk(struct lockcheck_stack *s, void *const *frame)
{
	s->depth = 0;
	while (s->depth < LOCKCHECK_DEPTH) {
		void *const *next = frame[0];

		if ((uintptr_t)frame[1] < 4096)
			return;
		s->at[s->depth++] = frame[1];
		if (next <= frame || (uintptr_t)next - (uintptr_t)frame > FRAME_MAX || (uintptr_t)next % sizeof(void *) != 0)
			return;
		frame = next;
	}
}

/* Fills parent[] with a shortest way from `from` to `to`, for classes on it. */
static bool find_way(uint32_t from, uint32_t to, uint8_t *parent)
{
	uint64_t seen = BIT(from), edge = BIT(from);

	while (edge) {
		uint64_t next = 0;

		for (uint64_t e = edge; e; e &= e - 1) {
			uint32_t class = (uint32_t)__builtin_ctzll(e);
			uint64_t fresh = a64_load_acquire(&after[class]) & ~seen;

			seen |= fresh;
			next |= fresh;
			for (; fresh; fresh &= fresh - 1)
				parent[__builtin_ctzll(fresh)] = (uint8_t) class;
		}
		if (seen & BIT(to))
			return true;
		edge = next;
	}
	return false;
}

static void put(const char *text)
{
	/* Nothing is to be done about a standard error that is closed. */
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

static void print_stack(const struct lockcheck_stack *s)
{
	if (!s) {
		put("    (by nature)\n");
		return;
	}
#ifdef HAVE_EXECINFO
	backtrace_symbols_fd(s->at, (int)s->depth, STDERR_FILENO);
#else
	for (uint32_t i = 0; i < s->depth; i++) {
		char line[32];

		snprintf(line, sizeof(line), "    %p\n", s->at[i]);
		put(line);
	}
#endif
}

static void print_and_abort(const struct lockcheck_report *r)
{
	put("uhmm lock checker: ");
	put(r->rule);
	put("\n");
	for (uint32_t i = 0; i < r->edges; i++) {
		put("  ");
		put(r->name[i]);
		put(" was held when ");
		put(r->name[(i + 1) % r->edges]);
		put(" was taken:\n");
		print_stack(r->stack[i]);
	}
	abort();
}

static void report(const struct lockcheck_report *r)
{
	if (aptr_load_acquire(&report_handler))
		report_function(r);
	else
		print_and_abort(r);
}

static const char *rule_of(uint64_t classes)
{
	if ((classes & BIT(CLASS_ALLOC)) && (classes & ~(BIT(CLASS_ALLOC) | BIT(CLASS_NOTIFIER))) == 0)
		return "allocation inside a callback";
	if (classes & BIT(CLASS_ALLOC))
		return "allocation under a lock that a callback takes";
	if (classes & BIT(CLASS_OPEN))
		return "read_begin under a lock that is taken before the invalidation ends";
	if (classes & BIT(CLASS_NOTIFIER))
		return "address space changed under a lock that a callback takes";
	return "locks taken in opposite orders";
}

/* The new edge from -> to closed a circle: parent[] leads back from `from` to `to`. */
static void report_circle(uint32_t from, uint32_t to, const uint8_t *parent)
{
	struct lockcheck_report r = {.edges = 2};
	uint32_t circle[LOCKCHECK_CLASSES] = {from, to};
	uint64_t classes = 0;

	/* Backwards from `from`, so the rest of the circle is filled in from its far end. */
	for (uint32_t class = parent[from]; class != to; class = parent[class])
		r.edges++;
	for (uint32_t class = parent[from], i = r.edges; class != to; class = parent[class])
		circle[--i] = class;
	for (uint32_t i = 0; i < r.edges; i++) {
		uint32_t class = circle[i], next = circle[(i + 1) % r.edges];

		r.name[i] = name_of(class);
		r.stack[i] = a32_load_acquire(&stack_state[class][next]) == STACK_THERE ? &stacks[class][next] : NULL;
		classes |= BIT(class);
	}
	r.rule = rule_of(classes);
	report(&r);
}

static bool have_edge(uint32_t from, uint32_t to)
{
	return from == to || from == CLASS_NONE || to == CLASS_NONE || (a64_load_relaxed(&after[from]) & BIT(to)) != 0;
}

static void add_edge(uint32_t from, uint32_t to, void *frame)
{
	uint8_t parent[LOCKCHECK_CLASSES];

	if (have_edge(from, to))
		return;
	if (a32_cas_full(&stack_state[from][to], STACK_NONE, STACK_BEING_WRITTEN)) {
		walk(&stacks[from][to], frame);
		a32_store_release(&stack_state[from][to], STACK_THERE);
	}
	/* Full barrier between our edge and our look at the others': pairs with itself in the thread that adds another edge. */
	if ((a64_fetch_or_full(&after[from], BIT(to)) & BIT(to)) == 0 && find_way(to, from, parent))
		report_circle(from, to, parent);
}

static void add_edges(const struct place *p, uint32_t to, void *frame)
{
	for (uint32_t i = 0; i < p->n; i++)
		add_edge(p->held[i].class, to, frame);
}

/*
 *	push                            a handler in between
 *	n++
 *	                                push: the next entry; pop: n as it was
 *	fill in held[n - 1]
 *
 * The other way round the handler would fill in the very entry that push has just filled in, and n++ would make that the
 * owner's.
 */
static void push(struct place *p, const void *lock, uint32_t class, void *frame)
{
	struct held *h = &p->held[p->n];

	if (p->n == HELD) {
		p->lost++;
		return;
	}
	p->n++;
	fence_signal();
	h->lock = lock;
	h->frame = frame;
	fence_signal(); /* its class comes last: until then it takes no edges */
	h->class = class;
}

static bool pop(struct place *p, const void *lock, uint32_t class)
{
	uint32_t i = p->n;

	while (i > 0 && !(p->held[i - 1].lock == lock && (class == CLASS_NONE || p->held[i - 1].class == class)))
		i--;
	if (i == 0)
		return false;
	for (; i < p->n; i++)
		p->held[i - 1] = p->held[i];
	p->held[p->n - 1].class = CLASS_NONE; /* before the rest: what has no frame yet has no class, and no edges */
	fence_signal();
	p->held[p->n - 1].lock = NULL;
	fence_signal(); /* empty before it is given back: the next push may be a handler's */
	p->n--;
	return true;
}

__attribute__((noinline)) void lockcheck_acquire(const void *lock, const char *name)
{
	struct place *p = my_place();
	uint32_t class = class_of(name);

	if (!p)
		return;
	add_edges(p, class, __builtin_frame_address(0));
	push(p, lock, class, __builtin_frame_address(0));
}

void lockcheck_release(const void *lock)
{
	static const struct lockcheck_report not_held = {.rule = "release of a lock that this thread has not announced"};
	struct place *p = my_place();

	if (!p || pop(p, lock, CLASS_NONE))
		return;
	if (p->lost > 0)
		p->lost--;
	else
		report(&not_held);
}

/*
 * From the locks that this thread took itself. A signal handler cannot know what it interrupted, so what it does is no fault
 * of a lock holder below it: the core queues the mappings that it changes and refuses to wait (G12). Locks taken before the
 * handler's frame do not count.
 */
static void add_edges_from_own_locks(const struct place *p, uint32_t to, void *frame)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct held *h = &p->held[i];

		if (h->class >= CLASS_FIRST_LOCK && !have_edge(h->class, to) && !thread_in_signal_handler_since(h->frame))
			add_edge(h->class, to, frame);
	}
}

__attribute__((noinline)) void lockcheck_invalidating(void)
{
	struct place *p = my_place();

	if (p)
		add_edges_from_own_locks(p, CLASS_NOTIFIER, __builtin_frame_address(0));
}

static const char notifier_tag, open_tag;

/* No edge from what is held: an invalidation may be nested in a callback's thread, and locks were looked at on the way in. */
void lockcheck_enter_notifier(void)
{
	struct place *p = my_place();

	if (p)
		push(p, &notifier_tag, CLASS_NOTIFIER, __builtin_frame_address(0));
}

static void leave(const void *tag)
{
	struct place *p = my_place();

	if (p && !pop(p, tag, CLASS_NONE) && p->lost > 0)
		p->lost--;
}

void lockcheck_leave_notifier(void)
{
	leave(&notifier_tag);
}

/* Opening waits for nobody, so there is no edge to OPEN here; only read_begin's wait makes one. */
void lockcheck_opened(void)
{
	struct place *p = my_place();

	if (p)
		push(p, &open_tag, CLASS_OPEN, __builtin_frame_address(0));
}

void lockcheck_closed(void)
{
	leave(&open_tag);
}

__attribute__((noinline)) void lockcheck_allocating(void)
{
	struct place *p = my_place();

	if (p)
		add_edges(p, CLASS_ALLOC, __builtin_frame_address(0));
}

/* Waiting inside one's own open invalidation or callback is refused by the core (G12), so those are no edges. */
__attribute__((noinline)) void lockcheck_may_wait(void)
{
	struct place *p = my_place();

	if (p)
		add_edges_from_own_locks(p, CLASS_OPEN, __builtin_frame_address(0));
}

void lockcheck_thread_exit(void)
{
	struct core_thread *t = core_thread();
	struct place *p = t->lockcheck;

	t->lockcheck = NULL;
	if (p)
		a32_store_release(&p->owned, 0);
}

void lockcheck_fork_child(void)
{
	struct place *mine = core_thread()->lockcheck;

	for (uint32_t i = 0; i < THREADS; i++)
		if (&places[i] != mine)
			a32_store_relaxed(&places[i].owned, 0);
	if (mine)
		mine->tid = thread_id();
}

void lockcheck_set_handler(void (*handler)(const struct lockcheck_report *report))
{
	report_function = handler;
	aptr_store_release(&report_handler, handler ? &report_function : NULL);
}

void lockcheck_reset(void)
{
	for (uint32_t i = 0; i < LOCKCHECK_CLASSES; i++) {
		aptr_store_relaxed(&names[i], NULL);
		a64_store_relaxed(&after[i], i == CLASS_ALLOC || i == CLASS_OPEN ? BIT(CLASS_NOTIFIER) : 0);
		for (uint32_t j = 0; j < LOCKCHECK_CLASSES; j++)
			a32_store_relaxed(&stack_state[i][j], STACK_NONE);
	}
	if (my_place())
		my_place()->n = 0;
}

/* Before any thread can allocate: the pools know nothing of the core and get a pointer. */
__attribute__((constructor)) static void watch_pools(void)
{
	pool_on_use = lockcheck_allocating;
}

#endif
