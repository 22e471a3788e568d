/* SPDX-License-Identifier: MIT */
#include "watch_trace.h"

#include <inttypes.h>
#include <string.h>

#include "watch/kinds.h"
#include "watch_symbols.h"

static double us(uint64_t ns)
{
	return (double)ns / 1e3;
}

static void json_time(struct json *j, const char *key, double value)
{
	char text[40];

	/* Nanoseconds, however long it runs: json_double() keeps six digits. */
	snprintf(text, sizeof(text), "%.3f", value > 0 ? value : 0);
	json_raw(j, key, text);
}

void trace_begin(struct trace *t, FILE *out, struct symbols *symbols, uint64_t begin_ns)
{
	*t = (struct trace){.out = out, .json = {.out = out}, .symbols = symbols, .begin_ns = begin_ns};
	json_open(&t->json, NULL, '{');
	json_string(&t->json, "displayTimeUnit", "ns");
	json_open(&t->json, "traceEvents", '[');
}

static void line(struct trace *t)
{
	if (t->json.comma) {
		fputs(",\n", t->out);
		t->json.comma = false;
	}
}

static void name(struct trace *t, const char *what, uint32_t pid, uint32_t tid, const char *text)
{
	struct json *j = &t->json;

	line(t);
	json_open(j, NULL, '{');
	json_string(j, "name", what);
	json_string(j, "ph", "M");
	json_uint(j, "pid", pid);
	json_uint(j, "tid", tid);
	json_open(j, "args", '{');
	json_string(j, "name", text);
	json_close(j, '}');
	json_close(j, '}');
}

static void name_threads(struct trace *t, const struct watch_record *r, struct trace_process *p)
{
	uint32_t used = atomic_load_explicit(&r->threads_used, memory_order_acquire);
	char text[sizeof(r->threads[0].name) + 1] = "";

	for (; p->threads < used && p->threads < WATCH_THREADS; p->threads++) {
		const struct watch_thread *thread = &r->threads[p->threads];

		if (atomic_load_explicit(&thread->state, memory_order_acquire) != 2)
			return;
		memcpy(text, thread->name, sizeof(thread->name));
		name(t, "thread_name", r->pid, thread->tid, text);
	}
}

static void args(struct trace *t, const struct watch_record *r, const struct watch_event *e)
{
	struct json *j = &t->json;
	char text[SYMBOL_SIZE];

	json_open(j, "args", '{');
	json_string(j, "kind", watch_kind_names[e->kind]);
	snprintf(text, sizeof(text), "0x%" PRIx64, e->addr);
	json_string(j, "address", text);
	json_uint(j, "bytes", e->len);
	if (e->site < WATCH_SITES) {
		const struct watch_site *s = &r->sites[e->site];
		const char *object = s->object < WATCH_OBJECTS ? r->objects[s->object].path : NULL;

		json_string(j, e->flags & WATCH_EVENT_STALE_USE ? "changed_by" : "call_site",
			    symbol_of(t->symbols, object, s->offset, text));
	}
	if (e->flags & WATCH_EVENT_FAILED)
		json_bool(j, "failed", true);
	if (e->flags & WATCH_EVENT_STALE_USE && e->cause < WATCH_CAUSES)
		json_string(j, "hooks_today", watch_cause_texts[e->cause]);
	json_close(j, '}');
}

static void put(struct trace *t, const struct watch_record *r, const struct watch_event *e)
{
	struct json *j = &t->json;
	bool use = e->flags & WATCH_EVENT_STALE_USE;

	if (e->kind >= WATCH_KINDS)
		return;
	line(t);
	json_open(j, NULL, '{');
	json_string(j, "name", use ? "stale use" : watch_kind_names[e->kind]);
	json_string(j, "cat", use ? "stale" : "change");
	json_string(j, "ph", use ? "i" : "X");
	json_time(j, "ts", us(e->start_ns - t->begin_ns));
	if (use)
		json_string(j, "s", "t");
	else
		json_time(j, "dur", us(e->ns));
	json_uint(j, "pid", r->pid);
	json_uint(j, "tid", e->tid);
	args(t, r, e);
	json_close(j, '}');
	t->events++;
}

void trace_drain(struct trace *t, struct watch_record *r, struct trace_process *p)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	if (!p->named)
		name(t, "process_name", r->pid, r->pid, r->command);
	p->named = true;
	name_threads(t, r, p);
	for (;; tail++) {
		struct watch_event *e = &r->events[tail % WATCH_EVENTS];

		/* Not beyond the head: the pages behind it may not be there. Acquire: pairs with the writer's release. */
		if (tail >= atomic_load_explicit(&r->head, memory_order_acquire) ||
		    atomic_load_explicit(&e->turn, memory_order_acquire) != tail + 1)
			break;
		put(t, r, e);
	}
	/* Release; pairs with the writer's acquire: the places are free. */
	atomic_store_explicit(&r->tail, tail, memory_order_release);
}

bool trace_end(struct trace *t, uint64_t dropped)
{
	json_close(&t->json, ']');
	json_open(&t->json, "otherData", '{');
	json_string(&t->json, "made_by", "uhmm watch");
	json_uint(&t->json, "events", t->events);
	json_uint(&t->json, "events_dropped", dropped);
	json_close(&t->json, '}');
	json_close(&t->json, '}');
	fputc('\n', t->out);
	return !ferror(t->out) && fclose(t->out) == 0;
}
