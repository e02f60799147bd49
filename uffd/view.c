// SPDX-License-Identifier: MIT
/*
 * view.c - mapping, page states, figures.
 *
 * Pages are never filled by the kernel by itself: a view is locked out of mlockall(2) before
 * it is registered, since that would populate it with pages whose state nobody knows.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compat.h"
#include "engine.h"
#include "view.h"

void *stm_reserve(size_t len)
{
	void *start = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (start == MAP_FAILED)
		return NULL;
	munlock(start, len);
	madvise(start, len, MADV_DONTFORK);
	madvise(start, len, MADV_DONTDUMP);
	return start;
}

int stm_make_usable(void *start, size_t len)
{
	munlock(start, len); /* after mlockall(2), mprotect would fill all of it */
	return mprotect(start, len, PROT_READ | PROT_WRITE) ? -errno : 0;
}

int stm_empty(void *start, size_t len)
{
	return madvise(start, len, MADV_DONTNEED_LOCKED) ? -errno : 0;
}

int stm_view_open(struct stm_view *view, uint8_t *heap, uint8_t *state, const uint8_t *base, int memfd)
{
	memset(view, 0, sizeof(*view));
	view->heap = heap;
	view->state = state;
	view->base = base;
	view->memfd = memfd;
	view->withheld = STM_NO_PAGE;
	view->uffd = stm_uffd_open(stm_engine->features);
	if (view->uffd < 0)
		return view->uffd;
	return stm_engine->add ? stm_engine->add(view) : 0;
}

void stm_view_close(struct stm_view *view)
{
	if (view->uffd < 0)
		return;
	if (stm_engine->remove)
		stm_engine->remove(view);
	close(view->uffd);
	view->uffd = -1;
}

