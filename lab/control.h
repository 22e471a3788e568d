/* SPDX-License-Identifier: MIT */
/*
 * control.h: the lab's own negative control, and the entry of the command.
 *
 * The tool links the lab twice. The second copy has one mistake in the shipped core and no global symbol but its lab_control(),
 * under another name; if that one finds nothing, the lab sees nothing and what "held" in the first copy means nothing.
 */
#ifndef LAB_CONTROL_H
#define LAB_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

struct lab_scenario;
struct lab_model;

struct lab_control {
	char mistake[96];  /* in words */
	char scenario[16]; /* the first that was lost */
	bool lost;
	uint64_t schedules; /* until then, over all scenarios tried */
	char text[200];     /* of the verdict */
};

/* Runs the model `interval`, that is the core of the copy that this is, through the built-in races until one is lost. */
typedef void lab_control_fn(struct lab_control *out);
lab_control_fn lab_control;
/* What is wrong with this copy, written into it by lab/sabotage.py; without an address in the sound one. */
extern const char lab_sabotage_words[] __attribute__((weak));

/* lab_main() with a control; NULL: none is linked. `program` is what messages begin with. */
int lab_races(const char *program, int argc, char **argv, const struct lab_scenario *const *scenarios,
	      const struct lab_model *const *models, lab_control_fn *control);

#endif
