/* SPDX-License-Identifier: MIT */
#include "watch_report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "json.h"
#include "units.h"
#include "watch_symbols.h"

enum { SITES_SHOWN = 15, IMAGES_SHOWN = 8, SITES_IN_JSON = 100, IMAGES_IN_JSON = 100 };

/* Names may hold anything: nothing of it reaches a terminal as a command. */
static void put_text(struct lines *l, char *text, bool head)
{
	if (!l->left)
		return;
	l->left--;
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	if (head && l->reverse)
		fprintf(l->out, "\033[7m%-80.80s\033[m%s", text, l->end);
	else
		fprintf(l->out, "%.80s%s", text, l->end);
}

void lines_put(struct lines *l, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put_text(l, text, false);
}

static void lines_head(struct lines *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void lines_head(struct lines *l, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put_text(l, text, true);
}

/* ---- figures in few columns ---- */

/* Six characters at most: 12345, 123.4k, 12.3M. */
static const char *short_count(double n, char out[UNITS_SIZE])
{
	static const char *const prefixes[] = {"", "k", "M", "G", "T"};
	unsigned i = 0;

	while (n >= (i ? 999.95 : 99999.5) && i + 1 < sizeof(prefixes) / sizeof(prefixes[0])) {
		n /= 1000;
		i++;
	}
	snprintf(out, UNITS_SIZE, i ? "%.1f%s" : "%.0f%s", n, prefixes[i]);
	return out;
}

static const char *rate_of(double per_second, char out[UNITS_SIZE])
{
	if (per_second > 0 && per_second < 9.95)
		snprintf(out, UNITS_SIZE, "%.1f", per_second);
	else
		short_count(per_second, out);
	return out;
}

/* Powers of two, as pages and mappings come. */
static const char *size_text(uint64_t bytes, char out[UNITS_SIZE])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double n = (double)bytes;
	unsigned i = 0;

	while (n >= 1023.95 && i + 1 < sizeof(units) / sizeof(units[0])) {
		n /= 1024;
		i++;
	}
	snprintf(out, UNITS_SIZE, i && n < 99.95 && n > (double)(uint64_t)n ? "%.1f %s" : "%.0f %s", n, units[i]);
	return out;
}

static const char *time_text(uint64_t ns, char out[UNITS_SIZE])
{
	if (ns >= UINT64_C(10000000000))
		snprintf(out, UNITS_SIZE, "%.1f s", (double)ns / 1e9);
	else
		ns_text(ns, out);
	return out;
}

/* ---- kinds ---- */

struct order {
	const struct tally *tally;
	unsigned kind;
};

static int by_calls(const void *a, const void *b)
{
	const struct order *x = a, *y = b;
	uint64_t n = x->tally->calls + x->tally->failed, m = y->tally->calls + y->tally->failed;

	return n == m ? (int)x->kind - (int)y->kind : n < m ? 1 : -1;
}

static void kind_line(struct lines *l, const char *name, const struct tally *t, double rate)
{
	char calls[UNITS_SIZE], failed[UNITS_SIZE], per_second[UNITS_SIZE], bytes[UNITS_SIZE], largest[UNITS_SIZE];
	char time[UNITS_SIZE], longest[UNITS_SIZE], stale[UNITS_SIZE];

	lines_put(l, "%-15s %7s %6s %6s %8s %8s %8s %8s %5s", name, short_count((double)t->calls, calls),
		  short_count((double)t->failed, failed), rate_of(rate, per_second), size_text(t->bytes, bytes),
		  size_text(t->bytes_max, largest), time_text(t->ns, time), time_text(t->ns_max, longest),
		  short_count((double)t->stale, stale));
}

void watch_lines_kinds(struct lines *l, const struct totals *t, const struct totals *before, double seconds, unsigned most)
{
	struct order order[WATCH_KINDS] = {0};
	double per = seconds > 0 ? 1 / seconds : 0;

	for (unsigned i = 0; i < WATCH_KINDS; i++)
		order[i] = (struct order){&t->kinds[i], i};
	qsort(order, WATCH_KINDS, sizeof(order[0]), by_calls);
	lines_head(l, "%-15s %7s %6s %6s %8s %8s %8s %8s %5s", "CHANGE", "CALLS", "FAILED", "RATE/s", "BYTES", "LARGEST",
		   "TIME", "LONGEST", "STALE");
	for (unsigned i = 0; i < WATCH_KINDS && i < most && order[i].tally->calls + order[i].tally->failed; i++) {
		const struct tally *k = order[i].tally;
		uint64_t old = before ? before->kinds[order[i].kind].calls : 0;

		kind_line(l, watch_kind_names[order[i].kind], k, (double)(k->calls - old) * per);
	}
	kind_line(l, "total", &t->all, (double)(t->all.calls - (before ? before->all.calls : 0)) * per);
}

