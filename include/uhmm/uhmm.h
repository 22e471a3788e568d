/* SPDX-License-Identifier: MIT */
/* uhmm.h: every public header of the library. */
#ifndef UHMM_UHMM_H
#define UHMM_UHMM_H

#include <uhmm/mm.h>
#include <uhmm/notifier.h>
#include <uhmm/regcache.h>
#include <uhmm/uring.h>

#endif
