/* SPDX-License-Identifier: MIT */
/*
 * patch.c: what each entry shall hold: which functions, in which of the two ways (patch_inside.h), and the trampolines.
 *
 * For each way of each site a trampoline (patch_arch.h), within reach of a jump, made once and never freed, because a thread
 * may be preempted in it at any time. New ones are added by mapping the same bytes again, with more behind them.
 */
#include "monitors/patch_inside.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "monitors/proc.h"
#include "port/mm.h"
#include "port/sync.h"
#include "port/text.h"

#define AREA_SIZE (4 * MM_PAGE_SIZE)
#define FUNCTION_SIZE 256u /* more than any of the functions has up to its system call's return */
#define STATUS_SIZE 512u

static_assert(2 * PATCH_SITES_MAX * TRAMPOLINE_SIZE <= AREA_SIZE / 2, "room for more than two ways of each");

static struct target targets[PATCH_SITES_MAX];
static size_t count;
static uint8_t *area;      /* the trampolines, */
static size_t area_used;   /* as many bytes of them */
static uint8_t area_image[AREA_SIZE];
static char status[STATUS_SIZE] = "not installed";
/* For those who ask without the lock: where the jumps are while they are in, and what to look for, one of them at a time. */
static struct uhmm_a64 text_start, text_end;
static struct uhmm_a64 text_page[PATCH_SITES_MAX]; /* of each jump; one in a landing place may be in the page before. 0: none */
static struct uhmm_aptr probe_at[PATCH_SITES_MAX];
static struct uhmm_a32 probe_value[PATCH_SITES_MAX];

