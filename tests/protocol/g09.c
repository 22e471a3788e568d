/* SPDX-License-Identifier: MIT */
/* G9: once read_retry is true for (n, seq) it is true for ever. */
#include "proto.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEQS 2000

/* Every seq that was ever handed out and went stale, asked again after each further event of any kind. */
static void stale_stays_stale(void)
{
	static uint64_t seq[SEQS];
	struct uhmm_mm *mm = proto_open();
	struct uhmm_invalidation inv;
	struct driver d;
	unsigned n = 0;

	driver_open(&d, mm, 0, 4);
	while (n < SEQS) {
		seq[n] = uhmm_read_begin(&d.n);
		CHECK(seq[n] != UHMM_SEQ_DEAD);
		CHECK(n == 0 || seq[n] != seq[n - 1]);
		CHECK(!driver_retry(&d, seq[n]));
		n++;
		switch (n % 5) {
		case 0: /* an invalidation */
		case 1:
			start_pages(mm, &inv, 3, 2);
			CHECK(driver_retry(&d, seq[n - 1]));
			if (n % 2)
				uhmm_invalidate_end(&inv);
			else
				uhmm_invalidate_abort(&inv);
			break;
		case 2: /* a resize to what it was */
			CHECK_EQ(uhmm_notifier_resize(&d.n, PAGE_AT(0), 4 * PAGE), 0);
			break;
		case 3: /* another life of the same notifier */
			driver_remove(&d);
			CHECK(driver_retry(&d, seq[n - 1]));
			driver_insert(&d, mm, 0, 4);
			break;
		case 4: /* two that overlap */
			start_pages(mm, &inv, 0, 1);
			uhmm_invalidate_end(&inv);
			start_pages(mm, &inv, 0, 1);
			uhmm_invalidate_end(&inv);
			break;
		}
		for (unsigned k = n > 50 ? n - 50 : 0; k < n; k++)
			CHECK(driver_retry(&d, seq[k]));
	}
	for (unsigned k = 0; k < n; k++)
		CHECK(driver_retry(&d, seq[k]));
	driver_remove(&d);
	for (unsigned k = 0; k < n; k++)
		CHECK(driver_retry(&d, seq[k]));
	uhmm_mm_close(mm);
}

/* No two notifiers of an address space ever share a seq, nor do two lives of one: a stale seq cannot come true by reuse. */
static void never_reused(void)
{
	enum { N = 40 };
	struct uhmm_mm *mm = proto_open();
	struct uhmm_invalidation inv;
	struct driver d[N];
	uint64_t last = 0;

	for (int k = 0; k < N; k++)
		driver_init(&d[k]);
	for (int round = 0; round < 20; round++) {
		uint64_t newest = last;

		for (unsigned k = 0; k < N; k++)
			driver_insert(&d[k], mm, 0, 4);
		start_pages(mm, &inv, 0, 4);
		uhmm_invalidate_end(&inv);
		for (int k = 0; k < N; k++) {
			uint64_t seq = uhmm_read_begin(&d[k].n);

			CHECK(seq > last);
			for (int j = 0; j < k; j++)
				CHECK(seq != uhmm_read_begin(&d[j].n));
			newest = seq > newest ? seq : newest;
		}
		last = newest;
		for (int k = 0; k < N; k++)
			driver_remove(&d[k]);
	}
	uhmm_mm_close(mm);
}

static void dead_always_retries(void)
{
	struct uhmm_mm *mm = proto_open();
	struct driver d;

	driver_open(&d, mm, 0, 4);
	CHECK(driver_retry(&d, UHMM_SEQ_DEAD));
	driver_program(&d);
	CHECK(driver_retry(&d, UHMM_SEQ_DEAD));
	driver_remove(&d);
	CHECK(driver_retry(&d, UHMM_SEQ_DEAD));
	uhmm_mm_close(mm);
}

/* Debug builds refuse a seq that this notifier cannot have handed out. */
static void a_strangers_seq_is_rejected(void)
{
	pid_t child;
	int status;

#ifdef NDEBUG
	return;
#endif
	child = fork();
	if (child == 0) {
		struct uhmm_mm *mm = proto_open();
		struct driver d[2];

		signal(SIGABRT, SIG_DFL);
		fclose(stderr);
		for (unsigned k = 0; k < 2; k++) {
			driver_open(&d[k], mm, k, 1);
		}
		driver_retry(&d[0], uhmm_read_begin(&d[1].n));
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGABRT : WEXITSTATUS(status) != 0);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"a_strangers_seq_is_rejected", a_strangers_seq_is_rejected},
		{"stale_stays_stale", stale_stays_stale},
		{"never_reused", never_reused},
		{"dead_always_retries", dead_always_retries},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
