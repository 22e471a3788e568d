/* SPDX-License-Identifier: MIT */
#include "lab/ring.h"

#include <errno.h>
#include <sys/uio.h>

#include "lab/memory.h"
#include "lab/process.h"
#include "lab/registrant.h"
#include "lab/search.h"

/* Of <linux/io_uring.h>, which may be absent or older. */
enum { REGISTER_UNREGISTER_BUFFERS = 1, REGISTER_BUFFERS2 = 15, REGISTER_BUFFERS_UPDATE = 16 };

struct rsrc_register {
	uint32_t nr, flags;
	uint64_t resv2, data, tags;
};

struct rsrc_update2 {
	uint32_t offset, resv;
	uint64_t data, tags;
	uint32_t nr, resv2;
};

/* A registered buffer: one reference of its slot, one of each request from submission to completion. */
struct buffer {
	struct uhmm_reg reg;
	uint32_t refs;
};

struct ring_slot {
	struct buffer *buffer; /* NULL: empty */
};

struct ring {
	struct lab_device *device;
	uint32_t size;
	uint32_t submitter; /* fiber + 1; 0: not known yet */
	struct ring_slot slot[RING_SLOTS];
};

static struct ring *ring;

static void step(const struct ring_slot *s, bool write, const struct lab_site *site)
{
	const struct lab_op op = {.kind = LAB_OP_STEP, .write = write, .object = s, .site = site};

	lab_point(&op);
}

/* Returns what it held. */
static struct buffer *exchange(struct ring_slot *s, struct buffer *new)
{

	struct buffer *old;

	step(s, true, LAB_SITE("the slot's buffer"));
	old = s->buffer;
	s->buffer = new;
	if (lab_telling && new)
		lab_note("slot %u: page %u", (uint32_t)(s - ring->slot), (uint32_t)LAB_PAGE_OF(new->reg.addr));
	else if (lab_telling)
		lab_note("slot %u: empty", (uint32_t)(s - ring->slot));
	return old;
}

static bool is_foreign(void)
{
	if (!process_options()->single_issuer)
		return false;
	if (!ring->submitter) {
		ring->submitter = lab_self() + 1;
	}
	return ring->submitter != lab_self() + 1;
}

static void put(struct buffer *b)
{
	if (--b->refs == 0)
		registrant_dereg(ring->device, &b->reg);
}

/* The kernel pins the new pages, takes the slot, and lets go of the old ones. */
int ring_update(uint32_t slot, uintptr_t addr, size_t len)
{
	struct ring_slot *s = &ring->slot[slot];
	struct buffer *new = NULL, *old;
	int err;

	if (slot >= ring->size)
		return -EINVAL;
	if (is_foreign())
		return -EEXIST;
	if (len) {
		new = lab_alloc(sizeof(*new), 8);
		new->refs = 1;
		new->reg = (struct uhmm_reg){.addr = (void *)addr, .len = len, .access = LAB_READ | LAB_WRITE};
		err = registrant_reg(ring->device, &new->reg);
		if (err)
			return err;
	}
	old = exchange(s, new);
	if (old)
		put(old);
	return 0;
}

static long unregister(void)
{
	for (uint32_t i = 0; i < ring->size; i++) {
		int err = ring->slot[i].buffer ? ring_update(i, 0, 0) : 0;

		if (err)
			return err;
	}
	return 0;
}

static long registers(long fd, long opcode, long arg, long count)
{
	const struct rsrc_update2 *update = (const struct rsrc_update2 *)arg;
	const struct iovec *vec;

	(void)count;
	if (fd != RING_FD)
		return -EBADF;
	switch (opcode) {
	case REGISTER_BUFFERS2:
		return ((const struct rsrc_register *)arg)->nr == ring->size ? 0 : -ENOMEM;
	case REGISTER_BUFFERS_UPDATE:
		vec = (const struct iovec *)(uintptr_t)update->data;
		return ring_update(update->offset, (uintptr_t)vec->iov_base, vec->iov_len);
	case REGISTER_UNREGISTER_BUFFERS:
		return unregister();
	default:
		return -EINVAL;
	}
}

void ring_begin(struct lab_device *d)
{
	ring = lab_alloc(sizeof(*ring), 64);
	ring->device = d;
	ring->size = RING_SLOTS;
	process_ring_register = registers;
}

int ring_submit(uint32_t slot, uint32_t page, uint32_t access, uint32_t *value, const struct registrant_get *get)
{
	struct ring_slot *s = &ring->slot[slot];
	struct buffer *b;
	uint32_t at;

	step(s, false, LAB_SITE("the request is submitted"));
	b = s->buffer;
	if (!b)
		return -EFAULT;
	at = LAB_PAGE_OF(b->reg.addr);
	if (page < at || page >= at + b->reg.len / 4096)
		lab_lost(2, "a request for page %u was prepared with slot %u, which holds page %u when it is submitted", page,
			 slot, at);
	b->refs++;
	registrant_use(ring->device, b->reg.handle, page, access, value, get);
	put(b);
	return 0;
}

int ring_submit_plain(uint32_t page, uint32_t access, uint32_t *value)
{
	lab_frame frame;
	int err = lab_pin(ring->device, page, access, &frame);

	if (err)
		return err;
	if (access & LAB_WRITE)
		lab_store_frame(ring->device, page, frame, *value);
	else
		lab_load_frame(ring->device, page, frame, value);
	lab_unpin(ring->device, frame);
	return 0;
}
