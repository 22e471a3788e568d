/* SPDX-License-Identifier: MIT */
/* harness.c: runs cases in processes of their own, collects their rows, prints the table or one JSON object. */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define ROWS_MAX 96

/* In the order of the table: the machine's limits, the core, the cache, the hooks, the races. */
static const struct bench_case cases[] = {
	{ "limits", "what the machine itself takes: system call, lock, exchange, load", bench_limits, 60, false },
	{ "read", "read_begin + read_retry, uncontended", bench_read, 60, false },
	{ "invalidate", "start + end among 10 to 1,000,000 notifiers, missing and hitting", bench_invalidate, 180, false },
	{ "insert", "notifier insert + remove among 100,000", bench_insert, 60, false },
	{ "reader-tail", "read pair p99.9 while two threads invalidate other ranges", bench_reader_tail, 60, false },
	{ "storm", "insert + read_begin + remove inside a storm of other ranges' invalidations", bench_storm, 60, false },
	{ "hit", "cache hit among 1, 1,000 and 100,000 regions", bench_hit, 120, false },
	{ "hit-two", "cache hits by two threads at once", bench_hit_two, 120, false },
	{ "hit-tail", "cache hit p99.9 while another thread registers or unmaps", bench_hit_tail, 120, false },
	{ "miss", "cache miss without the registration itself", bench_miss, 120, false },
	{ "memory", "memory per cached region", bench_memory, 60, false },
	{ "open", "opening an address space and a cache", bench_open, 60, false },
	{ "munmap-unrelated", "what the hooks add to an unrelated munmap", bench_munmap_unrelated, 120, false },
	{ "munmap-cached", "munmap of one cached region in 100,000", bench_munmap_cached, 120, false },
	{ "trap", "what the kernel's ways to stop a mapping call would cost", bench_trap, 120, false },
	{ "uffd", "the userfaultfd witness: hooked calls, inline unmaps, hits", bench_uffd, 120, false },
	{ "install", "hook installation in processes whose threads map and unmap", bench_install, 900, false },
	{ "races", "stale hits in R25-R34", bench_races, 7200, false },
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static int row_fd = -1; /* in a case's process: where rows go */
static const char *case_name = "bench";

struct report {
	struct bench_row rows[ROWS_MAX];
	size_t n;
	unsigned failed, missed;
};

static void put_row(const struct bench_row *r)
{
	const char *p = (const char *)r;
	size_t left = sizeof(*r);

	while (left) {
		ssize_t n = write(row_fd, p, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(3);
		p += n;
		left -= (size_t)n;
	}
}

void bench_row(const char *name, double figure, const char *unit, double bar, const char *peer_name, double peer,
	       const char *note, ...)
{
	struct bench_row r = { .figure = figure, .bar = bar, .peer = peer };
	va_list ap;

	snprintf(r.name, sizeof(r.name), "%s", name);
	snprintf(r.unit, sizeof(r.unit), "%s", unit);
	snprintf(r.peer_name, sizeof(r.peer_name), "%s", peer_name ? peer_name : "");
	va_start(ap, note);
	vsnprintf(r.note, sizeof(r.note), note, ap);
	va_end(ap);
	put_row(&r);
}

void bench_skip(const char *name, const char *why)
{
	struct bench_row r = { .bar = BENCH_NO_BAR, .skipped = true };

	snprintf(r.name, sizeof(r.name), "%s", name);
	snprintf(r.note, sizeof(r.note), "%s", why);
	put_row(&r);
}

void bench_die(const char *what, ...)
{
	va_list ap;

	va_start(ap, what);
	fprintf(stderr, "bench %s: ", case_name);
	vfprintf(stderr, what, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(1);
}

void bench_failed(const char *what, long rc)
{
	bench_die("%s: %s", what, strerror((int)-rc));
}

/* Reads rows until the case's process closes its end; false when it takes too long. */
static bool collect(int fd, unsigned limit_s, struct report *rep)
{
	uint64_t end = bench_now_ns() + (uint64_t)limit_s * 1000000000u;
	size_t have = 0;

	for (;;) {
		uint64_t now = bench_now_ns();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (now >= end)
			return false;
		if (poll(&p, 1, (int)((end - now) / 1000000) + 1) <= 0)
			continue;
		if (rep->n == ROWS_MAX)
			return true;
		n = read(fd, (char *)&rep->rows[rep->n] + have, sizeof(rep->rows[0]) - have);
		if (n <= 0)
			return true;
		have += (size_t)n;
		if (have == sizeof(rep->rows[0])) {
			have = 0;
			rep->n++;
		}
	}
}

static void run_case(const struct bench_case *c, const struct bench_opts *o, struct report *rep)
{
	int fd[2], status = 0;
	pid_t pid;
	bool in_time;

	fflush(NULL);
	if (pipe(fd) || (pid = fork()) < 0) {
		fprintf(stderr, "bench: %s: %s\n", c->name, strerror(errno));
		rep->failed++;
		return;
	}
	if (!pid) {
		close(fd[0]);
		setpgid(0, 0); /* so that a killed case takes its own children along */
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* and an interrupted run its case */
		row_fd = fd[1];
		case_name = c->name;
		bench_calibrate();
		c->fn(o);
		_exit(0);
	}
	close(fd[1]);
	in_time = collect(fd[0], c->limit_s, rep);
	close(fd[0]);
	if (!in_time) {
		kill(-pid, SIGKILL);
		kill(pid, SIGKILL);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (!in_time)
		fprintf(stderr, "bench: %s: not done after %u s, killed\n", c->name, c->limit_s);
	else if (WIFSIGNALED(status))
		fprintf(stderr, "bench: %s: %s\n", c->name, strsignal(WTERMSIG(status)));
	rep->failed++;
}

static bool has_ok(const struct bench_row *r)
{
	return !r->skipped && r->bar > BENCH_NO_BAR;
}

/* Three significant digits are more than such figures are good for. */
static const char *number(double v, char *buf, size_t len)
{
	if (v != 0 && fabs(v) < 10)
		snprintf(buf, len, "%.2f", v);
	else if (fabs(v) < 100)
		snprintf(buf, len, "%.1f", v);
	else
		snprintf(buf, len, "%.0f", v);
	return buf;
}

static void print_rows(const struct report *rep, size_t from)
{
	char a[32], b[32], c[32];

	for (size_t i = from; i < rep->n; i++) {
		const struct bench_row *r = &rep->rows[i];

		if (r->skipped) {
			printf("%-58s %9s %8s %-5s %-30s %6s  skip  %s\n", r->name, "-", "", "", "", "", r->note);
			continue;
		}
		printf("%-58s %9s %8s %-5s ", r->name, number(r->figure, a, sizeof(a)),
		       has_ok(r) ? number(r->bar, b, sizeof(b)) : "", r->unit);
		if (r->peer > 0) {
			char peer[64];

			snprintf(peer, sizeof(peer), "%s %s", r->peer_name, number(r->peer, b, sizeof(b)));
			printf("%-30s %6s  ", peer, number(r->figure / r->peer, c, sizeof(c)));
		} else {
			printf("%-30s %6s  ", "", "");
		}
		printf("%-4s  %s\n", !has_ok(r) ? "" : r->figure <= r->bar ? "ok" : "MISS", r->note);
	}
	fflush(stdout);
}

static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		if ((unsigned char)*s >= ' ')
			putchar(*s);
	}
	putchar('"');
}

/* Reads the first line that begins with key from a small file of /proc, after the colon if there is one. */
static void proc_line(const char *path, const char *key, char *out, size_t len)
{
	char line[256];
	FILE *f = fopen(path, "re");

	snprintf(out, len, "unknown");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		char *v = *key ? strchr(line, ':') : line;

		if (strncmp(line, key, strlen(key)) != 0 || !v)
			continue;
		v += *key ? 2 : 0;
		v[strcspn(v, "\n")] = '\0';
		snprintf(out, len, "%s", v);
		break;
	}
	fclose(f);
}

static void machine(char *out, size_t len)
{
	char cpu[96], thp[64], load[64];
	struct utsname u;

	proc_line("/proc/cpuinfo", "model name", cpu, sizeof(cpu));
	proc_line("/sys/kernel/mm/transparent_hugepage/enabled", "", thp, sizeof(thp));
	proc_line("/proc/loadavg", "", load, sizeof(load));
	load[strcspn(load, " ")] = '\0';
	if (uname(&u))
		memset(&u, 0, sizeof(u));
	snprintf(out, len, "%s, %ld cpus, %s %s, huge pages %s, load %s, %s", cpu, sysconf(_SC_NPROCESSORS_ONLN), u.sysname,
		 u.release, thp, load,
#if defined(__clang__)
		 "clang " __clang_version__
#else
		 "gcc " __VERSION__
#endif
	);
}

static void print_json(const struct report *rep, const struct bench_opts *o)
{
	char m[400];

	machine(m, sizeof(m));
	printf("{\"machine\":");
	json_string(m);
	printf(",\"quick\":%s,\"runs\":%d,\"rows\":[", o->quick ? "true" : "false", o->runs);
	for (size_t i = 0; i < rep->n; i++) {
		const struct bench_row *r = &rep->rows[i];

		printf("%s{\"row\":", i ? "," : "");
		json_string(r->name);
		if (r->skipped) {
			printf(",\"skipped\":true");
		} else {
			printf(",\"figure\":%.6g,\"unit\":", r->figure);
			json_string(r->unit);
		}
		if (has_ok(r))
			printf(",\"bar\":%.6g,\"ok\":%s", r->bar, r->figure <= r->bar ? "true" : "false");
		if (r->peer > 0) {
			printf(",\"peer\":");
			json_string(r->peer_name);
			printf(",\"peer_figure\":%.6g,\"ratio\":%.4g", r->peer, r->figure / r->peer);
		}
		printf(",\"note\":");
		json_string(r->note);
		putchar('}');
	}
	printf("],\"missed\":%u,\"failed\":%u}\n", rep->missed, rep->failed);
}

static int usage(void)
{
	printf("usage: uhmm bench [--quick | --soak] [--json] [--check] [--list] [NAME...]\n"
	       "  NAME     cases to run (default: all)\n"
	       "  --quick  smaller samples: the whole table in under a minute\n"
	       "  --soak   a million tries of each race, 500 processes: up to an hour\n"
	       "  --json   one JSON object instead of the table\n"
	       "  --check  exit status 1 if a figure misses its bar\n"
	       "  --list   what there is\n");
	return 0;
}

static int list(void)
{
	for (size_t i = 0; i < CASES; i++)
		printf("%-18s %s\n", cases[i].name, cases[i].what);
	return 0;
}

static void find_cpus(struct bench_opts *o)
{
	cpu_set_t set;
	int found = 0;

	o->cpus[0] = o->cpus[1] = 0;
	if (sched_getaffinity(0, sizeof(set), &set))
		return;
	for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
		if (CPU_ISSET((size_t)i, &set))
			o->cpus[found++] = i;
	if (found == 1)
		o->cpus[1] = o->cpus[0];
}

/* Which cases were asked for; false after a clear line if one does not exist. */
static bool choose(int argc, char **argv, bool *want)
{
	bool any = false;

	for (int i = 1; i < argc; i++) {
		bool found = false;

		if (argv[i][0] == '-')
			continue;
		for (size_t j = 0; j < CASES; j++)
			if (strcmp(argv[i], cases[j].name) == 0)
				want[j] = found = any = true;
		if (!found) {
			fprintf(stderr, "uhmm bench: no case named '%s' (see --list)\n", argv[i]);
			return false;
		}
	}
	for (size_t j = 0; j < CASES && !any; j++)
		want[j] = !cases[j].only_by_name;
	return true;
}

static void run_all(const struct bench_opts *o, const bool *want, bool json, struct report *rep)
{
	char m[400];

	if (!json) {
		machine(m, sizeof(m));
		printf("machine: %s\n%-58s %9s %8s %-5s %-30s %6s  %s\n", m, "row", "figure", "bar", "unit",
		       "peer or limit, same run", "ratio", "verdict");
	}
	for (size_t j = 0; j < CASES; j++) {
		size_t before = rep->n;

		if (!want[j])
			continue;
		run_case(&cases[j], o, rep);
		for (size_t i = before; i < rep->n; i++)
			rep->missed += has_ok(&rep->rows[i]) && rep->rows[i].figure > rep->rows[i].bar;
		if (!json)
			print_rows(rep, before);
	}
	if (json)
		print_json(rep, o);
	else
		printf("%zu rows, %u above their bar, %u cases failed\n", rep->n, rep->missed, rep->failed);
}

int bench_main(int argc, char **argv)
{
	static struct report rep;
	struct bench_opts o = { .runs = 5 };
	bool want[CASES] = { false }, json = false, check = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick") == 0)
			o.quick = true;
		else if (strcmp(argv[i], "--soak") == 0)
			o.soak = true;
		else if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--check") == 0)
			check = true;
		else if (strcmp(argv[i], "--list") == 0)
			return list();
		else if (strcmp(argv[i], "--help") == 0)
			return usage();
		else if (argv[i][0] == '-') {
			fprintf(stderr, "uhmm bench: unknown option '%s' (see --help)\n", argv[i]);
			return 2;
		}
	}
	if (o.quick)
		o.runs = 3;
	find_cpus(&o);
	if (!choose(argc, argv, want))
		return 2;
	run_all(&o, want, json, &rep);
	return rep.failed || (check && rep.missed) ? 1 : 0;
}
