/* SPDX-License-Identifier: MIT */
/*
 * patch_pages.c: pages of libc with the jumps in them, or without.
 *
 * Order of the pages. When the landing place of a short jump lies in the page before the entry's, that page comes first on
 * install and last on removal.
 */
#include "monitors/patch_inside.h"

#include "port/mm.h"
#include "port/text.h"

/* The part of [to, to + len) that lies in the page; false if nothing would be written there. */
static bool paint(uint8_t *image, uintptr_t page, const uint8_t *to, const uint8_t *bytes, size_t len)
{
	uintptr_t at = (uintptr_t)to;

	if (mm_page_floor(at) != page)
		return false;
	memcpy(image + (at - page), bytes, len);
	return true;
}

static const uint8_t *landing_of(const struct target *t)
{
	return t->now->plan.landing ? t->entry + t->now->plan.landing : NULL;
}

static void paint_in(uint8_t *image, uintptr_t page, const struct target *t)
{
	const struct jump *j = t->now;

	paint(image, page, t->entry + j->plan.jump_at, j->new, j->plan.jump_len);
	if (landing_of(t))
		paint(image, page, landing_of(t), j->landing_new, PLAN_JUMP_MAX);
}

/* Somebody else's bytes stay. */
static void paint_out(uint8_t *image, uintptr_t page, const struct target *t)
{
	const struct jump *j = t->now;
	bool ours = reads(t, j, j->new);

	if (ours)
		paint(image, page, t->entry + j->plan.jump_at, j->old, j->plan.jump_len);
	/*
	 * On removal the entry's page comes first, so the entry of a landing in another page reads as it was by now. Where it
	 * reads as a third thing, somebody who patched on top may have kept our short jump: the landing stays.
	 */
	if (landing_of(t) && !j->plan.keep_landing && (ours || reads(t, j, j->old)) &&
	    memcmp(landing_of(t), j->landing_new, PLAN_JUMP_MAX) == 0)
		paint(image, page, landing_of(t), j->landing_old, PLAN_JUMP_MAX);
}

/* The pages of the entry and of the landing, which may be one. */
static void pages_of(const struct target *t, uintptr_t page[2])
{
	page[0] = mm_page_floor((uintptr_t)t->entry + (uintptr_t)t->now->plan.jump_at);
	page[1] = landing_of(t) ? mm_page_floor((uintptr_t)landing_of(t)) : page[0];
}

/* True if the file that a site came from has exactly these bytes where the page was; then *fd and *offset say where. */
static bool file_has(uintptr_t page, const uint8_t *image, const struct target *t, int *fd, uint64_t *offset)
{
	static uint8_t bytes[MM_PAGE_SIZE];
	uint64_t at = t->offset + (page - (uintptr_t)t->entry);

	if (!t->path[0])
		return false;
	*fd = text_open(t->path);
	if (*fd < 0)
		return false;
	if (text_read(*fd, bytes, sizeof(bytes), at) != (long)sizeof(bytes) || memcmp(bytes, image, sizeof(bytes)) != 0) {
		text_close(*fd);
		return false;
	}
	*offset = at;
	return true;
}

static int switch_page(const struct target *targets, size_t count, uintptr_t page, enum what what)
{
	static uint8_t image[MM_PAGE_SIZE];
	const struct target *last = NULL;
	uint64_t offset = 0;
	uintptr_t own[2];
	int fd, err = 0;

	memcpy(image, (const void *)page, sizeof(image));
	for (const struct target *t = targets; t < targets + count; t++) {
		if (!t->now)
			continue;
		pages_of(t, own);
		if (own[0] != page && own[1] != page)
			continue;
		last = t;
		if (what == WHAT_HOOKED)
			paint_in(image, page, t);
		else
			paint_out(image, page, t);
	}
	if (!last || memcmp(image, (const void *)page, sizeof(image)) == 0)
		return 0;
	/* Back to the file where possible: it is paged like the rest of libc again, and profilers find its symbols. */
	if (what == WHAT_HOOKED || !file_has(page, image, last, &fd, &offset))
		err = text_image(image, sizeof(image), &fd);
	if (err)
		return err;
	err = text_switch((void *)page, sizeof(image), fd, offset);
	text_close(fd);
	return err;
}

/* The next page above (or below) that any site touches; 0: none. */
static uintptr_t next_page(const struct target *targets, size_t count, uintptr_t page, bool up)
{
	uintptr_t best = 0, own[2];

	for (const struct target *t = targets; t < targets + count; t++) {
		if (!t->now)
			continue;
		pages_of(t, own);
		for (int i = 0; i < 2; i++)
			if (up ? own[i] > page && (!best || own[i] < best) : own[i] < page && own[i] > best)
				best = own[i];
	}
	return best;
}

int patch_pages_switch(const struct target *targets, size_t count, enum what what)
{
	bool up = what == WHAT_HOOKED;
	uintptr_t page = next_page(targets, count, up ? 0 : UINTPTR_MAX, up);
	int err = 0;

	for (; page && !err; page = next_page(targets, count, page, up))
		err = switch_page(targets, count, page, what);
	text_sync_core();
	return err;
}
