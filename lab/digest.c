/* SPDX-License-Identifier: MIT */
#include "lab/digest.h"

#include <stdio.h>
#include <stdlib.h>

#include "lab/run.h"

#define SIZE_FIRST 1024u

void lab_digest(uint64_t value)
{
	lab_run.digest = lab_mix(lab_run.digest * 31 + value + 1);
}

/* The slot that holds the digest, or the free one where it belongs. */
static uint64_t *find(uint64_t *slot, size_t size, uint64_t digest)
{
	size_t i = lab_mix(digest) & (size - 1);

	while (slot[i] && slot[i] != digest)
		i = (i + 1) & (size - 1);
	return &slot[i];
}

static void grow(struct lab_digest_set *s)
{
	const size_t size = s->size ? 2 * s->size : SIZE_FIRST;
	uint64_t *const slot = calloc(size, sizeof(*slot));

	if (!slot) {
		fprintf(stderr, "lab: no memory for %zu final states\n", size);
		exit(2);
	}
	for (size_t i = 0; i < s->size; i++) {
		if (s->slot[i])
			*find(slot, size, s->slot[i]) = s->slot[i];
	}
	free(s->slot);
	s->slot = slot;
	s->size = size;
}

bool lab_digest_set_add(struct lab_digest_set *s, uint64_t digest)
{
	uint64_t *slot;

	if (digest == 0)
		digest = 1;
	if (digest == s->last)
		return false;
	s->last = digest;
	if (2 * s->count >= s->size)
		grow(s);
	slot = find(s->slot, s->size, digest);
	if (*slot)
		return false;
	*slot = digest;
	s->count++;
	return true;
}

uint64_t lab_digest_set_hash(const struct lab_digest_set *s)
{
	uint64_t sum = s->count;

	for (size_t i = 0; i < s->size; i++) {
		if (s->slot[i])
			sum += lab_mix(s->slot[i]);
	}
	return lab_mix(sum);
}

void lab_digest_set_free(struct lab_digest_set *s)
{
	free(s->slot);
	*s = (struct lab_digest_set){ 0 };
}
