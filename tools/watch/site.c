/* SPDX-License-Identifier: MIT */
/*
 * site.c: who called. libc's own frames lie between the program and most mapping calls (free, malloc_trim, pthread_create), so
 * they are walked over by their unwind tables, with the copy of libgcc's unwinder that is linked in here: it finds them through
 * _dl_find_object(), which takes no lock. The walk ends at the first frame outside libc and libstdc++, so it never reads a
 * stack that those did not lay out.
 */
#include "inside.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <unwind.h>

#define FRAMES_MAX 32u

struct code {
	uintptr_t start, end;
};

/* libc, the dynamic linker, libstdc++, libuhmm and this library; written by the constructor. */
static struct code passed_over[8];
static uint32_t passed_count;

/* Not before glibc 2.35. Without it, callers are told by their address alone. */
#pragma weak _dl_find_object

static bool find_object(uintptr_t pc, struct dl_find_object *o)
{
	return _dl_find_object && _dl_find_object((void *)pc, o) == 0;
}

static bool is_passed_over(uintptr_t pc)
{
	for (uint32_t i = 0; i < passed_count; i++)
		if (pc >= passed_over[i].start && pc < passed_over[i].end)
			return true;
	return false;
}

static bool has_name(const char *path, const char *name)
{
	const char *last = strrchr(path, '/');

	return strncmp(last ? last + 1 : path, name, strlen(name)) == 0;
}

static int note_code(struct dl_phdr_info *info, size_t size, void *arg)
{
	static const char *const names[] = {"libc.so.6", "ld-linux", "libstdc++.so", "libuhmm.so", WATCH_LIBRARY};
	uintptr_t start = UINTPTR_MAX, end = 0;

	(void)size, (void)arg;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!has_name(info->dlpi_name, names[i]) || passed_count == sizeof(passed_over) / sizeof(passed_over[0]))
			continue;
		for (int p = 0; p < info->dlpi_phnum; p++) {
			const ElfW(Phdr) *ph = &info->dlpi_phdr[p];

			if (ph->p_type != PT_LOAD)
				continue;
			start = info->dlpi_addr + ph->p_vaddr < start ? info->dlpi_addr + ph->p_vaddr : start;
			end = info->dlpi_addr + ph->p_vaddr + ph->p_memsz > end ? info->dlpi_addr + ph->p_vaddr + ph->p_memsz
										: end;
		}
		passed_over[passed_count++] = (struct code){start, end};
	}
	return 0;
}

void watch_site_setup(void)
{
	passed_count = 0;
	dl_iterate_phdr(note_code, NULL);
}

struct walk {
	uintptr_t found, caller;
	uint32_t frames;
	bool past_caller; /* frames below belong to this library */
};

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *arg)
{
	struct walk *w = arg;
	uintptr_t pc = _Unwind_GetIP(context);

	if (++w->frames > FRAMES_MAX || !pc)
		return _URC_END_OF_STACK;
	w->past_caller |= pc == w->caller;
	if (!w->past_caller || is_passed_over(pc))
		return _URC_NO_REASON;
	w->found = pc;
	return _URC_END_OF_STACK;
}

uintptr_t watch_site_of(uintptr_t caller)
{
	struct walk w = {.caller = caller};

	if (!is_passed_over(caller) || !_dl_find_object)
		return caller;
	_Unwind_Backtrace(step, &w);
	return w.found ? w.found : caller;
}

/* ---- objects ---- */

static uint32_t new_object(struct watch_state *s, const struct dl_find_object *o)
{
	struct watch_record *r = s->record;
	const char *name = o->dlfo_link_map->l_name;
	uint32_t place = atomic_fetch_add(&r->objects_used, 1);
	struct watch_object *object;

	if (place >= WATCH_OBJECTS)
		return WATCH_NO_OBJECT;
	object = &r->objects[place];
	if (!watch_usable(s, object, sizeof(*object)))
		return WATCH_NO_OBJECT;
	object->base = o->dlfo_link_map->l_addr;
	watch_copy_text(object->path, name && *name ? name : r->program, WATCH_PATH);
	atomic_store_explicit(&object->state, 2, memory_order_release);
	return place;
}

uint32_t watch_object_of(struct watch_state *s, uintptr_t pc, uint64_t *base)
{
	struct watch_record *r = s->record;
	uint32_t used = atomic_load_explicit(&r->objects_used, memory_order_acquire);
	struct dl_find_object o;
	const char *name;

	if (!find_object(pc, &o))
		return WATCH_NO_OBJECT;
	*base = o.dlfo_link_map->l_addr;
	name = o.dlfo_link_map->l_name;
	for (uint32_t i = 0; i < used && i < WATCH_OBJECTS; i++)
		if (atomic_load_explicit(&r->objects[i].state, memory_order_acquire) == 2 && r->objects[i].base == *base &&
		    strncmp(r->objects[i].path, name && *name ? name : r->program, WATCH_PATH - 1) == 0)
			return i;
	return new_object(s, &o);
}
