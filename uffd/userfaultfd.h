/* SPDX-License-Identifier: MIT */
/*
 * userfaultfd.h - the kernel's interface: open, register, resolve.
 *
 * Every function returns 0 or -errno, where nothing else is said. Ranges are in bytes, page-aligned.
 */
#ifndef STM_USERFAULTFD_H
#define STM_USERFAULTFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STM_PAGE ((size_t)4096)

/* How a descriptor was got, the best first: only the last leaves faults inside system calls to fail with EFAULT. */
enum stm_uffd_way {
	STM_UFFD_DEVICE,        /* /dev/userfaultfd: who may open it */
	STM_UFFD_CALL,          /* userfaultfd(2): CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd=1 */
	STM_UFFD_USER_MODE,     /* the same with UFFD_USER_MODE_ONLY: anybody */
	STM_UFFD_WAYS
};

/*
 * Until stm_uffd_stop(): @keep_device holds /dev/userfaultfd open, so that who drops rights after
 * stm_init() can still attach threads.
 */
void stm_uffd_start(bool keep_device);
void stm_uffd_stop(void);

/* The worst way that was needed since stm_uffd_start(), its name, and what the better ones answered: 0 or -errno. */
enum stm_uffd_way stm_uffd_way(void);
const char *stm_uffd_way_name(enum stm_uffd_way way);
int stm_uffd_refused(enum stm_uffd_way way);

/*
 * A descriptor with minor faults and write protection of shared memory, and @features. Says on stderr what
 * is missing and what to do.
 */
int stm_uffd_open(uint64_t features);

/* What of @features, or of what is always needed, this kernel lacks: 0 too if it cannot be asked. */
uint64_t stm_uffd_lacking(uint64_t features);

/* "UFFD_FEATURE_SIGBUS: needs Linux 4.14 or later", for the lowest bit. */
const char *stm_uffd_feature(uint64_t feature);

int stm_uffd_register(int uffd, void *start, size_t len);

/* Fill empty page-table entries of @to with copies of @from: pages of the mapping's own. Wakes who waits there. */
int stm_uffd_copy(int uffd, void *to, const void *from, size_t len, uint64_t *calls);

/* Map pages of the page cache into empty entries, read-only and write-protected. Likewise. */
int stm_uffd_continue(int uffd, void *start, size_t len, uint64_t *calls);

/* The same without a moment in which they are not protected: -EINVAL before Linux 6.4. */
int stm_uffd_continue_at_once(int uffd, void *start, size_t len, uint64_t *calls);

/* Let who waits there try again. */
int stm_uffd_wake(int uffd, void *start, size_t len);
/* Let a store to pages that are mapped fault, or go through again. */
int stm_uffd_protect(int uffd, void *start, size_t len, bool protected, uint64_t *calls);

#endif
