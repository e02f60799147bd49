// SPDX-License-Identifier: MIT
/*
 * async.c - minor faults as with sigbus; a store to a SHARED page is none: the kernel gives the view a copy of the page,
 * with the store in it, and forgets the protection (UFFD_FEATURE_WP_ASYNC).
 *
 * PAGEMAP_SCAN tells which pages lost their protection, or never had one. Until it is asked, such a page has state SHARED
 * without being so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "compat.h"
#include "engine.h"
#include "message.h"
#include "view.h"

#define REGIONS 16

static int pagemap = -1;

static int async_open(stm_fault_resolver *resolve)
{
	(void)resolve; /* called by the signal handler */
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap >= 0)
		return 0;

	int error = -errno;

	stm_complain("/proc/self/pagemap: %s: engine async reads it: mount /proc, or choose another engine",
		     stm_errno_name(error));
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM ? error : -EOPNOTSUPP;
}

static void async_close(void)
{
	close(pagemap);
	pagemap = -1;
}

static size_t find_stores(struct stm_view *view, size_t *first, size_t last, struct stm_page_run *runs, size_t n)
{
	struct page_region regions[REGIONS] = { { .start = 0 } }; /* valgrind does not know that ioctl fills it */
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)view->heap + *first * STM_PAGE,
		.end = (uintptr_t)view->heap + last * STM_PAGE,
		.vec = (uintptr_t)regions,
		.vec_len = n < REGIONS ? n : REGIONS,
		.category_mask = PAGE_IS_WRITTEN,
		/* A mask of one bit takes a short way in the kernel, which not every kernel has right for swapped pages. */
		.return_mask = PAGE_IS_WRITTEN | PAGE_IS_SWAPPED,
	};
	int found;

	do
		found = ioctl(pagemap, PAGEMAP_SCAN, &scan);
	while (found < 0 && errno == EINTR);
	if (found < 0) { /* no memory: call all private; those that are not yet will be copied by their first store */
		runs[0] = (struct stm_page_run){ *first, last };
		*first = last;
		return 1;
	}
	for (int i = 0; i < found; i++) {
		runs[i].first = (regions[i].start - (uintptr_t)view->heap) / STM_PAGE;
		runs[i].last = (regions[i].end - (uintptr_t)view->heap) / STM_PAGE;
	}
	*first = (scan.walk_end - (uintptr_t)view->heap) / STM_PAGE;
	return (size_t)found;
}

const struct stm_engine stm_async_engine = {
	.name = "async",
	.features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_ASYNC,
	.open = async_open,
	.close = async_close,
	.find_stores = find_stores,
};
