/* SPDX-License-Identifier: MIT */
/* watch_trace.h: the events as Chrome's trace format, which Perfetto reads. */
#ifndef TOOLS_WATCH_TRACE_H
#define TOOLS_WATCH_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "json.h"
#include "watch/record.h"

struct symbols;

struct trace {
	FILE *out;
	struct json json;
	struct symbols *symbols;
	uint64_t begin_ns, events;
};

/* What has been told of a process. */
struct trace_process {
	bool named;
	uint32_t threads;
};

/* On a file that is open and empty. */
void trace_begin(struct trace *t, FILE *out, struct symbols *symbols, uint64_t begin_ns);
/* Takes what is in the record's ring. */
void trace_drain(struct trace *t, struct watch_record *r, struct trace_process *p);
/* False: not everything could be written. */
bool trace_end(struct trace *t, uint64_t dropped);

#endif
