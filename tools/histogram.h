/* SPDX-License-Identifier: MIT */
/* histogram.h: latencies in nanoseconds, to within 1/16, in a fixed 8 KiB. One thread writes; merged when it has ended. */
#ifndef TOOLS_HISTOGRAM_H
#define TOOLS_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 1024u

struct histogram {
	uint64_t count;
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value below which the given share of what was added lies (the middle of its bucket); 0 if nothing was. */
uint64_t histogram_quantile(const struct histogram *h, double share);

#endif
