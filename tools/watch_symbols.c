/* SPDX-License-Identifier: MIT */
#include "watch_symbols.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A return address is behind its call: one byte before belongs to it. */
static const char *plain(const char *object, uint64_t offset, char out[SYMBOL_SIZE])
{
	if (object)
		snprintf(out, SYMBOL_SIZE, "%s+0x%" PRIx64, last_part(object), offset - 1);
	else
		snprintf(out, SYMBOL_SIZE, "0x%" PRIx64, offset - 1);
	return out;
}

#ifdef HAVE_LIBDW
#include <dlfcn.h>
#include <elfutils/libdwfl.h>

#define CACHE 1024u /* a power of two; answers, the newest in each place */

struct object {
	struct object *next;
	char *path;
	Dwfl *dwfl;
	Dwfl_Module *module; /* NULL: cannot be read */
	GElf_Addr bias;
};

struct answer {
	const struct object *object;
	uint64_t offset;
	char text[SYMBOL_SIZE];
};

struct symbols {
	struct object *objects;
	char *(*demangle)(const char *name, char *buf, size_t *size, int *status);
	void *cxx;
	struct answer cache[CACHE];
};

static const Dwfl_Callbacks callbacks = {
	.find_debuginfo = dwfl_standard_find_debuginfo,
	.section_address = dwfl_offline_section_address,
};

struct symbols *symbols_open(void)
{
	struct symbols *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	/* Nothing is fetched from anywhere. */
	unsetenv("DEBUGINFOD_URLS");
	s->cxx = dlopen("libstdc++.so.6", RTLD_LAZY);
	if (s->cxx)
		s->demangle = (char *(*)(const char *, char *, size_t *, int *))dlsym(s->cxx, "__cxa_demangle");
	return s;
}

void symbols_close(struct symbols *s)
{
	if (!s)
		return;
	while (s->objects) {
		struct object *o = s->objects;

		s->objects = o->next;
		if (o->dwfl)
			dwfl_end(o->dwfl);
		free(o->path);
		free(o);
	}
	if (s->cxx)
		dlclose(s->cxx);
	free(s);
}

static void read_object(struct object *o)
{
	Dwarf_Addr bias = 0;

	o->dwfl = dwfl_begin(&callbacks);
	if (!o->dwfl)
		return;
	dwfl_report_begin(o->dwfl);
	o->module = dwfl_report_offline(o->dwfl, last_part(o->path), o->path, -1);
	dwfl_report_end(o->dwfl, NULL, NULL);
	if (o->module && !dwfl_module_getelf(o->module, &bias))
		o->module = NULL;
	o->bias = bias;
}

static struct object *object_of(struct symbols *s, const char *path)
{
	struct object *o;

	for (o = s->objects; o; o = o->next)
		if (strcmp(o->path, path) == 0)
			return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->path = strdup(path);
	if (!o->path) {
		free(o);
		return NULL;
	}
	o->next = s->objects;
	s->objects = o;
	read_object(o);
	return o;
}

/* Parameters only take room; what is in front of them may have parentheses, too: (anonymous namespace), operator(). */
static void drop_parameters(char *name)
{
	static const char call[] = "operator";
	const size_t n = sizeof(call) - 1;

	for (char *c = strchr(name, '('); c; c = strchr(c + 1, '(')) {
		if (c == name || c[-1] == ':' || ((size_t)(c - name) >= n && strncmp(c - n, call, n) == 0))
			continue;
		*c = '\0';
		return;
	}
}

/* "function file.c:12", or "function (libx.so)" where the source is not known. */
static bool name_of(const struct symbols *s, const struct object *o, uint64_t offset, char out[SYMBOL_SIZE])
{
	GElf_Addr addr = offset - 1 + o->bias;
	const char *name = dwfl_module_addrname(o->module, addr), *file = NULL;
	Dwfl_Line *at = dwfl_module_getsrc(o->module, addr);
	char *plain_name = NULL;
	int number = 0, status = 0;

	if (!name)
		return false;
	if (s->demangle && strncmp(name, "_Z", 2) == 0)
		plain_name = s->demangle(name, NULL, NULL, &status);
	if (plain_name)
		drop_parameters(plain_name);
	if (at)
		file = dwfl_lineinfo(at, NULL, &number, NULL, NULL, NULL);
	if (file)
		snprintf(out, SYMBOL_SIZE, "%.160s %.60s:%d", plain_name ? plain_name : name, last_part(file), number);
	else
		snprintf(out, SYMBOL_SIZE, "%.160s (%.60s)", plain_name ? plain_name : name, last_part(o->path));
	free(plain_name);
	return true;
}

const char *symbol_of(struct symbols *s, const char *object, uint64_t offset, char out[SYMBOL_SIZE])
{
	struct object *o = s && object ? object_of(s, object) : NULL;
	struct answer *a;

	if (!o || !o->module)
		return plain(object, offset, out);
	a = &s->cache[((uintptr_t)o / 64 ^ offset * UINT64_C(0x9e3779b97f4a7c15) >> 40) % CACHE];
	if (a->object != o || a->offset != offset) {
		if (!name_of(s, o, offset, a->text))
			plain(object, offset, a->text);
		a->object = o;
		a->offset = offset;
	}
	memcpy(out, a->text, SYMBOL_SIZE);
	return out;
}
#else
struct symbols *symbols_open(void)
{
	return NULL;
}

void symbols_close(struct symbols *s)
{
	(void)s;
}

const char *symbol_of(struct symbols *s, const char *object, uint64_t offset, char out[SYMBOL_SIZE])
{
	(void)s;
	return plain(object, offset, out);
}
#endif
