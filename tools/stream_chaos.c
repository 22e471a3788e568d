/* SPDX-License-Identifier: MIT */
/*
 * stream_chaos.c: the input through pages that were changed a moment ago.
 *
 * A batch is one whole chunk, written out so that it is registered while its free pages change, and every page that has been
 * handed over: odd ones are written out and looked at, even ones receive the next blocks of the input. Of a chunk with many
 * such pages all is written out first, which registers them in one. All of a batch is in flight at once; then it is judged, in
 * the order of the stream, and its pages are handed back.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "chaos.h"
#include "stream.h"

enum {
	BATCH_PAGES = 120,
	BATCH_WHOLES = 8, /* so many and the pages fit into the device */
	MANY_PAGES = 4,
};

/* A chunk, written out. */
struct whole {
	struct request request;
	unsigned chunk;
};

struct item {
	struct request request;
	struct block block; /* of even pages */
	unsigned chunk, q;
};

struct batch {
	struct whole whole[BATCH_WHOLES];
	unsigned wholes;
	struct item item[BATCH_PAGES];
	unsigned items;
};

/* The scratch file has the arena twice: whole chunks, then single pages. */
static uint64_t whole_offset(unsigned chunk)
{
	return (uint64_t)chunk * CHUNK_BYTES;
}

static uint64_t page_offset(const struct arena *a, unsigned chunk, unsigned q)
{
	return whole_offset(a->chunks) + arena_page_number(chunk, q) * PAGE_BYTES;
}

static bool queue(struct stream *s, struct request *r)
{
	int err = device_queue(&s->device, r);

	if (err)
		fail(&s->run->failure, "the device refused a page that nobody changes: %s", strerror(-err));
	return err == 0;
}

/* Page 0, never changed by anybody else, gets a new stamp each time, so that an old copy of it would be seen. */
static void stamp_page0(struct stream *s, unsigned chunk)
{
	uint64_t generation = ++s->run->arena.chunk[chunk].generation[0];

	stamp_write(arena_page(&s->run->arena, chunk, 0), arena_page_number(chunk, 0), generation);
}

/* Mostly the chunk that a chaos thread is about to change; the others in turn. */
static unsigned choose_chunk(struct stream *s)
{
	unsigned turn = s->turn++, threads = s->run->options->chaos;

	if (turn % 4 == 3)
		return turn / 4 % s->run->arena.chunks;
	return atomic_load_explicit(&s->chaos[turn % threads].attention, memory_order_relaxed);
}

static bool queue_whole(struct stream *s, struct batch *b, unsigned chunk)
{
	struct whole *w = &b->whole[b->wholes];
	int err;

	if (b->wholes == BATCH_WHOLES)
		return true;
	for (unsigned i = 0; i < b->wholes; i++) {
		if (b->whole[i].chunk == chunk)
			return true;
	}
	b->wholes++;
	stamp_page0(s, chunk);
	w->chunk = chunk;
	w->request = (struct request){
		.fd = s->scratch_fd,
		.write = true,
		.buffer = arena_chunk(&s->run->arena, chunk),
		.len = CHUNK_BYTES,
		.offset = whole_offset(chunk),
	};
	atomic_store_explicit(&s->run->registering, chunk, memory_order_relaxed);
	err = device_queue(&s->device, &w->request);
	atomic_store_explicit(&s->run->registering, UINT_MAX, memory_order_relaxed);
	if (err == -EFAULT) {
		count(&s->run->counters.holes, 1);
		w->request.len = PAGE_BYTES;
		return queue(s, &w->request);
	}
	if (err)
		fail(&s->run->failure, "the device refused a chunk: %s", strerror(-err));
	return err == 0;
}

