/* SPDX-License-Identifier: MIT */
/* acts_heap.c: what libc and the dynamic linker do by themselves: memory that is theirs, and how they give it up. */
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "guarantees.h"

#define BLOCK ((size_t)4 << 20)
#define BLOCKS 64

/* Sanitizers bring an allocator of their own, which makes its system calls itself. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIBC_MALLOC false
#else
#define LIBC_MALLOC true
#endif

static char *blocks[BLOCKS];
static pthread_t thread;
static pthread_barrier_t meet;
static bool thread_runs;

static char *page_in(char *block, size_t offset)
{
	return (char *)(((uintptr_t)block + offset) & ~(PAGE - 1));
}

static void make_block(void)
{
	/* A fixed threshold: by itself it follows the blocks that are freed. */
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	area.handle = malloc(BLOCK);
	area.watched = page_in(area.handle, BLOCK / 2);
	/* What follows is taken, so that it has to move to grow. */
	BARE(mmap, page_in(area.handle, BLOCK + PAGE), PAGE, PROT_NONE, ANON | MAP_FIXED_NOREPLACE, -1, 0);
}

static void make_arena(void)
{
	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = malloc(64 << 10);
	area.watched = page_in(blocks[10], 2 * PAGE);
}

static void *stack_main(void *arg)
{
	volatile char deep[256 << 10];
	pthread_attr_t attr;
	size_t size;

	deep[0] = 1;
	(void)deep[0];
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, arg, &size);
	pthread_attr_destroy(&attr);
	pthread_barrier_wait(&meet);
	pthread_barrier_wait(&meet);
	return NULL;
}

static void make_thread_stack(void)
{
	void *stack = NULL;

	pthread_barrier_init(&meet, NULL, 2);
	if (pthread_create(&thread, NULL, stack_main, &stack) != 0)
		abort();
	thread_runs = true;
	pthread_barrier_wait(&meet);
	area.watched = (char *)stack + (1 << 20);
}

static void make_object(void)
{
	struct link_map *map;

	area.handle = dlopen(PLUGIN, RTLD_NOW);
	if (!area.handle || dlinfo(area.handle, RTLD_DI_LINKMAP, &map) != 0) {
		area.unavailable = "the object cannot be loaded";
		return;
	}
	for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++)
		if (d->d_tag == DT_FINI_ARRAY || d->d_tag == DT_INIT_ARRAY)
			area.watched = page_in((char *)map->l_addr, d->d_un.d_ptr);
	if (!area.watched)
		area.watched = (char *)map->l_addr;
}

void heap_make(void)
{
#ifdef __SANITIZE_THREAD__
	if (area.mapping == MAPPING_THREAD_STACK) {
		area.unavailable = "ThreadSanitizer clears stacks itself when a thread ends";
		return;
	}
#endif
	if (!LIBC_MALLOC && (area.mapping == MAPPING_BLOCK || area.mapping == MAPPING_ARENA)) {
		area.unavailable = "a sanitizer's allocator";
		return;
	}
	if (area.mapping == MAPPING_BLOCK)
		make_block();
	else if (area.mapping == MAPPING_ARENA)
		make_arena();
	else if (area.mapping == MAPPING_THREAD_STACK)
		make_thread_stack();
	else
		make_object();
	area.at = area.watched;
	if (area.watched && area.mapping != MAPPING_OBJECT)
		area.watched[0] = BYTE;
}

void heap_drop(void)
{
	if (area.mapping == MAPPING_BLOCK)
		free(area.handle);
	else if (area.mapping == MAPPING_OBJECT && area.handle)
		dlclose(area.handle);
	else if (area.mapping == MAPPING_THREAD_STACK)
		act_end_thread();
	else if (area.mapping == MAPPING_ARENA)
		act_trim();
}

long act_sbrk(long by)
{
	return errno_of((long)sbrk(by));
}

long act_free_block(void)
{
	free(area.handle);
	area.handle = NULL;
	return 0;
}

long act_grow_block(void)
{
	area.handle = realloc(area.handle, 4 * BLOCK);
	return 0;
}

/* The last block keeps what is below it from being cut off: it is trimmed by madvise. */
long act_trim(void)
{
	for (int i = 0; i < BLOCKS - 1; i++) {
		free(blocks[i]);
		blocks[i] = NULL;
	}
	malloc_trim(0);
	free(blocks[BLOCKS - 1]);
	blocks[BLOCKS - 1] = NULL;
	return 0;
}

/* All signals blocked, its own data destroyed. */
long act_end_thread(void)
{
	if (!thread_runs)
		return 0;
	pthread_barrier_wait(&meet);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&meet);
	thread_runs = false;
	return 0;
}

long act_close_object(void)
{
	void *handle = area.handle;

	area.handle = NULL;
	return dlclose(handle);
}

long act_close_object_again(void)
{
	void *handle = dlopen(PLUGIN, RTLD_NOW);

	return dlclose(handle);
}

long act_grow_stack(void)
{
	BARE(munmap, at(0) - PAGE, PAGE);
	*(volatile char *)(at(0) - 1) = 1;
	return 0;
}
