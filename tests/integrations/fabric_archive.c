/* SPDX-License-Identifier: MIT */
/*
 * fabric_archive.c: instead of libfabric.a's own, none of the providers that need libraries of their adapters. Also compiled at
 * configuration, to see whether the archive can be linked like this.
 */
#include <stddef.h>

#include <rdma/fabric.h>

struct fi_provider;
struct fi_provider *fi_efa_ini(void);
struct fi_provider *fi_psm_ini(void);
struct fi_provider *fi_psm2_ini(void);
struct fi_provider *fi_verbs_ini(void);

struct fi_provider *fi_efa_ini(void)
{
	return NULL;
}

struct fi_provider *fi_psm_ini(void)
{
	return NULL;
}

struct fi_provider *fi_psm2_ini(void)
{
	return NULL;
}

struct fi_provider *fi_verbs_ini(void)
{
	return NULL;
}

#ifndef FABRIC_RACE
int main(void)
{
	struct fi_info *info;

	return fi_getinfo(FI_VERSION(1, 17), NULL, NULL, 0, NULL, &info);
}
#endif
