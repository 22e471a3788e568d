/* SPDX-License-Identifier: MIT */
/*
 * resume.c: a search put aside. The file holds where the search stands (its choices, not the executions), what has been
 * counted, the final states seen and which words are known to be shared. It is for the build that wrote it: another one
 * refuses it and begins again. Written beside and renamed, so that there is always a whole one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lab/hunt.h"
#include <uhmm/lab.h>

#define MAGIC UINT64_C(0x3230626c6d6d6875) /* "uhmmlb02" */

struct header {
	uint64_t magic, build, config;
	struct lab_result result;
	uint64_t total, digests, learnt;
	uint32_t bound, reserved;
};

struct learnt {
	uint64_t word;
	uint32_t state, reserved;
};

static uint64_t mix_text(uint64_t hash, const char *text)
{
	for (; text && *text; text++)
		hash = lab_mix(hash * 31 + (unsigned char)*text);
	return hash;
}

/* The program as it is on disk: one line changed in the code under test, and what has been tried says nothing any more. */
static uint64_t build_hash(void)
{
	FILE *const f = fopen("/proc/self/exe", "rb");
	uint64_t hash = 1, words[512];
	size_t n;

	if (!f)
		return 0;
	while ((n = fread(words, 1, sizeof(words), f)) > 0) {
		memset((char *)words + n, 0, sizeof(words) - n);
		for (size_t i = 0; i < (n + 7) / 8; i++)
			hash = lab_mix(hash * 31 + words[i]);
	}
	fclose(f);
	return hash;
}

/* Whatever makes it another search. The bound of a bounded one may grow. */
static uint64_t config_hash(const struct lab_config *c, const char *search)
{
	const uint32_t numbers[] = { c->devices, c->invalidators, c->weak, c->spurious, c->timeouts, c->failures, c->step_max };
	uint64_t hash = mix_text(mix_text(1, search), c->scenario->id);

	hash = mix_text(hash, c->model ? c->model->name : "-");
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		hash = lab_mix(hash * 31 + numbers[i]);
	return hash;
}

static bool all_written(FILE *f, const struct lab_hunt *h, const struct lab_part *parts, uint32_t n)
{
	struct header header;
	struct learnt l = { .reserved = 0 };
	bool good;

	memset(&header, 0, sizeof(header));
	header.magic = MAGIC;
	header.build = build_hash();
	header.config = config_hash(h->config, h->search);
	header.result = *h->out;
	header.total = h->total;
	header.digests = h->digests.count;
	header.bound = h->bound;
	while (lab_shared_get((uint32_t)header.learnt, &l.word, &l.state))
		header.learnt++;
	good = fwrite(&header, sizeof(header), 1, f) == 1;
	for (uint32_t i = 0; i < header.learnt && good; i++) {
		lab_shared_get(i, &l.word, &l.state);
		good = fwrite(&l, sizeof(l), 1, f) == 1;
	}
	for (size_t i = 0; i < h->digests.size && good; i++)
		good = !h->digests.slot[i] || fwrite(&h->digests.slot[i], sizeof(h->digests.slot[i]), 1, f) == 1;
	for (uint32_t i = 0; i < n && good; i++)
		good = parts[i].size == 0 || fwrite(parts[i].data, parts[i].size, 1, f) == 1;
	return good;
}

void lab_hunt_save(struct lab_hunt *h, const struct lab_part *parts, uint32_t n)
{
	const char *const path = h->limits->resume_file;
	char beside[4096];
	FILE *f;
	bool good;

	if (!path)
		return;
	snprintf(beside, sizeof(beside), "%s.new", path);
	f = fopen(beside, "wb");
	if (!f) {
		perror(beside);
		return;
	}
	good = all_written(f, h, parts, n);
	if (fclose(f) || !good || rename(beside, path)) {
		perror(path);
		unlink(beside);
	}
}

static bool all_read(FILE *f, struct lab_hunt *h, const struct lab_part *parts, uint32_t n)
{
	struct header header;
	struct learnt l;
	uint64_t digest;

	if (fread(&header, sizeof(header), 1, f) != 1 || header.magic != MAGIC || header.build != build_hash() ||
	    header.config != config_hash(h->config, h->search))
		return false;
	for (uint64_t i = 0; i < header.learnt; i++) {
		if (fread(&l, sizeof(l), 1, f) != 1)
			return false;
		lab_shared_put(l.word, l.state);
	}
	for (uint64_t i = 0; i < header.digests; i++) {
		if (fread(&digest, sizeof(digest), 1, f) != 1)
			return false;
		lab_digest_set_add(&h->digests, digest);
	}
	/* The first part is a length; the rest is as long as it says, which whoever has the parts knows. */
	for (uint32_t i = 0; i < n; i++) {
		if (fread(parts[i].data, 1, parts[i].size, f) != parts[i].size && !(i == n - 1 && feof(f)))
			return false;
	}
	*h->out = header.result;
	h->total = header.total;
	h->bound = header.bound;
	return true;
}

bool lab_hunt_resume(struct lab_hunt *h, const struct lab_part *parts, uint32_t n)
{
	FILE *const f = h->limits->resume_file ? fopen(h->limits->resume_file, "rb") : NULL;
	bool good;

	if (!f)
		return false;
	good = all_read(f, h, parts, n);
	fclose(f);
	if (!good) {
		fprintf(stderr, "lab: %s is of another search or another build; starting again\n", h->limits->resume_file);
		lab_digest_set_free(&h->digests);
		/* Part of it may have been read: what is shared is what set-up says, no more and no less. */
		lab_run_setup(h->config);
	}
	return good;
}

void lab_hunt_forget(const struct lab_hunt *h)
{
	if (h->limits->resume_file)
		unlink(h->limits->resume_file);
}
