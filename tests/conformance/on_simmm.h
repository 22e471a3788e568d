/* SPDX-License-Identifier: MIT */
/* on_simmm.h: the negative control: sequences are run on a machine that does this wrong. */
#ifndef ON_SIMMM_H
#define ON_SIMMM_H

#include "lab/simmm/simmm.h"

extern enum lab_sim_fault simmm_wrong;

#endif
