/* SPDX-License-Identifier: MIT */
/* fabric_old: a libfabric of 1.12, as far as fabric_old_user.c needs one: no fi_open(). */
#include <stdint.h>

struct fi_fabric_attr;
struct fid_fabric;
int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context);
uint32_t fi_version(void);

int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context)
{
	(void)attr;
	(void)fabric;
	return context ? 5 : 6;
}

uint32_t fi_version(void)
{
	return 1 << 16 | 12;
}
