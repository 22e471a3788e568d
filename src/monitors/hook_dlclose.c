/* SPDX-License-Identifier: MIT */
/*
 * hook_dlclose.c: dlclose() unmaps through the dynamic linker's private copy of munmap, which cannot be found by name. Which
 * objects go, if any, is known afterwards only: the handle's own may stay (another reference), others may go with it. So every
 * loaded object is announced before the call, and ended as changed if it is gone after it. What cannot be listed (objects of
 * another namespace, more than there was room for, no room at all) is announced as everything.
 *
 * The storage, one invalidation for each object and listening address space, is a mapping made for the call.
 *
 * Destructors run inside. They may close an address space that has invalidations of ours open, or wait for a thread that does:
 *
 *   dlclose()                                    uhmm_mm_close(), here or elsewhere
 *   hook_enter(), start for every mm
 *   the closing goes on the list
 *   hook_leave(): nobody waits for us
 *   the original: destructors                    takes mm out of the table; waits for hooks: all that saw mm are on the list
 *                                                ends and forgets what the closings on the list have open for mm
 *   hook_enter(), off the list                   waits for hooks again: of those that came off before
 *   ends what is left
 *   hook_leave()                                 frees mm
 */
#include <errno.h>
#include <dlfcn.h>
#include <link.h>

#include "core/core.h"
#include "monitors/hook_calls.h"
#include "monitors/hook_table.h"
#include "port/mm.h"

struct object {
	uintptr_t start, end;
	const void *id; /* its program headers: in its own mapping */
	bool there;     /* after the call */
};

struct announced {
	struct uhmm_invalidation inv;
	struct uhmm_mm *mm; /* NULL: its start failed, or mm was closed meanwhile */
	const struct object *object;
};

struct closing {
	struct closing *next;
	const struct core_thread *owner;
	uint64_t epoch; /* later listeners know nothing of it */
	struct object *object;
	size_t objects, room; /* more of them than room: not listed */
	struct announced *announced;
	size_t starts, starts_room;
	bool past_program; /* the first object is the program, which stays */
	uint64_t loads, unloads; /* how often anything was ever loaded and unloaded */
};

/* Innermost but for the core's own. Never held while the dynamic linker, or a callback, may run. */
static struct sync_lock lock = SYNC_LOCK_INIT;
static struct closing *closings;

static struct object object_of(const struct dl_phdr_info *info)
{
	struct object o = {.start = UINTPTR_MAX, .id = info->dlpi_phdr};

	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + p->p_vaddr;

		if (p->p_type != PT_LOAD)
			continue;
		o.start = start < o.start ? start : o.start;
		o.end = start + p->p_memsz > o.end ? start + p->p_memsz : o.end;
	}
	o.start = mm_page_floor(o.start);
	o.end = mm_page_ceil(o.end);
	return o;
}

static int count_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct closing *c = arg;

	(void)size;
	c->objects++;
	c->loads = info->dlpi_adds;
	c->unloads = info->dlpi_subs;
	return 0;
}

static int note_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct closing *c = arg;
	struct object o = object_of(info);

	(void)size;
	c->loads = info->dlpi_adds;
	c->unloads = info->dlpi_subs;
	if (!c->past_program) {
		c->past_program = true;
		return 0;
	}
	if (o.start >= o.end)
		return 0;
	if (c->objects < c->room)
		c->object[c->objects] = o;
	c->objects++;
	return 0;
}

static int mark_there(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct closing *c = arg;
	struct object o = object_of(info);

	(void)size;
	for (size_t i = 0; i < c->objects; i++)
		if (c->object[i].id == o.id && c->object[i].start == o.start && c->object[i].end == o.end)
			c->object[i].there = true;
	return 0;
}

static size_t count_listeners(void)
{
	uint32_t place = 0;
	size_t n = 0;

	while (hook_next(&place))
		n++;
	return n;
}

static void announce(struct uhmm_mm *mm, struct announced *a, const struct object *o)
{
	struct uhmm_event event = {.start = o->start, .end = o->end, .kind = UHMM_EVENT_UNMAP};

	a->object = o;
	a->mm = uhmm_invalidate_start(mm, &a->inv, &event) == 0 ? mm : NULL;
}

/* Those that began to listen since we came in find no room perhaps; they count as unsettled until we have left. */
static void announce_all(struct closing *c)
{
	uint32_t place = 0;
	struct uhmm_mm *mm;

	while ((mm = hook_next(&place)))
		for (size_t i = 0; i < c->objects && c->starts < c->starts_room; i++)
			announce(mm, &c->announced[c->starts++], &c->object[i]);
}

