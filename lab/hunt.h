/* SPDX-License-Identifier: MIT */
/*
 * hunt.h: what all searches have in common: counting, limits, the first loss and its schedule, final states, where to resume.
 *
 *	lab_hunt_begin(&h, "bound", config, limits, out)   set-up
 *	lab_hunt_resume(&h, parts, n)
 *	do {
 *		lab_run_once(...)
 *	} while (lab_hunt_account(&h, ...) && the search has more)
 *	lab_hunt_end(&h)
 */
#ifndef LAB_HUNT_H
#define LAB_HUNT_H

#include "lab/choice.h"
#include "lab/digest.h"
#include "lab/run.h"

struct lab_hunt {
	const char *search;
	const struct lab_config *config;
	const struct lab_limits *limits;
	struct lab_result *out;
	struct lab_digest_set digests;
	uint64_t total;        /* executions, of all bounds, of all sittings */
	uint64_t sitting;      /* of this one */
	uint64_t started_ns, reported_ns;
	uint32_t unlooked;     /* executions since the clock was looked at */
	uint32_t bound;
	bool stopped;          /* by a limit or a loss */
};

/* False: the set-up itself lost, and *out says so. */
bool lab_hunt_begin(struct lab_hunt *h, const char *search, const struct lab_config *config, const struct lab_limits *limits,
		    struct lab_result *out);
/*
 * After each execution of `mode` with `bound`. again(arg), if there is a loss: puts the search back to before this execution,
 * so that it can be made once more and recorded. False: the search stops.
 */
bool lab_hunt_account(struct lab_hunt *h, const struct lab_mode *mode, uint32_t bound, void (*again)(void));
/* An execution that does not count, for it has shown the search to be made with too few decisions. True: the search stops. */
bool lab_hunt_superseded(struct lab_hunt *h);
/* The execution ended before it had taken all the choices that another had made: it is lost for not being deterministic. */
void lab_hunt_cut_short(void);
/* There is a loss, and it ends the search. */
bool lab_hunt_stops_at_loss(const struct lab_hunt *h);
void lab_hunt_end(struct lab_hunt *h);
/* A new bound, or the same one again because more words are shared than was thought. */
void lab_hunt_restart(struct lab_hunt *h, uint32_t bound);

/*
 * Where a search stands, in pieces of memory. Resuming fills the same pieces; the last may turn out to be shorter. False:
 * there is nothing to resume, or not by this search.
 */
struct lab_part {
	void *data;
	size_t size;
};
bool lab_hunt_resume(struct lab_hunt *h, const struct lab_part *parts, uint32_t n);
void lab_hunt_save(struct lab_hunt *h, const struct lab_part *parts, uint32_t n);
/* The search has ended: nothing is left to resume. */
void lab_hunt_forget(const struct lab_hunt *h);

/* search_bound.c: every schedule, none left out; for lab_search_all(). */
void lab_search_unreduced(const struct lab_config *config, const struct lab_limits *limits, struct lab_result *out);
/* search_dpor.c, for its test: 1: nothing leaves a sleep set; 2: reads race with nothing; 3: yields are nothing special. */
extern uint32_t lab_dpor_mistake;
/* search_bound.c, for its test: flushes are tried before every operation, not only those to which they matter. */
extern bool lab_flush_anywhere;

#endif
