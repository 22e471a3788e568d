/* SPDX-License-Identifier: MIT */
/* json.h: one JSON object or array after another, on one line, to a stream. */
#ifndef TOOLS_JSON_H
#define TOOLS_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *out;
	bool comma; /* the next member needs one before it */
};

/* A NULL key inside arrays and at the top. Strings may hold any bytes: what is not UTF-8 comes out as U+FFFD. */
void json_open(struct json *j, const char *key, char bracket);
void json_close(struct json *j, char bracket);
void json_string(struct json *j, const char *key, const char *value);
void json_uint(struct json *j, const char *key, uint64_t value);
void json_double(struct json *j, const char *key, double value); /* not finite: null */
void json_raw(struct json *j, const char *key, const char *text); /* JSON already */
void json_bool(struct json *j, const char *key, bool value);

#endif
