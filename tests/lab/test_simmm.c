/* SPDX-License-Identifier: MIT */
/*
 * test_simmm.c: the simulated machine. What the CPU sees is compared with a kernel in tests/conformance/; here are references,
 * events, devices and the invariants: each is seen to hold where nothing is wrong, and to lose where one thing is.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lab/run.h"
#include "lab/search.h"
#include "lab/simmm/simmm.h"

#define RW (LAB_READ | LAB_WRITE)

static struct lab_device *gpu; /* of the configuration at hand */

/* ---- one context: everything is done in a set-up ---- */

static void (*body)(void);

static void in_setup(const struct lab_setup *s)
{
	gpu = s->device[0];
	body();
}

static void run_here(void (*fn)(void))
{
	static const struct lab_scenario here = {.id = "here", .setup = in_setup};
	static struct lab_config config = {.scenario = &here, .devices = 2};

	body = fn;
	if (!lab_run_setup(&config))
		fail_msg("%s", lab_run.verdict.text);
}

static uint32_t read_page(uint32_t page)
{
	uint32_t value;

	assert_int_equal(lab_cpu_read(page, &value), 0);
	return value;
}

static void map_and_write(uint32_t page, enum lab_kind kind, uint32_t value)
{
	assert_int_equal(lab_cpu_mmap(page, 1, kind, RW), 0);
	assert_int_equal(lab_cpu_write(page, value), 0);
}

/* ---- references ---- */

static void references(void)
{
	lab_frame frame, before;

	map_and_write(0, LAB_ANON, 5);
	before = lab_sim_frame(0, NULL);
	assert_int_equal(lab_grab(gpu, 0, LAB_WRITE, &frame), 0);
	assert_int_equal(frame, before);
	assert_int_equal(lab_sim_refs(frame), 2);
	/* R8: a migration meets a reference, and everything is as before. */
	assert_int_equal(lab_cpu_migrate(0), -EAGAIN);
	assert_int_equal(lab_sim_frame(0, NULL), before);
	assert_int_equal(lab_sim_refs(frame), 2);
	lab_put(gpu, frame);
	assert_int_equal(lab_cpu_migrate(0), 0);
	assert_int_not_equal(lab_sim_frame(0, NULL), before);
	assert_int_equal(lab_sim_refs(before), 0);
	assert_int_equal(read_page(0), 5);
	assert_int_equal(lab_grab(gpu, 1, LAB_READ, &frame), -EFAULT);
}

static void replaced_although_referenced(void)
{
	lab_frame frame;

	map_and_write(0, LAB_ANON, 5);
	assert_int_equal(lab_pin(gpu, 0, LAB_READ, &frame), 0);
	assert_int_equal(lab_cpu_replace(0), 0); /* R5 */
	assert_int_not_equal(lab_sim_frame(0, NULL), frame);
	assert_int_equal(lab_sim_refs(frame), 1);
	assert_int_equal(read_page(0), 5);
	lab_unpin(gpu, frame);
	assert_int_equal(lab_sim_refs(frame), 0);
	map_and_write(1, LAB_FILE_SHARED, 6);
	assert_int_equal(lab_grab(gpu, 1, LAB_READ, &frame), 0);
	assert_int_equal(lab_cpu_truncate(1, 1), 0);
	assert_int_equal(lab_sim_refs(frame), 1);
	assert_int_equal(lab_grab(gpu, 1, LAB_READ, &frame), -EFAULT);
}

static void huge(void)
{
	lab_frame frame;

	for (uint32_t i = 4; i < 8; i++)
		map_and_write(i, LAB_ANON, i);
	assert_int_equal(lab_grab(gpu, 6, LAB_READ, &frame), 0);
	assert_int_equal(lab_cpu_collapse(4), -EBUSY); /* R21 */
	assert_int_equal(lab_sim_frame(6, NULL), frame);
	lab_put(gpu, frame);
	assert_int_equal(lab_cpu_collapse(4), 0);
	assert_int_not_equal(lab_sim_frame(6, NULL), frame);
	for (uint32_t i = 4; i < 8; i++)
		assert_int_equal(read_page(i), i);
	assert_int_equal(lab_cpu_collapse(5), -EINVAL);
	assert_int_equal(lab_cpu_collapse(0), -EINVAL);
}