/* 1 queued; 0 the input has ended, the page stays for the next pass; -1 failed. */
static int queue_page(struct stream *s, struct item *item)
{
	struct run *run = s->run;
	int more = 1;

	item->request = (struct request){
		.fd = s->scratch_fd,
		.write = item->q % 2,
		.buffer = arena_page(&run->arena, item->chunk, item->q),
		.len = PAGE_BYTES,
		.offset = page_offset(&run->arena, item->chunk, item->q),
	};
	if (item->q % 2 == 0) {
		more = cursor_next(&s->cursor, PAGE_BYTES, &item->block, &run->failure);
		if (more > 0) {
			item->request.fd = item->block.file->fd;
			item->request.len = (unsigned)item->block.len;
			item->request.offset = item->block.offset;
		}
	}
	return more > 0 && !queue(s, &item->request) ? -1 : more;
}

static bool queue_given(struct stream *s, struct batch *b)
{
	struct arena *a = &s->run->arena;

	for (unsigned i = 0; i < a->chunks && b->items < BATCH_PAGES; i++) {
		unsigned chunk = (s->turn + i) % a->chunks;
		/* Pairs with the release of the hand-over: stamps and generations are there. */
		unsigned given = atomic_load_explicit(&a->chunk[chunk].given, memory_order_acquire);

		if (__builtin_popcount(given) >= MANY_PAGES && !queue_whole(s, b, chunk))
			return false;
		for (unsigned q = 1; q < CHUNK_PAGES && b->items < BATCH_PAGES; q++) {
			struct item *item = &b->item[b->items];
			int queued;

			if (!(given & 1u << q))
				continue;
			item->chunk = chunk;
			item->q = q;
			queued = queue_page(s, item);
			if (queued < 0)
				return false;
			b->items += (unsigned)queued;
		}
	}
	return true;
}

static bool read_back(struct stream *s, uint64_t offset, char page[PAGE_BYTES])
{
	if (pread(s->scratch_fd, page, PAGE_BYTES, (off_t)offset) == (ssize_t)PAGE_BYTES)
		return true;
	fail(&s->run->failure, "the scratch file cannot be read back");
	return false;
}

static bool judge_whole(struct stream *s, const struct whole *w)
{
	const struct chunk *k = &s->run->arena.chunk[w->chunk];
	int result = w->request.result;
	char page[PAGE_BYTES];

	/* A hole may cut it short, if it was not through a registration; page 0 always comes first, and whole. */
	if (result < (int)PAGE_BYTES) {
		fail(&s->run->failure, "the device could not read a page that nobody changes: %s",
		     strerror(result < 0 ? -result : EIO));
		return false;
	}
	if (!read_back(s, w->request.offset, page))
		return false;
	if (stamp_matches(page, arena_page_number(w->chunk, 0), k->generation[0], 0, PAGE_BYTES))
		return true;
	fail(&s->run->failure, "chunk %u: the device read wrong content from page 0, which nobody changes", w->chunk);
	return false;
}

/* The device has read the page. Which one? */
static bool judge_odd(struct stream *s, struct item *item)
{
	uint64_t number = arena_page_number(item->chunk, item->q);
	uint64_t expected = s->run->arena.chunk[item->chunk].generation[item->q], found;
	char page[PAGE_BYTES];
	int err = device_finish(&s->device, &item->request, &s->run->failure);

	if (err) {
		fail(&s->run->failure, "the device could not read a page that it was given: %s", strerror(-err));
		return false;
	}
	if (!read_back(s, page_offset(&s->run->arena, item->chunk, item->q), page))
		return false;
	found = stamp_generation(page, number);
	if (found == expected)
		return true;
	if (found && found < expected) {
		count(&s->run->counters.stale_reads, 1);
		return true;
	}
	fail(&s->run->failure, "chunk %u page %u: the device read content that the page never had", item->chunk, item->q);
	return false;
}

