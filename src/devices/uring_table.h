/* SPDX-License-Identifier: MIT */
/*
 * uring_table.h: the ring's table of fixed buffers, one slot a buffer.
 *
 * The lock guards the lists of free and queued slots; nothing is called with it held, and requests that find their buffer
 * registered never come here. A slot is in exactly one place: filled (whoever filled it knows its number), free, or queued.
 *
 * SINGLE_ISSUER. The kernel takes table updates from the submitting thread only (-EEXIST). Slots that another thread wants
 * empty are queued and emptied at the next call of the submitter; until then nobody fills them, and their pages stay pinned.
 */
#ifndef DEVICES_URING_TABLE_H
#define DEVICES_URING_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "port/sync.h"

struct io_uring;

/* The most that the kernel takes (IORING_MAX_REG_BUFFERS); an empty slot costs it 8 bytes. */
#define URING_SLOTS 16384u

struct uring_table {
	struct io_uring *ring;
	int (*refuse)(void *arg, unsigned opcode, unsigned flags); /* see struct uring_tuning; may be NULL */
	void *refuse_arg;
	uint32_t size; /* slots; 0: this ring can have none */
	struct uhmm_a32 queued_count;
	struct sync_lock lock;
	uint32_t free_count;
	uint32_t fresh; /* slots from here on were never filled */
	uint16_t *free, *queued;
};

/* Bytes that the lists of that many slots need. */
static inline size_t uring_table_bytes(uint32_t slots)
{
	return 2 * slots * sizeof(uint16_t);
}

/* lists: that much memory, which stays. */
void uring_table_init(struct uring_table *t, struct io_uring *ring, uint32_t slots, void *lists);

/*
 * Registers an empty table, as large as may be up to `slots`. 0 with size 0: this ring can have none, and works without.
 *
 *  -EBUSY   it has one already
 *  -EEXIST  SINGLE_ISSUER, not in its thread
 *  -EBADF, -ENOMEM, -EPERM, -ENOSYS as the kernel says
 */
int uring_table_setup(struct uring_table *t, uint32_t slots);
/* Every slot is empty, and the table the program's again. Fails as the registration call does, then nothing has changed. */
int uring_table_destroy(struct uring_table *t);

/* Fills some slot with [addr, addr+len). -ENOSPC: none is free; or as the kernel says. In the submitter's thread. */
int uring_table_fill(struct uring_table *t, void *addr, size_t len, uint32_t *slot);
/* Empties a slot now, or when the submitter drains. Any thread; no request that names the slot is without its completion. */
void uring_table_empty(struct uring_table *t, uint32_t slot);
/* In the submitter's thread: empties what others could not. */
void uring_table_drain(struct uring_table *t);
/* Slots that are filled or queued. */
uint32_t uring_table_used(struct uring_table *t);

static inline uint32_t uring_table_queued(const struct uring_table *t)
{
	return a32_load_relaxed(&t->queued_count);
}

#endif