/* R20, R22: a pin keeps the page the process's own over fork; a reference does not. */
static void pins(void)
{
	lab_frame pinned, grabbed, zero;
	uint32_t value;

	map_and_write(0, LAB_ANON, 5);
	map_and_write(1, LAB_ANON, 6);
	assert_int_equal(lab_pin(gpu, 0, LAB_WRITE, &pinned), 0);
	assert_int_equal(lab_grab(gpu, 1, LAB_WRITE, &grabbed), 0);
	assert_int_equal(lab_cpu_fork(), 0);
	assert_int_equal(lab_cpu_write(0, 7), 0);
	assert_int_equal(lab_cpu_write(1, 8), 0);
	assert_int_equal(lab_sim_frame(0, NULL), pinned);
	assert_int_not_equal(lab_sim_frame(1, NULL), grabbed);
	assert_int_equal(lab_sim_child_value(0, &value), 0);
	assert_int_equal(value, 5);
	assert_int_equal(lab_cpu_migrate(0), -EAGAIN); /* R17 */
	/* A pin for reading does not settle for the zero page; a reference does (R7). */
	assert_int_equal(lab_cpu_mmap(2, 1, LAB_ANON, RW), 0);
	assert_int_equal(lab_grab(gpu, 2, LAB_READ, &zero), 0);
	assert_true(lab_sim_is_zero(zero));
	assert_int_equal(lab_pin(gpu, 2, LAB_READ, &pinned), 0);
	assert_false(lab_sim_is_zero(pinned));
	assert_int_equal(lab_sim_frame(2, NULL), pinned);
}

/* R24: what MADV_FREE has given up goes without another call; what is written afterwards stays. */
static void freed_lazily(void)
{
	lab_frame frame;

	map_and_write(0, LAB_ANON, 5);
	map_and_write(1, LAB_ANON, 6);
	assert_int_equal(lab_cpu_madv_free(0, 2), 0);
	assert_int_equal(lab_cpu_write(1, 7), 0);
	assert_int_equal(lab_cpu_reclaim(0, false), 0);
	assert_int_equal(lab_cpu_reclaim(1, false), 0);
	assert_int_equal(read_page(0), 0);
	assert_int_equal(read_page(1), 7);
	/* A page that somebody holds stays, in the swap cache: the same frame comes back. */
	assert_int_equal(lab_grab(gpu, 1, LAB_READ, &frame), 0);
	assert_int_equal(lab_cpu_reclaim(1, false), -EAGAIN);
	assert_int_equal(lab_sim_frame(1, NULL), 0);
	assert_int_equal(read_page(1), 7);
	assert_int_equal(lab_sim_frame(1, NULL), frame);
}

static void storage(void)
{
	map_and_write(0, LAB_FILE_SHARED, 5);
	assert_int_equal(lab_sim_storage(0), 0);
	assert_int_equal(lab_cpu_writeback(0), 0);
	assert_int_equal(lab_sim_storage(0), 5);
	assert_int_equal(lab_cpu_reclaim(0, false), 0);
	assert_int_equal(read_page(0), 5);
	assert_int_equal(lab_cpu_write(0, 6), 0);
	assert_int_equal(lab_cpu_reclaim(0, false), -EAGAIN); /* dirty */
	assert_int_equal(lab_sim_storage(0), 5);
	assert_int_equal(read_page(0), 6);
}

/* A freed frame given out again at once, as for looking at use after free. */
static void reused(void)
{
	lab_frame first;

	map_and_write(0, LAB_ANON, 5);
	first = lab_sim_frame(0, NULL);
	assert_int_equal(lab_cpu_munmap(0, 1), 0);
	map_and_write(1, LAB_ANON, 6);
	assert_int_equal(lab_sim_frame(1, NULL), first);
	map_and_write(2, LAB_ANON, 7);
	assert_int_not_equal(lab_sim_frame(2, NULL), first);
	assert_int_equal(read_page(1), 6);
}

static void test_reuse(void **state)
{
	static const struct lab_scenario scenario = {.id = "reuse", .setup = in_setup, .reuse_frames = true};
	static const struct lab_config config = {.scenario = &scenario, .devices = 1};

	(void)state;
	body = reused;
	assert_true(lab_run_setup(&config));
}

/* ---- events ---- */

static char told[400];
static uint32_t watched; /* whose entry is looked at in callbacks */
static struct recorder {
	struct lab_listener listener;
	char name;
	bool refuses;
} recorder[2];

