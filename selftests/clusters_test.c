// SPDX-License-Identifier: MIT
/*
 * clusters_test.c - white box: how many pages a fault maps grows while faults follow each other and shrinks while they do
 * not, within bounds; and a page that is written again and again is copied at its first read.
 */
#include <sys/mman.h>
#include <time.h>

#include "internal.h"
#include "support.h"

#include "kselftest_harness.h"

#define HEAP_PAGES 4096u
#define FIRST 1024u                     /* a cluster starts here, whatever its size; the allocator is far below */

static struct stm_seg *us;

static bool start_with(size_t pages, unsigned int min, unsigned int max)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.trim_age = STM_TRIM_NEVER; /* page states are looked at, however long it takes */
	options.heap_size = HEAP_PAGES * STM_PAGE;
	options.cluster = min;
	options.cluster_max = max;
	if (stm_init(&options) || stm_thread_attach() || stm_heap_grow(pages * STM_PAGE))
		return false;
	us = stm__self;
	return atomic_load(&stm_global.heap_size) == pages * STM_PAGE;
}

static bool start(unsigned int min, unsigned int max)
{
	return start_with(HEAP_PAGES, min, max);
}

/* Not inlined: gcc leaves the %gs out of constant addresses. */
static __attribute__((__noinline__)) long STM *page_at(size_t page)
{
	return (long STM *)(STM_HEAP + page * STM_PAGE);
}

static uint64_t read_faults(void)
{
	return us->faults[STM_FAULT_READ];
}

static void read_page(size_t page)
{
	STM_ATOMIC
		(void)*(volatile long *)stm_local(page_at(page));
}

static void write_page(size_t page)
{
	STM_ATOMIC
		STM_SET(*page_at(page), 1);
}

static enum stm_page_state state_of(size_t page)
{
	enum stm_page_state state = us->view.state[page];

	return state == STM_PAGE_GUARDED ? STM_PAGE_PRIVATE : state; /* UFFDSTM_STRICT */
}

/* Pages in @state from @first on, up to the first that is not. */
static size_t run_from(size_t first, enum stm_page_state state)
{
	size_t n = 0;

	while (state_of(first + n) == state)
		n++;
	return n;
}

static size_t run_of(enum stm_page_state state)
{
	return run_from(FIRST, state);
}

TEST(scan_upwards)
{
	static const size_t ends[] = { 16, 32, 64, 128, 256, 512, 1024, 1536 };

	ASSERT_TRUE(start(0, 0));
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		read_page(FIRST + (i ? ends[i - 1] : 0));
		EXPECT_EQ(ends[i], run_of(STM_PAGE_SHARED));
	}
	EXPECT_EQ(8, read_faults());
	EXPECT_EQ(0, stm_fini());
}

TEST(scan_downwards)
{
	const size_t top = FIRST + 1024;

	ASSERT_TRUE(start(0, 0));
	for (size_t page = top; page-- > FIRST;)
		read_page(page);
	/* 16, 16, 32, 64, 128, 256 pages, then 512 */
	EXPECT_EQ(7, read_faults());
	EXPECT_EQ(1024, run_of(STM_PAGE_SHARED));
	EXPECT_EQ(0, stm_fini());
}

TEST(writes_have_a_stride_of_their_own)
{
	ASSERT_TRUE(start(0, 0));
	write_page(FIRST);
	EXPECT_EQ(16, run_of(STM_PAGE_PRIVATE));
	read_page(FIRST + 2048); /* somewhere else: no matter */
	write_page(FIRST + 16);
	write_page(FIRST + 32);
	EXPECT_EQ(64, run_of(STM_PAGE_PRIVATE));
	EXPECT_EQ(0, us->faults[STM_FAULT_WRITE]); /* the barrier needs none */
	EXPECT_EQ(0, stm_fini());
}

TEST(scattered_faults_shrink_to_the_lower_bound)
{
	ASSERT_TRUE(start(2, 64));
	for (unsigned int i = 0; i < 6; i++)
		read_page(FIRST + 2000 - i * 300);
	read_page(FIRST);
	EXPECT_EQ(2, run_of(STM_PAGE_SHARED));
	EXPECT_EQ(7, read_faults());
	EXPECT_EQ(0, stm_fini());
}

TEST(lower_bounds_by_default)
{
	ASSERT_TRUE(start(0, 0));
	for (unsigned int i = 0; i < 6; i++) {
		read_page(FIRST + 2000 - i * 300);
		write_page(FIRST + 2100 - i * 300);
	}
	read_page(FIRST);
	EXPECT_EQ(8, run_of(STM_PAGE_SHARED));
	write_page(FIRST + 32);
	EXPECT_EQ(STM_PAGE_PRIVATE, state_of(FIRST + 33));
	EXPECT_EQ(STM_PAGE_UNMAPPED, state_of(FIRST + 34));
	EXPECT_EQ(0, stm_fini());
}

TEST(upper_bound)
{
	ASSERT_TRUE(start(1, 4));
	for (size_t i = 0; i < 64; i++)
		read_page(FIRST + i);
	EXPECT_EQ(16, read_faults());
	EXPECT_EQ(64, run_of(STM_PAGE_SHARED));
	EXPECT_EQ(0, stm_fini());
}

TEST(one_bound_is_both)
{
	ASSERT_TRUE(start(4, 0));
	for (size_t i = 0; i < 64; i++)
		read_page(FIRST + i);
	EXPECT_EQ(16, read_faults());
	EXPECT_EQ(0, stm_fini());
}

