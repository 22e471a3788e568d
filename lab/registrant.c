/* SPDX-License-Identifier: MIT */
/* registrant.c: see registrant.h. The book-keeping here is nobody's memory: it takes no step and orders nothing. */
#include "lab/registrant.h"

#include <errno.h>

#include "lab/process.h"
#include "lab/run.h"
#include "lab/simmm/simmm.h"

#define REGISTRATIONS 48u
#define REGISTRATION_PAGES 4u

struct registration {
	uint32_t page, count;
	lab_frame frame[REGISTRATION_PAGES];
	uint32_t retired[REGISTRATION_PAGES]; /* the call after whose return the frame is no more the page's; 0: it is */
	uint32_t users;
	bool live, parents;
};

struct book {
	struct registration registration[REGISTRATIONS];
	uint32_t made, live;
	struct uhmm_a32 awaited; /* `live` once more, for those who wait */
};

static struct book *book;

static struct registration *registration(uint64_t handle)
{
	return &book->registration[handle];
}

/* ---- what has gone, each time a mapping call returns ---- */

static void retire(uint32_t page, uint32_t count, uint32_t number)
{
	for (uint32_t i = 0; i < book->made; i++) {
		struct registration *r = registration(i);

		for (uint32_t j = 0; j < r->count; j++) {
			uint32_t at = r->page + j, access;

			if (at >= page && at < page + count && !r->retired[j] && lab_sim_frame(at, &access) != r->frame[j])
				r->retired[j] = number;
		}
	}
}

void registrant_begin(void)
{
	book = lab_alloc(sizeof(*book), 64);
	process_on_return = retire;
}

/* ---- registrations ---- */

static int take(struct lab_device *d, uint32_t page, uint32_t access, lab_frame *frame)
{
	int err;

	if (!process_options()->unpinned)
		return lab_pin(d, page, access, frame);
	err = lab_grab(d, page, access, frame);
	if (!err)
		lab_put(d, *frame);
	return err;
}

static void unpin(struct lab_device *d, const struct registration *r, uint32_t pages)
{
	while (pages-- > 0 && !process_options()->unpinned)
		lab_unpin(d, r->frame[pages]);
}

int registrant_reg(void *ctx, struct uhmm_reg *reg)
{
	struct lab_device *d = ctx;
	struct registration new = {.page = LAB_PAGE_OF(reg->addr), .count = (uint32_t)(reg->len / 4096), .live = true};

	if (new.count > REGISTRATION_PAGES)
		return -E2BIG;
	if (lab_telling)
		lab_call_enter("reg(%u, %u)", new.page, new.count);
	for (uint32_t i = 0; i < new.count; i++) {
		int err = take(d, new.page + i, reg->access, &new.frame[i]);

		if (err) {
			unpin(d, &new, i);
			if (lab_telling)
				lab_call_leave();
			return err;
		}
	}
	if (book->made == REGISTRATIONS)
		lab_lost(5, "%u registrations, and no end", REGISTRATIONS);
	reg->handle = book->made++;
	book->live++;
	if (process_options()->awaits_dereg)
		lab_fetch_add(&book->awaited, 1);
	*registration(reg->handle) = new;
	if (process_options()->reg_discards)
		process_dontneed(new.page, new.count);
	if (lab_telling)
		lab_call_leave();
	return 0;
}

void registrant_dereg(void *ctx, struct uhmm_reg *reg)
{
	struct registration *r = registration(reg->handle);

	if (lab_telling)
		lab_call_enter("dereg(%u)", r->page);
	if (r->parents)
		lab_lost(8, "the child deregisters what is the parent's");
	if (!r->live)
		lab_lost(8, "registration %u of page %u is deregistered twice", (uint32_t)reg->handle, r->page);
	if (r->users)
		lab_lost(8, "registration %u of page %u is deregistered under a user", (uint32_t)reg->handle, r->page);
	r->live = false;
	book->live--;
	unpin(ctx, r, r->count);
	if (process_options()->awaits_dereg)
		lab_fetch_add(&book->awaited, UINT32_MAX);
	if (lab_telling)
		lab_call_leave();
}

/* ---- uses ---- */

struct registrant_get registrant_get_begins(void)
{
	struct registrant_get get = {.returned = process_returned()};
	uint32_t outer = lab_use_begin();

	get.use = lab_use_begin(); /* what the first one made it */
	lab_use_end(outer);
	return get;
}

void registrant_hold(uint64_t handle, uint32_t page, const struct registrant_get *get)
{
	struct registration *r = registration(handle);
	uint32_t retired;

	if (!r->live)
		lab_lost(8, "a get of page %u yields a registration that is gone", page);
	if (page < r->page || page >= r->page + r->count)
		lab_lost(8, "a get of page %u yields pages %u to %u", page, r->page, r->page + r->count - 1);
	retired = r->retired[page - r->page];
	if (retired && retired <= get->returned)
		lab_lost(2, "a get of page %u that began after call %u had returned yields frame %u, gone since call %u", page,
			 get->returned, r->frame[page - r->page], retired);
	r->users++;
}

void registrant_access(struct lab_device *d, uint64_t handle, uint32_t page, uint32_t access, uint32_t *value,
		       const struct registrant_get *get)
{
	const struct registration *r = registration(handle);
	lab_frame frame = r->frame[page - r->page];
	bool strict = !process_options()->untold && !lab_run.config->weak;
	uint32_t outer = lab_use_begin();

	lab_use_end(strict ? get->use : 1); /* 1: from before anything */
	if (access & LAB_WRITE)
		lab_store_frame(d, page, frame, *value);
	else
		lab_load_frame(d, page, frame, value);
	lab_use_end(outer);
}

void registrant_let_go(uint64_t handle)
{
	registration(handle)->users--;
}

void registrant_use(struct lab_device *d, uint64_t handle, uint32_t page, uint32_t access, uint32_t *value,
		    const struct registrant_get *get)
{
	registrant_hold(handle, page, get);
	registrant_access(d, handle, page, access, value, get);
	registrant_let_go(handle);
}

uint32_t registrant_calls(void)
{
	return book->made;
}

uint32_t registrant_live(void)
{
	return book->live;
}

uint32_t registrant_live_at(uint32_t page)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < book->made; i++) {
		const struct registration *r = &book->registration[i];

		n += r->live && page >= r->page && page < r->page + r->count;
	}
	return n;
}

void registrant_await_none(void)
{
	lab_await(&book->awaited, 0);
}

void registrant_become_child(void)
{
	for (uint32_t i = 0; i < book->made; i++) {
		struct registration *r = registration(i);

		r->parents = true;
		r->users = 0;
	}
	book->live = 0;
}
