/* SPDX-License-Identifier: MIT */
/*
 * fabric_race [memhooks|uhmm]: libfabric's own registration cache (the distribution's libfabric.a) under its own monitor and
 * under ours, in one run: the discard race of R1, R32, R33 and R6. Cites G1, G3, G4.
 *
 * Deterministic: a discard between the registration and the insertion. libfabric's monitor must hand out what is stale, or the
 * test tests nothing; with ours nobody may get it. At random: rounds of two threads; with ours none may be stale.
 */
#include <errno.h>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#include <uhmm/fabric.h>

#include "fabric_layout.h"
#include "race.h"

static struct ofi_mr_cache cache, other;

static int add_region(struct ofi_mr_cache *c, struct ofi_mr_entry *entry)
{
	(void)c;
	entry->stamp = race_register();
	return 0;
}

static void delete_region(struct ofi_mr_cache *c, struct ofi_mr_entry *entry)
{
	(void)c;
	(void)entry;
}

static uint64_t get_from(struct ofi_mr_cache *c)
{
	struct ofi_mr_info info = {.iov = {race.page, PAGE}, .iface = FI_HMEM_SYSTEM};
	struct ofi_mr_entry *entry;
	uint64_t stamp;

	if (ofi_mr_cache_search(c, &info, &entry))
		abort();
	stamp = entry->stamp;
	ofi_mr_cache_delete(c, entry);
	return stamp;
}

static uint64_t get(void)
{
	return get_from(&cache);
}

static struct fid_domain *open_domain(void)
{
	struct fi_info *hints = fi_allocinfo(), *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;

	hints->fabric_attr->prov_name = strdup("udp");
	if (fi_getinfo(FI_VERSION(1, 17), NULL, NULL, 0, hints, &info) || fi_fabric(info->fabric_attr, &fabric, NULL) ||
	    fi_domain(fabric, info, &domain, NULL)) {
		printf("no udp provider here\n");
		exit(SKIP);
	}
	fi_freeinfo(hints);
	return domain;
}

static void make_cache(struct ofi_mr_cache *c, struct fid_domain *domain, void *monitor)
{
	void *monitors[INTERFACES] = {[FI_HMEM_SYSTEM] = monitor};
	int err;

	c->entry_data_size = sizeof(uint64_t);
	c->add_region = add_region;
	c->delete_region = delete_region;
	err = ofi_mr_cache_init(domain, monitors, c);
	if (err) {
		printf("no cache: %s\n", fi_strerror(-err));
		exit(SKIP);
	}
}

/* ---- the deterministic part ---- */

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

/* Of how many look-ups that came after the discard was the result stale? At least two registrations are made. */
static unsigned inserted_after(void)
{
	unsigned stale = 0;

	race_discard();
	race.meanwhile = discard_meanwhile;
	get();
	for (int i = 0; i < 8; i++)
		stale += race_is_stale(get());
	return stale;
}

/* The same page in a second cache, where its registration is from before the discard. */
static unsigned in_two_caches(void)
{
	unsigned stale = 0;

	race_discard();
	for (int i = 0; i < 4; i++) {
		get_from(&other);
		get();
	}
	race_discard();
	for (int i = 0; i < 4; i++) {
		stale += race_is_stale(get());
		stale += race_is_stale(get_from(&other));
	}
	return stale;
}

/* Neither the monitor's thread nor its notifiers are in the child of a fork; what is found there is registered again. */
static unsigned in_a_child(void)
{
	int status;
	pid_t child;

	get();
	child = fork();
	if (!child) {
		unsigned stale;

		alarm(30);
		race_discard();
		stale = race_is_stale(get());
		race_discard();
		_exit((int)(stale + race_is_stale(get())));
	}
	waitpid(child, &status, 0);
	return (WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : 100) + race_is_stale(get());
}

/* Nothing happens to the page: everything after the second registration is a hit. */
static uint64_t registrations_when_quiet(void)
{
	uint64_t before;

	race_discard();
	before = race.registrations;
	for (int i = 0; i < 1000; i++)
		get();
	return race.registrations - before;
}

static int measure(const char *mode)
{
	bool ours = strcmp(mode, "uhmm") == 0;
	uint64_t tries = SANITIZED ? 1000 : 10000, sum = 0, stale[2], quiet;
	unsigned after, two = 0, child = 0;
	struct fid_domain *domain;

	if (ours) {
		int err = uhmm_fabric_import();

		if (err) {
			printf("not imported: %s\n", strerror(-err));
			return SKIP;
		}
	}
	race_setup();
	domain = open_domain();
	make_cache(&cache, domain, ours ? default_monitor : memhooks_monitor);
	after = inserted_after();
	quiet = registrations_when_quiet();
	stale[0] = race_rounds(tries, get, &sum);
	race.register_ns = 20000;
	stale[1] = race_rounds(tries / 10, get, &sum);
	race.register_ns = 0;
	if (ours) {
		make_cache(&other, domain, default_monitor);
		two = in_two_caches();
		ofi_mr_cache_cleanup(&other);
		child = in_a_child();
	}
	printf("%u %u %u %lu %lu %lu %lu\n", after, two, child, (unsigned long)quiet, (unsigned long)tries,
	       (unsigned long)stale[0], (unsigned long)stale[1]);
	ofi_mr_cache_cleanup(&cache);
	return 0;
}

struct outcome {
	unsigned after, two, child;
	unsigned long quiet, tries, stale, slow;
};

static int run(const char *self, const char *mode, struct outcome *o)
{
	char out[512];
	int status = race_run(self, mode, out, sizeof(out));

	if (status == 0 && sscanf(out, "%u %u %u %lu %lu %lu %lu", &o->after, &o->two, &o->child, &o->quiet, &o->tries,
				  &o->stale, &o->slow) == 7)
		return 0;
	printf("%s: exit status %d: %s", mode, status, out);
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
	struct outcome theirs = {.after = 8}, ours;
	int failed, status;

	if (fi_version() != FI_VERSION(1, 17)) {
		printf("skipped: the layout of libfabric 1.17's cache is known, this is another\n");
		return SKIP;
	}
	if (argc == 2)
		return measure(argv[1]);
	/* memhooks writes into libc's text, and dies of it under a sanitizer. */
	status = SANITIZED ? 0 : run(argv[0], "memhooks", &theirs);
	if (!status)
		status = run(argv[0], "uhmm", &ours);
	if (status)
		return status;
	printf("monitor   inserted late, of 8   discard race, of %lu   with 20 us, of %lu   registrations when quiet\n",
	       ours.tries, ours.tries / 10);
	if (!SANITIZED)
		printf("memhooks  %18u %24lu %20lu %26lu\n", theirs.after, theirs.stale, theirs.slow, theirs.quiet);
	printf("uhmm      %18u %24lu %20lu %26lu\n", ours.after, ours.stale, ours.slow, ours.quiet);
	failed = expect(theirs.after == 8, "negative control: memhooks hands out what was inserted after a discard");
	failed += expect(ours.after == 0, "R33: nothing from before the discard is handed out");
	failed += expect(ours.two == 0, "a page in two caches");
	failed += expect(ours.child == 0, "in the child of a fork, and in its parent");
	failed += expect(ours.stale == 0 && ours.slow == 0, "R1, R32: the discard race");
	failed += expect(ours.quiet <= 2, "a page that nothing happens to is registered twice at most");
	return failed ? 1 : 0;
}
