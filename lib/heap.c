// SPDX-License-Identifier: MIT
/*
 * heap.c - the memfd behind the heap, the base, and growing both.
 *
 * Blocks of the memfd are allocated before anybody may touch them: a hole takes no minor fault. The heap
 * grows in all segments at once, so that a pointer to new memory is good wherever it gets to.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "compat.h"
#include "internal.h"

/* Private to the library: two bytes about each page lie below the read markers, their state and their sweep. */
#ifdef STM_SMALL_LAYOUT
#define PAGE_STATES ((size_t)2 << 20)
#else
#define PAGE_STATES ((size_t)1 << 30)
#endif

_Static_assert(STM_HOT + STM_PAGE <= PAGE_STATES, "layout: page states above the hot page");
#define PAGE_SWEEPS (PAGE_STATES + STM_HEAP_LIMIT / STM_PAGE)

_Static_assert(PAGE_SWEEPS + STM_HEAP_LIMIT / STM_PAGE <= STM_HEAP / 4, "layout: markers above what is known of pages");
_Static_assert((STM_HEAP + STM_HEAP_LIMIT) / 4 <= STM_WRITE_MARKERS + STM_HEAP / 4, "layout: markers apart");
_Static_assert(STM_WRITE_MARKERS + (STM_HEAP + STM_HEAP_LIMIT) / 4 <= STM_HEAP, "layout: markers below the heap");

#define GROWTH_MIN ((size_t)4 << 20)    /* bytes: 1,024 pages, 1 ms to allocate */
#define GROWTH_MAX ((size_t)64 << 20)   /* a step that is felt by nobody but the one who grows */

/* 4 bytes for each page of the heap, whole pages; memory comes with use. */
#define TICKS_BYTES ((stm_global.heap_limit / STM_PAGE * sizeof(uint32_t) + STM_PAGE - 1) / STM_PAGE * STM_PAGE)

static pthread_mutex_t grow_lock = PTHREAD_MUTEX_INITIALIZER;

/* Past this limit ftruncate(2) would not answer, but send SIGXFSZ. */
static int check_file_size(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur >= stm_global.heap_limit)
		return 0;
	stm_complain("RLIMIT_FSIZE: EFBIG: cannot make a heap of %zu bytes: raise it from %llu, or ask for less",
		     stm_global.heap_limit, (unsigned long long)limit.rlim_cur);
	return -EFBIG;
}

/* Address space for the base, and for a word about each of its pages. */
static int map_base(void)
{
	int error;

	stm_global.base = mmap(NULL, stm_global.heap_limit, PROT_NONE, MAP_SHARED, stm_global.memfd, 0);
	if (stm_global.base == MAP_FAILED)
		return -errno;
	stm_global.fold_ticks = stm_reserve(TICKS_BYTES);
	error = stm_global.fold_ticks ? stm_make_usable(stm_global.fold_ticks, TICKS_BYTES) : -ENOMEM;
	if (error) {
		munmap(stm_global.base, stm_global.heap_limit);
		if (stm_global.fold_ticks)
			munmap(stm_global.fold_ticks, TICKS_BYTES);
	}
	return error;
}

int stm_heap_open(void)
{
	int error = check_file_size();

	if (error)
		return error;
	stm_global.memfd = memfd_create("stm-heap", MFD_CLOEXEC);
	if (stm_global.memfd < 0) {
		error = -errno;
		stm_complain("memfd_create: %s: cannot make the heap", stm_errno_name(error));
		return error;
	}
	if (ftruncate(stm_global.memfd, (off_t)stm_global.heap_limit)) {
		error = -errno;
		stm_complain("ftruncate: %s: cannot make a heap of %zu bytes",
			     stm_errno_name(error), stm_global.heap_limit);
		goto fail;
	}
	error = map_base();
	if (error) {
		stm_complain("mmap: %s: no address space for a heap of %zu bytes: raise RLIMIT_AS or ask for less",
			     stm_errno_name(error), stm_global.heap_limit);
		goto fail;
	}
	munlock(stm_global.base, stm_global.heap_limit);
	madvise(stm_global.base, stm_global.heap_limit, MADV_DONTFORK);
	atomic_store(&stm_global.heap_size, 0);
	error = stm_heap_grow(STM_PAGE);
	if (!error)
		return 0;
	stm_complain("fallocate: %s: no memory for the first %zu bytes of the heap", stm_errno_name(error),
		     STM_PAGE);
	munmap(stm_global.fold_ticks, TICKS_BYTES);
	munmap(stm_global.base, stm_global.heap_limit);
fail:
	close(stm_global.memfd);
	return error;
}

void stm_heap_close(void)
{
	munmap(stm_global.fold_ticks, TICKS_BYTES);
	munmap(stm_global.base, stm_global.heap_limit);
	close(stm_global.memfd);
}

