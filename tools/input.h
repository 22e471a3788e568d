/* SPDX-License-Identifier: MIT */
/*
 * input.h: the input files, one after another as one stream, and a cursor that hands it out in blocks.
 *
 * Files are looked at once in the beginning and opened again for each pass, so that their number is not bounded by the number
 * of descriptors; one that is not the same any more then is an error.
 */
#ifndef TOOLS_INPUT_H
#define TOOLS_INPUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "kernels.h"

struct failure;

struct input_file {
	const char *path;
	struct stat seen;
	int fd;           /* -1: not open */
	unsigned pending; /* blocks handed out and not done with */
	bool ended;       /* its last block has been handed out */
};

struct input {
	struct input_file *file;
	unsigned files;
	uint64_t bytes;
};

struct block {
	struct input_file *file;
	uint64_t offset;
	size_t len;
	uint64_t position; /* in the whole stream */
};

struct cursor {
	struct input *input;
	unsigned next_file;
	uint64_t next_offset;
	uint64_t position;
};

/* All are regular, readable and not empty; else a message in the failure and false. */
bool input_open(struct input *in, char **paths, unsigned count, struct failure *why);
void input_close(struct input *in);

void cursor_begin(struct cursor *c, struct input *in);
/* 1 and the next block of at most max bytes, which ends with its file at the latest; 0 at the end; -1 and a failure. */
int cursor_next(struct cursor *c, size_t max, struct block *b, struct failure *why);
/* The block has been read, or never will be. */
void block_done(struct block *b);

/* The kernel over plain reads of the input, and the nanoseconds it took. Ends early, with false, on a failure or *stop. */
bool input_on_cpu(struct input *in, const struct kernel *k, const atomic_bool *stop, char answer[ANSWER_SIZE], uint64_t *ns,
		  struct failure *why);

#endif
