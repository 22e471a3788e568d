/* SPDX-License-Identifier: MIT */
/* readme.c: the example of the README, word for word: a cache that sees the program change its own mapping. */
#include <stdio.h>
#include <sys/mman.h>
#include <uhmm/uhmm.h>

static int my_register(void *keys, struct uhmm_reg *reg)
{
	reg->handle = ++*(uint64_t *)keys; /* a driver pins the pages here */
	return 0;
}
static void my_deregister(void *keys, struct uhmm_reg *reg)
{
	(void)keys, (void)reg; /* and lets them go here */
}
int main(void)
{
	struct uhmm_regcache_ops ops = {.reg = my_register, .dereg = my_deregister};
	char *buf = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uhmm_regcache *cache;
	struct uhmm_reg *reg;
	struct uhmm_mm *mm;
	uint64_t keys = 0;

	if (uhmm_mm_open(&mm, NULL) || uhmm_regcache_create(mm, &ops, &keys, NULL, &cache))
		return 1;
	for (int i = 0; i < 4; i++) {
		if (i == 2)
			madvise(buf, 4096, MADV_DONTNEED); /* nobody tells the library */
		if (uhmm_regcache_get(cache, buf, 65536, PROT_READ | PROT_WRITE, &reg))
			return 1;
		printf("use %d: key %d\n", i, (int)reg->handle); /* 1, 1, 2, 2 */
		uhmm_regcache_put(cache, reg);
	}
	uhmm_regcache_destroy(cache);
	uhmm_mm_close(mm);
}
