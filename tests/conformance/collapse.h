/* SPDX-License-Identifier: MIT */
/* collapse.h: see collapse.c. */
#ifndef COLLAPSE_H
#define COLLAPSE_H

#include <stdbool.h>

#include <uhmm/lab.h>

enum collapsed { COLLAPSE_CANNOT, COLLAPSE_DONE, COLLAPSE_REFUSED, COLLAPSE_CORRUPTS };

/* On the kernel. CANNOT: it has no MADV_COLLAPSE, or no huge page. */
enum collapsed collapse_for_real(bool referenced);
/* On the simulated machine. */
enum collapsed collapse_simulated(bool referenced);

#endif