static void add(char name, const char *what, const struct uhmm_event *event)
{
	static const char kinds[] = "UCPRMEX";

	snprintf(told + strlen(told), sizeof(told) - strlen(told), "%c%s%c%u+%u%s ", name, what, kinds[event->kind],
		 LAB_PAGE_OF(event->start), LAB_PAGE_OF(event->end) - LAB_PAGE_OF(event->start),
		 lab_sim_frame(watched, NULL) ? "" : "-");
}

static int on_start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct recorder *r = (struct recorder *)l;

	if (r->refuses && event->flags & UHMM_EVENT_NONBLOCK) {
		add(r->name, "!", event);
		return -EAGAIN;
	}
	add(r->name, "(", event);
	return 0;
}

static void on_end(struct lab_listener *l, const struct uhmm_event *event, bool changed)
{
	add(((struct recorder *)l)->name, changed ? ")" : "]", event);
}

static void listen(uint32_t i, bool refuses)
{
	recorder[i] =
		(struct recorder){.listener = {.start = on_start, .end = on_end}, .name = (char)('a' + i), .refuses = refuses};
	lab_listen(&recorder[i].listener);
}

/* What has been told since the last time. A "-" says that the watched page had no entry at that moment. */
static void expect(const char *events)
{
	assert_string_equal(told, events);
	told[0] = '\0';
}

static void events_of_unmapping(void)
{
	listen(0, false);
	watched = 0;
	expect("");
	map_and_write(0, LAB_ANON, 1);
	expect(""); /* nothing was there */
	lab_cpu_munmap(0, 1);
	expect("a(U0+1 a)U0+1- ");
	lab_cpu_munmap(0, 1);
	expect("");
	map_and_write(0, LAB_ANON, 1);
	lab_cpu_dontneed(0, 1);
	expect("a(C0+1 a)C0+1- ");
	lab_cpu_write(0, 1);
	lab_cpu_mmap(0, 2, LAB_ANON, RW);
	expect("a(U0+1 a)U0+1- ");
	lab_cpu_write(0, 1);
	lab_cpu_madv_free(0, 2);
	expect("a(C0+2 a)C0+2 ");
	lab_cpu_reclaim(0, false);
	expect("a(C0+1 a)C0+1- ");
	lab_cpu_write(0, 1);
	lab_cpu_mremap(0, 1, 4);
	expect("a(R0+1 a)R0+1- a(U0+1- a)U0+1- ");
	watched = 4;
	lab_cpu_mremap(1, 1, 4);
	expect("a(U4+1 a)U4+1- a(R1+1- a)R1+1- a(U1+1- a)U1+1- ");
}

static void events_of_changing(void)
{
	listen(0, false);
	watched = 0;
	lab_cpu_mmap(0, 1, LAB_ANON, RW);
	read_page(0);
	expect("");
	lab_cpu_write(0, 1); /* the zero page goes */
	expect("a(C0+1 a)C0+1 ");
	lab_cpu_mprotect(0, 1, LAB_READ);
	expect("a(P0+1 a)P0+1 ");
	lab_cpu_mprotect(0, 1, RW);
	expect("a(P0+1 a)P0+1 ");
	lab_cpu_fork();
	expect("a(P0+1 a)P0+1 ");
	lab_cpu_write(0, 2);
	expect("a(C0+1 a)C0+1 ");
	lab_cpu_write(0, 3);
	expect("");
	/* Before the page is copied `end` has passed: only the entry's going is bracketed. */
	lab_cpu_migrate(0);
	expect("a(M0+1 a)M0+1- ");
	lab_cpu_replace(0);
	expect("a(P0+1 a)P0+1 a(C0+1 a)C0+1 ");
	for (uint32_t i = 4; i < 8; i++)
		map_and_write(i, LAB_ANON, i);
	watched = 4;
	lab_cpu_collapse(4);
	expect("a(M4+4 a)M4+4- ");
	map_and_write(1, LAB_FILE_SHARED, 1);
	watched = 1;
	lab_cpu_writeback(1);
	expect("a(P1+1 a)P1+1 ");
	lab_cpu_truncate(1, 1);
	expect("a(C1+1 a)C1+1- ");
}

