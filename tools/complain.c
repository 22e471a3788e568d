/* SPDX-License-Identifier: MIT */
#include "complain.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

void complain(const char *verb, const char *format, ...)
{
	char line[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* A file name may hold a newline or an escape sequence: neither makes two lines out of one, nor reaches a terminal. */
	for (char *c = line; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	/* One write, so that lines of several processes do not mix. */
	if (verb)
		fprintf(stderr, "uhmm %s: %s\n", verb, line);
	else
		fprintf(stderr, "uhmm: %s\n", line);
}

bool parse_number(const char *verb, const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	uint64_t n = 0;
	bool ok = *text != '\0';

	for (const char *c = text; ok && *c; c++) {
		uint64_t digit = (uint64_t)(*c - '0');

		ok = *c >= '0' && *c <= '9' && !__builtin_mul_overflow(n, (uint64_t)10, &n) &&
		     !__builtin_add_overflow(n, digit, &n);
	}
	if (!ok || n < min || n > max) {
		complain(verb, "%s: '%s' is not a whole number between %llu and %llu", option, text, (unsigned long long)min,
			 (unsigned long long)max);
		return false;
	}
	*value = n;
	return true;
}

bool parse_seconds(const char *verb, const char *option, const char *text, double *value)
{
	const double longest = 31536000;
	size_t digits = strspn(text, "0123456789");
	size_t fraction = text[digits] == '.' ? strspn(text + digits + 1, "0123456789") : 0;
	size_t used = digits + (text[digits] == '.' ? 1 + fraction : 0);
	double seconds = 0;

	/* Not strtod() on everything: it takes "inf", "0x1p3" and what the locale thinks of. */
	if (digits + fraction > 0 && text[used] == '\0' && used < 32)
		seconds = strtod(text, NULL);
	else
		seconds = longest + 1;
	if (seconds > longest) {
		complain(verb, "%s: '%s' is not a number of seconds", option, text);
		return false;
	}
	*value = seconds;
	return true;
}

bool check_environment(void)
{
	/* The tool takes nothing from the environment: a variable that looks like a setting would be ignored in silence. */
	static const char prefix[] = "UHMM_";

	for (char **e = environ; e && *e; e++) {
		if (strncmp(*e, prefix, sizeof(prefix) - 1) != 0)
			continue;
		complain(NULL, "environment variable %.*s is not known", (int)strcspn(*e, "="), *e);
		return false;
	}
	return true;
}

bool flush_output(const char *verb)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	complain(verb, "cannot write the report: %s", strerror(errno));
	return false;
}
