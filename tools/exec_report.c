/* SPDX-License-Identifier: MIT */
#include "exec_report.h"

#include <stdio.h>

#include "json.h"
#include "run.h"
#include "units.h"

bool report_answer_ok(const struct run *run)
{
	const struct counters *c = &run->counters;

	return counted(&c->passes) > 0 && counted(&c->wrong_passes) == 0 && !failed(&run->failure);
}

static double seconds(const struct run *run)
{
	return (double)(run->end_ns - run->begin_ns) / 1e9;
}

static double rate(uint64_t bytes, double in_seconds)
{
	return in_seconds > 0 ? (double)bytes / in_seconds : 0;
}

static double plain_rate(const struct run *run)
{
	return rate(run->plain_ns ? run->input.bytes : 0, (double)run->plain_ns / 1e9);
}

static const char *announced_by(const struct run *run)
{
	switch (run->announce) {
	case ANNOUNCE_HOOKS:
		return "hooks";
	case ANNOUNCE_BRACKET:
		return "explicit";
	case ANNOUNCE_BEFORE:
		return "explicit, before the call only";
	case ANNOUNCE_NEVER:
		return "nobody";
	}
	return "nobody";
}

static void text_answer(const struct run *run)
{
	const struct counters *c = &run->counters;
	char passes[UNITS_SIZE], wrong[UNITS_SIZE];

	printf("  answer        %s  ", run->answer[0] ? run->answer : "none");
	if (!run->answer[0])
		printf("(no pass was completed)\n");
	else if (report_answer_ok(run))
		printf("right: the CPU's, %s\n", counted(&c->passes) == 1 ? "in one pass" : "in every pass");
	else
		printf("WRONG in %s of %s passes; the CPU says %s\n", count_text(counted(&c->wrong_passes), wrong),
		       count_text(counted(&c->passes), passes), run->expected);
}

static void text_latency(const char *name, const struct histogram *h)
{
	char p50[UNITS_SIZE], p99[UNITS_SIZE], number[UNITS_SIZE];

	if (h->count)
		printf("  %-12s  p50 %s, p99 %s, of %s\n", name, ns_text(histogram_quantile(h, 0.5), p50),
		       ns_text(histogram_quantile(h, 0.99), p99), count_text(h->count, number));
}

static void text_chaos(const struct run *run)
{
	const struct counters *c = &run->counters;
	char a[UNITS_SIZE], b[UNITS_SIZE], d[UNITS_SIZE];

	if (!run->options->chaos)
		return;
	printf("  chaos         %s changes, %s pages handed over, %s forks, announced by %s\n",
	       count_text(counted(&c->changes), a), count_text(counted(&c->handovers), b), count_text(counted(&c->forks), d),
	       announced_by(run));
	text_latency("mapping call", &run->mapping_calls);
	printf("  stale reads   %s\n", count_text(counted(&c->stale_reads), a));
	printf("  lost writes   %s\n", count_text(counted(&c->lost_writes), a));
}

void report_text(const struct run *run)
{
	const struct exec_options *o = run->options;
	uint64_t bytes = counted(&run->counters.bytes);
	char a[UNITS_SIZE], b[UNITS_SIZE], c[UNITS_SIZE], d[UNITS_SIZE];

	printf("uhmm exec %s: device uring, protocol %s%s, chaos %u\n", o->kernel->name, o->protocol->name,
	       o->protocol->sound ? "" : " (sabotaged)", o->chaos);
	printf("  input         %s in %s file%s\n", bytes_text(run->input.bytes, a), count_text(run->input.files, b),
	       run->input.files == 1 ? "" : "s");
	text_answer(run);
	printf("  streamed      %s in %.2f s, %s; plain reads by the CPU: %s\n", bytes_text(bytes, a), seconds(run),
	       rate_text(rate(bytes, seconds(run)), b), rate_text(plain_rate(run), c));
	text_latency("request", &run->requests);
	printf("  cache         %s hits, %s misses, %s retries; %s invalidations\n", count_text(run->stats.cache_hits, a),
	       count_text(run->stats.cache_misses, b), count_text(run->stats.retries, c),
	       count_text(run->stats.invalidations, d));
	text_chaos(run);
}

static void json_latency(struct json *j, const char *key, const struct histogram *h)
{
	json_open(j, key, '{');
	json_uint(j, "count", h->count);
	json_uint(j, "p50_ns", histogram_quantile(h, 0.5));
	json_uint(j, "p99_ns", histogram_quantile(h, 0.99));
	json_close(j, '}');
}

static void json_counters(struct json *j, const struct run *run)
{
	const struct counters *c = &run->counters;

	json_uint(j, "stale_reads", counted(&c->stale_reads));
	json_uint(j, "lost_writes", counted(&c->lost_writes));
	json_uint(j, "hits", run->stats.cache_hits);
	json_uint(j, "misses", run->stats.cache_misses);
	json_uint(j, "evictions", run->stats.cache_evictions);
	json_uint(j, "retries", run->stats.retries);
	json_uint(j, "invalidations", run->stats.invalidations);
	json_uint(j, "passes", counted(&c->passes));
	json_uint(j, "wrong_passes", counted(&c->wrong_passes));
	json_uint(j, "changes", counted(&c->changes));
	json_uint(j, "handovers", counted(&c->handovers));
	json_uint(j, "holes", counted(&c->holes));
	json_uint(j, "forks", counted(&c->forks));
}

void report_json(const struct run *run)
{
	const struct exec_options *o = run->options;
	uint64_t bytes = counted(&run->counters.bytes);
	struct json j = {.out = stdout};

	json_open(&j, NULL, '{');
	json_string(&j, "kernel", o->kernel->name);
	json_string(&j, "device", "uring");
	json_string(&j, "protocol", o->protocol->name);
	json_uint(&j, "bytes", bytes);
	json_double(&j, "seconds", seconds(run));
	json_string(&j, "answer", run->answer);
	json_bool(&j, "answer_ok", report_answer_ok(run));
	json_string(&j, "answer_cpu", run->expected);
	json_counters(&j, run);
	json_double(&j, "bytes_per_second", rate(bytes, seconds(run)));
	json_double(&j, "plain_bytes_per_second", plain_rate(run));
	json_latency(&j, "requests", &run->requests);
	json_latency(&j, "mapping_calls", &run->mapping_calls);
	json_uint(&j, "input_bytes", run->input.bytes);
	json_uint(&j, "files", run->input.files);
	json_uint(&j, "chaos", o->chaos);
	json_double(&j, "reg_delay_us", (double)o->reg_delay_ns / 1e3);
	json_string(&j, "announced_by", announced_by(run));
	json_bool(&j, "interrupted", run->interrupted);
	if (failed(&run->failure))
		json_string(&j, "failure", run->failure.text);
	json_close(&j, '}');
	putchar('\n');
}
