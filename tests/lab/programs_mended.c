/* SPDX-License-Identifier: MIT */
/* programs_mended.c: compiled as code under test is. */
#include "programs_mended.h"

#include "lab/models/evictable.h"
#include "lab/models/vram.h"

/* ---- R14: one lock over the question and what follows from its answer ---- */

static int evictable_start(struct lab_listener *l, const struct uhmm_event *event)
{
	struct evictable *e = (struct evictable *)l;

	if (!model_lock_for(&e->driver.lock, event))
		return -EAGAIN;
	small_driver_count(&e->driver);
	if (lab_load_relaxed(&e->evicted))
		evictable_forget(e, event);
	else
		lab_unmap(e->driver.d, event->start, event->end);
	lab_unlock(&e->driver.lock);
	return 0;
}

static void evictable_attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	small_driver_attach(lab_device_state(d), d, evictable_start);
}

const struct lab_model mended_evictable = {
	.name = "mended_evictable",
	.about = "page tables that are evicted, and invalidations that reach them",
	.state_size = sizeof(struct evictable),
	.attach = evictable_attach,
	.use = evictable_use,
	.evict = evictable_evict,
	.restore = evictable_restore,
};

/* ---- R19: who moves the memory says so ---- */

struct reader {
	struct small_driver driver;  /* first */
	struct vram_watcher watcher;
	uint32_t slot;               /* plus 1; under the lock */
};

static struct reader *reader_of(struct vram_watcher *w)
{
	return (struct reader *)((char *)w - offsetof(struct reader, watcher));
}

static void move_starts(struct vram_watcher *w, uint32_t page)
{
	struct reader *r = reader_of(w);

	(void)page;
	lab_lock(&r->driver.lock);
	small_driver_count(&r->driver);
	r->slot = 0;
	lab_unlock(&r->driver.lock);
}

static void move_ends(struct vram_watcher *w, uint32_t page)
{
	(void)page;
	lab_lock(&reader_of(w)->driver.lock);
	reader_of(w)->driver.active--;
	lab_unlock(&reader_of(w)->driver.lock);
}

static void vram_attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	struct reader *r = lab_device_state(d);

	(void)start;
	(void)end;
	small_driver_attach(&r->driver, d, NULL);
	r->watcher.start = move_starts;
	r->watcher.end = move_ends;
	vram_watch(&r->watcher);
}

static int vram_use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	struct reader *r = lab_device_state(d);

	(void)access;
	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		uint32_t seen = small_driver_begin(&r->driver), slot = vram_where(page) + 1;
		bool done;

		lab_lock(&r->driver.lock);
		if (!r->slot && !small_driver_overtaken(&r->driver, seen))
			r->slot = slot;
		done = r->slot;
		if (done) /* under the lock: the callback waits for what the device is doing */
			vram_load(d, page, r->slot - 1, value);
		lab_unlock(&r->driver.lock);
		if (done)
			return 0;
	}
	return -EBUSY;
}

const struct lab_model mended_vram = {
	.name = "mended_vram",
	.about = "is called by who moves device memory",
	.state_size = sizeof(struct reader),
	.attach = vram_attach,
	.use = vram_use,
};

/* ---- R23: an unmap waits for the operation, and ends exclusivity ---- */

static void exclusive_attach(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	small_driver_attach(lab_device_state(d), d, NULL);
}

static int exclusive_add(struct lab_device *d, uint32_t page, uint32_t delta, uint32_t *old)
{
	struct small_driver *s = lab_device_state(d);

	for (uint32_t i = 0; i < MODEL_TRIES; i++) {
		int err;

		lab_lock(&s->lock);
		err = lab_load(d, page, old);
		if (!err)
			err = lab_store(d, page, *old + delta);
		lab_unlock(&s->lock);
		if (err != -EFAULT)
			return err;
		err = small_driver_fault(s, page, LAB_READ | LAB_WRITE);
		if (err && err != -EAGAIN)
			return err;
	}
	return -EBUSY;
}

static int exclusive_use(struct lab_device *d, uint32_t page, uint32_t access, uint32_t *value)
{
	return access & LAB_WRITE ? -EINVAL : exclusive_add(d, page, 0, value);
}

const struct lab_model mended_exclusive = {
	.name = "mended_exclusive",
	.about = "atomic operations that an unmap waits for",
	.state_size = sizeof(struct small_driver),
	.attach = exclusive_attach,
	.use = exclusive_use,
	.atomic_add = exclusive_add,
};
