/* SPDX-License-Identifier: MIT */
/* exec_report.h: what came of a run, for a person or, in one line of JSON, for a program. */
#ifndef TOOLS_EXEC_REPORT_H
#define TOOLS_EXEC_REPORT_H

#include <stdbool.h>

struct run;

/* Every completed pass had the CPU's answer, and there was one. */
bool report_answer_ok(const struct run *run);
void report_text(const struct run *run);
void report_json(const struct run *run);

#endif
