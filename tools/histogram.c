/* SPDX-License-Identifier: MIT */
#include "histogram.h"

/* Below 16 ns a bucket a value; above, 16 buckets for each power of two. 2^63 lands in bucket 975. */
static unsigned bucket_of(uint64_t ns)
{
	unsigned log;

	if (ns < 16)
		return (unsigned)ns;
	log = 63u - (unsigned)__builtin_clzll(ns);
	return (log - 3) * 16 + (unsigned)((ns >> (log - 4)) & 15);
}

static uint64_t middle_of(unsigned bucket)
{
	unsigned log = bucket / 16 + 3;

	if (bucket < 16)
		return bucket;
	return ((uint64_t)1 << log) + ((uint64_t)(bucket % 16) << (log - 4)) + ((uint64_t)1 << (log - 4)) / 2;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	h->count++;
	h->bucket[bucket_of(ns)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	into->count += from->count;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
	uint64_t below = 0;
	uint64_t wanted = (uint64_t)(share * (double)h->count);

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		below += h->bucket[i];
		if (below > wanted)
			return middle_of(i);
	}
	return 0;
}