const char *patch_status(void)
{
	return status;
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	size_t used = strlen(status);
	va_list args;

	va_start(args, format);
	/* A false alarm of clang-tidy 14, which loses track of va_start() here. */
	vsnprintf(status + used, sizeof(status) - used, format, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
	va_end(args);
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

/* The one for this site, or NULL: libc has no such function, or the same under another name that came before. */
static struct target *target_of(struct patch_site *site)
{
	uint8_t *entry = aptr_load_acquire(&site->entry);
	struct proc_mapping m;
	struct target *t;

	for (t = targets; t < targets + count; t++)
		if (t->entry == entry)
			return t->site == site ? t : NULL;
	if (!entry)
		return NULL;
	count++;
	*t = (struct target){.site = site, .entry = entry};
	if (proc_mapping_find((uintptr_t)entry, &m, t->path, sizeof(t->path)) == 0 && m.file && m.start <= (uintptr_t)entry)
		t->offset = m.offset + (uint64_t)((uintptr_t)entry - m.start);
	else
		t->path[0] = '\0';
	return t;
}

/* ---- who else ---- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Whose code is there? */
static void say_who(uintptr_t address)
{
	char path[PATH_SIZE];
	struct proc_mapping m;

	if (!address)
		say("somebody unknown");
	else if (proc_mapping_find(address, &m, path, sizeof(path)) != 0 || m.start > address)
		say("code that is not mapped, at %p", (void *)address);
	else if (m.file)
		say("%s", base_name(path));
	else
		say("code in anonymous memory, at %p", (void *)address);
}

static int refuse(int err, const struct target *t, const char *why)
{
	status[0] = '\0';
	say("%s: %s", t->site->name, why);
	return err;
}

static int refuse_foreign(const struct target *t, uintptr_t leads_to, const char *why)
{
	status[0] = '\0';
	say("%s: patched by ", t->site->name);
	say_who(leads_to);
	say("%s (", why);
	for (int i = 0; i < 8; i++)
		say(i ? " %02x" : "%02x", t->entry[i]);
	say(")");
	return -EBUSY;
}

static bool file_differs(const struct target *t)
{
	uint8_t bytes[PLAN_BEFORE + PLAN_AFTER];
	const uint8_t *from = t->entry - PLAN_BEFORE;
	const size_t head = PLAN_BEFORE + 24; /* where a patch would be */
	int fd = t->path[0] ? text_open(t->path) : -1;
	bool differs;

	if (fd < 0) /* no /proc: what plan_patch() saw has to do */
		return false;
	/* A file replaced by an upgrade since differs nearly everywhere, a patched function in its first bytes only. */
	differs = text_read(fd, bytes, sizeof(bytes), t->offset - PLAN_BEFORE) == (long)sizeof(bytes) &&
		  memcmp(bytes + PLAN_BEFORE, t->entry, head - PLAN_BEFORE) != 0 &&
		  memcmp(bytes + head, from + head, sizeof(bytes) - head) == 0;
	text_close(fd);
	return differs;
}

/* ---- trampolines ---- */

/* Low and high are wider than the functions: what a moved instruction refers to is somewhere in libc's data. */
static int reserve_area(void)
{
	uintptr_t low = UINTPTR_MAX, high = 0;
	void *place;
	int err;

	if (area)
		return 0;
	for (size_t i = 0; i < count; i++) {
		uintptr_t at = (uintptr_t)targets[i].entry;

		low = at < low ? at : low;
		high = at > high ? at : high;
	}
	err = text_reserve_near(mm_page_floor(low) - (16u << 20), high + (16u << 20), AREA_SIZE, &place);
	if (err)
		return err;
	patch_arch_fill(area_image, sizeof(area_image));
	area = place;
	return 0;
}

static int map_area(void)
{
	int fd, err = text_image(area_image, sizeof(area_image), &fd);

	if (err)
		return err;
	err = text_switch(area, AREA_SIZE, fd, 0);
	text_close(fd);
	return err;
}

/* Into the image: code that runs gets it by map_area(). */
static int make_trampoline(struct target *t, struct jump *j)
{
	const uint8_t *at = t->entry + j->plan.jump_at, *landing = t->entry + j->plan.landing;
	uint8_t *image = area_image + area_used, *place = area + area_used;

	if (area_used + TRAMPOLINE_SIZE > AREA_SIZE)
		return refuse(-ENOMEM, t, "patched by others too often");
	if (j->leads_on)
		patch_arch_chained(image, t->site->chained_hook, j->leads_on);
	else
		patch_arch_trampoline(image, place, at, &j->plan, t->site->hook);
	area_used += TRAMPOLINE_SIZE;
	memcpy(j->old, at, j->plan.jump_len);
	patch_arch_jump(j->new, j->plan.jump_len, at, j->plan.landing ? landing : place);
	if (j->plan.landing) {
		memcpy(j->landing_old, landing, PLAN_JUMP_MAX);
		patch_arch_jump(j->landing_new, PLAN_JUMP_MAX, landing, place);
	}
	j->trampoline = place;
	return 0;
}

/* ---- where the jumps go ---- */

static bool same_page(const uint8_t *a, size_t len)
{
	return mm_page_floor((uintptr_t)a) == mm_page_floor((uintptr_t)a + len - 1);
}

static bool overlap(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* No write may cross a page, and no two may meet; a landing behind the entry is in the entry's page (see patch_pages.c). */
static bool well_placed(const struct target *t, const struct plan *plan)
{
	const uint8_t *at = t->entry + plan->jump_at, *landing = t->entry + plan->landing;

	if (!same_page(at, plan->jump_len))
		return false;
	if (!plan->landing)
		return true;
	if (!same_page(landing, PLAN_JUMP_MAX) ||
	    (landing > at && mm_page_floor((uintptr_t)landing) != mm_page_floor((uintptr_t)at)))
		return false;
	for (const struct target *o = targets; o < targets + count; o++)
		if (o != t && o->direct.trampoline && o->direct.plan.landing &&
		    overlap(landing, PLAN_JUMP_MAX, o->entry + o->direct.plan.landing, PLAN_JUMP_MAX))
			return false;
	return true;
}

static int plan_direct(struct target *t)
{
	struct jump j = {0};
	int err = plan_patch(t->entry, &j.plan);

	if (err == -EBUSY || (!err && file_differs(t)))
		return refuse_foreign(t, 0, " in an unfamiliar way");
	if (err || !well_placed(t, &j.plan))
		return refuse(-EOPNOTSUPP, t, "no safe place for a jump in this libc");
	err = make_trampoline(t, &j);
	if (!err)
		t->direct = j;
	return err;
}

/*
 * Whoever came over our chained jump may lead on to where that led, and with the hook there it would come round to him again:
 * from now on it is passed through. One that leads on comes by our direct trampoline, or by the new one.
 */
static void retire(const struct jump *j)
{
	union {
		uintptr_t address;
		void (*fn)(void);
	} straight = {.address = j->leads_on};

	if (j->trampoline)
		patch_arch_chained(area_image + (j->trampoline - area), straight.fn, j->leads_on);
}

static int plan_chained(struct target *t, const struct plan *plan, uintptr_t leads_to)
{
	struct jump j = {.plan = *plan, .leads_on = leads_to};
	struct proc_mapping m;
	int err;

	if (!t->site->chained_hook)
		return refuse_foreign(t, leads_to, ", which cannot be chained here");
	if (!well_placed(t, plan))
		return refuse_foreign(t, leads_to, " across a page");
	if (proc_mapping_find(leads_to, &m, NULL, 0) != 0 || m.start > leads_to || !m.exec)
		return refuse_foreign(t, leads_to, ", which is no code");
	j.code_start = m.start;
	j.code_end = m.end;
	err = make_trampoline(t, &j);
	if (err)
		return err;
	retire(&t->chained);
	t->chained = j;
	return 0;
}

/* Which way it is, by what the entry reads as; plans it if it is new. */
static int choose(struct target *t)
{
	bool has_direct = t->direct.trampoline, ours = has_direct && reads(t, &t->direct, t->direct.new);
	uintptr_t leads_to = 0;
	struct plan plan;
	int err = -ENOENT;

	t->now = &t->chained;
	if (t->chained.trampoline && reads(t, &t->chained, t->chained.new))
		return 0;
	/* Our own jump would look like anybody's. Behind a prefix it says nothing about the entry. */
	if (!ours || t->direct.plan.prefix)
		err = plan_foreign(t->entry, &plan, &leads_to);
	if (err == 0) {
		if (!t->chained.trampoline || t->chained.leads_on != leads_to || !reads(t, &t->chained, t->chained.old))
			err = plan_chained(t, &plan, leads_to);
		if (err)
			t->now = ours ? &t->direct : NULL;
		return err;
	}
	t->now = &t->direct;
	if (err == -ENOENT && (ours || (has_direct && reads(t, &t->direct, t->direct.old))))
		return 0;
	if (err == -EBUSY || has_direct)
		err = refuse_foreign(t, leads_to, " in an unfamiliar way");
	else
		err = plan_direct(t);
	if (err)
		t->now = ours ? &t->direct : NULL;
	return err;
}

/* All of them, or an error; but those that are not needed are left out. */
static int choose_all(struct patch_site *sites, size_t n, char *left_out, size_t size)
{
	size_t used = area_used;
	int err = 0;

	left_out[0] = '\0';
	for (size_t i = 0; i < n && !err; i++)
		if (!target_of(&sites[i]) && sites[i].need == PATCH_REQUIRED && !aptr_load_acquire(&sites[i].entry)) {
			snprintf(status, sizeof(status), "%s: not found in libc", sites[i].name);
			err = -EOPNOTSUPP;
		}
	if (!err)
		err = reserve_area();
	for (struct target *t = targets; t < targets + count && !err; t++) {
		err = choose(t);
		if (err && err != -ENOMEM && t->site->need == PATCH_IF_POSSIBLE) {
			size_t length = strlen(left_out);

			/* What does not fit is cut. */
			if (snprintf(left_out + length, size - length, "; without %s", status) < 0)
				left_out[length] = '\0';
			err = 0;
		}
	}
	/* Also after an error: what is in the image is in use by the plans. */
	if (area_used > used) {
		int mapped = map_area();

		err = err ? err : mapped;
		if (mapped) { /* nothing that is new was made, so nothing of it is known */
			for (struct target *t = targets; t < targets + count; t++) {
				if (t->direct.trampoline >= area + used)
					t->direct.trampoline = NULL;
				if (t->chained.trampoline >= area + used)
					t->chained.trampoline = NULL;
				t->now = NULL;
			}
			area_used = used;
		}
	}
	return err;
}

/* ---- for those who look without the lock ---- */

static void publish(bool in)
{
	uintptr_t low = UINTPTR_MAX, high = 0;

	for (size_t i = 0; i < count; i++) {
		const struct target *t = &targets[i];
		uint8_t *at = t->now ? t->entry + t->now->plan.jump_at : NULL;
		uint32_t value = 0;

		aptr_store_release(&probe_at[i], NULL);
		a64_store_release(&text_page[i], in && at ? mm_page_floor((uintptr_t)at) : 0);
		if (!in || !at)
			continue;
		memcpy(&value, at, t->now->plan.jump_len < sizeof(value) ? 2 : sizeof(value));
		a32_store_relaxed(&probe_value[i], value);
		aptr_store_release(&probe_at[i], at);
		low = (uintptr_t)at < low ? (uintptr_t)at : low;
		high = (uintptr_t)at > high ? (uintptr_t)at : high;
	}
	a64_store_release(&text_start, in ? mm_page_floor(low) - MM_PAGE_SIZE : 0);
	a64_store_release(&text_end, in ? mm_page_ceil(high + 1) : 0);
}

/*
 * The functions may be in two libraries, with other code and data between them, and anybody's jumps in code of libc that is
 * none of ours are none of our business.
 */
bool patch_is_text(uintptr_t start, uintptr_t end)
{
	if (start >= a64_load_relaxed(&text_end) || end <= a64_load_relaxed(&text_start))
		return false;
	for (size_t i = 0; i < PATCH_SITES_MAX; i++) {
		uintptr_t page = a64_load_acquire(&text_page[i]);

		if (page && start < page + MM_PAGE_SIZE && end > page - MM_PAGE_SIZE)
			return true;
	}
	return false;
}

static bool note_writable(const struct proc_mapping *m, const char *name, void *arg)
{
	bool *writable = arg;

	(void)name;
	*writable |= m->write && patch_is_text(m->start, m->end);
	return m->start < a64_load_relaxed(&text_end);
}

bool patch_is_being_written(void)
{
	bool writable = false;

	return proc_mappings_each(note_writable, &writable) == 0 && writable;
}

bool patch_probe(uint32_t which)
{
	const uint8_t *at = aptr_load_acquire(&probe_at[which % PATCH_SITES_MAX]);
	uint32_t expected = a32_load_relaxed(&probe_value[which % PATCH_SITES_MAX]), value = 0;

	if (!at)
		return true;
	memcpy(&value, at, expected >> 16 ? sizeof(value) : 2);
	return value == expected;
}

bool patch_is_whole(void)
{
	for (const struct target *t = targets; t < targets + count; t++)
		if (t->now && !reads(t, t->now, t->now->new))
			return false;
	return true;
}

bool patch_covers(uintptr_t addr)
{
	if (area && addr - (uintptr_t)area < AREA_SIZE)
		return true;
	for (const struct target *t = targets; t < targets + count; t++) {
		if (addr + PLAN_BEFORE - (uintptr_t)t->entry < PLAN_BEFORE + FUNCTION_SIZE)
			return true;
		/* Somebody on his way through what was there before. */
		if (t->chained.trampoline && addr >= t->chained.code_start && addr < t->chained.code_end)
			return true;
	}
	return false;
}

/* ---- in and out ---- */

static void describe(const char *left_out)
{
	size_t in = 0;

	for (const struct target *t = targets; t < targets + count; t++)
		in += t->now != NULL;
	snprintf(status, sizeof(status), "installed, %zu functions", in);
	for (const struct target *t = targets; t < targets + count; t++) {
		if (t->now != &t->chained)
			continue;
		say("; %s leads on to ", t->site->name);
		say_who(t->chained.leads_on);
	}
	say("%s", left_out);
}

int patch_install(struct patch_site *sites, size_t n)
{
	static char left_out[STATUS_SIZE];
	int err = choose_all(sites, n, left_out, sizeof(left_out));

	/* Before the entries lead anywhere. */
	for (struct target *t = targets; t < targets + count && !err; t++) {
		if (t->direct.trampoline)
			aptr_store_release(t->site->original, t->direct.trampoline + TRAMPOLINE_ORIGINAL);
		if (t->chained.trampoline)
			aptr_store_release(t->site->chained, t->chained.trampoline + TRAMPOLINE_ORIGINAL);
	}
	if (!err) {
		err = patch_pages_switch(targets, count, WHAT_HOOKED);
		if (err)
			patch_pages_switch(targets, count, WHAT_ORIGINAL);
	}
	if (!err) {
		publish(true);
		describe(left_out);
	} else if (err == -EPERM) {
		snprintf(status, sizeof(status), "executable mappings cannot be made here (errno %d)", -err);
	} else if (err == -ENOMEM && area_used + TRAMPOLINE_SIZE <= AREA_SIZE) {
		snprintf(status, sizeof(status), "no room for trampolines near libc, or no memory");
	}
	return err;
}

void patch_remove(void)
{
	publish(false);
	/* Somebody may have put back what he found, which was ours. */
	for (struct target *t = targets; t < targets + count; t++)
		if (t->now == &t->chained && !reads(t, t->now, t->now->new) && t->direct.trampoline &&
		    reads(t, &t->direct, t->direct.new))
			t->now = &t->direct;
	/* What cannot be switched back for want of memory stays, and passes everything through. */
	if (patch_pages_switch(targets, count, WHAT_ORIGINAL) == 0)
		snprintf(status, sizeof(status), "removed");
}
