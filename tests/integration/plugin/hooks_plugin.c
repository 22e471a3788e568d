/* SPDX-License-Identifier: MIT */
/* hooks_plugin.c: an object whose destructor does what hooks_dlclose wants. */
void (*plugin_at_end)(void);
char plugin_page[4096];

static __attribute__((destructor)) void end(void)
{
	if (plugin_at_end)
		plugin_at_end();
}
