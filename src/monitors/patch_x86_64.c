/* SPDX-License-Identifier: MIT */
/*
 * patch_x86_64.c: prepares pages of libc with the jumps of plan_x86_64.h in them and switches them in (port/text.h).
 *
 * For each site a trampoline, within reach of a 32-bit displacement, mapped once and never freed, because a thread may be
 * preempted in it at any time:
 *
 *   +0   ff 25 00000000 <hook>      where the patched entry jumps to
 *   +16  <the covered instruction>  the original: what `original` of the site points to
 *        e9 <behind it>
 *
 * Order of the pages. When the landing place of a short jump lies in the page before the entry's, that page comes first on
 * install and last on removal.
 */
#include "monitors/patch.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "monitors/plan_x86_64.h"
#include "monitors/proc.h"
#include "port/mm.h"
#include "port/sync.h"
#include "port/text.h"

#define TRAMPOLINE_SIZE 64u
#define TRAMPOLINE_ORIGINAL 16u
#define AREA_SIZE MM_PAGE_SIZE
#define FUNCTION_SIZE 256u /* more than any of the functions has up to its system call's return */
#define PATH_SIZE 512u

static_assert(PATCH_SITES_MAX * TRAMPOLINE_SIZE <= AREA_SIZE, "one page of trampolines");

struct target {
	struct patch_site *site;
	uint8_t *entry;
	struct plan plan;
	uint8_t jump_old[PLAN_JUMP], jump_new[PLAN_JUMP];
	uint8_t landing_old[PLAN_JUMP], landing_new[PLAN_JUMP];
	uint64_t offset;      /* of the entry in the file that it was mapped from */
	char path[PATH_SIZE]; /* of that file; empty: not known */
};

static struct target targets[PATCH_SITES_MAX];
static size_t count;       /* of targets planned */
static uint8_t *area;      /* the trampolines */
static bool ready;         /* all of the above is complete, for good */
static char status[160] = "not installed";

const char *patch_status(void)
{
	return status;
}

bool patch_covers(uintptr_t addr)
{
	if (area && addr - (uintptr_t)area < AREA_SIZE)
		return true;
	for (size_t i = 0; i < count; i++)
		if (addr + PLAN_BEFORE - (uintptr_t)targets[i].entry < PLAN_BEFORE + FUNCTION_SIZE)
			return true;
	return false;
}

static int refuse(int err, const char *name, const char *why)
{
	snprintf(status, sizeof(status), "%s: %s", name, why);
	return err;
}

/* ---- which functions ---- */

static void *find(const char *name)
{
	/* libdl.so.2 held dlclose before glibc 2.34. By handle: wrappers that were preloaded are not asked. */
	static const char *const libraries[] = {"libc.so.6", "libdl.so.2"};

	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
		void *handle = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
		void *entry = handle ? dlsym(handle, name) : NULL;

		if (handle)
			dlclose(handle);
		if (entry)
			return entry;
	}
	return NULL;
}

void patch_resolve(struct patch_site *sites, size_t n)
{
	static struct uhmm_a32 done; /* for one set of sites, which is all there is */

	if (a32_load_acquire(&done))
		return;
	for (size_t i = 0; i < n; i++)
		aptr_store_release(&sites[i].entry, find(sites[i].name));
	a32_store_release(&done, 1);
}

static bool planned_already(const void *entry)
{
	for (size_t i = 0; i < count; i++)
		if (targets[i].entry == entry)
			return true;
	return false;
}

/* ---- is it what the file says? ---- */

static bool file_differs(const struct target *t)
{
	uint8_t bytes[PLAN_BEFORE + PLAN_AFTER];
	const uint8_t *from = t->entry - PLAN_BEFORE;
	const size_t head = PLAN_BEFORE + 24; /* where a patch would be */
	int fd = text_open(t->path);
	bool differs;

	if (fd < 0)
		return false;
	/* A file replaced by an upgrade since differs nearly everywhere, a patched function in its first bytes only. */
	differs = text_read(fd, bytes, sizeof(bytes), t->offset - PLAN_BEFORE) == (long)sizeof(bytes) &&
		  memcmp(bytes, from, head) != 0 && memcmp(bytes + head, from + head, sizeof(bytes) - head) == 0;
	text_close(fd);
	return differs;
}

