/* SPDX-License-Identifier: MIT */
#include "devices/uring_table.h"

#include <errno.h>
#include <liburing.h>
#include <sys/syscall.h>

#include "port/inject.h"
#include "port/mm.h"

#define SLOTS_MIN 64u
/* Slots that one drain empties at most: about 20 microseconds. */
#define DRAIN_MAX 64u

/* ---- registration calls ---- */

static int ring_register(struct uring_table *t, unsigned opcode, void *arg, unsigned count, unsigned flags)
{
	long result;

	if (PORT_INJECT(INJECT_URING))
		return -ENOMEM;
	if (t->refuse) {
		int refused = t->refuse(t->refuse_arg, opcode, flags);

		if (refused)
			return refused;
	}
	/* By the ring's own descriptor: an index into a thread's registered rings would mean another ring in another thread. */
	do {
		result = port_syscall(__NR_io_uring_register, t->ring->ring_fd, (long)opcode, (long)(uintptr_t)arg, (long)count,
				      0, 0);
	} while (result == -EINTR);
	return result < 0 ? (int)result : 0;
}

/* A slot holds [addr, addr+len) from now on, or nothing if both are 0. */
static int slot_update(struct uring_table *t, uint32_t slot, void *addr, size_t len)
{
	struct iovec vec = {.iov_base = addr, .iov_len = len};
	struct io_uring_rsrc_update2 update = {.offset = slot, .data = (uintptr_t)&vec, .nr = 1};

	return ring_register(t, IORING_REGISTER_BUFFERS_UPDATE, &update, sizeof(update), 0);
}

/* An empty table, with the flag for it (Linux 5.19), or as so many empty buffers (5.13). */
static int table_create(struct uring_table *t, uint32_t slots)
{
	struct io_uring_rsrc_register r = {.nr = slots, .flags = IORING_RSRC_REGISTER_SPARSE};
	size_t vec_bytes = slots * sizeof(struct iovec);
	void *vecs;
	int err;

	err = ring_register(t, IORING_REGISTER_BUFFERS2, &r, sizeof(r), r.flags);
	if (err != -EINVAL)
		return err;
	err = mm_map(vec_bytes, &vecs);
	if (err)
		return err;
	r.flags = 0;
	r.data = (uintptr_t)vecs;
	err = ring_register(t, IORING_REGISTER_BUFFERS2, &r, sizeof(r), 0);
	mm_unmap(vecs, vec_bytes);
	return err;
}

/* -EINVAL: a kernel older than 5.13. -EACCES: the ring's restrictions forbid it. */
int uring_table_setup(struct uring_table *t, uint32_t slots)
{
	int err = table_create(t, slots);

	while (err == -ENOMEM && slots / 2 >= SLOTS_MIN) {
		slots /= 2;
		err = table_create(t, slots);
	}
	if (err == -EOPNOTSUPP) /* the descriptor is no ring's any more */
		return -EBADF;
	if (err == 0)
		t->size = slots;
	return err == -EINVAL || err == -EACCES ? 0 : err;
}

int uring_table_destroy(struct uring_table *t)
{
	int err = ring_register(t, IORING_UNREGISTER_BUFFERS, NULL, 0, 0);

	return err == -ENXIO ? 0 : err;
}

/* ---- slots ---- */

static int slot_take(struct uring_table *t, uint32_t *slot)
{
	int err = 0;

	sync_lock_acquire(&t->lock);
	if (t->free_count)
		*slot = t->free[--t->free_count];
	else if (t->fresh < t->size)
		*slot = t->fresh++;
	else
		err = -ENOSPC;
	sync_lock_release(&t->lock);
	return err;
}

static void slot_give(struct uring_table *t, uint32_t slot)
{
	sync_lock_acquire(&t->lock);
	t->free[t->free_count++] = (uint16_t)slot;
	sync_lock_release(&t->lock);
}

static void queue_push(struct uring_table *t, uint32_t slot)
{
	uint32_t count;

	sync_lock_acquire(&t->lock);
	count = a32_load_relaxed(&t->queued_count);
	t->queued[count] = (uint16_t)slot;
	a32_store_relaxed(&t->queued_count, count + 1);
	sync_lock_release(&t->lock);
}

static bool queue_pop(struct uring_table *t, uint32_t *slot)
{
	uint32_t count;

	sync_lock_acquire(&t->lock);
	count = a32_load_relaxed(&t->queued_count);
	if (count) {
		*slot = t->queued[count - 1];
		a32_store_relaxed(&t->queued_count, count - 1);
	}
	sync_lock_release(&t->lock);
	return count != 0;
}

int uring_table_fill(struct uring_table *t, void *addr, size_t len, uint32_t *slot)
{
	int err = slot_take(t, slot);

	if (err)
		return err;
	err = slot_update(t, *slot, addr, len);
	if (err)
		slot_give(t, *slot);
	return err;
}

/* The update fails in the wrong thread of a SINGLE_ISSUER ring, and for want of memory. -ENXIO: no table, in detach. */
void uring_table_empty(struct uring_table *t, uint32_t slot)
{
	int err = slot_update(t, slot, NULL, 0);

	if (err == 0 || err == -ENXIO)
		slot_give(t, slot);
	else
		queue_push(t, slot);
}

/* What cannot be emptied now either stays queued, and unused. */
void uring_table_drain(struct uring_table *t)
{
	uint32_t slot;

	for (unsigned n = 0; n < DRAIN_MAX && queue_pop(t, &slot); n++) {
		if (slot_update(t, slot, NULL, 0) != 0) {
			queue_push(t, slot);
			return;
		}
		slot_give(t, slot);
	}
}

uint32_t uring_table_used(struct uring_table *t)
{
	uint32_t used;

	sync_lock_acquire(&t->lock);
	used = t->fresh - t->free_count;
	sync_lock_release(&t->lock);
	return used;
}

void uring_table_init(struct uring_table *t, struct io_uring *ring, uint32_t slots, void *lists)
{
	t->ring = ring;
	t->free = lists;
	t->queued = t->free + slots;
	sync_lock_init(&t->lock);
}
