/* SPDX-License-Identifier: MIT */
/*
 * hooks_dlclose: what happens inside dlclose() while its objects are announced (R32): destructors that close or open address
 * spaces, here or in a thread that they wait for; objects of another namespace. What hangs is ended by an alarm.
 */
#include <dlfcn.h>
#include <pthread.h>

#include "hooks_common.h"

#ifndef PLUGIN
#define PLUGIN "./libhooks_plugin.so" /* tests/integration/plugin/hooks_plugin.c */
#endif

#define CHECK(condition)                                                                                                    \
	do {                                                                                                                \
		if (!(condition)) {                                                                                         \
			printf("%s:%d: %s\n", __func__, __LINE__, #condition);                                              \
			exit(1);                                                                                            \
		}                                                                                                           \
	} while (0)

static struct uhmm_mm *stays, *goes;
static struct watch leaving; /* of the one that goes: its invalidation is linked and counted */

static void *close_it(void *arg)
{
	watch_off(&leaving);
	CHECK(leaving.starts == 1);
	uhmm_mm_close(goes);
	return arg;
}

static void close_here(void)
{
	close_it(NULL);
}

static void close_in_a_thread(void)
{
	pthread_t t;

	CHECK(pthread_create(&t, NULL, close_it, NULL) == 0);
	pthread_join(t, NULL);
}

/* It listens for the rest of the dlclose(), which does not know of it. */
static void open_here(void)
{
	goes = open_hooks();
}

static void close_and_open(void)
{
	close_here();
	open_here();
}

/* The plugin's page is watched by one that stays; the other is closed, or opened, in the destructor. */
static void run(void (*at_end)(void), bool open_before, bool close_after)
{
	void *handle = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
	void (**hook)(void);
	struct watch w;

	CHECK(handle);
	hook = dlsym(handle, "plugin_at_end");
	CHECK(hook);
	*hook = at_end;
	goes = open_before ? open_hooks() : NULL;
	if (goes)
		watch_on(goes, &leaving, dlsym(handle, "plugin_page"), PAGE);
	watch_on(stays, &w, dlsym(handle, "plugin_page"), PAGE);
	CHECK(dlclose(handle) == 0);
	CHECK(w.drops == 1 && w.byte_at_start == 0 && w.byte_at_end == -1);
	watch_off(&w);
	if (close_after && !at_end)
		close_it(NULL);
	else if (close_after)
		uhmm_mm_close(goes);
}

/* The one that is closed is the only one: the hooks are taken out inside of one of them. */
static void test_the_last_one(void)
{
	void *handle = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);

	CHECK(handle);
	*(void (**)(void))dlsym(handle, "plugin_at_end") = close_here;
	goes = open_hooks();
	watch_on(goes, &leaving, dlsym(handle, "plugin_page"), PAGE);
	CHECK(dlclose(handle) == 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static void test_namespace(void)
{
	void *handle = dlmopen(LM_ID_NEWLM, PLUGIN, RTLD_NOW), *again;
	struct watch w;

	if (!handle) {
		printf("no other namespaces here\n");
		return;
	}
	again = dlopen(PLUGIN, RTLD_NOW); /* the first namespace's: another object */
	watch_on(stays, &w, dlsym(handle, "plugin_page"), PAGE);
	CHECK(dlclose(again) == 0);
	CHECK(w.drops == 0);
	CHECK(dlclose(handle) == 0);
	CHECK(w.drops == 1 && w.byte_at_start == 0 && w.byte_at_end == -1);
	watch_off(&w);
}
#else
static void test_namespace(void)
{
}
#endif

int main(void)
{
	alarm(60);
	stays = open_hooks();
	run(NULL, true, true);
	for (int i = 0; i < 20; i++) {
		run(close_here, true, false);
		run(close_in_a_thread, true, false);
		run(open_here, false, true);
		run(close_and_open, true, true);
	}
	test_namespace();
	uhmm_mm_close(stays);
	test_the_last_one();
	stays = open_hooks();
	run(NULL, true, true);
	uhmm_mm_close(stays);
	return 0;
}