static void lines_sizes(struct lines *l, const struct totals *t)
{
	char text[WATCH_SIZES][UNITS_SIZE];
	struct order order[WATCH_KINDS] = {0};

	for (unsigned i = 0; i < WATCH_KINDS; i++)
		order[i] = (struct order){&t->kinds[i], i};
	qsort(order, WATCH_KINDS, sizeof(order[0]), by_calls);
	lines_head(l, "%-15s %12s %12s %12s %12s", "CALLS BY SIZE", "to 4 KiB", "to 64 KiB", "to 2 MiB", "more");
	for (unsigned i = 0; i < WATCH_KINDS && order[i].tally->calls; i++) {
		for (unsigned k = 0; k < WATCH_SIZES; k++)
			short_count((double)order[i].tally->sizes[k], text[k]);
		lines_put(l, "%-15s %12s %12s %12s %12s", watch_kind_names[order[i].kind], text[0], text[1], text[2], text[3]);
	}
}

/* ---- sites ---- */

/* What would go stale first, then what is called most. */
static int by_weight(const void *a, const void *b)
{
	const struct tally *x = &(*(const struct site *const *)a)->tally, *y = &(*(const struct site *const *)b)->tally;

	if (x->stale != y->stale)
		return x->stale < y->stale ? 1 : -1;
	if (x->calls != y->calls)
		return x->calls < y->calls ? 1 : -1;
	return x->bytes == y->bytes ? 0 : x->bytes < y->bytes ? 1 : -1;
}

/* The caller's to free; NULL without memory. */
static const struct site **sorted_sites(const struct totals *t)
{
	const struct site **order = calloc(t->sites.count + 1, sizeof(const struct site *));

	for (size_t i = 0; order && i < t->sites.count; i++)
		order[i] = &t->sites.site[i];
	if (order)
		qsort(order, t->sites.count, sizeof(const struct site *), by_weight);
	return order;
}

void watch_lines_sites(struct lines *l, const struct totals *t, struct symbols *symbols, unsigned most)
{
	const struct site **order = sorted_sites(t);
	char symbol[SYMBOL_SIZE], calls[UNITS_SIZE], bytes[UNITS_SIZE], stale[UNITS_SIZE];

	lines_head(l, "%7s %8s %5s  %-15s %s", "CALLS", "BYTES", "STALE", "CHANGE", "CALL SITE");
	for (size_t i = 0; order && i < t->sites.count && i < most && l->left; i++) {
		const struct site *s = order[i];

		lines_put(l, "%7s %8s %5s  %-15s %s", short_count((double)s->tally.calls, calls),
			  size_text(s->tally.bytes, bytes), short_count((double)s->tally.stale, stale),
			  watch_kind_names[s->kind], symbol_of(symbols, s->object, s->offset, symbol));
	}
	if (t->sites.count > most && l->left)
		lines_put(l, "%7s call sites more", short_count((double)(t->sites.count - most), calls));
	free(order);
}

/* ---- what a cache would have done ---- */

static uint64_t hooked_stale(const struct shadow_tally *s)
{
	uint64_t n = 0;

	for (unsigned i = WATCH_HEARD + 1; i < WATCH_CAUSES; i++)
		n += s->caused[i];
	return n;
}

void watch_lines_shadow(struct lines *l, const struct totals *t, bool causes)
{
	char uses[UNITS_SIZE], registered[UNITS_SIZE], stale[UNITS_SIZE];
	const struct shadow_tally *s = &t->shadow;

	lines_put(l, "A registration cache of today: %s uses of buffers, %s registrations", count_text(s->uses, uses),
		  count_text(s->registered, registered));
	lines_put(l, "%10s uses stale if it hears nothing", count_text(s->deaf, stale));
	lines_put(l, "%10s uses stale if hooks announce before each call", count_text(hooked_stale(s), stale));
	for (unsigned i = WATCH_HEARD + 1; i < WATCH_CAUSES && causes; i++)
		if (s->caused[i])
			lines_put(l, "%14s %s", count_text(s->caused[i], stale), watch_cause_texts[i]);
}

/* ---- processes ---- */

