/* SPDX-License-Identifier: MIT */
/* report.h: the table for people, for programs and for docs/races.md. */
#ifndef LAB_REPORT_H
#define LAB_REPORT_H

#include <stdio.h>

#include "lab/table.h"

#define LAB_COUNT_SIZE 32

/* "1,234,567" */
const char *lab_count_text(uint64_t n, char out[LAB_COUNT_SIZE]);
/* "2+2", "1+2 weak" */
const char *lab_config_text(const struct lab_config *c, char out[LAB_COUNT_SIZE]);
/* How it went, in a line: "all 1,234 schedules with up to 2 preemptions" */
void lab_job_text(const struct lab_table *t, const struct lab_job *job, char *out, size_t size);
/* "lost", "held", "died" */
const char *lab_job_word(const struct lab_job *job);

void lab_report_list(const struct lab_registry *r, FILE *out);
/* All of a pair's jobs have ended. `first` of its race: the title goes before. */
void lab_report_pair(const struct lab_table *t, const struct lab_pair *pair, bool first, FILE *out);
/* Returns whether all was as expected. */
bool lab_report_end(const struct lab_table *t, FILE *out);
bool lab_all_expected(const struct lab_table *t);
void lab_report_json(const struct lab_table *t, double seconds, FILE *out);
void lab_report_list_json(const struct lab_registry *r, FILE *out);
/* False: has complained (a search was cut short, so that the figures would not come again). */
bool lab_report_markdown(const struct lab_table *t, FILE *out);

struct lab_timeline;
/*
 * Replays a schedule into a timeline, which the caller frees, and a verdict. NULL: not a schedule of this configuration, or no
 * memory; the verdict's text says which.
 */
struct lab_timeline *lab_timeline_of(const struct lab_config *config, const char *schedule, struct lab_verdict *verdict);
/* One JSON object with the rows. */
void lab_report_timeline_json(const struct lab_timeline *t, const struct lab_config *config, const char *schedule,
			      const struct lab_verdict *verdict, FILE *out);

#endif
