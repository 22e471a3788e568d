/* SPDX-License-Identifier: MIT */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* What the output file holds, by plain reads: not what the device believes to have written. */
static bool output_answer(struct stream *s)
{
	enum { BYTES = 256 * 1024 };
	const struct kernel *k = s->run->options->kernel;
	char *buffer = malloc(BYTES);
	ssize_t n = -1;

	k->begin(&s->state);
	for (off_t at = 0; buffer && (n = pread(s->run->output_fd, buffer, BYTES, at)) > 0; at += n)
		k->update(&s->state, buffer, (size_t)n);
	free(buffer);
	if (n < 0)
		fail(&s->run->failure, "%s: cannot be read back", s->run->options->output);
	return n == 0;
}

static bool pass_end(struct stream *s)
{
	struct run *run = s->run;

	if (run->options->kernel->copies && !output_answer(s))
		return false;
	run->options->kernel->answer(&s->state, run->answer);
	count(&run->counters.passes, 1);
	if (strcmp(run->answer, run->expected) != 0)
		count(&run->counters.wrong_passes, 1);
	return true;
}

/* Chaos is over, for good: the arena is this thread's from here on. */
static void end_chaos(struct stream *s)
{
	atomic_store_explicit(&s->run->chaos_stop, true, memory_order_relaxed);
	gate_leave(&s->run->gate);
	gate_await_empty(&s->run->gate);
}

static bool pass(struct stream *s, bool *chaotic)
{
	struct run *run = s->run;
	enum stream_end end = STREAM_TIME_UP;

	/* A second pass must not find the first one's bytes in the output. */
	if (run->options->kernel->copies && ftruncate(run->output_fd, 0)) {
		fail(&run->failure, "%s: %s", run->options->output, strerror(errno));
		return false;
	}
	run->options->kernel->begin(&s->state);
	cursor_begin(&s->cursor, &run->input);
	if (*chaotic) {
		end = stream_chaos(s);
		if (end == STREAM_TIME_UP) {
			end_chaos(s);
			*chaotic = false;
		}
	}
	if (end == STREAM_TIME_UP)
		end = stream_quiet(s);
	return end == STREAM_DONE && pass_end(s);
}

static void stream_passes(struct stream *s)
{
	struct run *run = s->run;
	uint64_t limit_ns = (uint64_t)(run->options->seconds * 1e9);
	bool chaotic = run->options->chaos > 0;

	run->begin_ns = now_ns();
	s->deadline_ns = limit_ns ? run->begin_ns + limit_ns : UINT64_MAX;
	while (pass(s, &chaotic) && limit_ns && now_ns() < s->deadline_ns)
		;
	run->end_ns = now_ns();
	if (chaotic)
		end_chaos(s);
}

void *stream_main(void *arg)
{
	struct stream *s = arg;
	struct run *run = s->run;
	bool opened = false;

	/* --reg-delay sleeps: for as long as it says, and not 50 us longer. */
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	s->scratch_fd = memfd_create("uhmm-scratch", MFD_CLOEXEC);
	if (s->scratch_fd < 0)
		fail(&run->failure, "no scratch file: %s", strerror(errno));
	else
		opened = device_open(&s->device, run->mm, run->options->protocol, run->options->reg_delay_ns, &run->requests,
				     &run->failure);
	if (opened) {
		stream_passes(s);
		run->stats.size = sizeof(run->stats);
		uhmm_mm_stats(run->mm, &run->stats);
		device_close(&s->device, &run->failure);
	} else if (run->options->chaos > 0) {
		end_chaos(s);
	}
	if (s->scratch_fd >= 0)
		close(s->scratch_fd);
	run_device_done(run);
	return NULL;
}
