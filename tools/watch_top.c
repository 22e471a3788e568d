/* SPDX-License-Identifier: MIT */
#include "watch_top.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "complain.h"
#include "units.h"
#include "watch_report.h"

static const char verb[] = "watch";

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool top_begin(struct top *t)
{
	t->capture_fd = -1;
	t->out = fopen("/dev/tty", "r+e");
	if (!t->out) {
		complain(verb, "--top needs a terminal");
		return false;
	}
	if (isatty(STDOUT_FILENO) || isatty(STDERR_FILENO))
		t->capture_fd = memfd_create("uhmm-watch-output", MFD_CLOEXEC);
	/* The alternate screen, without a cursor. */
	fputs("\033[?1049h\033[?25l\033[H\033[2J", t->out);
	fflush(t->out);
	return true;
}

static unsigned terminal_lines(const struct top *t)
{
	struct winsize size;

	return ioctl(fileno(t->out), TIOCGWINSZ, &size) == 0 && size.ws_row > 2 ? size.ws_row : 24;
}

/* Two lines on top; the kinds with head and sum; the sites with head; three for the cache; a blank line between each. */
static void draw(struct top *t, const struct totals *now, double since)
{
	unsigned rows = terminal_lines(t) - 1, kinds = rows >= 30 ? 12 : 6, used = 0;
	struct lines l = {.out = t->out, .left = rows, .end = "\033[K\n", .reverse = true};
	double seconds = (double)(t->drawn_ns - t->session->begin_ns) / 1e9;

	for (unsigned i = 0; i < WATCH_KINDS; i++)
		used += now->kinds[i].calls + now->kinds[i].failed != 0;
	used = 2 + (used < kinds ? used : kinds) + 2 + 1 + 1 + 1 + 3;
	fputs("\033[H", t->out);
	lines_put(&l, "uhmm watch  %-26.26s %8.1f s %6zu running %6zu ended", t->command, seconds, session_running(t->session),
		  t->session->image_count);
	lines_put(&l, "%s", "");
	watch_lines_kinds(&l, now, &t->before, since, kinds);
	lines_put(&l, "%s", "");
	if (rows > used + 1)
		watch_lines_sites(&l, now, t->symbols, rows - used - (now->sites.count > rows - used));
	lines_put(&l, "%s", "");
	watch_lines_shadow(&l, now, false);
	fputs("\033[J", t->out);
	fflush(t->out);
}

void top_draw(struct top *t)
{
	struct totals now;
	uint64_t at = now_ns();
	double since = t->drawn_ns ? (double)(at - t->drawn_ns) / 1e9 : (double)(at - t->session->begin_ns) / 1e9;

	session_totals(t->session, &now);
	t->drawn_ns = at;
	draw(t, &now, since);
	totals_free(&t->before);
	t->before = now;
}

static void let_out(int fd)
{
	char buf[65536];
	ssize_t n;

	lseek(fd, 0, SEEK_SET);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, (size_t)n, isatty(STDOUT_FILENO) ? stdout : stderr);
	fflush(isatty(STDOUT_FILENO) ? stdout : stderr);
	close(fd);
}

void top_end(struct top *t)
{
	fputs("\033[?25h\033[?1049l", t->out);
	fclose(t->out);
	if (t->capture_fd >= 0)
		let_out(t->capture_fd);
	totals_free(&t->before);
}
