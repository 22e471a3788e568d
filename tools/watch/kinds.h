/* SPDX-License-Identifier: MIT */
/* kinds.h: what kinds of changes are called, in tables, JSON and traces. */
#ifndef TOOLS_WATCH_KINDS_H
#define TOOLS_WATCH_KINDS_H

#include "watch/record.h"

extern const char *const watch_kind_names[WATCH_KINDS];
extern const char *const watch_cause_names[WATCH_CAUSES]; /* as JSON keys */
extern const char *const watch_cause_texts[WATCH_CAUSES];

#endif
