/* SPDX-License-Identifier: MIT */
/* fabric_user: a program that uses libfabric and knows nothing of this library; it forks, and maps and unmaps besides. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

static int open_and_close(void)
{
	struct fi_info *hints = fi_allocinfo(), *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;

	hints->fabric_attr->prov_name = strdup("udp");
	if (fi_getinfo(FI_VERSION(1, 11), NULL, NULL, 0, hints, &info))
		return 77;
	if (fi_fabric(info->fabric_attr, &fabric, NULL))
		return 1;
	if (fi_domain(fabric, info, &domain, NULL))
		return 2;
	fi_close(&domain->fid);
	fi_close(&fabric->fid);
	fi_freeinfo(info);
	fi_freeinfo(hints);
	return 0;
}

static void *map_and_unmap(void *unused)
{
	(void)unused;
	for (int i = 0; i < 1000; i++) {
		void *p = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		memset(p, 1, 4096);
		munmap(p, 1 << 16);
		free(malloc(1 << 20));
	}
	return NULL;
}

int main(void)
{
	int status, err;
	pthread_t thread;
	pid_t child;

	pthread_create(&thread, NULL, map_and_unmap, NULL);
	err = open_and_close();
	if (err)
		return err;
	child = fork();
	if (!child) {
		map_and_unmap(NULL);
		exit(open_and_close());
	}
	waitpid(child, &status, 0);
	pthread_join(thread, NULL);
	printf("done\n");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}
