/* SPDX-License-Identifier: MIT */
/*
 * trap.c: what it would cost to have the kernel stop mapping calls, the reasons against it aside (docs/trap.md): an inline
 * munmap under each way, over the same call of a process without. Each way in a process of its own, as none can be given up.
 */
#include "bench.h"

#if defined(__x86_64__)
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bare.h"
#include "trap/supervisor.h"
#include "trap/trap.h"

extern char **environ;

struct setup {
	enum way way;
	bool notify;
	int supervisor_cpu;
};

struct costs {
	double munmap, getppid, start; /* nanoseconds; start: of a program, until it has ended */
};

static double munmap_cost(struct bench_samples *s, size_t n)
{
	s->n = 0;
	s->sorted = false;
	for (size_t i = 0; i < n; i++) {
		/* Past the filter. Read-only, so that the kernel does not merge it with a neighbour only to split it again. */
		long p = gate_call(SYS_mmap, 0, BENCH_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		uint64_t t = bench_tick();

		(void)bare_call(SYS_munmap, p, BENCH_PAGE, 0, 0, 0, 0);
		bench_sample(s, bench_tick() - t);
	}
	return bench_quantile(s, .5);
}

static double getppid_cost(struct bench_samples *s, size_t n)
{
	s->n = 0;
	s->sorted = false;
	for (size_t i = 0; i < n; i++) {
		uint64_t t = bench_tick();

		(void)bare_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
		bench_sample(s, bench_tick() - t);
	}
	return bench_quantile(s, .5);
}

static double start_cost(struct bench_samples *s, size_t n)
{
	char *const argv[] = {"true", NULL};

	s->n = 0;
	s->sorted = false;
	for (size_t i = 0; i < n; i++) {
		uint64_t t = bench_now_ns();
		int status = 1;
		pid_t pid;

		if (posix_spawnp(&pid, "true", NULL, NULL, argv, environ) == 0)
			waitpid(pid, &status, 0);
		if (status)
			return 0;
		bench_sample(s, bench_now_ns() - t);
	}
	return bench_quantile(s, .5) / bench_ticks_ns(1); /* the samples are nanoseconds already */
}

static bool begin(const struct setup *setup, const struct bench_opts *o)
{
	bool ok;

	look_at_pages = false;
	bench_pin(setup->supervisor_cpu); /* which the supervisor keeps */
	ok = setup->notify ? supervised() >= 0 : intercept(setup->way) == 0;
	if (setup->way == DISPATCH)
		dispatch_pause(true);
	bench_pin(o->cpus[0]);
	return ok;
}

static void measure(const struct setup *setup, const struct bench_opts *o, int out)
{
	size_t n = o->quick ? 3000 : 20000;
	struct costs c = {0};
	struct bench_samples s;

	bench_samples_init(&s, n);
	if (!begin(setup, o))
		_exit(1);
	if (setup->way == DISPATCH)
		dispatch_pause(false);
	(void)munmap_cost(&s, n / 10);
	c.munmap = munmap_cost(&s, n);
	c.getppid = getppid_cost(&s, n);
	if (setup->way == NO_WAY) /* programs that are started under TRAP die */
		c.start = start_cost(&s, o->quick ? 30 : 200);
	_exit(write(out, &c, sizeof(c)) == sizeof(c) ? 0 : 1);
}

static bool costs_of(const struct setup *setup, const struct bench_opts *o, struct costs *c)
{
	int fd[2], status;
	pid_t pid;
	bool ok;

	if (pipe(fd))
		bench_die("no pipe");
	pid = fork();
	if (pid < 0)
		bench_die("no process");
	if (pid == 0)
		measure(setup, o, fd[1]);
	close(fd[1]);
	ok = read(fd[0], c, sizeof(*c)) == sizeof(*c);
	close(fd[0]);
	waitpid(pid, &status, 0);
	return ok;
}

enum { RAW, BY_TRAP, BY_DISPATCH, NOTIFY_SAME, NOTIFY_OTHER, WAYS };

void bench_trap(const struct bench_opts *o)
{
	static const char *const rows[WAYS] = {
		[BY_TRAP] = "trap: munmap stopped by a seccomp filter, SIGSYS",
		[BY_DISPATCH] = "trap: munmap stopped by syscall user dispatch, SIGSYS",
		[NOTIFY_SAME] = "trap: munmap made by a supervisor on this processor",
		[NOTIFY_OTHER] = "trap: munmap made by a supervisor on another one",
	};
	const struct setup setups[WAYS] = {
		[BY_TRAP] = {.way = TRAP, .supervisor_cpu = o->cpus[0]},
		[BY_DISPATCH] = {.way = DISPATCH, .supervisor_cpu = o->cpus[0]},
		[NOTIFY_SAME] = {.notify = true, .supervisor_cpu = o->cpus[0]},
		[NOTIFY_OTHER] = {.notify = true, .supervisor_cpu = o->cpus[1]},
		[RAW] = {.way = NO_WAY, .supervisor_cpu = o->cpus[0]},
	};
	double munmap_ns[WAYS][BENCH_RUNS_MAX], getppid_ns[WAYS][BENCH_RUNS_MAX], start_ns[WAYS][BENCH_RUNS_MAX];
	bool there[WAYS];
	double raw;

	for (int r = 0; r < o->runs; r++) { /* in turns, so that whatever else the machine does hits all */
		for (int w = 0; w < WAYS; w++) {
			struct costs c = {0};

			there[w] = costs_of(&setups[w], o, &c);
			munmap_ns[w][r] = c.munmap;
			getppid_ns[w][r] = c.getppid;
			start_ns[w][r] = c.start;
		}
	}
	raw = bench_median(munmap_ns[RAW], o->runs);
	for (int w = RAW + 1; w < WAYS; w++) {
		if (there[w])
			bench_row(rows[w], bench_median(munmap_ns[w], o->runs) - raw, "ns", BENCH_NO_BAR, "raw munmap", raw,
				  "over the raw call, inline both");
		else
			bench_skip(rows[w], "not to be had on this machine");
	}
	raw = bench_median(getppid_ns[RAW], o->runs);
	if (there[BY_TRAP])
		bench_row("trap: a call that the filter lets pass", bench_median(getppid_ns[BY_TRAP], o->runs) - raw, "ns",
			  BENCH_NO_BAR, "raw getppid", raw, "every other system call of the process");
	if (there[BY_DISPATCH])
		bench_row("trap: any other call under dispatch", bench_median(getppid_ns[BY_DISPATCH], o->runs) - raw, "ns",
			  BENCH_NO_BAR, "raw getppid", raw, "every other system call of the thread");
	raw = bench_median(start_ns[RAW], o->runs) / 1e3;
	if (there[NOTIFY_OTHER] && raw > 0)
		bench_row("trap: true(1) started under a supervisor", bench_median(start_ns[NOTIFY_OTHER], o->runs) / 1e3 - raw,
			  "us", BENCH_NO_BAR, "without", raw, "over the same without, until it has ended");
}

#else

void bench_trap(const struct bench_opts *o)
{
	(void)o;
	bench_skip("trap: munmap stopped by the kernel", "the experiments are written for x86-64");
}

#endif
