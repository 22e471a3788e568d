/* SPDX-License-Identifier: MIT */
/*
 * verbs_cache [DEVICE]: a cache of RDMA memory regions that cannot go stale, over libibverbs.
 *
 * What a transport does for each transfer is transfer(): look the buffer up, use its key, let go of it. The buffer is any
 * pointer; the program below unmaps it, and maps and discards memory at the same address, as allocators do all day.
 */
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <uhmm/mm.h>
#include <uhmm/regcache.h>

enum { LEN = 1 << 20, NO_DEVICE = 77 };

static void die(const char *what, int err)
{
	fprintf(stderr, "verbs_cache: %s: %s\n", what, strerror(err));
	exit(1);
}

/* ---- the cache's side of the adapter ---- */

/* With no lock held, so it may take its time; ibv_reg_mr() pins every page of the range. */
static int reg(void *ctx, struct uhmm_reg *r)
{
	unsigned int access = IBV_ACCESS_REMOTE_READ;
	struct ibv_mr *mr;

	if (r->access & PROT_WRITE)
		access |= IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
	mr = ibv_reg_mr(ctx, r->addr, r->len, access);
	if (!mr)
		return errno ? -errno : -EFAULT;
	r->handle = (uintptr_t)mr;
	return 0;
}

/* Later, on the cache's own thread: never inside the munmap() or free() that made the region stale. */
static void dereg(void *ctx, struct uhmm_reg *r)
{
	(void)ctx;
	ibv_dereg_mr((struct ibv_mr *)(uintptr_t)r->handle);
}

static const struct uhmm_regcache_ops ops = {.reg = reg, .dereg = dereg};

/* ---- a transfer ---- */

/* The key goes into a work request; the region is kept until the request has completed. Here it completes at once. */
static uint32_t transfer(struct uhmm_regcache *cache, const void *buf, size_t len)
{
	struct uhmm_reg *region;
	int err = uhmm_regcache_get(cache, buf, len, PROT_READ | PROT_WRITE, &region);
	uint32_t key;

	if (err)
		die("register", -err);
	key = ((struct ibv_mr *)(uintptr_t)region->handle)->lkey;
	uhmm_regcache_put(cache, region);
	return key;
}

static void *map_at(void *where)
{
	void *p = mmap(where, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (where ? MAP_FIXED_NOREPLACE : 0), -1,
		       0);

	if (p == MAP_FAILED)
		die("memory", errno);
	return p;
}

static void show(const char *what, uint32_t key, uint32_t before)
{
	printf("%-44s key %#x%s\n", what, key, key == before ? " (the same)" : "");
}

static void use_it(struct uhmm_regcache *cache)
{
	char *buf = map_at(NULL);
	uint32_t first = transfer(cache, buf, LEN), key;

	show("registered", first, 0);
	show("a part of it: a hit", transfer(cache, buf + 4096, 100), first);
	if (munmap(buf, LEN) != 0)
		die("munmap", errno);
	buf = map_at(buf);
	key = transfer(cache, buf, LEN);
	show("unmapped, and mapped at the same address", key, first);
	first = key;
	if (madvise(buf, LEN, MADV_DONTNEED) != 0)
		die("madvise", errno);
	show("discarded", transfer(cache, buf, LEN), first);
	munmap(buf, LEN);
}

static struct ibv_context *open_device(const char *name)
{
	int n = 0;
	struct ibv_device **list = ibv_get_device_list(&n), *found = NULL;
	struct ibv_context *device;

	for (int i = 0; list && i < n && !found; i++)
		if (!name || strcmp(ibv_get_device_name(list[i]), name) == 0)
			found = list[i];
	if (!found) {
		fprintf(stderr, "verbs_cache: no RDMA device%s%s here\n", name ? " " : "", name ? name : "");
		exit(NO_DEVICE);
	}
	device = ibv_open_device(found);
	if (!device)
		die(ibv_get_device_name(found), errno);
	ibv_free_device_list(list);
	return device;
}

int main(int argc, char **argv)
{
	/* Pinned pages stay in place across fork(), so regions do as well; and no more than this is ever pinned. */
	const struct uhmm_regcache_options options = {
		.size = sizeof(options), .max_regions = 1024, .max_bytes = 64 << 20, .flags = UHMM_REGCACHE_PINS};
	struct uhmm_stats stats = {.size = sizeof(stats)};
	struct uhmm_regcache *cache;
	struct ibv_context *device;
	struct uhmm_mm *mm;
	struct ibv_pd *pd;
	int err;

	device = open_device(argc > 1 ? argv[1] : NULL);
	pd = ibv_alloc_pd(device);
	if (!pd)
		die("protection domain", errno);
	if ((err = uhmm_mm_open(&mm, NULL)) != 0)
		die("address space", -err);
	if (!(uhmm_mm_monitors(mm) & UHMM_MONITOR_HOOKS))
		fprintf(stderr, "verbs_cache: no hooks here: what changes mappings has to be announced by hand\n");
	if ((err = uhmm_regcache_create(mm, &ops, pd, &options, &cache)) != 0)
		die("cache", -err);
	use_it(cache);
	uhmm_mm_stats(mm, &stats);
	printf("%llu hits, %llu misses\n", (unsigned long long)stats.cache_hits, (unsigned long long)stats.cache_misses);
	if ((err = uhmm_regcache_destroy(cache)) != 0)
		die("destroy", -err);
	uhmm_mm_close(mm);
	ibv_dealloc_pd(pd);
	ibv_close_device(device);
	return 0;
}