/* ---- markers ---- */

/* Pages of read markers that have memory, of those for pages [first, last). */
static size_t marker_pages(size_t first, size_t last)
{
	unsigned char in_memory[HEAP_PAGES / 4];
	size_t n = 0;

	if (mincore(us->read_markers + first * STM_PAGE_GRANULES, (last - first) * STM_PAGE_GRANULES * sizeof(stm_marker), in_memory))
		abort();
	for (size_t i = 0; i < (last - first) / 4; i++)
		n += in_memory[i] & 1;
	return n;
}

/* By barrier, each @step pages. */
static void scan(size_t first, size_t last, size_t step)
{
	for (size_t page = first; page < last; page += step)
		STM_ATOMIC {
			stm_read(page_at(page));
			(void)*(volatile long *)stm_local(page_at(page));
		}
}

/* Clusters are 16, 16, 32 and 64 pages. */
TEST(read_markers_come_with_the_clusters_of_a_scan)
{
	ASSERT_TRUE(start(0, 0));
	scan(FIRST, FIRST + 64, 1);
	scan(FIRST + 64, FIRST + 65, 1);
	EXPECT_EQ(128, run_of(STM_PAGE_SHARED));
	EXPECT_EQ(64 / 4, marker_pages(FIRST + 64, FIRST + 128));
	EXPECT_EQ(0, marker_pages(FIRST + 128, FIRST + 512));
	EXPECT_EQ(0, stm_fini());
}

TEST(read_markers_of_pages_that_are_skipped_do_not_come)
{
	for (size_t step = 8; step <= 16; step *= 2) {
		ASSERT_TRUE(start(0, 0));
		scan(FIRST, FIRST + 2048, step);
		EXPECT_EQ(2048, run_of(STM_PAGE_SHARED));
		EXPECT_EQ(2048 / step, marker_pages(FIRST, FIRST + 2048));
		EXPECT_EQ(0, stm_fini());
	}
}

/* A write is a read, too. */
TEST(read_markers_come_with_large_clusters_of_writes)
{
	ASSERT_TRUE(start(0, 0));
	for (size_t page = FIRST; page < FIRST + 65; page++)
		write_page(page);
	EXPECT_EQ(128, run_of(STM_PAGE_PRIVATE));
	EXPECT_EQ(64 / 4, marker_pages(FIRST + 64, FIRST + 128));
	write_page(FIRST + 2900);
	write_page(FIRST + 2048); /* 32 pages */
	EXPECT_EQ(1, marker_pages(FIRST + 2048, FIRST + 2048 + 64));
	EXPECT_EQ(0, stm_fini());
}

/* ---- the heap's end ---- */

#define LAST_CLUSTER 2048u              /* of 512 pages; more than a step of growth from the start */
#define REST 200u                       /* pages that the heap has of it */

/* A growth that failed leaves pages in a view that have no blocks behind them. */
TEST(clusters_end_where_growth_failed)
{
	ASSERT_TRUE(start_with(LAST_CLUSTER + REST, 512, 512));
	ASSERT_EQ(0, stm_view_grow(&us->view, LAST_CLUSTER + 2 * REST));
	read_page(LAST_CLUSTER + 10);
	EXPECT_EQ(REST, run_from(LAST_CLUSTER, STM_PAGE_SHARED));
	ASSERT_EQ(0, stm_thread_detach());
	ASSERT_EQ(0, stm_thread_attach());
	write_page(LAST_CLUSTER + 10);
	EXPECT_EQ(REST, run_from(LAST_CLUSTER, STM_PAGE_PRIVATE));
	EXPECT_EQ(0, stm_fini());
}

/* ---- hot pages ---- */

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* Write FIRST @times, a while apart, into the base; then have an empty view. */
static bool write_often(int times)
{
	for (int i = 0; i < times; i++) {
		if (i)
			pause_ms(150); /* two ticks */
		STM_ATOMIC
			STM_SET(*page_at(FIRST), STM_GET(*page_at(FIRST)) + 1);
		stm_log_throttle(us); /* folds */
		if (atomic_load(&stm_global.folded) != us->snapshot)
			return false;
	}
	return !stm_thread_detach() && !stm_thread_attach() && state_of(FIRST) == STM_PAGE_UNMAPPED;
}

TEST(page_written_again_and_again_is_copied)
{
	volatile long value = 0;

	ASSERT_TRUE(start(4, 4));
	ASSERT_TRUE(write_often(3));
	read_page(FIRST);
	EXPECT_EQ(STM_PAGE_PRIVATE, state_of(FIRST));
	EXPECT_EQ(STM_PAGE_SHARED, state_of(FIRST + 1)); /* nobody writes there */
	STM_ATOMIC
		value = STM_GET(*page_at(FIRST));
	EXPECT_EQ(3, value);
	EXPECT_EQ(0, stm_fini());
}

TEST(page_written_once_is_shared)
{
	ASSERT_TRUE(start(4, 4));
	ASSERT_TRUE(write_often(1));
	read_page(FIRST);
	EXPECT_EQ(4, run_of(STM_PAGE_SHARED));
	EXPECT_EQ(0, stm_fini());
}

TEST(page_left_alone_for_a_while_is_shared)
{
	ASSERT_TRUE(start(4, 4));
	ASSERT_TRUE(write_often(3));
	pause_ms(1300);
	read_page(FIRST);
	EXPECT_EQ(4, run_of(STM_PAGE_SHARED));
	EXPECT_EQ(0, stm_fini());
}

TEST_HARNESS_MAIN
