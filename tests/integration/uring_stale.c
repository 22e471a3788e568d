/* SPDX-License-Identifier: MIT */
/*
 * A buffer's pages are replaced between two requests on it (R1, R5, R31). The device must use the new ones.
 *
 *   raw        a fixed buffer registered once: stale, with success, each time. Else nothing here would prove anything.
 *   unheard    the library with nobody announcing the change: as stale, so it is the announcement that helps.
 *   explicit   the change between uhmm_invalidate_start() and _end(): fresh.
 *   hooks      the bare libc calls: fresh.
 */
#include "uring_common.h"

enum way { RAW, UNHEARD, EXPLICIT, HOOKS };
static const char *const way_names[] = {"raw", "unheard", "explicit", "hooks"};

static void unmap_and_map(unsigned char *p)
{
	CHECK(munmap(p, PAGE) == 0);
	map_at(p, PAGE);
}

static void map_over(unsigned char *p)
{
	map_at(p, PAGE);
}

static void discard(unsigned char *p)
{
	CHECK(madvise(p, PAGE, MADV_DONTNEED) == 0);
}

static void move_away(unsigned char *p)
{
	unsigned char *elsewhere = map_at(NULL, PAGE);

	CHECK(mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere) == elsewhere);
	map_at(p, PAGE);
	CHECK(munmap(elsewhere, PAGE) == 0);
}

static void move_onto(unsigned char *p)
{
	unsigned char *other = map_at(NULL, PAGE);

	other[0] = 'x';
	CHECK(mremap(other, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p) == p);
}

static const struct change {
	const char *name;
	void (*apply)(unsigned char *p);
} changes[] = {
	{"munmap + mmap", unmap_and_map}, {"mmap over it", map_over},    {"MADV_DONTNEED", discard},
	{"mremap away", move_away},       {"mremap onto it", move_onto},
};

struct device {
	enum way way;
	struct uhmm_mm *mm;
	struct uhmm_uring *u;
	struct io_uring ring;
	int file;
};

static int request(struct device *d, int read, unsigned char *p, size_t offset)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	int res;

	if (d->way != RAW)
		return transfer(d->u, &d->ring, read, d->file, p, PAGE, offset);
	sqe = io_uring_get_sqe(&d->ring);
	if (read)
		io_uring_prep_read_fixed(sqe, d->file, p, PAGE, offset, 0);
	else
		io_uring_prep_write_fixed(sqe, d->file, p, PAGE, offset, 0);
	cqe = submit_one(&d->ring);
	res = cqe->res;
	io_uring_cqe_seen(&d->ring, cqe);
	return res;
}

static void change_pages(struct device *d, const struct change *c, unsigned char *p)
{
	struct uhmm_event event = {.start = (uintptr_t)p, .end = (uintptr_t)p + PAGE, .kind = UHMM_EVENT_UNMAP};
	struct uhmm_invalidation inv;

	if (d->way != EXPLICIT) {
		c->apply(p);
		return;
	}
	CHECK(uhmm_invalidate_start(d->mm, &inv, &event) == 0);
	c->apply(p);
	uhmm_invalidate_end(&inv);
}

/* Bit 0: the file got old bytes. Bit 1: what was read from the file never reached memory. */
static unsigned stale(struct device *d, const struct change *c)
{
	unsigned char *p = map_at(NULL, PAGE);
	unsigned char first = 0;
	unsigned verdict = 0;
	struct iovec vec = {.iov_base = p, .iov_len = PAGE};

	memset(p, 'A', PAGE);
	if (d->way == RAW)
		CHECK(io_uring_register_buffers(&d->ring, &vec, 1) == 0);
	CHECK(request(d, 0, p, 0) == (int)PAGE); /* registers it */
	change_pages(d, c, p);
	memset(p, 'B', PAGE);
	CHECK(request(d, 0, p, 0) == (int)PAGE);
	CHECK(pread(d->file, &first, 1, 0) == 1);
	verdict |= first == 'B' ? 0u : 1u;
	first = 'C';
	CHECK(pwrite(d->file, &first, 1, (off_t)PAGE) == 1);
	change_pages(d, c, p);
	memset(p, 'D', PAGE);
	CHECK(request(d, 1, p, PAGE) == (int)PAGE);
	verdict |= p[0] == 'C' ? 0u : 2u;
	if (d->way == RAW)
		CHECK(io_uring_unregister_buffers(&d->ring) == 0);
	CHECK(munmap(p, PAGE) == 0);
	return verdict;
}

static void run(enum way way, struct uhmm_mm *mm)
{
	struct device d = {.way = way, .mm = mm, .file = scratch_file(2 * PAGE)};
	unsigned wanted = way == RAW || way == UNHEARD ? 3 : 0;

	ring_open(&d.ring, 8, 0);
	if (way != RAW)
		CHECK(uhmm_uring_attach(mm, &d.ring, &d.u) == 0);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		unsigned verdict = stale(&d, &changes[i]);

		printf("%-8s  %-14s  write %s, read %s\n", way_names[way], changes[i].name, verdict & 1 ? "STALE" : "fresh",
		       verdict & 2 ? "LOST" : "fresh");
		CHECK(verdict == wanted);
	}
	if (way != RAW) {
		CHECK(stats_of(d.u).plain_chosen == 0 && stats_of(d.u).plain_forced == 0); /* all of it on fixed buffers */
		CHECK(uhmm_uring_detach(d.u) == 0);
	}
	io_uring_queue_exit(&d.ring);
	close(d.file);
	uhmm_mm_close(mm);
}

int main(void)
{
	struct uhmm_mm *hooked;

	setvbuf(stdout, NULL, _IOLBF, 0);
	run(RAW, NULL);
	run(UNHEARD, space_open(UHMM_MONITOR_EXPLICIT));
	run(EXPLICIT, space_open(UHMM_MONITOR_EXPLICIT));
	hooked = space_open_hooks();
	if (hooked)
		run(HOOKS, hooked);
	return 0;
}