/* R18, R19, R23: pages that a device has, in its memory or for itself alone. */
static void events_of_owners(void)
{
	lab_frame frame, moved, system;
	uint32_t value;

	map_and_write(0, LAB_ANON, 5);
	listen(0, false);
	watched = 0;
	assert_int_equal(lab_migrate_to_device(gpu, 0, gpu, &frame), 0);
	expect("a(M0+1 a)M0+1- ");
	assert_int_equal(lab_sim_frame(0, NULL), 0);
	lab_map(gpu, 0, frame, RW);
	assert_int_equal(lab_store(gpu, 0, 6), 0);
	lab_unmap(gpu, LAB_ADDR(0), LAB_ADDR(1));
	assert_int_equal(lab_vram_move(gpu, 0, &moved), 0);
	expect("");
	assert_int_not_equal(moved, frame);
	assert_int_equal(read_page(0), 6);
	expect("a(M0+1- a)M0+1- ");
	assert_int_equal(lab_vram_move(gpu, 0, &moved), -EFAULT);
	assert_int_equal(lab_make_exclusive(gpu, 0, gpu, &system), 0);
	expect("a(E0+1 a)E0+1 ");
	assert_int_equal(lab_sim_frame(0, &value), system);
	assert_int_equal(value, 0);
	lab_map(gpu, 0, system, RW);
	assert_int_equal(lab_store(gpu, 0, 7), 0);
	assert_int_equal(lab_cpu_mprotect(0, 1, RW), 0);
	lab_unmap(gpu, LAB_ADDR(0), LAB_ADDR(1));
	told[0] = '\0';
	assert_int_equal(read_page(0), 7);
	expect("a(E0+1 a)E0+1 ");
	lab_put(gpu, system);
	assert_int_equal(lab_sim_refs(system), 1);
}

/* R13: who refuses is told no end; who was told before him is, and that nothing changed; a later blocking pass goes through. */
static void events_of_refusal(void)
{
	map_and_write(0, LAB_ANON, 5);
	listen(0, false);
	listen(1, true);
	watched = 0;
	assert_int_equal(lab_cpu_reclaim(0, true), -EAGAIN);
	expect("a(C0+1 b!C0+1 a]C0+1 ");
	assert_int_not_equal(lab_sim_frame(0, NULL), 0);
	assert_int_equal(lab_cpu_reclaim(0, false), 0);
	expect("a(C0+1 b(C0+1 a)C0+1- b)C0+1- ");
	lab_silence(true);
	assert_int_equal(read_page(0), 5);
	lab_cpu_munmap(0, 1);
	expect("");
}

/* The shipped core, in the lab's build, hears of the same. */
static uint32_t torn_down, ended;

static int core_invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	(void)event;
	torn_down++;
	return 0;
}

static void core_end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	(void)n;
	(void)event;
	ended += changed;
}

static void events_for_the_core(void)
{
	static const struct uhmm_notifier_ops ops = {.invalidate = core_invalidate, .end = core_end};
	struct uhmm_notifier *n = lab_alloc_zeroed(sizeof(*n));

	torn_down = ended = 0;
	assert_int_equal(uhmm_notifier_insert(lab_mm(), n, (void *)LAB_ADDR(0), 4096, &ops), 0);
	map_and_write(0, LAB_ANON, 1);
	map_and_write(1, LAB_ANON, 1);
	lab_cpu_munmap(1, 1);
	assert_int_equal(torn_down, 0);
	lab_cpu_munmap(0, 1);
	assert_int_equal(torn_down, 1);
	assert_int_equal(ended, 1);
}

/* ---- the digest ---- */

static uint64_t hash;

static void end_here(void)
{
	hash = lab_sim_digest();
}

static void state_plain(void)
{
	map_and_write(0, LAB_ANON, 5);
	map_and_write(1, LAB_ANON, 6);
	end_here();
}

static void state_other_way(void)
{
	map_and_write(1, LAB_ANON, 4);
	map_and_write(0, LAB_ANON, 5);
	lab_cpu_write(1, 6);
	lab_cpu_migrate(0);
	end_here();
}

static void state_other_value(void)
{
	map_and_write(0, LAB_ANON, 5);
	map_and_write(1, LAB_ANON, 7);
	end_here();
}

static void state_with_entry(void)
{
	map_and_write(0, LAB_ANON, 5);
	map_and_write(1, LAB_ANON, 6);
	lab_map(gpu, 0, lab_sim_frame(0, NULL), LAB_READ);
	end_here();
}

