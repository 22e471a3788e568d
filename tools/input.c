/* SPDX-License-Identifier: MIT */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run.h"

#define CPU_BLOCK (256u * 1024)

static bool look_at(struct input_file *f, struct failure *why)
{
	int err = 0;

	/* A FIFO would block in open(): it is not a regular file, so opening without waiting loses nothing. */
	f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (f->fd < 0 || fstat(f->fd, &f->seen))
		err = errno;
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	if (err)
		fail(why, "%s: %s", f->path, strerror(err));
	else if (S_ISDIR(f->seen.st_mode))
		fail(why, "%s: is a directory", f->path);
	else if (!S_ISREG(f->seen.st_mode))
		fail(why, "%s: not a regular file", f->path);
	else if (f->seen.st_size == 0)
		fail(why, "%s: empty file", f->path);
	else
		return true;
	return false;
}

bool input_open(struct input *in, char **paths, unsigned count, struct failure *why)
{
	in->bytes = 0;
	in->files = count;
	in->file = calloc(count, sizeof(*in->file));
	if (!in->file) {
		fail(why, "no memory for %u file names", count);
		return false;
	}
	for (unsigned i = 0; i < count; i++)
		in->file[i] = (struct input_file){.path = paths[i], .fd = -1};
	for (unsigned i = 0; i < count; i++) {
		if (!look_at(&in->file[i], why))
			return false;
		in->bytes += (uint64_t)in->file[i].seen.st_size;
	}
	return true;
}

void input_close(struct input *in)
{
	for (unsigned i = 0; in->file && i < in->files; i++) {
		if (in->file[i].fd >= 0)
			close(in->file[i].fd);
	}
	free(in->file);
	in->file = NULL;
}

static bool file_open(struct input_file *f, struct failure *why)
{
	struct stat now;

	if (f->fd >= 0)
		return true;
	f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (f->fd < 0 || fstat(f->fd, &now)) {
		fail(why, "%s: %s", f->path, strerror(errno));
		return false;
	}
	if (now.st_dev != f->seen.st_dev || now.st_ino != f->seen.st_ino || now.st_size != f->seen.st_size) {
		fail(why, "%s: changed while it was being read", f->path);
		return false;
	}
	return true;
}

void cursor_begin(struct cursor *c, struct input *in)
{
	*c = (struct cursor){.input = in};
}

int cursor_next(struct cursor *c, size_t max, struct block *b, struct failure *why)
{
	struct input_file *f;
	uint64_t left;

	if (c->next_file == c->input->files)
		return 0;
	f = &c->input->file[c->next_file];
	if (!file_open(f, why))
		return -1;
	left = (uint64_t)f->seen.st_size - c->next_offset;
	*b = (struct block){
		.file = f, .offset = c->next_offset, .len = left < max ? (size_t)left : max, .position = c->position};
	f->pending++;
	f->ended = b->len == left;
	c->next_offset += b->len;
	c->position += b->len;
	if (f->ended) {
		c->next_file++;
		c->next_offset = 0;
	}
	return 1;
}

void block_done(struct block *b)
{
	struct input_file *f = b->file;

	f->pending--;
	/* Requests in flight have the file by its descriptor: it stays open until the last one is done with. */
	if (f->ended && f->pending == 0) {
		close(f->fd);
		f->fd = -1;
	}
}

static bool read_whole(const struct block *b, char *buffer, struct failure *why)
{
	size_t got = 0;

	while (got < b->len) {
		ssize_t n = pread(b->file->fd, buffer + got, b->len - got, (off_t)(b->offset + got));

		if (n > 0) {
			got += (size_t)n;
		} else if (n == 0) {
			fail(why, "%s: became shorter while it was being read", b->file->path);
			return false;
		} else if (errno != EINTR) {
			fail(why, "%s: %s", b->file->path, strerror(errno));
			return false;
		}
	}
	return true;
}

bool input_on_cpu(struct input *in, const struct kernel *k, const atomic_bool *stop, char answer[ANSWER_SIZE], uint64_t *ns,
		  struct failure *why)
{
	char *buffer = malloc(CPU_BLOCK);
	uint64_t begin = now_ns();
	union kernel_state state;
	struct cursor cursor;
	struct block block;
	int more = 0;
	bool ok = buffer != NULL;

	if (!ok)
		fail(why, "no memory for a buffer of %u bytes", CPU_BLOCK);
	k->begin(&state);
	cursor_begin(&cursor, in);
	while (ok && (more = cursor_next(&cursor, CPU_BLOCK, &block, why)) > 0) {
		ok = read_whole(&block, buffer, why) && !atomic_load_explicit(stop, memory_order_relaxed);
		if (ok)
			k->update(&state, buffer, block.len);
		block_done(&block);
	}
	k->answer(&state, answer);
	*ns = now_ns() - begin;
	free(buffer);
	return ok && more == 0;
}
