/* SPDX-License-Identifier: MIT */
/*
 * view.h - one segment's own mapping of the heap, and the state of its pages.
 *
 * A view knows nothing of transactions: it is told which pages to share with the base, to
 * copy from it, or to drop, and keeps the states and the figures. One thread at a time may
 * call: the view's owner, or who holds the owner still.
 */
#ifndef STM_VIEW_H
#define STM_VIEW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "userfaultfd.h"

enum stm_page_state {
	STM_PAGE_UNMAPPED,      /* no page; the first access faults */
	STM_PAGE_SHARED,        /* maps the base's page, read-only and write-protected */
	STM_PAGE_PRIVATE,       /* the view's own copy */
	STM_PAGE_GUARDED,       /* the same, write-protected */
};

#define STM_REGION_PAGES ((size_t)512)  /* a region is 2 MiB */
#define STM_REGION_SLOTS 512u           /* regions are counted modulo this: exact up to 1 GiB of heap */

#define STM_NO_PAGE SIZE_MAX

/* A fault that was taken care of: of which thread, where, for what. */
struct stm_view_fault {
	size_t page;
	int thread;
	bool write;
};

struct stm_view {
	uint8_t *heap;                  /* address of the heap's first byte in this view */
	uint8_t *state;                 /* enum stm_page_state, a byte a page */
	const uint8_t *base;            /* the shared mapping that pages come from */
	int memfd;
	int uffd;
	_Atomic size_t pages;           /* pages that exist: mapped and registered. Grows under the owner's feet */
	uint64_t region_mask[STM_REGION_SLOTS / 64]; /* bit r % 512: region r may have a mapped page */
	uint32_t region_pages[STM_REGION_SLOTS];     /* mapped pages behind that bit */
	uint64_t shared, private;       /* pages now; GUARDED ones are private, too */
	uint64_t mapped, copied, dropped; /* pages since the start */
	uint64_t calls;                 /* system calls since the start */
	/* While somebody resolves a fault for the thread that waits: see stm_view_withhold(). */
	size_t withheld;                /* a page, or STM_NO_PAGE */
	enum stm_page_state withheld_state; /* what it is to be; UNMAPPED: nothing to do */
	uint8_t *staged;
	struct stm_view_fault doubt;    /* the thread engine's */
	bool doubt_woken;
};

/*
 * Make a view of no pages, where @reserved bytes of address space at @heap belong to it and
 * @state has a byte for each page. 0 or -errno.
 */
int stm_view_open(struct stm_view *view, uint8_t *heap, uint8_t *state, const uint8_t *base, int memfd);

/* Give back the descriptor. The address space is the caller's to unmap. */
void stm_view_close(struct stm_view *view);

/* Let the view have @pages pages; blocks of the memfd must exist. 0 or -errno, nothing lost. */
int stm_view_grow(struct stm_view *view, size_t pages);

/* UNMAPPED to SHARED, UNMAPPED to PRIVATE, any to UNMAPPED: pages [first, last). 0 or -errno. */
int stm_view_share(struct stm_view *view, size_t first, size_t last);
int stm_view_copy(struct stm_view *view, size_t first, size_t last);
int stm_view_drop(struct stm_view *view, size_t first, size_t last);

/* PRIVATE to GUARDED, and back: pages [first, last), all of that state. 0 or -errno. */
int stm_view_guard(struct stm_view *view, size_t first, size_t last);
int stm_view_unguard(struct stm_view *view, size_t first, size_t last);

struct stm_page_run {
	size_t first, last;             /* pages [first, last) */
};

#define STM_RUNS_MAX 64u

/*
 * Drop up to STM_RUNS_MAX runs, and then empty up to twice as many other ranges, at the price of one call where the
 * kernel can (Linux 6.15): each call stops all CPUs that run a thread of this process. 0 or -errno; runs may be dropped then.
 */
int stm_view_drop_runs(struct stm_view *view, const struct stm_page_run *runs, unsigned int n,
		       const struct iovec *others, unsigned int others_n);

/* Map a SHARED page again that the kernel took back. 0 or -errno. */
int stm_view_share_again(struct stm_view *view, size_t page);

/*
 * For who resolves a fault on @page for a thread that waits: from here on the page is not made, only prepared,
 * with its contents in @staged. stm_view_hand_out() makes it, so that the thread can go on; after that
 * nothing of the view, or of its segment, may be touched. 0 or -errno.
 */
void stm_view_withhold(struct stm_view *view, size_t page, uint8_t *staged);
int stm_view_hand_out(struct stm_view *view);

/* Where contents of a page that was copied are written. */
static inline uint8_t *stm_view_contents(const struct stm_view *view, size_t page)
{
	return page == view->withheld ? view->staged : view->heap + page * STM_PAGE;
}

/*
 * SHARED pages of [first, last) that were stored to without a fault, as an engine may let happen, become
 * PRIVATE, as they are. How many.
 */
bool stm_view_hides_stores(void);       /* may that happen? */
size_t stm_view_collect(struct stm_view *view, size_t first, size_t last);

static inline size_t stm_view_pages(const struct stm_view *view)
{
	return atomic_load_explicit(&view->pages, memory_order_acquire);
}

static inline bool stm_view_has_region(const struct stm_view *view, unsigned int region)
{
	return view->region_mask[region / 64 % (STM_REGION_SLOTS / 64)] >> (region % 64) & 1;
}

/* Ranges of address space without memory behind them, and parts of them made usable. */
void *stm_reserve(size_t len);
int stm_make_usable(void *start, size_t len);
int stm_empty(void *start, size_t len); /* give the memory back; it reads as zero, even if locked */

#endif