static void state_with_reference(void)
{
	lab_frame frame;

	map_and_write(0, LAB_ANON, 5);
	map_and_write(1, LAB_ANON, 6);
	lab_grab(gpu, 0, LAB_READ, &frame);
	end_here();
}

static void test_digest(void **state)
{
	void (*const different[])(void) = {state_other_value, state_with_entry, state_with_reference};
	uint64_t plain;

	(void)state;
	run_here(state_plain);
	plain = hash;
	run_here(state_other_way);
	assert_int_equal(hash, plain);
	for (size_t i = 0; i < sizeof(different) / sizeof(different[0]); i++) {
		run_here(different[i]);
		assert_int_not_equal(hash, plain);
	}
}

/* ---- fibers: the invariants ---- */

static uint32_t picked; /* what a scenario does differently */

static void map_by_hand(uint32_t page, uint32_t access)
{
	lab_frame frame;

	if (lab_grab(gpu, page, access, &frame) == 0) {
		lab_map(gpu, page, frame, access);
		lab_put(gpu, frame);
	}
}

static void use_mapped(void *unused)
{
	uint32_t value = 9;

	(void)unused;
	map_by_hand(0, LAB_WRITE);
	lab_store(gpu, 0, value);
	lab_load(gpu, 0, &value);
}

/* Holds the page for one get, begun before the change or after it. */
static void use_held(void *unused)
{
	lab_frame frame;
	uint32_t before = 0, value;

	(void)unused;
	if (picked == 1)
		before = lab_use_begin();
	if (lab_grab(gpu, 0, LAB_READ, &frame))
		return;
	if (picked == 2)
		before = lab_use_begin();
	lab_load_frame(gpu, 0, frame, &value);
	lab_use_end(before);
	lab_put(gpu, frame);
}

static void unmaps(void *unused)
{
	(void)unused;
	lab_cpu_munmap(0, 1);
}

static void writes_back(void *unused)
{
	(void)unused;
	lab_cpu_writeback(0);
}

/* Uses the frame after its reference is gone; in between somebody else's page may get it. */
static void uses_freed(void *unused)
{
	lab_frame frame;
	uint32_t value;

	(void)unused;
	if (lab_grab(gpu, 0, LAB_READ, &frame))
		return;
	lab_put(gpu, frame);
	if (picked)
		lab_use_begin();
	lab_load_frame(gpu, 0, frame, &value);
}

static void migrates(void *unused)
{
	(void)unused;
	lab_cpu_migrate(0);
}

static void reclaims(void *unused)
{
	(void)unused;
	lab_cpu_madv_free(0, 1);
	lab_cpu_reclaim(0, false);
}

static void owns(void *who)
{
	lab_own(0, (uint32_t)(uintptr_t)who);
	if (picked)
		lab_disown(0, (uint32_t)(uintptr_t)who);
}

/* Nobody tells the device; the write is one that MADV_FREE did not give up. */
static void drops_what_was_written(void *unused)
{
	(void)unused;
	lab_cpu_madv_free(0, 1);
	lab_store(gpu, 0, 9);
	lab_cpu_reclaim(0, false);
}

static void forks_and_writes(void *unused)
{
	(void)unused;
	lab_cpu_fork();
	lab_store(gpu, 0, 9);
}

/* The CPU may touch what the device says it has alone. */
static void own_and_wait(void *unused)
{
	lab_frame frame;

	(void)unused;
	if (picked && lab_make_exclusive(gpu, 0, gpu, &frame))
		return;
	lab_own(0, 1);
	lab_disown(0, 1);
}

static void writes(void *unused)
{
	(void)unused;
	lab_cpu_write(0, 7);
}

static struct uhmm_a32 *never;

static int waits_for_ever(struct lab_listener *l, const struct uhmm_event *event)
{
	(void)l;
	(void)event;
	lab_await(never, 1);
	return 0;
}

/* Tears down in start, and what is looked up afterwards is its own affair. */
static int tears_down(struct lab_listener *l, const struct uhmm_event *event)
{
	(void)l;
	lab_unmap(gpu, event->start, event->end);
	return 0;
}

static void begin(const struct lab_setup *s, enum lab_kind kind)
{
	gpu = s->device[0];
	map_and_write(0, kind, 5);
}

static void setup_stale_entry(const struct lab_setup *s)
{
	begin(s, LAB_ANON);
	map_by_hand(0, LAB_READ);
	lab_spawn("cpu", unmaps, NULL);
}