static int image_weight(const void *a, const void *b)
{
	const struct image *x = *(const struct image *const *)a, *y = *(const struct image *const *)b;

	return x->calls == y->calls ? (x->pid < y->pid ? -1 : 1) : x->calls < y->calls ? 1 : -1;
}

static const struct image **sorted_images(const struct session *s)
{
	const struct image **order = calloc(s->image_count + 1, sizeof(const struct image *));

	for (size_t i = 0; order && i < s->image_count; i++)
		order[i] = &s->images[i];
	if (order)
		qsort(order, s->image_count, sizeof(const struct image *), image_weight);
	return order;
}

static void lines_images(struct lines *l, const struct session *s)
{
	const struct image **order = sorted_images(s);
	char calls[UNITS_SIZE], bytes[UNITS_SIZE], stale[UNITS_SIZE];

	if (s->image_count > 1) {
		lines_put(l, "%s", "");
		lines_head(l, "%8s %8s %8s %5s  %s", "PROCESS", "CALLS", "BYTES", "STALE", "PROGRAM");
	}
	for (size_t i = 0; order && s->image_count > 1 && i < s->image_count && i < IMAGES_SHOWN; i++)
		lines_put(l, "%8u %8s %8s %5s  %s", order[i]->pid, short_count((double)order[i]->calls, calls),
			  size_text(order[i]->bytes, bytes), short_count((double)order[i]->stale, stale), order[i]->command);
	if (s->image_count > IMAGES_SHOWN)
		lines_put(l, "%8s programs more", short_count((double)(s->image_count - IMAGES_SHOWN), calls));
	free(order);
}

/* ---- text ---- */

