/* SPDX-License-Identifier: MIT */
/*
 * fabric_layout.h: where libfabric 1.17 keeps what its registration cache shares with a provider. No header says so outside of
 * libfabric, but the distribution's libfabric.a has the cache in it, and the test plays the provider. Another release is
 * another layout: the test skips.
 */
#ifndef TESTS_INTEGRATIONS_FABRIC_LAYOUT_H
#define TESTS_INTEGRATIONS_FABRIC_LAYOUT_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <rdma/fi_domain.h>

enum { INTERFACES = 6, HANDLE_BYTES = 64 };

struct list_entry {
	void *links[2];
};

struct ofi_mr_info {
	struct iovec iov;
	enum fi_hmem_iface iface;
	uint64_t device;
	void *ipc_mapped_addr;
	uint8_t ipc_handle[HANDLE_BYTES];
};

struct ofi_mr_entry {
	struct ofi_mr_info info;
	void *node;
	int use_cnt;
	struct list_entry list_entry;
	uint64_t hmem_info;
	uint64_t stamp; /* the provider's part */
};

struct ofi_mr_cache {
	void *domain;
	void *monitors[INTERFACES];
	struct list_entry notify_entries[INTERFACES];
	size_t entry_data_size;
	struct {
		void *root;
		struct {
			void *links[3];
			int color;
			void *data;
		} sentinel;
		void *free_list;
		void *compare;
	} tree;
	struct list_entry lru_list, dead_region_list;
	pthread_mutex_t lock;
	size_t cached_cnt, cached_size, uncached_cnt, uncached_size, search_cnt, delete_cnt, hit_cnt, notify_cnt;
	void *entry_pool;
	int (*add_region)(struct ofi_mr_cache *cache, struct ofi_mr_entry *entry);
	void (*delete_region)(struct ofi_mr_cache *cache, struct ofi_mr_entry *entry);
};

extern void *memhooks_monitor, *default_monitor;
int ofi_mr_cache_init(void *domain, void **monitors, struct ofi_mr_cache *cache);
void ofi_mr_cache_cleanup(struct ofi_mr_cache *cache);
int ofi_mr_cache_search(struct ofi_mr_cache *cache, const struct ofi_mr_info *info, struct ofi_mr_entry **entry);
void ofi_mr_cache_delete(struct ofi_mr_cache *cache, struct ofi_mr_entry *entry);

#endif
