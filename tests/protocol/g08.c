/* SPDX-License-Identifier: MIT */
/*
 * G8: an invalidation that overlaps no notifier writes no shared line, whatever the number of notifiers; a later insert
 * still finds it (G3). Shown by taking away the right to write: everything that threads share is made read-only around such
 * an invalidation.
 */
#include "proto.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mm.h"

#define MANY 2000u

/* The notifiers, on pages of their own. */
static struct driver *drivers;
static size_t drivers_size;

static void protect(void *at, size_t len, int prot)
{
	CHECK_EQ(mprotect(at, (len + PAGE - 1) & ~(PAGE - 1), prot), 0);
}

struct chunk {
	struct chunk *next;
	size_t size;
};

static void protect_pool(struct pool *p, int prot)
{
	for (struct chunk *c = p->chunks, *next; c; c = next) {
		next = c->next;
		protect(c, c->size, prot);
	}
}

/* The address space, its lock and counters, the tree, the occupancy, the notifiers: all but the threads' own lines. */
static void protect_all(struct uhmm_mm *mm, int prot)
{
	if (prot != PROT_READ)
		protect(mm, sizeof(*mm), prot);
	protect_pool(&mm->tree.pool, prot);
	protect_pool(&mm->occupied.node_pool, prot);
	protect_pool(&mm->occupied.leaf_pool, prot);
	protect(drivers, drivers_size, prot);
	if (prot == PROT_READ)
		protect(mm, sizeof(*mm), prot);
}

/* One page each, with a hole after it. */
static struct uhmm_mm *open_with_many(void)
{
	struct uhmm_mm *mm = proto_open();

	drivers_size = (MANY * sizeof(struct driver) + PAGE - 1) & ~(PAGE - 1);
	drivers = mmap(NULL, drivers_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(drivers != MAP_FAILED);
	for (unsigned k = 0; k < MANY; k++) {
		driver_open(&drivers[k], mm, 2 * k, 1);
	}
	return mm;
}

static void close_with_many(struct uhmm_mm *mm)
{
	for (unsigned k = 0; k < MANY; k++) {
		CHECK_EQ(drivers[k].invalidates, 0);
		CHECK_EQ(drivers[k].ends, 0);
		driver_remove(&drivers[k]);
	}
	munmap(drivers, drivers_size);
	uhmm_mm_close(mm);
}

/* A hole between two notifiers, the outside, and something that spans pages; by a thread that is known and one that is new. */
static void invalidate_holes(void *arg)
{
	static const unsigned pages[][2] = {{1, 1}, {2 * MANY - 1, 1}, {2 * MANY, 1000}, {1u << 20, 4096}};
	struct uhmm_mm *mm = arg;
	struct uhmm_invalidation inv;

	for (size_t k = 0; k < sizeof(pages) / sizeof(pages[0]); k++) {
		start_pages(mm, &inv, pages[k][0], pages[k][1]);
		CHECK(a64_load_relaxed(&core_slot(core_thread())->range[mm->place]) & SLOT_PRESENT);
		CHECK(!mm->active);
		if (k % 2)
			uhmm_invalidate_end(&inv);
		else
			uhmm_invalidate_abort(&inv);
		CHECK_EQ(a64_load_relaxed(&core_slot(core_thread())->range[mm->place]), 0);
	}
}

static void nothing_shared_is_written(void)
{
	struct uhmm_mm *mm = open_with_many();
	struct worker w;

	CHECK(mm->place < CORE_FAST_MMS);
	protect_all(mm, PROT_READ);
	invalidate_holes(mm);
	worker_start(&w, invalidate_holes, mm);
	worker_join(&w);
	protect_all(mm, PROT_READ | PROT_WRITE);
	close_with_many(mm);
}

/* The control: one that does overlap writes there. In a child, because it dies of it. */
static void overlapping_does_write(void)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct uhmm_mm *mm = open_with_many();
		struct uhmm_invalidation inv;

		signal(SIGSEGV, SIG_DFL);
		protect_all(mm, PROT_READ);
		start_pages(mm, &inv, 2, 1);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	/* A sanitizer turns the signal into an exit of its own. */
	CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : WEXITSTATUS(status) != 0);
}

