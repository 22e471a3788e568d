/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>

#include "run.h"

/* Several threads may fail at once, and most failures cause others: the first one says what went wrong. */
void fail(struct failure *f, const char *format, ...)
{
	unsigned none = 0;
	va_list args;

	if (!atomic_compare_exchange_strong(&f->set, &none, 1))
		return;
	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
	/* Pairs with the acquire in failed(): who sees it set reads the whole text. */
	atomic_store_explicit(&f->set, 2, memory_order_release);
}

bool failed(const struct failure *f)
{
	return atomic_load_explicit(&f->set, memory_order_acquire) == 2;
}
