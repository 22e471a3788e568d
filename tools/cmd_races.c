/* SPDX-License-Identifier: MIT */
/* cmd_races.c: `uhmm races`; everything is in lab/, which programs with models of their own link as a library. */
#include <stddef.h>

#include "cmd.h"
#include "complain.h"
#include "lab/control.h"

/*
 * Two copies of the lab, each one object with all else made local: the sound one, and one with a mistake in the core. Weak,
 * because -Dlab=false leaves both out, and -Dsabotage= the second.
 */
#pragma weak lab_races
__attribute__((weak)) lab_control_fn lab_control_sabotaged;

int cmd_races(int argc, char **argv)
{
	if (!lab_races) {
		complain("races", "this program was built without the race lab");
		return STATUS_FAILED;
	}
	return lab_races("uhmm races", argc, argv, NULL, NULL, lab_control_sabotaged);
}
