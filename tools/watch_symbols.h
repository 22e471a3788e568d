/* SPDX-License-Identifier: MIT */
/*
 * watch_symbols.h: what return addresses are called. By elfutils' libdw (function, and source line where there is debugging
 * information); without it, or for what it does not know, by object and offset.
 */
#ifndef TOOLS_WATCH_SYMBOLS_H
#define TOOLS_WATCH_SYMBOLS_H

#include <stdint.h>

#define SYMBOL_SIZE 256u

struct symbols;

/* NULL: no memory; symbol_of() does without. */
struct symbols *symbols_open(void);
void symbols_close(struct symbols *s);
/* offset: of a return address, from the object's load address; object NULL: an address of unknown code. Returns out. */
const char *symbol_of(struct symbols *s, const char *object, uint64_t offset, char out[SYMBOL_SIZE]);

#endif