/* Map pages, states and markers of the heap's first @size bytes. Grow lock held, or the segment is nobody's yet. */
static int extend(struct stm_seg *seg, size_t size)
{
	size_t old = stm_view_pages(&seg->view), pages = size / STM_PAGE;
	size_t marker_bytes = STM_PAGE / STM_GRANULE * sizeof(uint32_t);
	int error;

	if (pages <= old)
		return 0;
	error = stm_make_usable(seg->start + PAGE_STATES, (pages + STM_PAGE - 1) / STM_PAGE * STM_PAGE);
	if (!error)
		error = stm_make_usable(seg->start + PAGE_SWEEPS, (pages + STM_PAGE - 1) / STM_PAGE * STM_PAGE);
	if (!error)
		error = stm_make_usable(seg->start + STM_HEAP / 4, pages * marker_bytes);
	if (!error)
		error = stm_make_usable(seg->start + STM_WRITE_MARKERS + STM_HEAP / 4, pages * marker_bytes);
	if (!error)
		error = stm_view_grow(&seg->view, pages);
	return error;
}

int stm_heap_enlist(struct stm_seg *seg)
{
	int error;

	seg->view.heap = seg->start + STM_HEAP;
	seg->view.state = seg->start + PAGE_STATES;
	seg->sweeps = seg->start + PAGE_SWEEPS;
	seg->read_markers = (stm_marker *)(seg->start + STM_HEAP / 4);
	seg->write_markers = (stm_marker *)(seg->start + STM_WRITE_MARKERS + STM_HEAP / 4);
	pthread_mutex_lock(&grow_lock);
	error = extend(seg, atomic_load_explicit(&stm_global.heap_size, memory_order_relaxed));
	/* In the list before the lock is free, so that no growth misses it. */
	if (!error) {
		unsigned int n = atomic_load_explicit(&stm_global.segments_n, memory_order_relaxed);

		seg->id = n;
		stm_global.segments[n] = seg;
		atomic_store_explicit(&stm_global.segments_n, n + 1, memory_order_release);
	}
	pthread_mutex_unlock(&grow_lock);
	return error;
}

/* The system would rather kill a process than refuse blocks that it does not have. */
static bool is_available(size_t bytes)
{
	FILE *meminfo = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];

	if (!meminfo)
		return true;
	while (fgets(line, sizeof(line), meminfo)) {
		unsigned long long n;

		if (sscanf(line, "MemAvailable: %llu", &n) == 1 || sscanf(line, "SwapFree: %llu", &n) == 1)
			kib += n;
	}
	fclose(meminfo);
	return !kib || bytes / 1024 < kib;
}

static int grow_to(size_t size)
{
	size_t old = atomic_load_explicit(&stm_global.heap_size, memory_order_relaxed);
	unsigned int n = atomic_load_explicit(&stm_global.segments_n, memory_order_acquire);
	int error = 0;

	if (size - old > GROWTH_MAX && !is_available(size - old))
		return -ENOMEM;
	while (fallocate(stm_global.memfd, 0, (off_t)old, (off_t)(size - old)))
		if (errno != EINTR)
			return -ENOMEM;
	if (mprotect(stm_global.base, size, PROT_READ | PROT_WRITE))
		error = -ENOMEM;
	else /* else each first copy of a page would fault in the base, one by one; no matter if it fails */
		madvise(stm_global.base + old, size - old, MADV_POPULATE_WRITE);
	for (unsigned int i = 0; i < n && !error; i++)
		error = extend(stm_global.segments[i], size);
	if (error) { /* what some segments have mapped already is used by a later attempt, if there is one */
		fallocate(stm_global.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)old,
			  (off_t)(size - old));
		return -ENOMEM;
	}
	atomic_store_explicit(&stm_global.heap_size, size, memory_order_release);
	__atomic_store_n(&stm_status->heap_bytes, size, __ATOMIC_RELAXED);
	return 0;
}

static size_t step_from(size_t old)
{
	size_t step = old / 2 / STM_PAGE * STM_PAGE;

	return step < GROWTH_MIN ? GROWTH_MIN : step > GROWTH_MAX ? GROWTH_MAX : step;
}

int stm_heap_grow(size_t size)
{
	size_t limit = stm_global.heap_limit, old, wish;
	int error = 0;

	size = (size + STM_PAGE - 1) / STM_PAGE * STM_PAGE;
	if (size > limit)
		return -ENOMEM;
	pthread_mutex_lock(&grow_lock);
	old = atomic_load_explicit(&stm_global.heap_size, memory_order_relaxed);
	if (size > old) {
		wish = old + step_from(old);
		wish = wish < size ? size : wish > limit ? limit : wish;
		error = grow_to(wish);
		if (error && wish > size) /* less memory than wished for may be had */
			error = grow_to(size);
	}
	pthread_mutex_unlock(&grow_lock);
	return error;
}