/* An insert finds it in the line, claims it, and the line is empty again after the (slow) end. */
static void later_insert_claims(void)
{
	struct uhmm_mm *mm = open_with_many();
	struct core_slot *slot = core_slot(core_thread());
	struct uhmm_invalidation inv;
	struct driver d;

	driver_init(&d);
	start_pages(mm, &inv, 1, 1);
	CHECK(!(a64_load_relaxed(&slot->range[mm->place]) & SLOT_CLAIMED));
	driver_insert(&d, mm, 3, 1); /* beside it: no claim */
	CHECK(!(a64_load_relaxed(&slot->range[mm->place]) & SLOT_CLAIMED));
	driver_remove(&d);
	driver_insert(&d, mm, 1, 1);
	CHECK(a64_load_relaxed(&slot->range[mm->place]) & SLOT_CLAIMED);
	CHECK(mm->active == &inv);
	CHECK_EQ(a32_load_relaxed(&d.n.private_active), COUNT_ONE);
	uhmm_invalidate_end(&inv);
	CHECK(!mm->active);
	CHECK_EQ(a32_load_relaxed(&d.n.private_active), 0);
	CHECK_EQ(a64_load_relaxed(&slot->range[mm->place]), 0);
	CHECK_EQ(d.ends, 1);
	driver_remove(&d);
	close_with_many(mm);
}

/* What is removed leaves nothing behind: its page is a hole again. A neighbour in the same page keeps it. */
static void removal_makes_a_hole(void)
{
	struct uhmm_mm *mm = open_with_many();
	struct uhmm_invalidation inv;
	struct driver d[2];

	for (unsigned k = 0; k < 2; k++) {
		driver_init(&d[k]);
		CHECK_EQ(uhmm_notifier_insert(mm, &d[k].n, (char *)PAGE_AT(1) + 64 * k, 64, &driver_ops), 0);
	}
	driver_remove(&d[0]);
	start_pages(mm, &inv, 1, 1);
	CHECK(mm->active == &inv);
	uhmm_invalidate_end(&inv);
	CHECK_EQ(d[1].invalidates, 1);
	CHECK_EQ(uhmm_notifier_resize(&d[1].n, PAGE_AT(2 * MANY + 5000), PAGE), 0); /* moved away is as good as removed */
	protect_all(mm, PROT_READ);
	invalidate_holes(mm);
	protect_all(mm, PROT_READ | PROT_WRITE);
	CHECK_EQ(uhmm_notifier_resize(&d[1].n, PAGE_AT(1), PAGE), 0);
	driver_remove(&d[1]);
	protect_all(mm, PROT_READ);
	invalidate_holes(mm);
	protect_all(mm, PROT_READ | PROT_WRITE);
	close_with_many(mm);
}

/* Nested and very long ones go the slow way, and are counted like the others. */
static void what_does_not_fit(void)
{
	struct uhmm_mm *mm = open_with_many();
	struct uhmm_event all = {.start = 0, .end = BASE, .kind = UHMM_EVENT_RELEASE};
	struct uhmm_invalidation inv[3];
	struct driver d;
	struct reader r;

	driver_init(&d);
	start_pages(mm, &inv[0], 1, 1);
	start_pages(mm, &inv[1], 1, 1);
	CHECK_EQ(uhmm_invalidate_start(mm, &inv[2], &all), 0);
	driver_insert(&d, mm, 1, 1);
	CHECK_EQ(a32_load_relaxed(&d.n.private_active), 2 * COUNT_ONE);
	reader_sleeps(&r, &d);
	uhmm_invalidate_end(&inv[0]); /* not in the order of nesting */
	CHECK(worker_asleep(&r.w));
	uhmm_invalidate_end(&inv[1]);
	worker_join(&r.w);
	uhmm_invalidate_end(&inv[2]);
	CHECK(!driver_retry(&d, r.seq));
	CHECK_EQ(d.ends, 2);
	driver_remove(&d);
	close_with_many(mm);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"overlapping_does_write", overlapping_does_write}, {"nothing_shared_is_written", nothing_shared_is_written},
		{"later_insert_claims", later_insert_claims},       {"removal_makes_a_hole", removal_makes_a_hole},
		{"what_does_not_fit", what_does_not_fit},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
