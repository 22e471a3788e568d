/* SPDX-License-Identifier: MIT */
/*
 * heap.h: malloc() and free(), as far as R15 is about them: one lock, which free() holds while it gives memory back to the
 * kernel, so that the kernel's start, and with it every driver's callback, runs with the lock held. In the kernel the same
 * shape is direct reclaim: an allocation that unmaps pages to find room.
 */
#ifndef LAB_MODELS_HEAP_H
#define LAB_MODELS_HEAP_H

#include <uhmm/lab.h>

/* Set-up. */
void heap_begin(void);
void *heap_alloc(size_t size);
/* Gives a page of the heap back. */
int heap_free(uint32_t page);

#endif
