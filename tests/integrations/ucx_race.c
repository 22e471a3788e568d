/* SPDX-License-Identifier: MIT */
/*
 * ucx_race PRELOAD: UCX's own registration cache (libucs' ucs_rcache) under its own hooks and under ours, which PRELOAD brings
 * in, in one run: the discard race of R1 and R32. Cites G1, G3.
 *
 * UCX registers with its table locked, so a discard between registration and insertion is queued and nobody may get what was
 * registered, under either. What its own hooks miss single-threaded is the negative control: a mapping moved onto the page.
 */
#include <sys/syscall.h>

#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

#include "race.h"

static ucs_rcache_t *cache;

struct region {
	ucs_rcache_region_t super;
	uint64_t stamp;
};

static ucs_status_t mem_reg(void *context, ucs_rcache_t *rcache, void *arg, ucs_rcache_region_t *region, uint16_t flags)
{
	(void)context;
	(void)rcache;
	(void)arg;
	(void)flags;
	((struct region *)region)->stamp = race_register();
	return UCS_OK;
}

static void mem_dereg(void *context, ucs_rcache_t *rcache, ucs_rcache_region_t *region)
{
	(void)context;
	(void)rcache;
	(void)region;
}

static void dump_region(void *context, ucs_rcache_t *rcache, ucs_rcache_region_t *region, char *buf, size_t max)
{
	(void)context;
	(void)rcache;
	(void)region;
	snprintf(buf, max, "page");
}

static const ucs_rcache_ops_t cache_ops = {.mem_reg = mem_reg, .mem_dereg = mem_dereg, .dump_region = dump_region};

static int make_cache(void)
{
	const ucs_rcache_params_t params = {
		.region_struct_size = sizeof(struct region),
		.alignment = 16,
		.max_alignment = PAGE,
		.ucm_events = UCM_EVENT_VM_UNMAPPED,
		.ucm_event_priority = 1000,
		.ops = &cache_ops,
		.flags = UCS_RCACHE_FLAG_NO_PFN_CHECK,
		.max_regions = 1000,
		.max_size = SIZE_MAX,
		.max_unreleased = SIZE_MAX,
	};

	return ucs_rcache_create(&params, "race", NULL, &cache) == UCS_OK ? 0 : -1;
}

static uint64_t get(void)
{
	ucs_rcache_region_t *region;
	uint64_t stamp;

	if (ucs_rcache_get(cache, race.page, PAGE, PROT_READ | PROT_WRITE, NULL, &region) != UCS_OK)
		abort();
	stamp = ((struct region *)region)->stamp;
	ucs_rcache_region_put(cache, region);
	return stamp;
}

static void *discard_once(void *unused)
{
	(void)unused;
	race_discard();
	return NULL;
}

static void discard_meanwhile(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, discard_once, NULL))
		abort();
	pthread_join(thread, NULL);
}

static unsigned inserted_after(void)
{
	race_discard();
	race.meanwhile = discard_meanwhile;
	get();
	return race_is_stale(get());
}

/*
 * Another page takes the place of the registered one. By number, since the mremap() that UCX 1.13 puts in libc's place takes
 * four arguments and loses the fifth, where to.
 */
static unsigned moved_onto(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*(volatile char *)page = 1;
	get();
	if (syscall(SYS_mremap, page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, race.page) != (long)race.page)
		abort();
	return race_is_stale(get());
}

/* By libc's syscall(), which UCX does not patch. */
static unsigned by_number(void)
{
	get();
	if (syscall(SYS_madvise, race.page, PAGE, MADV_DONTNEED))
		abort();
	return race_is_stale(get());
}

static int measure(void)
{
	uint64_t tries = 20000, sum = 0, stale[2];
	unsigned after, moved, number;

	race_setup();
	if (make_cache()) {
		printf("no cache\n");
		return SKIP;
	}
	after = inserted_after();
	moved = moved_onto();
	number = by_number();
	stale[0] = race_rounds(tries, get, &sum);
	race.register_ns = 20000;
	stale[1] = race_rounds(tries / 10, get, &sum);
	printf("%u %u %u %lu %lu %lu\n", after, moved, number, (unsigned long)tries, (unsigned long)stale[0],
	       (unsigned long)stale[1]);
	ucs_rcache_destroy(cache);
	return 0;
}

struct outcome {
	unsigned after, moved, number;
	unsigned long tries, stale, slow;
};

static int run(const char *self, const char *name, struct outcome *o)
{
	char out[512];
	int status = race_run(self, "measure", out, sizeof(out));

	if (status == 0 &&
	    sscanf(out, "%u %u %u %lu %lu %lu", &o->after, &o->moved, &o->number, &o->tries, &o->stale, &o->slow) == 6)
		return 0;
	printf("%s: exit status %d: %s", name, status, out);
	return status == SKIP ? SKIP : 1;
}

static int expect(bool good, const char *what)
{
	if (!good)
		printf("FAILED: %s\n", what);
	return !good;
}

int main(int argc, char **argv)
{
	struct outcome theirs, ours;
	int failed, status;

	if (argc != 2)
		return 2;
	if (strcmp(argv[1], "measure") == 0)
		return measure();
	status = run(argv[0], "ucx", &theirs);
	setenv("LD_PRELOAD", argv[1], 1);
	if (!status)
		status = run(argv[0], "uhmm", &ours);
	if (status)
		return status;
	printf("hooks  inserted late  moved onto  by number   discard race, of %lu   with 20 us, of %lu\n", theirs.tries,
	       theirs.tries / 10);
	printf("ucx    %13u %11u %10u %24lu %20lu\n", theirs.after, theirs.moved, theirs.number, theirs.stale, theirs.slow);
	printf("uhmm   %13u %11u %10u %24lu %20lu\n", ours.after, ours.moved, ours.number, ours.stale, ours.slow);
	failed = expect(theirs.moved && theirs.number, "negative control: UCX does not see what it does not patch");
	failed += expect(!ours.moved && !ours.number, "moved onto, and by number");
	failed += expect(!ours.after, "R33: a discard during the registration");
	failed += expect(!ours.stale && !ours.slow, "R1, R32: the discard race");
	return failed ? 1 : 0;
}
