/* SPDX-License-Identifier: MIT */
/*
 * G7: nothing in start, callbacks or end allocates, or takes a lock that is ever held around an allocation. Counted here:
 * calls of the program's allocator (this program brings its own) and objects of the library's pools. System calls that
 * change mappings are forbidden to the invalidating threads by seccomp, each thread for itself: the library's service thread
 * may make them. And the lock checker reports planted violations, both stacks, with nobody ever waiting.
 */
#include "../emulated.h"
#include "proto.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/lockcheck.h"
#include "port/inject.h"

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_FEATURE(address_sanitizer) ||                         \
	HAS_FEATURE(thread_sanitizer)
#define OWN_ALLOCATOR 0 /* the sanitizer brings its own, and allocates where it likes */
#else
#define OWN_ALLOCATOR 1
#endif

/* ---- the program's allocator, watched ---- */

static _Atomic unsigned long allocations;

#if OWN_ALLOCATOR
static char heap[64 << 20];
static _Atomic size_t heap_used;

static void *take(size_t size)
{
	size_t need = (size + 31) & ~(size_t)15; /* its size in front */
	size_t at = atomic_fetch_add(&heap_used, need);

	allocations++;
	lockcheck_allocating();
	if (size > sizeof(heap) || at + need > sizeof(heap))
		abort();
	memcpy(heap + at + 8, &size, sizeof(size));
	return heap + at + 16;
}

void *malloc(size_t size)
{
	return take(size);
}

void *calloc(size_t n, size_t size)
{
	return take(n * size); /* fresh, hence zero */
}

void *realloc(void *old, size_t size)
{
	void *fresh = take(size);
	size_t had = 0;

	if (old)
		memcpy(&had, (char *)old - 8, sizeof(had));
	if (old)
		memcpy(fresh, old, had < size ? had : size);
	return fresh;
}

void free(void *p)
{
	allocations += p != NULL;
}
#endif

/* ---- forbidden and counted ---- */

#if OWN_ALLOCATOR
static const unsigned forbidden[] = {SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk};
#define FORBIDDEN (sizeof(forbidden) / sizeof(forbidden[0]))

static void on_forbidden_call(int sig)
{
	static const char text[] = "an invalidating thread has made a mapping call\n";

	(void)sig;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_Exit(2);
	_Exit(1);
}

/* For the calling thread, for good. Where there is no seccomp the counts must do. */
static void forbid_mapping_calls(void)
{
	struct sock_filter code[FORBIDDEN + 3];
	const struct sock_fprog program = {.len = FORBIDDEN + 3, .filter = code};
	const struct sigaction sa = {.sa_handler = on_forbidden_call};

	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned k = 0; k < FORBIDDEN; k++)
		code[1 + k] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, forbidden[k],
							   (unsigned char)(FORBIDDEN - k), 0);
	code[FORBIDDEN + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[FORBIDDEN + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	sigaction(SIGSYS, &sa, NULL);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		perror("mapping calls are not forbidden: seccomp");
}
#else
static void forbid_mapping_calls(void) { }
#endif

/* fn in a child, which need not survive what its threads may not do any more: they could not even exit. */
static void in_child(void (*fn)(void))
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		fn();
		_Exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}

struct count {
	unsigned long program;
	uint64_t objects;
};

static struct count count_now(void)
{
	return (struct count){allocations, port_inject_passes(INJECT_ALLOC)};
}

static void check_none_since(struct count before)
{
	struct count now = count_now();

	CHECK_EQ(now.objects - before.objects, 0);
	if (OWN_ALLOCATOR)
		CHECK_EQ(now.program - before.program, 0);
}

static void silent(const struct lockcheck_report *r)
{
	fprintf(stderr, "lock checker: %s\n", r->rule);
	_Exit(1);
}

#define MANY 300u

