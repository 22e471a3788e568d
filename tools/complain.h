/* SPDX-License-Identifier: MIT */
/* complain.h: one clear line on standard error, and the parsing of numbers that goes with it. */
#ifndef TOOLS_COMPLAIN_H
#define TOOLS_COMPLAIN_H

#include <stdbool.h>
#include <stdint.h>

/* "uhmm VERB: text" (or "uhmm: text" for a NULL verb) and a newline; control characters in the text become '?'. */
void complain(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A whole decimal number in [min, max], nothing around it. False leaves *value alone and has complained, naming the option. */
bool parse_number(const char *verb, const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *value);

/* Seconds, with or without a fraction, of at most a year. */
bool parse_seconds(const char *verb, const char *option, const char *text, double *value);

/* Variables beginning with UHMM_ that the tool does not know are mistakes; false has complained about the first. */
bool check_environment(void);

/* Flushes standard output; false has complained: the disk is full, say. */
bool flush_output(const char *verb);

#endif
