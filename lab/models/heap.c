/* SPDX-License-Identifier: MIT */
#include "lab/models/heap.h"

#include "lab/search.h"

struct heap {
	struct lab_lock lock;
};

static struct heap *heap; /* of the configuration that was set up last */

void heap_begin(void)
{
	heap = lab_alloc_zeroed(sizeof(*heap));
}

void *heap_alloc(size_t size)
{
	void *p;

	if (lab_telling)
		lab_note("malloc(): the heap's lock, please");
	lab_lock(&heap->lock);
	p = lab_alloc_zeroed(size);
	lab_unlock(&heap->lock);
	return p;
}

int heap_free(uint32_t page)
{
	int err;

	lab_lock(&heap->lock);
	if (lab_telling)
		lab_note("free(): has the heap's lock");
	err = lab_cpu_dontneed(page, 1);
	lab_unlock(&heap->lock);
	return err;
}