/* The device has written the block into the page. Or into which one? */
static bool judge_even(struct stream *s, struct item *item)
{
	struct run *run = s->run;
	const struct block *b = &item->block;
	uint64_t number = arena_page_number(item->chunk, item->q);
	uint64_t generation = run->arena.chunk[item->chunk].generation[item->q];
	const char *page = arena_page(&run->arena, item->chunk, item->q);
	char again[PAGE_BYTES];
	int err = device_finish(&s->device, &item->request, &run->failure);

	if (err == -ENODATA)
		fail(&run->failure, "%s: became shorter while it was being read", b->file->path);
	else if (err)
		fail(&run->failure, "%s: %s", b->file->path, strerror(-err));
	else if (!stamp_matches(page, number, generation, b->len, PAGE_BYTES))
		fail(&run->failure, "chunk %u page %u: the device wrote beyond the end of its block", item->chunk, item->q);
	if (failed(&run->failure))
		return false;
	/* A file may hold what looks like a stamp, above all in its last byte: then the file decides. */
	if (stamp_matches(page, number, generation, 0, b->len) &&
	    (pread(b->file->fd, again, b->len, (off_t)b->offset) != (ssize_t)b->len || memcmp(again, page, b->len) != 0))
		count(&run->counters.lost_writes, 1);
	return true;
}

static bool judge(struct stream *s, struct batch *b)
{
	struct run *run = s->run;

	for (unsigned i = 0; i < b->wholes; i++) {
		if (!judge_whole(s, &b->whole[i]))
			return false;
	}
	for (unsigned i = 0; i < b->items; i++) {
		struct item *item = &b->item[i];

		if (item->q % 2) {
			if (!judge_odd(s, item))
				return false;
			continue;
		}
		if (!judge_even(s, item))
			return false;
		run->options->kernel->update(&s->state, arena_page(&run->arena, item->chunk, item->q), item->block.len);
		count(&run->counters.bytes, item->block.len);
	}
	return true;
}

/* Even pages hold their blocks now: the device writes them to the output, from the same pages. */
static bool copy_out(struct stream *s, struct batch *b)
{
	struct run *run = s->run;

	for (unsigned i = 0; i < b->items; i++) {
		struct item *item = &b->item[i];

		if (item->q % 2)
			continue;
		item->request = (struct request){
			.fd = run->output_fd,
			.write = true,
			.buffer = arena_page(&run->arena, item->chunk, item->q),
			.len = (unsigned)item->block.len,
			.offset = item->block.position,
		};
		if (!queue(s, &item->request))
			return false;
	}
	if (!device_drain(&s->device, &run->failure))
		return false;
	for (unsigned i = 0; i < b->items; i++) {
		int err = b->item[i].q % 2 ? 0 : device_finish(&s->device, &b->item[i].request, &run->failure);

		if (err) {
			fail(&run->failure, "%s: %s", run->options->output, strerror(err == -ENODATA ? ENOSPC : -err));
			return false;
		}
	}
	return true;
}

static void hand_back(struct stream *s, struct batch *b)
{
	for (unsigned i = 0; i < b->items; i++) {
		struct item *item = &b->item[i];

		if (item->q % 2 == 0)
			block_done(&item->block);
		/* Pairs with the acquire in choose_run(): our reads of the page are done before it changes. */
		atomic_fetch_and_explicit(&s->run->arena.chunk[item->chunk].given, ~(1u << item->q), memory_order_release);
	}
}

static bool run_batch(struct stream *s, struct batch *b)
{
	b->wholes = 0;
	b->items = 0;
	return queue_whole(s, b, choose_chunk(s)) && queue_given(s, b) && device_drain(&s->device, &s->run->failure) &&
	       judge(s, b) && (!s->run->options->kernel->copies || copy_out(s, b));
}

enum stream_end stream_chaos(struct stream *s)
{
	struct batch b;

	while (s->cursor.position < s->run->input.bytes) {
		gate_pass(&s->run->gate);
		if (stopping(s->run))
			return STREAM_FAILED;
		if (now_ns() >= s->deadline_ns)
			return STREAM_TIME_UP;
		if (!run_batch(s, &b)) {
			/* Requests point into b. */
			device_drain(&s->device, &s->run->failure);
			return STREAM_FAILED;
		}
		hand_back(s, &b);
	}
	return STREAM_DONE;
}
