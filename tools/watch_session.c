/* SPDX-License-Identifier: MIT */
#include "watch_session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "watch_trace.h"

struct live {
	uint32_t pid, turn; /* the file's name */
	struct watch_record *record;
	struct trace_process traced;
	bool seen; /* in the last look at the directory: always, but for removed ones */
};

/* ---- growing arrays ---- */

static void *grown(void *array, size_t *room, size_t count, size_t size)
{
	size_t wanted = *room ? *room * 2 : 64;
	void *more;

	if (count < *room)
		return array;
	more = realloc(array, wanted * size);
	if (more)
		*room = wanted;
	return more;
}

/* ---- sites ---- */

static uint64_t site_hash(const char *object, uint64_t offset, enum watch_kind kind)
{
	uint64_t h = offset * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)kind << 50;

	for (; object && *object; object++)
		h = (h ^ (unsigned char)*object) * UINT64_C(0x100000001b3);
	return h >> 16;
}

static bool same_site(const struct site *s, const char *object, uint64_t offset, enum watch_kind kind)
{
	if (s->offset != offset || s->kind != kind || !s->object != !object)
		return false;
	return !object || strcmp(s->object, object) == 0;
}

static bool index_sites(struct sites *s)
{
	size_t room = s->index_room ? s->index_room * 4 : 1024;
	uint32_t *index = calloc(room, sizeof(*index));

	if (!index)
		return false;
	for (size_t i = 0; i < s->count; i++) {
		size_t at = site_hash(s->site[i].object, s->site[i].offset, s->site[i].kind) & (room - 1);

		while (index[at])
			at = (at + 1) & (room - 1);
		index[at] = (uint32_t)i + 1;
	}
	free(s->index);
	s->index = index;
	s->index_room = room;
	return true;
}

static struct site *site_for(struct sites *s, const char *object, uint64_t offset, enum watch_kind kind)
{
	struct site *more;
	size_t at;

	if (s->count * 2 >= s->index_room && !index_sites(s))
		return NULL;
	at = site_hash(object, offset, kind) & (s->index_room - 1);
	for (; s->index[at]; at = (at + 1) & (s->index_room - 1))
		if (same_site(&s->site[s->index[at] - 1], object, offset, kind))
			return &s->site[s->index[at] - 1];
	more = grown(s->site, &s->room, s->count, sizeof(*more));
	if (!more)
		return NULL;
	s->site = more;
	s->site[s->count] = (struct site){.object = object ? strdup(object) : NULL, .offset = offset, .kind = kind};
	s->index[at] = (uint32_t)++s->count;
	return &s->site[s->count - 1];
}

/* ---- adding up ---- */

