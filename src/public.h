/* SPDX-License-Identifier: MIT */
/*
 * public.h: included by the compiler ahead of every source of the library (-include), which is built with hidden symbols: what
 * a public header declares, and nothing else, gets default visibility. So public headers need no export macro, and calls
 * inside the library to anything else are direct.
 */
#ifndef UHMM_PUBLIC_H
#define UHMM_PUBLIC_H

#pragma GCC visibility push(default)
#include <uhmm/uhmm.h>
#pragma GCC visibility pop

#endif
