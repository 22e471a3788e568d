/* SPDX-License-Identifier: MIT */
/* fabric_old_user: gets an answer from the old libfabric, twice. */
#include <stddef.h>

struct fi_fabric_attr;
struct fid_fabric;
int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context);

int main(void)
{
	int one;

	return fi_fabric(NULL, NULL, &one) == 5 && fi_fabric(NULL, NULL, NULL) == 6 ? 0 : 1;
}
