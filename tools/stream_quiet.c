/* SPDX-License-Identifier: MIT */
/* stream_quiet.c: a pipeline of whole chunks. The order of the stream is that of the slots, whatever order completions have. */
#include <errno.h>
#include <string.h>

#include "stream.h"

enum { SLOTS_MAX = 16 };

struct slot {
	struct request request;
	struct block block;
	bool writing; /* its bytes are on their way to the output */
};

static bool queue(struct stream *s, struct slot *slot, int fd, bool write, uint64_t offset, char *buffer)
{
	int err;

	slot->request = (struct request){
		.fd = fd,
		.write = write,
		.buffer = buffer,
		.len = (unsigned)slot->block.len,
		.offset = offset,
	};
	err = device_queue(&s->device, &slot->request);
	if (err)
		fail(&s->run->failure, "the device refused a request: %s", strerror(-err));
	return err == 0;
}

static bool await(struct stream *s, struct slot *slot)
{
	struct failure *why = &s->run->failure;
	int err;

	if (!device_wait(&s->device, &slot->request, why))
		return false;
	err = device_finish(&s->device, &slot->request, why);
	if (err == -ENODATA && !slot->writing)
		fail(why, "%s: became shorter while it was being read", slot->block.file->path);
	else if (err)
		fail(why, "%s: %s", slot->writing ? s->run->options->output : slot->block.file->path,
		     strerror(err == -ENODATA ? ENOSPC : -err));
	return err == 0;
}

static bool slot_empty(struct stream *s, struct slot *slot)
{
	bool ok = !slot->writing || await(s, slot);

	slot->writing = false;
	return ok;
}

/* The slot's block has arrived: compute, and send it on if the kernel copies. */
static bool consume(struct stream *s, struct slot *slot, char *buffer)
{
	struct run *run = s->run;

	if (!await(s, slot))
		return false;
	run->options->kernel->update(&s->state, buffer, slot->block.len);
	count(&run->counters.bytes, slot->block.len);
	block_done(&slot->block);
	if (!run->options->kernel->copies)
		return true;
	slot->writing = true;
	return queue(s, slot, run->output_fd, true, slot->block.position, buffer);
}

static bool pipeline(struct stream *s, struct slot *slots, unsigned count)
{
	struct failure *why = &s->run->failure;
	unsigned head = 0, tail = 0;
	int more = 1;

	while (!stopping(s->run)) {
		while (more && tail - head < count) {
			struct slot *slot = &slots[tail % count];

			if (!slot_empty(s, slot))
				return false;
			more = cursor_next(&s->cursor, CHUNK_BYTES, &slot->block, why);
			if (more < 0)
				return false;
			if (more && !queue(s, slot, slot->block.file->fd, false, slot->block.offset,
					   arena_chunk(&s->run->arena, tail % count)))
				return false;
			tail += (unsigned)more;
		}
		if (!device_submit(&s->device, why))
			return false;
		if (head == tail)
			break;
		if (!consume(s, &slots[head % count], arena_chunk(&s->run->arena, head % count)))
			return false;
		head++;
	}
	for (unsigned i = 0; i < count; i++) {
		if (!slot_empty(s, &slots[i]))
			return false;
	}
	return head == tail && more == 0;
}

enum stream_end stream_quiet(struct stream *s)
{
	struct slot slots[SLOTS_MAX] = {0};
	unsigned count = s->run->arena.chunks < SLOTS_MAX ? s->run->arena.chunks : SLOTS_MAX;
	bool ok = pipeline(s, slots, count);

	/* The slots are on this stack: whatever happened, nothing may stay in flight. */
	if (!device_drain(&s->device, &s->run->failure))
		ok = false;
	return ok ? STREAM_DONE : STREAM_FAILED;
}