static void setup_told(const struct lab_setup *s)
{
	struct lab_listener *l = lab_alloc_zeroed(sizeof(*l));

	setup_stale_entry(s);
	l->start = tears_down;
	lab_listen(l);
}

static void setup_held(const struct lab_setup *s)
{
	begin(s, LAB_ANON);
	lab_spawn("gpu", use_held, NULL);
	lab_spawn("cpu", unmaps, NULL);
}

static void setup_freed(const struct lab_setup *s)
{
	begin(s, LAB_ANON);
	lab_spawn("gpu", uses_freed, NULL);
	lab_spawn("cpu", unmaps, NULL);
}

static void setup_written_back(const struct lab_setup *s)
{
	begin(s, LAB_FILE_SHARED);
	lab_spawn("gpu", use_mapped, NULL);
	lab_spawn("cpu", writes_back, NULL);
}

static void setup_migrated(const struct lab_setup *s)
{
	struct lab_listener *l = lab_alloc_zeroed(sizeof(*l));

	begin(s, LAB_ANON);
	l->start = tears_down;
	lab_listen(l);
	lab_spawn("gpu", use_mapped, NULL);
	lab_spawn("cpu", migrates, NULL);
}

static void setup_dropped(const struct lab_setup *s)
{
	begin(s, LAB_ANON);
	map_by_hand(0, LAB_WRITE);
	lab_spawn("cpu", drops_what_was_written, NULL);
}

static void setup_forked(const struct lab_setup *s)
{
	begin(s, LAB_ANON);
	map_by_hand(0, LAB_WRITE);
	lab_spawn("cpu", forks_and_writes, NULL);
}

/* Even the exclusive page is lost: nothing here waits for the device to let go of it. */
static void setup_shared(const struct lab_setup *s)
{
	begin(s, LAB_ANON);
	lab_spawn("gpu", own_and_wait, NULL);
	lab_spawn("cpu", writes, NULL);
}

static void setup_reclaimed(const struct lab_setup *s)
{
	setup_migrated(s);
	lab_spawn("kswapd", reclaims, NULL);
}

static void setup_owned(const struct lab_setup *s)
{
	begin(s, LAB_ANON);
	lab_spawn("one", owns, (void *)1);
	lab_spawn("two", owns, (void *)2);
}

static void setup_never_ending(const struct lab_setup *s)
{
	struct lab_listener *l = lab_alloc_zeroed(sizeof(*l));

	begin(s, LAB_ANON);
	never = lab_alloc_zeroed(sizeof(*never));
	l->start = waits_for_ever;
	lab_listen(l);
	lab_spawn_daemon("cpu", unmaps, NULL);
	lab_spawn("gpu", use_held, NULL);
}

static const struct {
	void (*setup)(const struct lab_setup *s);
	uint32_t picked;
	int invariant; /* 0: holds */
} cases[] = {
	{setup_stale_entry, 0, 1}, {setup_told, 0, 0},
	{setup_held, 0, 2},        {setup_held, 1, 0},         {setup_held, 2, 2},
	{setup_freed, 0, 2},       {setup_freed, 1, 2},        {setup_written_back, 0, 3},
	{setup_migrated, 0, 1},    {setup_reclaimed, 0, 1},    {setup_owned, 0, 4},
	{setup_owned, 1, 4},       {setup_never_ending, 1, 6}, {setup_dropped, 0, 3},
	{setup_forked, 0, 2},      {setup_shared, 0, 4},       {setup_shared, 1, 4},
};

static void search(const struct lab_scenario *scenario, uint32_t bound, struct lab_result *out)
{
	const struct lab_config config = {.scenario = scenario, .devices = 1, .bound = bound};
	const struct lab_limits limits = {.schedules = 200000, .go_on = false};

	memset(out, 0, sizeof(*out));
	lab_search_bound(&config, &limits, out);
}

static void test_invariants(void **state)
{
	static struct lab_result result;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct lab_scenario scenario = {.id = "case", .setup = cases[i].setup};

		picked = cases[i].picked;
		search(&scenario, 2, &result);
		print_message("case %zu: %s, %llu schedules%s%s\n", i, result.outcome == LAB_LOST ? "lost" : "held",
			      (unsigned long long)result.schedules, result.outcome == LAB_LOST ? ": " : "",
			      result.verdict.text);
		assert_int_equal(result.outcome, cases[i].invariant ? LAB_LOST : LAB_HELD);
		if (cases[i].invariant)
			assert_int_equal(result.verdict.invariant, cases[i].invariant);
	}
}