/* Fast, slow, nested, refused or not, with finish and end, by a thread that is new to the library. */
static void invalidate_all_ways(struct uhmm_mm *mm)
{
	struct uhmm_event nonblock = pages_event(0, 2 * MANY);
	struct uhmm_invalidation inv[2];

	nonblock.flags = UHMM_EVENT_NONBLOCK;
	start_pages(mm, &inv[0], 10000, 1);
	start_pages(mm, &inv[1], 10000, 2); /* nested: the second goes the slow way */
	uhmm_invalidate_end(&inv[1]);
	uhmm_invalidate_abort(&inv[0]);
	start_pages(mm, &inv[0], 0, 2 * MANY);
	uhmm_invalidate_end(&inv[0]);
	CHECK_EQ(uhmm_invalidate_start(mm, &inv[0], &nonblock), 0);
	uhmm_invalidate_end(&inv[0]);
}

#define CROWD 200u

static struct uhmm_mm *crowd_mm;
static pthread_barrier_t crowd_barrier;
static _Atomic unsigned crowd_done;

/* The first invalidation of a thread may be inside free(): whatever it needs is there already, or it does without. */
static void one_of_crowd(void *arg)
{
	(void)arg;
	forbid_mapping_calls();
	pthread_barrier_wait(&crowd_barrier);
	invalidate_all_ways(crowd_mm);
	crowd_done++;
	for (;;)
		pause();
}

static void crowd(void)
{
	static struct driver d[MANY];
	static struct worker w[CROWD];
	struct count before;

	crowd_mm = proto_open();
	lockcheck_set_handler(silent);
	for (unsigned k = 0; k < MANY; k++) {
		driver_init(&d[k]);
		driver_insert(&d[k], crowd_mm, 2 * k, 1);
	}
	CHECK_EQ(pthread_barrier_init(&crowd_barrier, NULL, CROWD + 1), 0);
	for (unsigned k = 0; k < CROWD; k++)
		worker_start(&w[k], one_of_crowd, NULL);
	before = count_now();
	pthread_barrier_wait(&crowd_barrier);
	while (crowd_done < CROWD)
		sched_yield();
	check_none_since(before);
	CHECK(d[0].invalidates == 2 * (int)CROWD);
}

static void nothing_allocates(void)
{
	in_child(crowd);
}

/* An insert that claims makes the invalidator's end slow: still nothing. */
static struct gate claim_gate;
static _Atomic bool claim_ended;

static void open_and_be_claimed(void *mm)
{
	struct uhmm_invalidation inv;

	forbid_mapping_calls();
	start_pages(mm, &inv, 0, 4);
	gate_pass(&claim_gate);
	uhmm_invalidate_end(&inv);
	claim_ended = true;
	for (;;)
		pause();
}

static void claimed(void)
{
	struct uhmm_mm *mm = proto_open();
	struct count before;
	struct worker w;
	struct driver d;

	lockcheck_set_handler(silent);
	driver_init(&d);
	gate_init(&claim_gate);
	worker_start(&w, open_and_be_claimed, mm);
	gate_await(&claim_gate);
	driver_insert(&d, mm, 1, 1);
	before = count_now();
	gate_open(&claim_gate);
	while (!claim_ended)
		sched_yield();
	check_none_since(before);
	CHECK_EQ(d.ends, 1);
}

static void claimed_end_does_not_allocate(void)
{
	in_child(claimed);
}

/* The control: seccomp does notice, and so does the count of pool objects. */
static void insert_forbidden(void *mm)
{
	static struct driver d[2];

	forbid_mapping_calls();
	for (unsigned k = 0; k < 2; k++) {
		driver_open(&d[k], mm, k * 5000000, 1);
	}
	_Exit(7);
}

static void control(void)
{
	struct worker w;

	worker_start(&w, insert_forbidden, proto_open());
	for (;;)
		pause();
}

static void an_insert_does_allocate(void)
{
	uint64_t before = port_inject_passes(INJECT_ALLOC);
	struct uhmm_mm *mm = proto_open();
	struct driver d;
	pid_t child;
	int status;

	driver_open(&d, mm, 0, 1);
	CHECK(port_inject_passes(INJECT_ALLOC) > before);
	proto_close(mm, &d);
	if (!OWN_ALLOCATOR || is_emulated())
		return;
	child = fork();
	if (child == 0) {
		CHECK(freopen("/dev/null", "w", stderr));
		control();
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 1 || WEXITSTATUS(status) == 7)); /* 7: no seccomp here */
}

