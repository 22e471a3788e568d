/* SPDX-License-Identifier: MIT */
#include "units.h"

#include <inttypes.h>
#include <stdio.h>

static const char *scaled(double value, const char *tail, char out[UNITS_SIZE])
{
	static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
	unsigned i = 0;

	while (value >= 999.95 && i + 1 < sizeof(prefixes) / sizeof(prefixes[0])) {
		value /= 1000;
		i++;
	}
	snprintf(out, UNITS_SIZE, i ? "%.1f %sB%s" : "%.0f %sB%s", value, prefixes[i], tail);
	return out;
}

const char *bytes_text(uint64_t bytes, char out[UNITS_SIZE])
{
	return scaled((double)bytes, "", out);
}

const char *rate_text(double bytes_per_second, char out[UNITS_SIZE])
{
	return scaled(bytes_per_second, "/s", out);
}

const char *ns_text(uint64_t ns, char out[UNITS_SIZE])
{
	if (ns < 1000)
		snprintf(out, UNITS_SIZE, "%" PRIu64 " ns", ns);
	else if (ns < 1000000)
		snprintf(out, UNITS_SIZE, "%.1f us", (double)ns / 1e3);
	else
		snprintf(out, UNITS_SIZE, "%.1f ms", (double)ns / 1e6);
	return out;
}

const char *count_text(uint64_t n, char out[UNITS_SIZE])
{
	char digits[UNITS_SIZE];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n), at = 0;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
	return out;
}