static const char *ending(int status, char out[64])
{
	if (WIFSIGNALED(status))
		snprintf(out, 64, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(out, 64, "exit status %d", WEXITSTATUS(status));
	return out;
}

static void remarks(struct lines *l, const struct report *r)
{
	const struct totals *t = r->totals;
	char n[UNITS_SIZE];

	if (r->unseen)
		lines_put(l, "Nothing of it could be watched: %s.", r->unseen);
	else if (!r->session->image_count)
		lines_put(l, "No process left a record: nothing was seen.");
	if (r->session->blind)
		lines_put(l, "%s programs without hooks, their changes unseen: %s", count_text(r->session->blind, n),
			  r->session->blind_status);
	if (r->session->overwritten)
		lines_put(l, "%s programs patched over the hooks: what those do not pass on is unseen.",
			  count_text(r->session->overwritten, n));
	if (r->left_running)
		lines_put(l, "%s processes still run; counted up to now.", count_text(r->left_running, n));
	if (t->no_site.calls)
		lines_put(l, "%s changes at call sites beyond %u of a process: in the sums only.",
			  count_text(t->no_site.calls, n), WATCH_SITES);
	if (t->shadow.skipped)
		lines_put(l, "%s times the buffers could not be looked at (a signal handler, contention).",
			  count_text(t->shadow.skipped, n));
	if (t->dropped)
		lines_put(l, "%s events are missing in the trace: the ring was full.", count_text(t->dropped, n));
}

void watch_report_text(const struct report *r, FILE *out)
{
	struct lines l = {.out = out, .left = 10000, .end = "\n"};
	char how[64], images[UNITS_SIZE];
	size_t n = r->session->image_count;

	lines_put(&l, "%s", "");
	lines_put(&l, "uhmm watch: %.30s: %s, %.3f s, %s %s", r->command, ending(r->status, how), r->seconds,
		  count_text(n, images), n == 1 ? "program" : "programs");
	remarks(&l, r);
	if (r->trace)
		lines_put(&l, "Trace: %s", r->trace);
	if (!n)
		return;
	lines_put(&l, "%s", "");
	watch_lines_kinds(&l, r->totals, NULL, r->seconds, WATCH_KINDS);
	if (r->totals->all.calls + r->totals->all.failed) {
		lines_put(&l, "%s", "");
		lines_sizes(&l, r->totals);
		lines_put(&l, "%s", "");
		watch_lines_sites(&l, r->totals, r->symbols, SITES_SHOWN);
	}
	lines_images(&l, r->session);
	lines_put(&l, "%s", "");
	watch_lines_shadow(&l, r->totals, true);
}

/* ---- JSON ---- */

static void json_tally(struct json *j, const struct tally *t)
{
	static const char *const sizes[WATCH_SIZES] = {"to_4k", "to_64k", "to_2m", "more"};

	json_uint(j, "calls", t->calls);
	json_uint(j, "failed", t->failed);
	json_uint(j, "bytes", t->bytes);
	json_uint(j, "bytes_max", t->bytes_max);
	json_uint(j, "ns", t->ns);
	json_uint(j, "ns_max", t->ns_max);
	json_uint(j, "stale", t->stale);
	json_open(j, "sizes", '{');
	for (unsigned i = 0; i < WATCH_SIZES; i++)
		json_uint(j, sizes[i], t->sizes[i]);
	json_close(j, '}');
}

static void json_kinds(struct json *j, const struct report *r)
{
	json_open(j, "changes", '{');
	for (unsigned i = 0; i < WATCH_KINDS; i++) {
		json_open(j, watch_kind_names[i], '{');
		json_tally(j, &r->totals->kinds[i]);
		json_double(j, "per_second", r->seconds > 0 ? (double)r->totals->kinds[i].calls / r->seconds : 0);
		json_close(j, '}');
	}
	json_close(j, '}');
	json_open(j, "total", '{');
	json_tally(j, &r->totals->all);
	json_close(j, '}');
}

static void json_sites(struct json *j, const struct report *r)
{
	const struct site **order = sorted_sites(r->totals);
	char symbol[SYMBOL_SIZE];

	json_open(j, "call_sites", '[');
	for (size_t i = 0; order && i < r->totals->sites.count && i < SITES_IN_JSON; i++) {
		const struct site *s = order[i];

		json_open(j, NULL, '{');
		json_string(j, "symbol", symbol_of(r->symbols, s->object, s->offset, symbol));
		if (s->object)
			json_string(j, "object", s->object);
		json_uint(j, "offset", s->offset);
		json_string(j, "change", watch_kind_names[s->kind]);
		json_tally(j, &s->tally);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_uint(j, "call_sites_found", r->totals->sites.count);
	free(order);
}

static void json_shadow(struct json *j, const struct shadow_tally *s)
{
	json_open(j, "cache", '{');
	json_uint(j, "uses", s->uses);
	json_uint(j, "registered", s->registered);
	json_uint(j, "evicted", s->evicted);
	json_uint(j, "skipped", s->skipped);
	json_uint(j, "stale_hearing_nothing", s->deaf);
	json_uint(j, "stale_with_hooks_today", hooked_stale(s));
	json_open(j, "stale_by", '{');
	for (unsigned i = 0; i < WATCH_CAUSES; i++)
		json_uint(j, watch_cause_names[i], s->caused[i]);
	json_close(j, '}');
	json_close(j, '}');
}

static void json_images(struct json *j, const struct session *s)
{
	const struct image **order = sorted_images(s);

	json_open(j, "processes", '[');
	for (size_t i = 0; order && i < s->image_count && i < IMAGES_IN_JSON; i++) {
		json_open(j, NULL, '{');
		json_uint(j, "pid", order[i]->pid);
		json_uint(j, "parent", order[i]->parent);
		json_string(j, "program", order[i]->command);
		json_bool(j, "hooked", order[i]->hooked);
		json_uint(j, "calls", order[i]->calls);
		json_uint(j, "bytes", order[i]->bytes);
		json_uint(j, "stale", order[i]->stale);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_uint(j, "programs", s->image_count);
	json_uint(j, "programs_without_hooks", s->blind);
	json_uint(j, "programs_patched_over", s->overwritten);
	if (s->blind)
		json_string(j, "hooks", s->blind_status);
	free(order);
}

void watch_report_json(const struct report *r, FILE *out)
{
	struct json j = {.out = out};

	json_open(&j, NULL, '{');
	json_string(&j, "command", r->command);
	if (WIFSIGNALED(r->status))
		json_uint(&j, "signal", (uint64_t)WTERMSIG(r->status));
	else
		json_uint(&j, "exit_status", (uint64_t)WEXITSTATUS(r->status));
	json_double(&j, "seconds", r->seconds);
	json_bool(&j, "watched", r->session->image_count > 0);
	if (r->unseen)
		json_string(&j, "unseen", r->unseen);
	json_kinds(&j, r);
	json_sites(&j, r);
	json_uint(&j, "calls_without_site", r->totals->no_site.calls);
	json_shadow(&j, &r->totals->shadow);
	json_images(&j, r->session);
	json_uint(&j, "left_running", r->left_running);
	if (r->trace)
		json_uint(&j, "events_dropped", r->totals->dropped);
	json_close(&j, '}');
	fputc('\n', out);
}