/* ---- the engine's side of it ---- */

static void moves(void *to)
{
	lab_cpu_mremap((uint32_t)(uintptr_t)to - 2, 1, (uint32_t)(uintptr_t)to);
}

static void changes_two(void *page)
{
	lab_cpu_write((uint32_t)(uintptr_t)page, 7);
	lab_cpu_write(1 - (uint32_t)(uintptr_t)page, 8);
	lab_cpu_dontneed((uint32_t)(uintptr_t)page, 1);
}

static void setup_moving(const struct lab_setup *s)
{
	begin(s, LAB_ANON);
	map_and_write(1, LAB_ANON, 6);
	lab_spawn("one", moves, (void *)2);
	lab_spawn("two", moves, (void *)3);
}

static void setup_two_pages(const struct lab_setup *s)
{
	begin(s, LAB_ANON);
	map_and_write(1, LAB_ANON, 6);
	lab_spawn("one", changes_two, (void *)0);
	lab_spawn("two", changes_two, (void *)1);
}

static void setup_forking(const struct lab_setup *s)
{
	setup_two_pages(s);
	lab_cpu_fork();
	lab_spawn("kcompactd", migrates, NULL);
}

/* What is not told to the arena is not put back: every execution would begin a little differently. */
static void test_executions_leave_nothing(void **state)
{
	void (*const setups[])(const struct lab_setup *s) = {setup_moving, setup_two_pages, setup_forking, setup_written_back,
							     setup_migrated};
	static struct lab_result result;

	(void)state;
	for (size_t i = 0; i < sizeof(setups) / sizeof(setups[0]); i++) {
		const struct lab_scenario scenario = {.id = "leaves", .setup = setups[i]};
		const struct lab_config config = {.scenario = &scenario, .devices = 1};
		uint64_t before;

		assert_true(lab_run_setup(&config));
		before = lab_sim_memory_hash();
		search(&scenario, 1, &result);
		assert_true(result.schedules > 1);
		assert_int_equal(lab_sim_memory_hash(), before);
	}
}

/* The reduced search reaches the final states that all schedules reach. */
static void test_reduction(void **state)
{
	void (*const setups[])(const struct lab_setup *s) = {setup_moving, setup_two_pages};
	static struct lab_result all, reduced;
	const struct lab_limits limits = {.go_on = true, .seconds = 60};

	(void)state;
	for (size_t i = 0; i < sizeof(setups) / sizeof(setups[0]); i++) {
		const struct lab_scenario scenario = {.id = "reduced", .setup = setups[i]};
		const struct lab_config config = {.scenario = &scenario, .devices = 1};

		lab_search_all(&config, &limits, false, &all);
		lab_search_all(&config, &limits, true, &reduced);
		print_message("%llu schedules, %llu reduced; %llu and %llu final states\n", (unsigned long long)all.schedules,
			      (unsigned long long)reduced.schedules, (unsigned long long)all.digests,
			      (unsigned long long)reduced.digests);
		if (!all.exhaustive || !reduced.exhaustive)
			continue;
		assert_int_equal(all.digest_of_set, reduced.digest_of_set);
		assert_true(reduced.schedules <= all.schedules);
	}
}

#define HERE(name)                                                                                                             \
	static void test_##name(void **state)                                                                                  \
	{                                                                                                                      \
		(void)state;                                                                                                   \
		run_here(name);                                                                                                \
	}
HERE(references)
HERE(replaced_although_referenced)
HERE(huge)
HERE(pins)
HERE(freed_lazily)
HERE(storage)
HERE(events_of_unmapping)
HERE(events_of_changing)
HERE(events_of_owners)
HERE(events_of_refusal)
HERE(events_for_the_core)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_replaced_although_referenced),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_pins),
		cmocka_unit_test(test_freed_lazily),
		cmocka_unit_test(test_storage),
		cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_events_of_unmapping),
		cmocka_unit_test(test_events_of_changing),
		cmocka_unit_test(test_events_of_owners),
		cmocka_unit_test(test_events_of_refusal),
		cmocka_unit_test(test_events_for_the_core),
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_invariants),
		cmocka_unit_test(test_executions_leave_nothing),
		cmocka_unit_test(test_reduction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
