/* SPDX-License-Identifier: MIT */
#include "lab/scenarios/caches.h"

#include "core/core.h"
#include "port/thread.h"

#define WRITTEN 55u

struct caches *caches;

void caches_must(int err, const char *what)
{
	if (err)
		lab_fail("%s: error %d", what, -err);
}

void caches_begin(const struct lab_setup *s, const struct process_options *options, uint32_t pages)
{
	process_begin(options);
	registrant_begin();
	caches = lab_alloc_zeroed(sizeof(*caches));
	caches->device = s->device[0];
	caches->model = s->model;
	caches_must(lab_cpu_mmap(0, pages, LAB_ANON, RW), "mmap");
	for (uint32_t i = 0; i < pages; i++)
		caches_must(lab_cpu_write(i, i + 1), "write");
}

/* A get of a page that is not there leaves nothing behind but the tables that the first one makes. */
static void warm_up(void *arg)
{
	(void)arg;
	caches_use(LAB_PAGES - 1, LAB_READ);
}

static void warm_up_unless_cold(void)
{
	if (!process_options()->cold && !process_options()->late)
		process_open_with(warm_up, NULL);
}

void caches_attach(void)
{
	caches->model->attach(caches->device, LAB_ADDR(0), LAB_ADDR(LAB_PAGES));
	warm_up_unless_cold();
}

void caches_own(void)
{
	caches->cache = lab_cache_create(lab_mm(), caches->device);
	thread_atfork(core_fork_prepare, core_fork_parent, core_fork_child);
	warm_up_unless_cold();
}

static void thread_main(void *arg)
{
	const struct caches_thread *t = arg;

	t->fn(t->index);
	if (lab_fetch_add(&caches->done, 1) + 1 < caches->threads)
		return;
	if (caches->alone)
		registrant_await_none();
	else if (caches->cache && caches->destroys)
		lab_cache_destroy(caches->cache);
	else if (caches->cache)
		lab_cache_flush(caches->cache);
	else if (caches->model && caches->model->detach)
		caches->model->detach(caches->device);
}

void caches_thread(const char *name, void (*fn)(uint32_t index))
{
	struct caches_thread *t = &caches->thread[caches->threads];

	*t = (struct caches_thread){.name = name, .fn = fn, .index = caches->threads++};
	process_spawn(name, thread_main, t);
}

void caches_use(uint32_t page, uint32_t access)
{
	uint32_t value = WRITTEN;
	int err;

	if (caches->cache)
		err = lab_cache_use(caches->cache, caches->device, page, access, &value);
	else
		err = caches->model->use(caches->device, page, access, &value);
	if (err == -EBUSY && !process_has_deadlines())
		lab_fail("the get of page %u gave up", page);
}
