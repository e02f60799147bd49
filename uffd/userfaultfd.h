/* SPDX-License-Identifier: MIT */
/*
 * userfaultfd.h - the kernel's interface: open, register, resolve.
 *
 * Every function returns 0 or -errno. Ranges are in bytes, page-aligned.
 */
#ifndef STM_USERFAULTFD_H
#define STM_USERFAULTFD_H

#include <stddef.h>
#include <stdint.h>

#define STM_PAGE ((size_t)4096)

/*
 * A descriptor with minor faults and write protection of shared memory, and @features. Says on stderr what
 * is missing and what to do.
 */
int stm_uffd_open(uint64_t features);

int stm_uffd_register(int uffd, void *start, size_t len);

/* Fill empty page-table entries of @to with copies of @from: pages of the mapping's own. */
int stm_uffd_copy(int uffd, void *to, const void *from, size_t len, uint64_t *calls);

/* Map pages of the page cache into empty entries, read-only and write-protected. */
int stm_uffd_continue(int uffd, void *start, size_t len, uint64_t *calls);

#endif
