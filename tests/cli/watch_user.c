/* SPDX-License-Identifier: MIT */
/* watch_user.c: a program with hooks of its own, which have to work under `uhmm watch` as without. Status 0: they do. */
#include <string.h>
#include <sys/mman.h>
#include <uhmm/uhmm.h>

static int calls;

static int invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n, (void)event;
	calls++;
	return 0;
}

static void *map(void)
{
	return mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* 5 mmap, DONTNEED and munmap under hooks, then 3 mmap and munmap without. */
int main(void)
{
	const struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_HOOKS};
	const struct uhmm_notifier_ops ops = {.invalidate = invalidate};
	struct uhmm_notifier n;
	struct uhmm_mm *mm;

	if (uhmm_mm_open(&mm, &options))
		return 1;
	for (int i = 0; i < 5; i++) {
		void *at = map();

		memset(&n, 0, sizeof(n));
		if (uhmm_notifier_insert(mm, &n, at, 65536, &ops))
			return 2;
		madvise(at, 4096, MADV_DONTNEED);
		munmap(at, 65536);
		if (uhmm_notifier_remove(&n))
			return 3;
	}
	uhmm_mm_close(mm);
	for (int i = 0; i < 3; i++)
		munmap(map(), 65536);
	return calls == 10 ? 0 : 4;
}
