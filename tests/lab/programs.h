/* SPDX-License-Identifier: MIT */
/*
 * programs.h: small programs for the searches: fibers with a handful of operations each on a few shared words, written down as
 * strings or drawn from a seed. The digest of an execution is what every read returned, and what the words hold in the end.
 *
 *	r<v>  read word v            w<v>  write the next value of this fiber to word v      + / -  <v>: take, give back lock v
 *	t<v>  try lock v, give it back at once if that worked      s<v>  sleep until word v is not zero   k<v>  set word v, wake
 *	y     yield                  z<v>  yield until word v is not zero                    d     pick one of two, remember it
 *	f     go on as the child of a fork: the other fibers vanish       x<v> spawn a fiber that writes word v, j join it
 *	a<v>  atomic load of word v (memory's, not a step)         b<v>  atomic store        p  park: sleep until the deadline
 */
#ifndef LAB_TEST_PROGRAMS_H
#define LAB_TEST_PROGRAMS_H

#include <stdint.h>

#include "lab/search.h"

#define PROGRAM_FIBERS 4

struct program {
	const char *fiber[PROGRAM_FIBERS]; /* NULL: no more */
	bool may_deadlock;
};

/* The scenario runs whatever was given last. */
extern const struct lab_scenario program_scenario;
void program_set(const struct program *p);
/* A program of 2..max fibers and at most `ops` operations each; the same for the same seed. Valid until the next call. */
const struct program *program_draw(uint64_t seed, uint32_t fibers_max, uint32_t ops_max, const char *alphabet);
const char *program_text(const struct program *p);

#endif