static uint64_t read64(const _Atomic uint64_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void add_tally(struct tally *to, const struct tally *t)
{
	to->calls += t->calls;
	to->failed += t->failed;
	to->bytes += t->bytes;
	to->ns += t->ns;
	to->stale += t->stale;
	to->ns_max = larger(to->ns_max, t->ns_max);
	to->bytes_max = larger(to->bytes_max, t->bytes_max);
	for (unsigned i = 0; i < WATCH_SIZES; i++)
		to->sizes[i] += t->sizes[i];
}

static void add_count(struct tally *to, const struct watch_count *c)
{
	struct tally t = {.calls = read64(&c->calls),
			  .failed = read64(&c->failed),
			  .bytes = read64(&c->bytes),
			  .ns = read64(&c->ns),
			  .ns_max = read64(&c->ns_max),
			  .bytes_max = read64(&c->bytes_max),
			  .stale = read64(&c->stale)};

	for (unsigned i = 0; i < WATCH_SIZES; i++)
		t.sizes[i] = read64(&c->sizes[i]);
	add_tally(to, &t);
}

static void add_shadow(struct shadow_tally *to, const struct watch_shadow *s)
{
	to->uses += read64(&s->uses);
	to->registered += read64(&s->registered);
	to->evicted += read64(&s->evicted);
	to->skipped += read64(&s->skipped);
	to->deaf += read64(&s->deaf);
	for (unsigned i = 0; i < WATCH_CAUSES; i++)
		to->caused[i] += read64(&s->caused[i]);
}

static const char *session_object(const struct watch_record *r, uint32_t object)
{
	const struct watch_object *o = &r->objects[object < WATCH_OBJECTS ? object : 0];

	if (object >= WATCH_OBJECTS || atomic_load_explicit(&o->state, memory_order_acquire) != 2)
		return NULL;
	return o->path;
}

static bool add_sites(struct totals *t, const struct watch_record *r)
{
	uint32_t used = atomic_load_explicit(&r->sites_used, memory_order_acquire);
	bool all = true;

	for (uint32_t i = 0; i < used && i < WATCH_SITES; i++) {
		const struct watch_site *from = &r->sites[i];
		struct site *to = NULL;

		if (atomic_load_explicit(&from->state, memory_order_acquire) == 2 && from->kind < WATCH_KINDS)
			to = site_for(&t->sites, session_object(r, from->object), from->offset, (enum watch_kind)from->kind);
		if (to)
			add_count(&to->tally, &from->count);
		all &= to != NULL;
	}
	return all;
}

static bool add_record(struct totals *t, const struct watch_record *r)
{
	for (unsigned i = 0; i < WATCH_KINDS; i++) {
		add_count(&t->kinds[i], &r->kinds[i]);
		add_count(&t->all, &r->kinds[i]);
	}
	add_count(&t->no_site, &r->no_site);
	add_shadow(&t->shadow, &r->shadow);
	t->dropped += read64(&r->dropped);
	return add_sites(t, r);
}

static bool add_totals(struct totals *to, const struct totals *from)
{
	for (unsigned i = 0; i < WATCH_KINDS; i++)
		to->kinds[i] = from->kinds[i];
	to->all = from->all;
	to->no_site = from->no_site;
	to->shadow = from->shadow;
	to->dropped = from->dropped;
	for (size_t i = 0; i < from->sites.count; i++) {
		const struct site *s = &from->sites.site[i];
		struct site *mine = site_for(&to->sites, s->object, s->offset, s->kind);

		if (!mine)
			return false;
		add_tally(&mine->tally, &s->tally);
	}
	return true;
}

void session_totals(struct session *s, struct totals *t)
{
	*t = (struct totals){0};
	add_totals(t, &s->gone);
	for (size_t i = 0; i < s->live_count; i++)
		add_record(t, s->live[i].record);
}

void totals_free(struct totals *t)
{
	for (size_t i = 0; i < t->sites.count; i++)
		free(t->sites.site[i].object);
	free(t->sites.site);
	free(t->sites.index);
	*t = (struct totals){0};
}

/* ---- files ---- */

/* In memory if there is room: a busy job leaves some tens of kilobytes for each process until they are added up. */
static bool has_room(const char *path)
{
	struct statvfs fs;

	return statvfs(path, &fs) == 0 && access(path, W_OK) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= UINT64_C(256) << 20;
}

int session_open(struct session *s)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	s->begin_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	strcpy(s->directory, has_room("/dev/shm") ? "/dev/shm/uhmm-watch.XXXXXX" : "/tmp/uhmm-watch.XXXXXX");
	return mkdtemp(s->directory) ? 0 : -errno;
}

static void file_path(const struct session *s, uint32_t pid, uint32_t turn, char *out, size_t size)
{
	snprintf(out, size, "%s/%" PRIu32 ".%" PRIu32, s->directory, pid, turn);
}

static bool is_known(const struct session *s, uint32_t pid, uint32_t turn)
{
	for (size_t i = 0; i < s->live_count; i++)
		if (s->live[i].pid == pid && s->live[i].turn == turn)
			return true;
	return false;
}

/* NULL: not complete yet, or not ours. The process has all rights to its own figures, and nothing else is taken from there. */
static struct watch_record *map_file(const char *path)
{
	struct watch_record *r = MAP_FAILED;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size == sizeof(*r))
		r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (r == MAP_FAILED)
		return NULL;
	if (atomic_load_explicit(&r->ready, memory_order_acquire) && r->magic == WATCH_MAGIC)
		return r;
	munmap(r, sizeof(*r));
	return NULL;
}