static int verify(struct target *t)
{
	struct proc_mapping m;

	if (proc_mapping_find((uintptr_t)t->entry, &m, t->path, sizeof(t->path)) != 0) {
		t->path[0] = '\0'; /* no /proc: what plan_patch() saw has to do */
		return 0;
	}
	t->offset = m.offset + (uint64_t)((uintptr_t)t->entry - m.start);
	if (m.start > (uintptr_t)t->entry || !m.exec)
		return refuse(-EOPNOTSUPP, t->site->name, "not in an executable mapping");
	if (!m.file || file_differs(t))
		return refuse(-EBUSY, t->site->name, "already patched by another library or a debugger");
	return 0;
}

/* ---- the bytes ---- */

static void put_rel32(uint8_t *to, const uint8_t *next_insn, const uint8_t *target)
{
	int32_t rel = (int32_t)(target - next_insn);

	memcpy(to, &rel, sizeof(rel));
}

/* A 5-byte jump that will stand at `at`. */
static void jump(uint8_t bytes[PLAN_JUMP], const uint8_t *at, const uint8_t *target)
{
	bytes[0] = 0xe9;
	put_rel32(bytes + 1, at + PLAN_JUMP, target);
}

static void write_trampoline(uint8_t *image, const uint8_t *place, const struct target *t)
{
	static const uint8_t jump_indirect[] = {0xff, 0x25, 0, 0, 0, 0};
	const uint8_t *from = t->entry + t->plan.jump_at;
	uint8_t *moved = image + TRAMPOLINE_ORIGINAL;
	const uint8_t *moved_place = place + TRAMPOLINE_ORIGINAL;

	memcpy(image, jump_indirect, sizeof(jump_indirect));
	memcpy(image + sizeof(jump_indirect), &t->site->hook, sizeof(t->site->hook));
	memcpy(moved, from, t->plan.moved);
	if (t->plan.rip_disp >= 0) {
		int32_t disp;

		memcpy(&disp, from + t->plan.rip_disp, sizeof(disp));
		put_rel32(moved + t->plan.rip_disp, moved_place + t->plan.moved, from + t->plan.moved + disp);
	}
	jump(moved + t->plan.moved, moved_place + t->plan.moved, from + t->plan.moved);
}

static void write_jumps(struct target *t, const uint8_t *trampoline)
{
	const struct plan *p = &t->plan;
	const uint8_t *at = t->entry + p->jump_at, *landing = t->entry + p->landing;

	memcpy(t->jump_old, at, p->jump_len);
	if (p->jump_len == PLAN_JUMP) {
		jump(t->jump_new, at, trampoline);
		return;
	}
	t->jump_new[0] = 0xeb;
	t->jump_new[1] = (uint8_t)(landing - (at + 2));
	memcpy(t->landing_old, landing, PLAN_JUMP);
	jump(t->landing_new, landing, trampoline);
}

/* ---- pages ---- */

/* What a page is to hold. */
enum what { WHAT_HOOKED, WHAT_ORIGINAL };

/* The part of [to, to + len) that lies in the page; false if nothing would be written there. */
static bool paint(uint8_t *image, uintptr_t page, const uint8_t *to, const uint8_t *bytes, size_t len)
{
	uintptr_t at = (uintptr_t)to;

	if (mm_page_floor(at) != page)
		return false;
	memcpy(image + (at - page), bytes, len);
	return true;
}

static bool is_ours(const uint8_t *at, const uint8_t *bytes, size_t len)
{
	return memcmp(at, bytes, len) == 0;
}

