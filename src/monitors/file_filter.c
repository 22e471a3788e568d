/* SPDX-License-Identifier: MIT */
/*
 * file_filter.c. A note is written in two steps, the position and then its words, each tagged with its lap:
 *
 *   noting                                       updating
 *   position = head++ (full)                     reads head
 *   first word, last word                        reads both words of each position since `done`; not (yet) of that lap:
 *                                                everything is read from /proc/self/maps instead
 *                                                sets the bits, then done = the head that it read
 *
 * Several may update at once; each does all of it for itself, and who finds `done` moved finds the bits set. What a note is
 * about was mapped before the note was made, so that reading everything never misses it.
 *
 * Before the first call that takes pages from a file nothing is noted at all:
 *
 *   noting                                       the first update
 *   (mapped before)                              armed = true
 *   fence_light()          <-- pairs with -->    sync_heavy_barrier()
 *   armed? no: done                              reads all mappings
 */
#include "monitors/file_filter.h"

#include "monitors/proc.h"
#include "port/mm.h"
#include "port/sync.h"
#include "port/text.h"

#define NOTES 128u
#define BITS_LOG2 15u
#define TAG_MASK (MM_PAGE_SIZE - 1)

struct note {
	struct uhmm_a64 first, last; /* first page, end; the low bits are the tag */
};

static struct note notes[NOTES];
static struct uhmm_a64 head, done;
static struct uhmm_a32 armed, complete; /* complete: everything was read once */
static struct uhmm_a32 bits[(1u << BITS_LOG2) / 32];

/* Never 0, which is what a position that was never written has. */
static uint64_t tag_of(uint64_t position)
{
	return 1 + position / NOTES % (TAG_MASK - 1);
}

void filter_note(uintptr_t start, uintptr_t end)
{
	uint64_t position;
	struct note *n;

	fence_light();
	if (__builtin_expect(!a32_load_relaxed(&armed), 1))
		return;
	position = a64_fetch_add_full(&head, 1);
	n = &notes[position % NOTES];
	a64_store_release(&n->first, mm_page_floor(start) | tag_of(position));
	a64_store_release(&n->last, mm_page_ceil(end) | tag_of(position));
}

uint64_t filter_position(void)
{
	if (!a32_load_relaxed(&armed))
		a32_xchg_full(&armed, 1);
	return a64_load_acquire(&head);
}

static uint32_t place_of(uint64_t inode)
{
	return (uint32_t)(inode * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BITS_LOG2));
}

bool filter_has(uint64_t inode)
{
	uint32_t place = place_of(inode);

	return a32_load_relaxed(&bits[place / 32]) & 1u << place % 32;
}

static void add(const struct proc_mapping *m, void *arg)
{
	uint32_t place = place_of(m->inode);

	(void)arg;
	if (m->inode && !filter_has(m->inode))
		a32_fetch_or_full(&bits[place / 32], 1u << place % 32);
}

static bool add_named(const struct proc_mapping *m, const char *name, void *arg)
{
	(void)name;
	add(m, arg);
	return true;
}

static bool read_everything(void)
{
	sync_heavy_barrier();
	return proc_mappings_each(add_named, NULL) == 0;
}

/* False: what this position says cannot be read, or it says too much. */
static bool read_note(uint64_t position, uintptr_t *start, uintptr_t *end)
{
	const struct note *n = &notes[position % NOTES];
	uint64_t first = a64_load_acquire(&n->first), last = a64_load_acquire(&n->last);

	*start = first & ~TAG_MASK;
	*end = last & ~TAG_MASK;
	return (first & TAG_MASK) == tag_of(position) && (last & TAG_MASK) == tag_of(position);
}

/* Those of [from, to), by asking about their ranges. */
static bool read_notes(uint64_t from, uint64_t to)
{
	uintptr_t start, end, known_start = 0, known_end = 0;
	bool all = to - from <= NOTES;
	int fd = all ? proc_query_open() : -1;

	if (fd < 0)
		return false;
	for (; all && from < to; from++) {
		all = read_note(from, &start, &end);
		if (!all || (known_start <= start && end <= known_end))
			continue;
		all = proc_query_files(fd, start, end, add, NULL) == 0;
		known_start = start;
		known_end = end;
	}
	text_close(fd);
	return all;
}

bool filter_update(void)
{
	uint64_t to = a64_load_acquire(&head), from = a64_load_acquire(&done);
	bool was_complete = a32_load_acquire(&complete);

	if (was_complete && from >= to)
		return true;
	if (!was_complete || !read_notes(from, to))
		if (!read_everything())
			return false;
	if (!was_complete)
		a32_store_release(&complete, 1);
	a64_cas_full(&done, from, to);
	return true;
}