static void take_in(struct session *s, uint32_t pid, uint32_t turn)
{
	struct live *more = grown(s->live, &s->live_room, s->live_count, sizeof(*more));
	struct watch_record *r;
	char path[128];

	if (!more)
		return;
	s->live = more;
	file_path(s, pid, turn, path, sizeof(path));
	r = map_file(path);
	if (!r)
		return;
	s->live[s->live_count++] = (struct live){.pid = pid, .turn = turn, .record = r};
	if (!r->hooked && s->blind++ == 0)
		snprintf(s->blind_status, sizeof(s->blind_status), "%.*s", (int)sizeof(r->status) - 1, r->status);
}

static bool look_for_new(struct session *s)
{
	DIR *d = opendir(s->directory);
	const struct dirent *e;

	if (!d)
		return false;
	while ((e = readdir(d))) {
		uint32_t pid, turn;

		if (sscanf(e->d_name, "%" SCNu32 ".%" SCNu32, &pid, &turn) == 2 && !is_known(s, pid, turn))
			take_in(s, pid, turn);
	}
	closedir(d);
	return true;
}

/* The process is no more, or runs another image. */
static bool is_over(const struct session *s, const struct live *l)
{
	for (size_t i = 0; i < s->live_count; i++)
		if (s->live[i].pid == l->pid && s->live[i].turn > l->turn)
			return true;
	return kill((pid_t)l->pid, 0) && errno == ESRCH;
}

static bool remember_image(struct session *s, const struct watch_record *r)
{
	struct image *more = grown(s->images, &s->image_room, s->image_count, sizeof(*more));
	struct totals t = {0};
	struct image *i;

	if (!more)
		return false;
	s->images = more;
	i = &s->images[s->image_count++];
	for (unsigned k = 0; k < WATCH_KINDS; k++)
		add_count(&t.all, &r->kinds[k]);
	*i = (struct image){.pid = r->pid,
			    .parent = r->parent,
			    .hooked = r->hooked,
			    .calls = t.all.calls,
			    .bytes = t.all.bytes,
			    .stale = read64(&r->shadow.deaf)};
	s->overwritten += atomic_load_explicit(&r->overwritten, memory_order_relaxed) != 0;
	snprintf(i->command, sizeof(i->command), "%.*s", (int)sizeof(r->command) - 1, r->command);
	return true;
}

static bool put_away(struct session *s, struct live *l)
{
	bool all = remember_image(s, l->record) && add_record(&s->gone, l->record);
	char path[128];

	file_path(s, l->pid, l->turn, path, sizeof(path));
	unlink(path);
	munmap(l->record, sizeof(*l->record));
	*l = s->live[--s->live_count];
	return all;
}

bool session_poll(struct session *s, bool last)
{
	bool all = look_for_new(s);
	size_t i = 0;

	while (i < s->live_count) {
		struct live *l = &s->live[i];
		bool over = last || is_over(s, l);

		/* After the question: what it did until its end is there. */
		if (s->trace)
			trace_drain(s->trace, l->record, &l->traced);
		if (over)
			all &= put_away(s, l);
		else
			i++;
	}
	return all;
}

size_t session_running(const struct session *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->live_count; i++)
		n += !is_over(s, &s->live[i]);
	return n;
}

/* What is left in the directory are files of processes that came last. */
void session_unlink(struct session *s)
{
	DIR *d = s->directory[0] ? opendir(s->directory) : NULL;
	const struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	if (s->directory[0])
		rmdir(s->directory);
	s->directory[0] = '\0';
}

void session_close(struct session *s)
{
	session_unlink(s);
	while (s->live_count)
		munmap(s->live[--s->live_count].record, sizeof(struct watch_record));
	totals_free(&s->gone);
	free(s->live);
	free(s->images);
}
