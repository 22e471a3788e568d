/* SPDX-License-Identifier: MIT */
/* digest.h: the set of final states that a search has seen, by which searches are compared. */
#ifndef LAB_DIGEST_H
#define LAB_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lab_digest_set {
	uint64_t *slot;      /* open addressing; 0: free, so that a digest of 0 is kept as 1 */
	size_t size, count;  /* size: a power of two, or 0 */
	uint64_t last;       /* the digest added last: most executions repeat it */
};

/* False if it was there. Ends the program when there is no memory. */
bool lab_digest_set_add(struct lab_digest_set *s, uint64_t digest);
/* Independent of the order in which they were added. */
uint64_t lab_digest_set_hash(const struct lab_digest_set *s);
void lab_digest_set_free(struct lab_digest_set *s);

/* Spreads 64 bits (the finaliser of MurmurHash3). */
static inline uint64_t lab_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

#endif
