/* SPDX-License-Identifier: MIT */
/* say.h: one line on standard error, without stdio: who preloads us may be a shell or a compiler, at any point of its life. */
#ifndef INTEGRATIONS_SAY_H
#define INTEGRATIONS_SAY_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static inline void say(const char *who, const char *what, int err, const char *consequence)
{
	int saved = errno;
	char line[256];
	int len = snprintf(line, sizeof(line), "%s: %s%s%s; %s\n", who, what, err ? ": " : "", err ? strerrordesc_np(err) : "",
			   consequence);
	size_t size = len < 0 ? 0 : (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1;

	if (write(STDERR_FILENO, line, size) < 0) {
		/* Standard error is closed or full. There is nobody left to tell. */
	}
	errno = saved;
}

#endif
