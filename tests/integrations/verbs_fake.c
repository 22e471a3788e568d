/* SPDX-License-Identifier: MIT */
/*
 * verbs_fake.c: an adapter that is not there. Linked with examples/verbs_cache.c in libibverbs' place, so that the example runs
 * on any machine; it ends with an error if the cache deregisters anything twice, or keeps anything to the end.
 */
#include <infiniband/verbs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#undef ibv_reg_mr

static struct ibv_device the_device = {.name = "fake0"};
static struct ibv_device *devices[] = {&the_device, NULL};
static struct ibv_context the_context;
static struct ibv_pd the_pd;
static _Atomic int regions;
static _Atomic uint32_t keys;

struct ibv_device **ibv_get_device_list(int *n)
{
	*n = 1;
	return devices;
}

void ibv_free_device_list(struct ibv_device **list)
{
	(void)list;
}

const char *ibv_get_device_name(struct ibv_device *device)
{
	return device->name;
}

struct ibv_context *ibv_open_device(struct ibv_device *device)
{
	the_context.device = device;
	return &the_context;
}

int ibv_close_device(struct ibv_context *context)
{
	(void)context;
	if (regions)
		printf("regions left: %d\n", regions);
	return 0;
}

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
	the_pd.context = context;
	return &the_pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
	(void)pd;
	if (regions) {
		printf("regions left: %d\n", regions);
		exit(1);
	}
	return 0;
}

static struct ibv_mr *make_region(struct ibv_pd *pd, void *addr, size_t length)
{
	struct ibv_mr *mr = calloc(1, sizeof(*mr));

	if (!mr)
		return NULL;
	*mr = (struct ibv_mr){.pd = pd, .addr = addr, .length = length, .lkey = ++keys};
	regions++;
	return mr;
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access)
{
	(void)access;
	return make_region(pd, addr, length);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova, unsigned int access)
{
	(void)iova;
	(void)access;
	return make_region(pd, addr, length);
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	if (!mr->pd)
		exit(1);
	mr->pd = NULL;
	free(mr);
	regions--;
	return 0;
}