int stm_view_grow(struct stm_view *view, size_t pages)
{
	size_t old = atomic_load_explicit(&view->pages, memory_order_relaxed);
	uint8_t *start = view->heap + old * STM_PAGE;
	size_t len = (pages - old) * STM_PAGE;
	int error;

	if (pages <= old)
		return 0;
	if (mmap(start, len, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, view->memfd,
		 (off_t)(old * STM_PAGE)) == MAP_FAILED)
		return -errno;
	munlock(start, len);
	madvise(start, len, MADV_DONTFORK);
	madvise(start, len, MADV_DONTDUMP);
	error = stm_uffd_register(view->uffd, start, len);
	if (!error)
		error = stm_make_usable(start, len);
	if (error) { /* back to reserved, for a later attempt */
		mmap(start, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
		return error;
	}
	/* Pairs with stm_view_pages(). */
	atomic_store_explicit(&view->pages, pages, memory_order_release);
	return 0;
}

/* Keep the count of mapped pages by region: @change is 1 or -1 for each of [first, last). */
static void count_regions(struct stm_view *view, size_t first, size_t last, int change)
{
	while (first < last) {
		size_t next = (first / STM_REGION_PAGES + 1) * STM_REGION_PAGES;
		unsigned int slot = first / STM_REGION_PAGES % STM_REGION_SLOTS;
		uint32_t n = (uint32_t)((next < last ? next : last) - first);
		uint64_t bit = (uint64_t)1 << (slot % 64);

		view->region_pages[slot] += change > 0 ? n : -n;
		if (view->region_pages[slot])
			view->region_mask[slot / 64] |= bit;
		else
			view->region_mask[slot / 64] &= ~bit;
		first = next;
	}
}

static uint8_t *page_address(const struct stm_view *view, size_t page)
{
	return view->heap + page * STM_PAGE;
}

/* ---- a page that is withheld ---- */

void stm_view_withhold(struct stm_view *view, size_t page, uint8_t *staged)
{
	view->withheld = page;
	view->withheld_state = STM_PAGE_UNMAPPED;
	view->staged = staged;
}

int stm_view_hand_out(struct stm_view *view)
{
	size_t page = view->withheld;
	uint8_t *at = page_address(view, page);
	const uint8_t *staged = view->staged;
	enum stm_page_state state = view->withheld_state;
	int uffd = view->uffd, error = 0;
	uint64_t calls = 0;

	view->withheld = STM_NO_PAGE;
	view->calls++;
	if (state == STM_PAGE_SHARED) {
		error = stm_uffd_continue_at_once(uffd, at, STM_PAGE, &calls);
		if (error == -EINVAL) { /* Linux before 6.4: no moment without protection, so no sharing */
			view->state[page] = STM_PAGE_PRIVATE;
			view->shared--;
			view->mapped--;
			view->private++;
			view->copied++;
			state = STM_PAGE_PRIVATE;
			staged = view->base + page * STM_PAGE;
		}
	}
	if (state == STM_PAGE_PRIVATE)
		error = stm_uffd_copy(uffd, at, staged, STM_PAGE, &calls);
	/* There already, or nothing had to be done: nobody was woken. */
	if (error == -EEXIST || state == STM_PAGE_UNMAPPED)
		error = stm_uffd_wake(uffd, at, STM_PAGE);
	return error;
}

/* ---- events ---- */

typedef int make_pages(struct stm_view *view, size_t first, size_t last);

static int share_range(struct stm_view *view, size_t first, size_t last)
{
	return stm_uffd_continue(view->uffd, page_address(view, first), (last - first) * STM_PAGE, &view->calls);
}

static int copy_range(struct stm_view *view, size_t first, size_t last)
{
	return stm_uffd_copy(view->uffd, page_address(view, first), view->base + first * STM_PAGE,
			     (last - first) * STM_PAGE, &view->calls);
}

/* Make pages [first, last) but the one that is withheld: that is only prepared. */
static int make(struct stm_view *view, size_t first, size_t last, enum stm_page_state state)
{
	make_pages *range = state == STM_PAGE_SHARED ? share_range : copy_range;
	size_t withheld = view->withheld;
	int error = 0;

	if (withheld < first || withheld >= last) {
		error = range(view, first, last);
	} else {
		if (first < withheld)
			error = range(view, first, withheld);
		if (!error && withheld + 1 < last)
			error = range(view, withheld + 1, last);
		view->withheld_state = error ? STM_PAGE_UNMAPPED : state;
		if (state == STM_PAGE_PRIVATE)
			memcpy(view->staged, view->base + withheld * STM_PAGE, STM_PAGE);
	}
	if (error) { /* some may be there: none shall */
		++view->calls;
		stm_empty(page_address(view, first), (last - first) * STM_PAGE);
		return error;
	}
	memset(view->state + first, state, last - first);
	count_regions(view, first, last, 1);
	return 0;
}

int stm_view_share(struct stm_view *view, size_t first, size_t last)
{
	int error = make(view, first, last, STM_PAGE_SHARED);

	if (error)
		return error;
	view->shared += last - first;
	view->mapped += last - first;
	return 0;
}

int stm_view_share_again(struct stm_view *view, size_t page)
{
	int error;

	if (page == view->withheld) {
		view->withheld_state = STM_PAGE_SHARED;
		return 0;
	}
	error = stm_uffd_continue(view->uffd, page_address(view, page), STM_PAGE, &view->calls);
	return error == -EEXIST ? 0 : error;
}

int stm_view_copy(struct stm_view *view, size_t first, size_t last)
{
	int error = make(view, first, last, STM_PAGE_PRIVATE);

	if (error)
		return error;
	view->private += last - first;
	view->copied += last - first;
	return 0;
}

bool stm_view_hides_stores(void)
{
	return stm_engine->find_stores;
}

size_t stm_view_collect(struct stm_view *view, size_t first, size_t last)
{
	struct stm_page_run runs[16];
	size_t n, found = 0;

	if (!stm_engine->find_stores)
		return 0;
	while (first < last) {
		n = stm_engine->find_stores(view, &first, last, runs, sizeof(runs) / sizeof(runs[0]));
		++view->calls;
		for (size_t i = 0; i < n; i++)
			for (size_t page = runs[i].first; page < runs[i].last; page++)
				if (view->state[page] == STM_PAGE_SHARED) {
					view->state[page] = STM_PAGE_PRIVATE;
					found++;
				}
	}
	view->shared -= found;
	view->dropped += found;
	view->private += found;
	view->copied += found;
	return found;
}

/* Pages [first, last) are mapped no more. */
static void forget(struct stm_view *view, size_t first, size_t last)
{
	for (size_t page = first; page < last; page++) {
		uint8_t *state = view->state + page;

		if (*state == STM_PAGE_UNMAPPED) {
			if (!stm_view_has_region(view, (unsigned int)(page / STM_REGION_PAGES)))
				page |= STM_REGION_PAGES - 1; /* nor has the rest of it */
			continue;
		}
		if (*state == STM_PAGE_SHARED)
			view->shared--;
		else
			view->private--;
		view->dropped++;
		count_regions(view, page, page + 1, -1);
		*state = STM_PAGE_UNMAPPED;
	}
}

int stm_view_drop(struct stm_view *view, size_t first, size_t last)
{
	int error;

	++view->calls;
	error = stm_empty(page_address(view, first), (last - first) * STM_PAGE);
	if (!error)
		forget(view, first, last);
	return error;
}

/* Empty some of @n ranges, from the first one on. Returns how many, at least one; or -errno. */
static int empty_some(const struct iovec *ranges, unsigned int n)
{
	static _Atomic bool one_by_one; /* Linux before 6.15, or a security filter */
	unsigned int i = 0;
	long bytes;
	int error;

	if (n > 1 && !one_by_one) {
		bytes = syscall(SYS_process_madvise, PIDFD_SELF_THREAD, ranges, n, MADV_DONTNEED_LOCKED, 0);
		for (; i < n && bytes >= (long)ranges[i].iov_len; i++)
			bytes -= (long)ranges[i].iov_len;
		if (i)
			return (int)i;
		one_by_one = true;
	}
	error = stm_empty(ranges[0].iov_base, ranges[0].iov_len);
	return error ? error : 1;
}

int stm_view_drop_runs(struct stm_view *view, const struct stm_page_run *runs, unsigned int n,
		       const struct iovec *others, unsigned int others_n)
{
	struct iovec ranges[3 * STM_RUNS_MAX];
	unsigned int all = n + others_n;

	for (unsigned int i = 0; i < n; i++) {
		ranges[i].iov_base = page_address(view, runs[i].first);
		ranges[i].iov_len = (runs[i].last - runs[i].first) * STM_PAGE;
	}
	if (others_n)
		memcpy(ranges + n, others, others_n * sizeof(*others));
	for (unsigned int i = 0; i < all;) {
		int done = empty_some(ranges + i, all - i);

		++view->calls;
		if (done < 0)
			return done;
		for (; done--; i++)
			if (i < n)
				forget(view, runs[i].first, runs[i].last);
	}
	return 0;
}

static int protect(struct stm_view *view, size_t first, size_t last, enum stm_page_state state)
{
	int error = stm_uffd_protect(view->uffd, page_address(view, first), (last - first) * STM_PAGE,
				     state == STM_PAGE_GUARDED, &view->calls);

	if (!error)
		memset(view->state + first, state, last - first);
	return error;
}

int stm_view_guard(struct stm_view *view, size_t first, size_t last)
{
	return protect(view, first, last, STM_PAGE_GUARDED);
}

int stm_view_unguard(struct stm_view *view, size_t first, size_t last)
{
	return protect(view, first, last, STM_PAGE_PRIVATE);
}
