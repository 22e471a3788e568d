/* SPDX-License-Identifier: MIT */
/*
 * hooks_hammer [PROCESSES [CYCLES]]: hooks are installed, removed and installed again while eight threads map, unmap, discard,
 * protect, move, create threads, load and unload libraries, and munmap in a signal handler. Each process is a fresh one, since
 * the first installation is the one that differs. In between a region of a thread's own checks that events arrive while hooks
 * are in and do not while they are out, and at the end libc's text must read as it did at the beginning.
 */
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "../emulated.h"
#include "hooks_common.h"

#define THREADS 8

static atomic_int stop;
static atomic_ulong rounds;

static void die(const char *what)
{
	perror(what);
	_exit(1);
}

static void map_and_unmap(void)
{
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	p[0] = 1;
	if (madvise(p, PAGE, MADV_DONTNEED) != 0 || p[0] != 0)
		die("madvise");
	if (mprotect(p, 2 * PAGE, PROT_READ) != 0)
		die("mprotect");
	p = mremap(p, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		die("mremap");
	if (syscall(SYS_munmap, p, 4 * PAGE) != 0)
		die("syscall(munmap)");
	if (munmap(p + 1, PAGE) != -1 || errno != EINVAL)
		die("munmap of nonsense");
}

static void *nothing(void *arg)
{
	return arg;
}

static void make_thread(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, nothing, NULL) != 0)
		die("pthread_create");
	pthread_join(t, NULL);
}

static void load_library(void)
{
	void *h;

#ifdef __SANITIZE_THREAD__
	return; /* it reports the dynamic linker's own use of malloc */
#endif
	h = dlopen("libresolv.so.2", RTLD_NOW);

	if (h)
		dlclose(h);
}

static void use_heap(void)
{
	char *block = malloc(1 << 20);

	block[0] = 1;
	free(block);
	malloc_trim(0);
}

static void on_signal(int sig)
{
	(void)sig;
	map_and_unmap();
}

static void *work(void *number)
{
	static void (*const jobs[])(void) = {make_thread, load_library, use_heap, map_and_unmap};
	size_t job = (size_t)number % (sizeof(jobs) / sizeof(jobs[0]));

	while (!stop) {
		map_and_unmap();
		jobs[job]();
		if (job == 3)
			raise(SIGUSR1);
		rounds++;
	}
	return NULL;
}

struct text {
	const unsigned char *at;
	size_t len;
};

static int find_text(struct dl_phdr_info *info, size_t size, void *out)
{
	struct text *t = out;

	(void)size;
	if (!strstr(info->dlpi_name, "libc.so"))
		return 0;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X)) {
			t->at = (const unsigned char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
			t->len = info->dlpi_phdr[i].p_memsz;
		}
	}
	return 1;
}

/* The hash of libc's text as it is in memory. */
static unsigned long hash_text(void)
{
	struct text t = {0};
	unsigned long h = 5381;

	dl_iterate_phdr(find_text, &t);
	for (size_t i = 0; i < t.len; i++)
		h = h * 33 + t.at[i];
	return h;
}

static void one_unmap(struct uhmm_mm *mm, bool hooked)
{
	char *p = bare_map(PAGE, 1);
	struct watch w;

	watch_on(mm, &w, p, PAGE);
	if (munmap(p, PAGE) != 0)
		die("munmap");
	watch_off(&w);
	/* Another thread may have been given the address again before watch_off(), hence "at least". */
	if (hooked ? w.drops < 1 : w.starts != 0) {
		fprintf(stderr, "starts %d drops %d with hooks %s\n", w.starts, w.drops, hooked ? "in" : "out");
		_exit(1);
	}
}

static int one_process(int cycles)
{
	struct uhmm_mm_options plain = {.size = sizeof(plain), .monitors = UHMM_MONITOR_EXPLICIT};
	struct sigaction sa = {.sa_handler = on_signal};
	unsigned long before = hash_text();
	struct uhmm_mm *explicit_only;
	pthread_t t[THREADS];

	sigaction(SIGUSR1, &sa, NULL);
	/* Once alone: where a sanitizer's allocator stands before libc's, its first use would be by two threads at once. */
	malloc_trim(0);
	if (uhmm_mm_open(&explicit_only, &plain) != 0)
		return 1;
	for (size_t i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, work, (void *)i) != 0)
			die("pthread_create");
	for (int i = 0; i < cycles; i++) {
		struct uhmm_mm *mm = open_hooks();

		one_unmap(mm, true);
		uhmm_mm_close(mm);
		one_unmap(explicit_only, false);
	}
	stop = 1;
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	uhmm_mm_close(explicit_only);
	if (hash_text() != before) {
		printf("libc's text is not what it was\n");
		return 1;
	}
	return 0;
}

static int spawn_one(const char *self, const char *cycles)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		alarm(60); /* a hang is a failure */
		if (is_emulated()) /* an exec'd program would not be; nothing was opened yet in this one */
			exit(one_process(atoi(cycles)));
		execl(self, self, "--one", cycles, (char *)NULL);
		_exit(1);
	}
	waitpid(child, &status, 0);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	printf("died of signal %d\n", WTERMSIG(status));
	return 1;
}

int main(int argc, char **argv)
{
	const char *cycles = argc > 2 ? argv[2] : "20";
	int processes = argc > 1 ? atoi(argv[1]) : 20, failures = 0;

	if (argc > 2 && strcmp(argv[1], "--one") == 0)
		return one_process(atoi(argv[2]));
	for (int i = 0; i < processes; i++) {
		int rc = spawn_one(argv[0], cycles);

		if (rc == SKIP)
			return SKIP;
		failures += rc != 0;
	}
	printf("%d processes, %s cycles each: %d failures\n", processes, cycles, failures);
	return failures != 0;
}