static void end_all(struct closing *c)
{
	while (c->starts-- > 0) {
		struct announced *a = &c->announced[c->starts];

		if (!a->mm)
			continue;
		if (a->object->there)
			uhmm_invalidate_abort(&a->inv);
		else
			uhmm_invalidate_end(&a->inv);
	}
}

static void take_stock(struct closing *c)
{
	struct closing now = {0};

	dl_iterate_phdr(count_object, &now);
	if (now.unloads == c->unloads) { /* the usual case: a reference count went down */
		for (size_t i = 0; i < c->objects; i++)
			c->object[i].there = true;
		return;
	}
	/* What was loaded meanwhile may look like, and lie where, something did that is gone. */
	if (now.loads == c->loads)
		dl_iterate_phdr(mark_there, c);
}

static void put_on_list(struct closing *c)
{
	sync_lock_acquire(&lock);
	c->next = closings;
	closings = c;
	sync_lock_release(&lock);
}

static void take_off_list(const struct closing *c)
{
	struct closing **at = &closings;

	sync_lock_acquire(&lock);
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	sync_lock_release(&lock);
}

/* The caller is inside r; not in the original, so that a destructor may close what we have open. */
static long call(patch_fn original, long handle, struct closing *c, struct hook_record *r, uint64_t saved)
{
	int before = errno, after;
	long result;

	announce_all(c);
	put_on_list(c);
	hook_leave(r, saved);
	errno = before;
	result = (int)original(handle, 0, 0, 0, 0, 0, 0);
	after = errno;
	take_stock(c);
	r = hook_enter(&saved);
	take_off_list(c);
	end_all(c);
	hook_leave(r, saved);
	errno = after;
	return result;
}

static __attribute__((noinline)) long call_everything(patch_fn original, long handle, struct closing *c, struct hook_record *r,
						      uint64_t saved)
{
	struct object everything = {.start = 0, .end = MM_ADDR_END};
	struct announced announced[HOOKS_MMS];

	c->object = &everything;
	c->objects = 1;
	c->announced = announced;
	c->starts_room = HOOKS_MMS;
	return call(original, handle, c, r, saved);
}

/* dl_iterate_phdr() shows one namespace only: ours, and that is taken to be the first one, as nearly everybody's is. */
static bool is_listed(long handle)
{
	Lmid_t namespace = LM_ID_BASE;

	return !handle || (dlinfo((void *)(uintptr_t)handle, RTLD_DI_LMID, &namespace) == 0 && namespace == LM_ID_BASE);
}

long hook_dlclose(patch_fn original, long handle)
{
	struct closing c = {.owner = core_thread()};
	size_t listeners, size = 0;
	void *storage = NULL;
	struct hook_record *r;
	uint64_t saved = 0;
	bool listed;
	long result;

	if (hook_epoch() == 0) /* the child of a bare fork, where no lock may be taken */
		return (int)original(handle, 0, 0, 0, 0, 0, 0);
	listed = is_listed(handle);
	c.epoch = hook_epoch();
	r = hook_enter(&saved);
	listeners = count_listeners();
	dl_iterate_phdr(count_object, &c);
	c.room = c.objects + 8; /* others may be loading */
	c.starts_room = c.room * listeners;
	if (listed && listeners) {
		size = mm_page_ceil(c.room * sizeof(struct object) + c.starts_room * sizeof(struct announced));
		listed = mm_map(size, &storage) == 0;
	}
	if (listed && storage) {
		c.announced = storage;
		c.object = (struct object *)(void *)(c.announced + c.starts_room);
		c.objects = 0;
		dl_iterate_phdr(note_object, &c);
		listed = c.objects <= c.room;
	}
	if (!listed) {
		result = call_everything(original, handle, &c, r, saved);
	} else {
		c.objects = storage ? c.objects : 0;
		result = call(original, handle, &c, r, saved);
	}
	if (storage)
		mm_unmap(storage, size);
	return result;
}

void hook_closings_forget(const struct uhmm_mm *mm)
{
	sync_lock_acquire(&lock);
	for (struct closing *c = closings; c; c = c->next) {
		for (size_t i = c->starts; i-- > 0;) {
			if (c->announced[i].mm != mm)
				continue;
			c->announced[i].mm = NULL;
			uhmm_invalidate_end(&c->announced[i].inv);
		}
	}
	sync_lock_release(&lock);
}

bool hook_closings_past(uint64_t epoch)
{
	bool past = true;

	sync_lock_acquire(&lock);
	for (const struct closing *c = closings; c; c = c->next)
		past &= c->epoch >= epoch;
	sync_lock_release(&lock);
	return past;
}

/* Those of threads that the child does not have will never end. */
void hook_closings_fork_child(void)
{
	struct closing **at = &closings;

	sync_lock_init(&lock);
	while (*at) {
		if ((*at)->owner == core_thread())
			at = &(*at)->next;
		else
			*at = (*at)->next;
	}
}