/* In the image of one page: one site's jumps in, or out. Somebody else's bytes stay. */
static void paint_site(uint8_t *image, uintptr_t page, const struct target *t, enum what what)
{
	const struct plan *p = &t->plan;
	uint8_t *at = t->entry + p->jump_at, *landing = t->entry + p->landing;
	bool ours = is_ours(at, t->jump_new, p->jump_len);

	if (what == WHAT_HOOKED) {
		paint(image, page, at, t->jump_new, p->jump_len);
		if (p->jump_len < PLAN_JUMP)
			paint(image, page, landing, t->landing_new, PLAN_JUMP);
		return;
	}
	if (ours)
		paint(image, page, at, t->jump_old, p->jump_len);
	/*
	 * On removal the entry's page comes first, so the entry of a landing in another page reads as it was by now. Where it
	 * reads as a third thing, somebody who patched on top may have kept our short jump: the landing stays.
	 */
	if (p->jump_len < PLAN_JUMP && !p->keep_landing && (ours || is_ours(at, t->jump_old, p->jump_len)) &&
	    is_ours(landing, t->landing_new, PLAN_JUMP))
		paint(image, page, landing, t->landing_old, PLAN_JUMP);
}

static bool touches(const struct target *t, uintptr_t page)
{
	return mm_page_floor((uintptr_t)t->entry + (uintptr_t)t->plan.jump_at) == page ||
	       (t->plan.jump_len < PLAN_JUMP && mm_page_floor((uintptr_t)(t->entry + t->plan.landing)) == page);
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

static int switch_page(uintptr_t page, enum what what)
{
	static uint8_t image[MM_PAGE_SIZE];
	const struct target *last = NULL;
	uint64_t offset = 0;
	int fd, err = 0;

	memcpy(image, (const void *)page, sizeof(image));
	for (size_t i = 0; i < count; i++) {
		if (!touches(&targets[i], page))
			continue;
		last = &targets[i];
		paint_site(image, page, last, what);
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
static uintptr_t next_page(uintptr_t page, bool up)
{
	uintptr_t best = 0;

	for (size_t i = 0; i < count; i++) {
		uintptr_t mine[2] = {mm_page_floor((uintptr_t)targets[i].entry + (uintptr_t)targets[i].plan.jump_at), 0};

		mine[1] = targets[i].plan.jump_len < PLAN_JUMP
				  ? mm_page_floor((uintptr_t)(targets[i].entry + targets[i].plan.landing))
				  : mine[0];
		for (int j = 0; j < 2; j++)
			if (up ? mine[j] > page && (!best || mine[j] < best) : mine[j] < page && mine[j] > best)
				best = mine[j];
	}
	return best;
}

static int switch_all(enum what what)
{
	bool up = what == WHAT_HOOKED;
	int err = 0;

	for (uintptr_t page = next_page(up ? 0 : UINTPTR_MAX, up); page && !err; page = next_page(page, up))
		err = switch_page(page, what);
	text_sync_core();
	return err;
}

/* ---- once ---- */

static bool same_page(const uint8_t *a, size_t len)
{
	return mm_page_floor((uintptr_t)a) == mm_page_floor((uintptr_t)a + len - 1);
}

static bool overlap(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* No write may cross a page, and no two may meet; a landing behind the entry is in the entry's page (see the order above). */
static bool well_placed(const struct target *t)
{
	const uint8_t *at = t->entry + t->plan.jump_at, *landing = t->entry + t->plan.landing;

	if (!same_page(at, t->plan.jump_len))
		return false;
	if (t->plan.jump_len == PLAN_JUMP)
		return true;
	if (!same_page(landing, PLAN_JUMP) ||
	    (landing > at && mm_page_floor((uintptr_t)landing) != mm_page_floor((uintptr_t)at)))
		return false;
	for (size_t i = 0; i < count; i++)
		if (targets[i].plan.jump_len < PLAN_JUMP &&
		    overlap(landing, PLAN_JUMP, targets[i].entry + targets[i].plan.landing, PLAN_JUMP))
			return false;
	return true;
}

static int plan_site(struct patch_site *site)
{
	struct target t = {.site = site, .entry = aptr_load_acquire(&site->entry)};
	int err;

	if (!t.entry)
		return site->required ? refuse(-EOPNOTSUPP, site->name, "not found in libc") : 0;
	if (planned_already(t.entry))
		return 0;
	err = plan_patch(t.entry, &t.plan);
	if (err == -EBUSY)
		return refuse(err, site->name, "already patched by another library or a debugger");
	if (err || !well_placed(&t))
		return refuse(-EOPNOTSUPP, site->name, "no safe place for a jump in this libc");
	err = verify(&t);
	if (!err)
		targets[count++] = t;
	return err;
}

static int make_trampolines(void)
{
	static uint8_t image[AREA_SIZE];
	uintptr_t low = UINTPTR_MAX, high = 0;
	void *place;
	int fd, err;

	for (size_t i = 0; i < count; i++) {
		uintptr_t at = (uintptr_t)targets[i].entry;

		low = at < low ? at : low;
		high = at > high ? at : high;
	}
	/* Wider than the functions: what a moved instruction refers to is somewhere in libc's data. */
	err = text_reserve_near(mm_page_floor(low) - (16u << 20), high + (16u << 20), AREA_SIZE, &place);
	if (err)
		return err;
	memset(image, 0xcc, sizeof(image));
	for (size_t i = 0; i < count; i++)
		write_trampoline(image + i * TRAMPOLINE_SIZE, (uint8_t *)place + i * TRAMPOLINE_SIZE, &targets[i]);
	err = text_image(image, sizeof(image), &fd);
	if (!err) {
		err = text_switch(place, AREA_SIZE, fd, 0);
		text_close(fd);
	}
	if (err)
		mm_unmap(place, AREA_SIZE);
	else
		area = place;
	return err;
}

static int prepare(struct patch_site *sites, size_t n)
{
	int err = 0;

	count = 0; /* what a failed attempt left; no trampoline exists yet */
	for (size_t i = 0; i < n && !err; i++)
		err = plan_site(&sites[i]);
	if (!err)
		err = make_trampolines();
	if (err) {
		count = 0;
		return err;
	}
	for (size_t i = 0; i < count; i++) {
		uint8_t *trampoline = area + i * TRAMPOLINE_SIZE;

		write_jumps(&targets[i], trampoline);
		aptr_store_release(targets[i].site->original, trampoline + TRAMPOLINE_ORIGINAL);
	}
	ready = true;
	return 0;
}

/* Every site reads as it was at first, or as we left it. */
static int check_unchanged(void)
{
	for (size_t i = 0; i < count; i++) {
		const struct target *t = &targets[i];
		const uint8_t *at = t->entry + t->plan.jump_at;

		if (memcmp(at, t->jump_old, t->plan.jump_len) != 0 && memcmp(at, t->jump_new, t->plan.jump_len) != 0)
			return refuse(-EBUSY, t->site->name, "already patched by another library or a debugger");
	}
	return 0;
}

int patch_install(struct patch_site *sites, size_t n)
{
	int err = ready ? check_unchanged() : prepare(sites, n);

	if (!err) {
		err = switch_all(WHAT_HOOKED);
		if (err)
			switch_all(WHAT_ORIGINAL);
	}
	if (!err)
		snprintf(status, sizeof(status), "installed, %zu functions", count);
	else if (err == -EPERM)
		snprintf(status, sizeof(status), "executable mappings cannot be made here (errno %d)", -err);
	else if (err == -ENOMEM)
		snprintf(status, sizeof(status), "no room for trampolines near libc, or no memory");
	return err;
}

void patch_remove(void)
{
	/* What cannot be switched back for want of memory stays, and passes everything through. */
	if (switch_all(WHAT_ORIGINAL) == 0)
		snprintf(status, sizeof(status), "removed");
}
