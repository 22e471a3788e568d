/* SPDX-License-Identifier: MIT */
/* units.h: figures for people. Each writes into out and returns it. */
#ifndef TOOLS_UNITS_H
#define TOOLS_UNITS_H

#include <stdint.h>

#define UNITS_SIZE 32

const char *bytes_text(uint64_t bytes, char out[UNITS_SIZE]);         /* "128.4 MB" */
const char *rate_text(double bytes_per_second, char out[UNITS_SIZE]); /* "1.2 GB/s" */
const char *ns_text(uint64_t ns, char out[UNITS_SIZE]);               /* "6.2 us" */
const char *count_text(uint64_t n, char out[UNITS_SIZE]);             /* "1,234,567" */

#endif