/* ---- planted ---- */

static unsigned reports;
static struct lockcheck_report last;

static void note(const struct lockcheck_report *r)
{
	reports++;
	last = *r;
}

static void allocate(struct driver *d)
{
	void *volatile p = malloc(1); /* or the compiler would see that nobody wants it */

	(void)d;
	if (!OWN_ALLOCATOR)
		lockcheck_allocating();
	free(p);
}

static void one_invalidation(struct uhmm_mm *mm)
{
	struct uhmm_invalidation inv;

	start_pages(mm, &inv, 0, 1);
	uhmm_invalidate_end(&inv);
}

static void check_reported(const char *rule)
{
	CHECK_EQ(reports, 1);
	CHECK(strcmp(last.rule, rule) == 0);
	CHECK(last.edges >= 2);
	for (uint32_t k = 0; k < last.edges; k++) /* only what holds by nature, an edge from a pseudo-class, has no stack */
		CHECK(last.stack[k] ? last.stack[k]->depth > 0 : last.name[k][0] == '(');
}

static struct uhmm_mm *planted(struct driver *d)
{
	struct uhmm_mm *mm = proto_open();

	lockcheck_reset();
	lockcheck_set_handler(note);
	reports = 0;
	driver_init(d);
	driver_insert(d, mm, 0, 4);
	driver_program(d);
	one_invalidation(mm); /* the checker learns that the callback takes the driver lock */
	CHECK_EQ(reports, 0);
	return mm;
}

/* R15, in all its shapes. None of these runs can deadlock: there is one thread. */
static void planted_violations(void)
{
	struct uhmm_invalidation inv;
	struct uhmm_notifier other = {0};
	struct uhmm_mm *mm;
	struct driver d;

	mm = planted(&d);
	d.on_invalidate = allocate;
	one_invalidation(mm);
	check_reported("allocation inside a callback");
	d.on_invalidate = NULL;
	proto_close(mm, &d);

	mm = planted(&d);
	driver_lock(&d);
	allocate(&d);
	driver_unlock(&d);
	check_reported("allocation under a lock that a callback takes");
	proto_close(mm, &d);

	mm = planted(&d);
	driver_lock(&d);
	CHECK_EQ(uhmm_notifier_insert(mm, &other, PAGE_AT(5000000), PAGE, &driver_ops), 0); /* far away: takes memory */
	driver_unlock(&d);
	check_reported("allocation under a lock that a callback takes");
	CHECK_EQ(uhmm_notifier_remove(&other), 0);
	proto_close(mm, &d);

	mm = planted(&d);
	driver_lock(&d);
	start_pages(mm, &inv, 100, 1);
	uhmm_invalidate_end(&inv);
	driver_unlock(&d);
	check_reported("address space changed under a lock that a callback takes");
	proto_close(mm, &d);

	mm = planted(&d);
	driver_lock(&d);
	(void)uhmm_read_begin(&d.n);
	driver_unlock(&d);
	check_reported("read_begin under a lock that is taken before the invalidation ends");
	proto_close(mm, &d);
}

/* The control: the same with a driver that keeps the rules. */
static void kept_rules_are_silent(void)
{
	struct uhmm_mm *mm;
	struct driver d;

	mm = planted(&d);
	allocate(&d);
	driver_program(&d);
	one_invalidation(mm);
	CHECK_EQ(uhmm_notifier_resize(&d.n, PAGE_AT(0), 6 * PAGE), 0);
	driver_program(&d);
	one_invalidation(mm);
	proto_close(mm, &d);
	CHECK_EQ(reports, 0);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"nothing_allocates", nothing_allocates},
		{"claimed_end_does_not_allocate", claimed_end_does_not_allocate},
		{"an_insert_does_allocate", an_insert_does_allocate},
		{"planted_violations", planted_violations},
		{"kept_rules_are_silent", kept_rules_are_silent},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
