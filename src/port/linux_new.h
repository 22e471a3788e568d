/* SPDX-License-Identifier: MIT */
/*
 * linux_new.h: kernel constants newer than the headers of the oldest distribution that we build on (6.1). The only such file.
 */
#ifndef PORT_LINUX_NEW_H
#define PORT_LINUX_NEW_H

#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* 5.14 */
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* 5.18 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* 6.1 */
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* 6.13 */
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* 6.3 */
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1u << 15) /* 6.7 */
#endif
#ifndef FALLOC_FL_WRITE_ZEROES
#define FALLOC_FL_WRITE_ZEROES 0x80 /* 6.17 */
#endif

#ifndef PROCMAP_QUERY /* 6.11: an ioctl of /proc/<pid>/maps, of <linux/fs.h> */
struct procmap_query {
	uint64_t size, query_flags, query_addr;                /* in */
	uint64_t vma_start, vma_end, vma_flags, vma_page_size; /* out, as all below but the two addresses */
	uint64_t vma_offset, inode;
	uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};
#define PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)
#define PROCMAP_QUERY_VMA_WRITABLE 0x02u
#define PROCMAP_QUERY_VMA_EXECUTABLE 0x04u
#define PROCMAP_QUERY_COVERING_OR_NEXT_VMA 0x10u
#define PROCMAP_QUERY_FILE_BACKED_VMA 0x20u
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449 /* 5.16, by the same number everywhere; musl's headers may lack it */
#endif
#ifndef PR_SYS_DISPATCH_INCLUSIVE_ON
#define PR_SYS_DISPATCH_INCLUSIVE_ON 2 /* 6.16 */
#endif

/* 6.7: struct pm_scan_arg and PAGEMAP_SCAN, under names that no header has. */
#define PAGEMAP_SCAN_CHECK_WPASYNC 2u
struct pagemap_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN_CALL _IOWR('f', 16, struct pagemap_scan)

#endif
