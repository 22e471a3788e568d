/* SPDX-License-Identifier: MIT */
/*
 * install.c: hooks installed, removed and installed again in processes whose threads keep mapping, unmapping, creating threads
 * and loading libraries. A process that crashes, hangs or misses an invalidation afterwards is a failure.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define THREADS 8
#define LIMIT_S 20u

static atomic_bool stop;
static atomic_uint running;

static void *nothing(void *arg)
{
	return arg;
}

/* Each kind of thread keeps going through other entries of libc. */
static void *busy(void *arg)
{
	unsigned kind = (unsigned)(uintptr_t)arg;

	atomic_fetch_add(&running, 1);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		char *p = mmap(NULL, 4 * BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		pthread_t t;
		void *d;

		if (p == MAP_FAILED)
			_exit(4);
		p[0] = 1;
		if (kind % 4 == 1 && !pthread_create(&t, NULL, nothing, NULL))
			pthread_join(t, NULL);
		if (kind % 4 == 2 && (d = dlopen("libm.so.6", RTLD_NOW)) != NULL)
			dlclose(d);
		if (kind % 4 == 3) {
			madvise(p, BENCH_PAGE, MADV_DONTNEED);
			mprotect(p, 4 * BENCH_PAGE, PROT_READ); /* whole: a split mapping cannot be moved */
			p = mremap(p, 4 * BENCH_PAGE, 8 * BENCH_PAGE, MREMAP_MAYMOVE);
			if (p == MAP_FAILED)
				_exit(5);
			munmap(p + 4 * BENCH_PAGE, 4 * BENCH_PAGE);
		}
		munmap(p, 4 * BENCH_PAGE);
	}
	return NULL;
}

struct watcher {
	struct uhmm_notifier n;
	atomic_uint seen;
};

static int saw(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct watcher *w = (struct watcher *)(void *)n;

	(void)event;
	atomic_fetch_add(&w->seen, 1);
	return 0;
}

static void open_watch_close(void)
{
	static const struct uhmm_notifier_ops ops = { .invalidate = saw };
	struct uhmm_mm_options o = { .size = sizeof(o), .monitors = UHMM_MONITOR_HOOKS };
	struct watcher w;
	struct uhmm_mm *mm;
	void *p;

	memset(&w, 0, sizeof(w));
	BENCH_OK(uhmm_mm_open(&mm, &o));
	p = mmap(NULL, BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	BENCH_OK(uhmm_notifier_insert(mm, &w.n, p, BENCH_PAGE, &ops));
	munmap(p, BENCH_PAGE);
	if (!atomic_load(&w.seen))
		_exit(6);
	BENCH_OK(uhmm_notifier_remove(&w.n));
	uhmm_mm_close(mm);
}

/* One process: eight busy threads, then three rounds of opening and closing under them. */
static _Noreturn void one_process(void)
{
	pthread_t t[THREADS];

	alarm(LIMIT_S);
	for (unsigned i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, busy, (void *)(uintptr_t)i))
			_exit(7);
	while (atomic_load(&running) < THREADS)
		sched_yield();
	for (int i = 0; i < 3; i++)
		open_watch_close();
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	_exit(0);
}

void bench_install(const struct bench_opts *o)
{
	unsigned n = o->soak ? 500 : o->quick ? 20 : 100, failed = 0, hung = 0, crashed = 0;
	int first = 0;
	uint64_t t = bench_now_ns();
	struct uhmm_mm_options ask = { .size = sizeof(ask), .monitors = UHMM_MONITOR_HOOKS };

	for (unsigned i = 0; i <= n; i++) {
		int status = 0;
		pid_t pid = fork();

		if (!pid && i == 0) { /* the first only asks whether there are hooks at all */
			struct uhmm_mm *mm;

			_exit(uhmm_mm_open(&mm, &ask) ? 77 : 0);
		}
		if (!pid)
			one_process();
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			bench_die("no process");
		if (i == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 77) {
			bench_skip("hook installation under load, failed processes", "no hooks on this machine");
			return;
		}
		if (status && !failed++)
			first = status;
		hung += WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
		crashed += WIFSIGNALED(status) && WTERMSIG(status) != SIGALRM;
	}
	bench_row("hook installation under load, failed processes", failed, "", 0, NULL, 0,
		  "%u processes x 8 threads x 3 installations in %.1f s; %u crashed, %u hung, first status %#x", n,
		  (double)(bench_now_ns() - t) / 1e9, crashed, hung, (unsigned)first);
}
