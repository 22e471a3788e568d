/* SPDX-License-Identifier: MIT */
/* stream.h: the device thread (B) and its two ways of moving the input through the arena. */
#ifndef TOOLS_STREAM_H
#define TOOLS_STREAM_H

#include "device.h"
#include "run.h"

struct chaos;

struct stream {
	struct run *run;
	struct chaos *chaos; /* the chaos threads, options->chaos of them */
	struct device device;
	struct cursor cursor;
	union kernel_state state;
	uint64_t deadline_ns; /* of chaos; UINT64_MAX: none */
	int scratch_fd;       /* what the device writes of the arena to be looked at */
	unsigned turn;
};

enum stream_end { STREAM_DONE, STREAM_TIME_UP, STREAM_FAILED };

/* Whole chunks, several in flight, to the end of the pass. Nobody else touches the arena. */
enum stream_end stream_quiet(struct stream *s);
/* Page by page, as chaos hands them over, to the end of the pass or until the deadline. Nothing is in flight afterwards. */
enum stream_end stream_chaos(struct stream *s);

/* The device thread. arg: a struct stream with run and chaos set. */
void *stream_main(void *arg);

#endif
