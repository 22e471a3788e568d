/* SPDX-License-Identifier: MIT */
/*
 * litmus.h: small programs with known outcomes, by which the memory model is held to its word: under every schedule each
 * outcome that is listed must be reached, and no other.
 *
 * An outcome is a string, a character for each register: "10" is r[0] = 1 and r[1] = 0. `weak` lists those of weak memory, `sc`
 * those of sequential consistency; NULL: the same.
 */
#ifndef LAB_LITMUS_H
#define LAB_LITMUS_H

#include <uhmm/lab.h>

#define LITMUS_THREADS 4u
#define LITMUS_REGISTERS 4u

struct litmus_words {
	_Alignas(8) struct uhmm_a32 x;
	_Alignas(8) struct uhmm_a32 y;
	_Alignas(8) struct uhmm_a32 z;
	struct lab_lock lock[2];
};

struct litmus {
	const char *name, *about;
	void (*thread[LITMUS_THREADS])(struct litmus_words *w, uint32_t *r);
	/* Afterwards: what memory holds at the end into registers. May be NULL. */
	void (*finally)(const struct litmus_words *w, uint32_t *r);
	const char *weak, *sc;
	uint32_t bound; /* of preemptions and of deviations: enough for every outcome; 0: 4 */
};

/* Each ends with a nameless one. */
extern const struct litmus litmus_stores[], litmus_messages[], litmus_fences[];

/* Runs one as a scenario of the lab; the outcomes that were met, in order and separated by spaces, in static storage. */
const char *litmus_run(const struct litmus *l, bool weak);

#endif
