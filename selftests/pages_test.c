// SPDX-License-Identifier: MIT
/*
 * pages_test.c - white box: each page event of DESIGN section 5, one at a time, with the states it leads to and exactly
 * the faults, shares, copies and drops it costs, for clusters of 1, 4, 16 and 512 pages.
 *
 * pages_model_test.c does the same at random. The main thread is "we"; another attached thread, "they", commits
 * and helps. All runs in turns: nothing here depends on timing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <uffdstm.h>

#include "internal.h"
#include "support.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21                 /* Linux 5.4, include/uapi/asm-generic/mman-common.h */
#endif

/* Past the end of the last whole cluster, whatever its size. */
#define TAIL_PAGES 3u
#define HEAP_PAGES (2048u + TAIL_PAGES)
#define FIRST 1024u                     /* a cluster starts here; the allocator is far below */

typedef volatile uint64_t STM word;

static word *at(size_t page)
{
	/* Not a constant: gcc 12 may lose the %gs prefix of a constant 64-bit address (movabs). */
	__asm__("" : "+r"(page));
	return (word *)(STM_HEAP + page * STM_PAGE);
}

/* ---- the other thread ---- */

struct they {
	pthread_t thread;
	pthread_barrier_t turn;
	void (*job)(size_t page, uint64_t value);
	size_t page;
	uint64_t value;
};

static struct they they;
static struct stm_seg *us;

static void *be_they(void *arg)
{
	if (stm_thread_attach())
		abort();
	for (;;) {
		pthread_barrier_wait(&they.turn);
		if (!they.job)
			return arg;
		they.job(they.page, they.value);
		pthread_barrier_wait(&they.turn);
	}
}

static void let_them(void (*job)(size_t page, uint64_t value), size_t page, uint64_t value)
{
	they.job = job;
	they.page = page;
	they.value = value;
	pthread_barrier_wait(&they.turn);
	if (job)
		pthread_barrier_wait(&they.turn);
}

static void commit_job(size_t page, uint64_t value)
{
	STM_ATOMIC {
		STM_SET(*at(page), value);
	}
}

static void help_job(size_t page, uint64_t value)
{
	(void)page, (void)value;
	stm_log_throttle(stm__self);
}

static void they_commit(size_t page, uint64_t value)
{
	let_them(commit_job, page, value);
}

/* They fold what can be folded; who sleeps in the way is brought up to date, or parked. */
static void they_help(void)
{
	let_them(help_job, 0, 0);
}

static uint64_t folded(void)
{
	return atomic_load(&stm_global.folded);
}

static uint32_t taken(void)
{
	return atomic_load(&us->taken);
}

/* ---- what an event costs ---- */

struct cost {
	uint64_t faults[STM_FAULT_KINDS];
	uint64_t mapped, copied, dropped;
};

static struct cost spent(void)
{
	stm_pages_collect(us); /* else a store without a fault is found later */

	struct cost c = { .mapped = us->view.mapped, .copied = us->view.copied, .dropped = us->view.dropped };

	memcpy(c.faults, us->faults, sizeof(c.faults));
	return c;
}

FIXTURE(pages) {
	size_t n;               /* pages of a cluster */
	size_t stored;          /* of those, pages that are copied by a store to one of them, SHARED */
	bool by_faults;         /* pages become SHARED by a fault; else a read fault copies the page itself */
	struct cost before;
};

FIXTURE_VARIANT(pages) {
	unsigned int cluster;
};

FIXTURE_VARIANT_ADD(pages, cluster_1) { 1 };
FIXTURE_VARIANT_ADD(pages, cluster_4) { 4 };
FIXTURE_VARIANT_ADD(pages, cluster_16) { 16 };
FIXTURE_VARIANT_ADD(pages, cluster_512) { 512 };

/* Costs since the last look. */
#define EXPECT_COST(read, write, protect, reclaimed, maps, copies, drops)                       \
	do {                                                                                    \
		struct cost now = spent();                                                      \
		EXPECT_EQ((uint64_t)((read) * self->by_faults), now.faults[STM_FAULT_READ] - self->before.faults[STM_FAULT_READ]);  \
		EXPECT_EQ((uint64_t)(write), now.faults[STM_FAULT_WRITE] - self->before.faults[STM_FAULT_WRITE]); \
		EXPECT_EQ((uint64_t)(protect),                                                  \
			  now.faults[STM_FAULT_PROTECT] - self->before.faults[STM_FAULT_PROTECT]); \
		EXPECT_EQ((uint64_t)((reclaimed) * self->by_faults),                                              \
			  now.faults[STM_FAULT_RECLAIMED] - self->before.faults[STM_FAULT_RECLAIMED]); \
		EXPECT_EQ((uint64_t)(maps), now.mapped - self->before.mapped);                  \
		EXPECT_EQ((uint64_t)(copies), now.copied - self->before.copied);                \
		EXPECT_EQ((uint64_t)(drops), now.dropped - self->before.dropped);               \
		EXPECT_EQ(now.mapped + now.copied - now.dropped, us->view.shared + us->view.private); \
		self->before = now;                                                             \
	} while (0)

static bool all_are(size_t first, size_t last, enum stm_page_state state)
{
	for (size_t page = first; page < last; page++)
		if (us->view.state[page] != state)
			return false;
	return true;
}

#define EXPECT_PAGES(first, last, state_)                                                       \
	EXPECT_TRUE(all_are((first), (last), STM_PAGE_##state_)) {                              \
		for (size_t p = (first); p < (last); p++)                                       \
			if (us->view.state[p] != STM_PAGE_##state_)                             \
				TH_LOG("page %zu is %d, not " #state_, p, us->view.state[p]);   \
	}

/* Where a read fault would not share the page, prefault does. */
static bool shares_by_faults;

static void share(size_t page)
{
	if (!shares_by_faults && stm_in_transaction() && stm_prefault((void STM *)at(page), sizeof(uint64_t)))
		abort();
}

FIXTURE_SETUP(pages)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.trim_age = STM_TRIM_NEVER; /* page states are looked at, however long it takes */
	options.cluster = variant->cluster;
	options.heap_size = HEAP_PAGES * STM_PAGE;
	self->n = variant->cluster;
	ASSERT_EQ(0, stm_init(&options));
	self->stored = engine_is("async") ? 1 : self->n; /* the kernel knows no clusters */
	self->by_faults = shares_by_faults = !engine_is("thread") || THREAD_SHARES;
	stm_global.shares_hot_pages = true;
	ASSERT_EQ(0, stm_thread_attach());
	ASSERT_EQ(0, stm_heap_grow(HEAP_PAGES * STM_PAGE));
	us = stm__self;
	ASSERT_EQ(HEAP_PAGES, stm_view_pages(&us->view));
	pthread_barrier_init(&they.turn, NULL, 2);
	ASSERT_EQ(0, pthread_create(&they.thread, NULL, be_they, NULL));
	they_commit(0, 0); /* they are attached */
	STM_ATOMIC {
	}
	ASSERT_TRUE(all_are(0, HEAP_PAGES, STM_PAGE_UNMAPPED));
	self->before = spent();
}

FIXTURE_TEARDOWN(pages)
{
	let_them(NULL, 0, 0);
	pthread_join(they.thread, NULL);
	EXPECT_EQ(0, stm_fini());
}

/* Accesses without barrier leave no trace in the markers. */
static uint64_t load(size_t page)
{
	share(page);
	return *at(page);
}

static uint64_t get(size_t page)
{
	share(page);
	return STM_GET(*at(page));
}

static void store(size_t page, uint64_t value)
{
	*at(page) = value;
}

static uint64_t read_outright(size_t page)
{
	volatile uint64_t value = 0;

	STM_ATOMIC {
		value = load(page);
	}
	return value;
}

/* ---- UNMAPPED ---- */

TEST_F(pages, read_of_unmapped_shares_a_cluster)
{
	size_t n = self->n, page = FIRST + n / 2;

	EXPECT_EQ(0, read_outright(page));
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
	EXPECT_PAGES(FIRST, FIRST + n, SHARED);
	EXPECT_PAGES(FIRST - n, FIRST, UNMAPPED);
	EXPECT_PAGES(FIRST + n, FIRST + 2 * n, UNMAPPED);
	for (size_t i = 0; i < n; i++)
		read_outright(FIRST + i);
	EXPECT_COST(0, 0, 0, 0, 0, 0, 0);
	EXPECT_EQ(0, read_outright(FIRST + n));
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
	EXPECT_EQ(0, read_outright(FIRST - 1));
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
	EXPECT_PAGES(FIRST - n, FIRST + 2 * n, SHARED);
}

/* Engine thread, on a kernel that cannot make a page and protect it at once: the page itself is copied, its neighbours are shared. */
TEST_F(pages, read_fault_that_cannot_share)
{
	size_t n = self->n, page = FIRST + n / 2;

	if (self->by_faults)
		SKIP(return, "this engine shares what is read");
	STM_ATOMIC {
		(void)STM_GET(*at(page));
	}
	EXPECT_EQ(1, us->faults[STM_FAULT_READ]);
	EXPECT_PAGES(FIRST, page, SHARED);
	EXPECT_PAGES(page, page + 1, PRIVATE);
	EXPECT_PAGES(page + 1, FIRST + n, SHARED);
}

TEST_F(pages, store_to_unmapped_copies_a_cluster)
{
	size_t n = self->n, page = FIRST + n - 1;

	STM_ATOMIC {
		store(page, 5);
		EXPECT_EQ(5, load(page));
	}
	EXPECT_COST(0, 1, 0, 0, 0, n, 0);
	EXPECT_PAGES(FIRST, FIRST + n, PRIVATE);
	EXPECT_PAGES(FIRST + n, FIRST + 2 * n, UNMAPPED);
	STM_ATOMIC {
		for (size_t i = 0; i < n; i++)
			store(FIRST + i, i);
	}
	EXPECT_COST(0, 0, 0, 0, 0, 0, 0);
}

TEST_F(pages, write_of_unmapped_takes_no_fault)
{
	size_t n = self->n;

	STM_ATOMIC {
		STM_SET(*at(FIRST), 5);
	}
	EXPECT_COST(0, 0, 0, 0, 0, n, 0);
	EXPECT_PAGES(FIRST, FIRST + n, PRIVATE);
	they_commit(FIRST + 2 * n, 1);
	EXPECT_EQ(5, read_outright(FIRST));
	EXPECT_COST(0, 0, 0, 0, 0, 0, 0);
}

TEST_F(pages, barrier_alone_maps_nothing)
{
	STM_ATOMIC {
		stm_read(at(FIRST));
	}
	EXPECT_COST(0, 0, 0, 0, 0, 0, 0);
	EXPECT_PAGES(FIRST, FIRST + self->n, UNMAPPED);
}

TEST_F(pages, cluster_ends_with_the_heap)
{
	size_t n = self->n < TAIL_PAGES ? self->n : TAIL_PAGES, last = HEAP_PAGES;
	size_t stored = n < self->stored ? n : self->stored;

	EXPECT_EQ(0, read_outright(last - 1));
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
	EXPECT_PAGES(last - n, last, SHARED);
	STM_ATOMIC {
		store(last - 1, 1);
	}
	EXPECT_COST(0, 0, 1, 0, 0, stored, stored);
	EXPECT_PAGES(last - stored, last, PRIVATE);
}

/* Pages that an unfolded entry touches are copied and brought up to the snapshot; the others are shared. */
TEST_F(pages, read_replays_unfolded_entries)
{
	size_t n = self->n, page = FIRST + n / 2;

	for (uint64_t value = 1; value <= 100; value++)
		they_commit(page, value);
	EXPECT_EQ(0, stm_global.base[page * STM_PAGE]); /* not folded */
	EXPECT_EQ(100, read_outright(page));
	EXPECT_COST(1, 0, 0, 0, n - 1, 1, 0);
	EXPECT_PAGES(page, page + 1, PRIVATE);
	EXPECT_PAGES(FIRST, page, SHARED);
	EXPECT_PAGES(page + 1, FIRST + n, SHARED);
}

/* The snapshot, not the tail: a transaction that runs sees nothing of what comes meanwhile. */
TEST_F(pages, replay_ends_at_the_snapshot)
{
	they_commit(FIRST, 1);
	STM_ATOMIC {
		they_commit(FIRST, 2);
		EXPECT_EQ(1, load(FIRST));
	}
	EXPECT_COST(1, 0, 0, 0, self->n - 1, 1, 0);
	EXPECT_EQ(2, read_outright(FIRST));
	EXPECT_COST(0, 0, 0, 0, 0, 0, 0);
}

TEST_F(pages, store_replays_unfolded_entries)
{
	size_t n = self->n;

	they_commit(FIRST + n - 1, 7);
	STM_ATOMIC {
		store(FIRST, 1);
		EXPECT_EQ(7, load(FIRST + n - 1) + (n == 1 ? 6 : 0));
	}
	EXPECT_COST(0, 1, 0, 0, 0, n, 0);
	EXPECT_PAGES(FIRST, FIRST + n, PRIVATE);
}

/* What is folded is in the base: no page is copied for it. */
TEST_F(pages, read_after_fold_shares)
{
	they_commit(FIRST, 3);
	they_help(); /* takes us past it, and folds */
	EXPECT_EQ(3, stm_global.base[FIRST * STM_PAGE]);
	EXPECT_EQ(3, read_outright(FIRST));
	EXPECT_COST(1, 0, 0, 0, self->n, 0, 0);
	EXPECT_PAGES(FIRST, FIRST + self->n, SHARED);
}

/* ---- SHARED ---- */

TEST_F(pages, store_to_shared_copies_its_cluster)
{
	size_t n = self->n, page = FIRST + n / 2;

	read_outright(FIRST);
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
	STM_ATOMIC {
		store(page, 5);
		EXPECT_EQ(5, load(page));
	}
	EXPECT_COST(0, 0, 1, 0, 0, self->stored, self->stored);
	EXPECT_PAGES(page, page + 1, PRIVATE);
	EXPECT_EQ(n - self->stored, us->view.shared);
	EXPECT_EQ(self->stored, us->view.private);
	EXPECT_EQ(0, stm_global.base[page * STM_PAGE]); /* write-protected: it went to our copy */
}

TEST_F(pages, write_of_shared_takes_no_fault)
{
	size_t n = self->n, page = FIRST + n / 2;

	read_outright(FIRST);
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
	STM_ATOMIC {
		STM_SET(*at(page), 5);
	}
	EXPECT_COST(0, 0, 0, 0, 0, n, n);
	EXPECT_PAGES(FIRST, FIRST + n, PRIVATE);
}

/* Only SHARED neighbours go along. */
TEST_F(pages, store_to_shared_stops_at_other_pages)
{
	size_t n = self->n, page = FIRST + n / 2, behind = n - n / 2 - 1;
	size_t stored = behind < self->stored ? behind : self->stored;

	if (n < 4)
		SKIP(return, "a cluster of one page has no neighbours");
	they_commit(page, 1); /* copied at the read, so that it parts the cluster */
	read_outright(FIRST);
	EXPECT_COST(1, 0, 0, 0, n - 1, 1, 0);
	STM_ATOMIC {
		store(page + 1, 5);
	}
	EXPECT_COST(0, 0, 1, 0, 0, stored, stored);
	EXPECT_PAGES(FIRST, page, SHARED);
	EXPECT_PAGES(page, page + 1 + stored, PRIVATE);
	EXPECT_PAGES(page + 1 + stored, FIRST + n, SHARED);
	STM_ATOMIC {
		STM_SET(*at(FIRST), 5);
	}
	EXPECT_COST(0, 0, 0, 0, 0, n / 2, n / 2);
	EXPECT_PAGES(FIRST, page + 1 + stored, PRIVATE);
}

TEST_F(pages, apply_to_shared_used_lately_copies_its_cluster)
{
	size_t n = self->n, page = FIRST + n / 2;

	STM_ATOMIC {
		(void)get(page);
	}
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
	they_commit(page, 9);
	EXPECT_EQ(9, read_outright(page));
	EXPECT_COST(0, 0, 0, 0, 0, n, n);
	EXPECT_PAGES(FIRST, FIRST + n, PRIVATE);
}

TEST_F(pages, apply_to_shared_not_used_drops_it)
{
	size_t n = self->n, page = FIRST + n / 2;

	read_outright(page); /* sets no marker */
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
	they_commit(page, 9);
	STM_ATOMIC {
	}
	EXPECT_COST(0, 0, 0, 0, 0, 0, 1);
	EXPECT_PAGES(page, page + 1, UNMAPPED);
	EXPECT_PAGES(FIRST, page, SHARED);
	EXPECT_PAGES(page + 1, FIRST + n, SHARED);
	EXPECT_EQ(9, read_outright(page));
	EXPECT_COST(1, 0, 0, 0, 0, 1, 0);
	EXPECT_PAGES(page, page + 1, PRIVATE);
}

TEST_F(pages, apply_to_shared_used_long_ago_drops_it)
{
	size_t n = self->n;

	STM_ATOMIC {
		(void)get(FIRST);
	}
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
	for (int i = 0; i < 2000; i++)
		STM_ATOMIC {
		}
	they_commit(FIRST, 9);
	STM_ATOMIC {
	}
	EXPECT_COST(0, 0, 0, 0, 0, 0, 1);
	EXPECT_EQ(9, read_outright(FIRST));
}

/* Rule 3: an UNMAPPED neighbour has missed entries, and is not taken along. */
TEST_F(pages, apply_leaves_unmapped_neighbours)
{
	size_t n = self->n, gone = FIRST + 2;

	if (n < 4)
		SKIP(return, "a cluster of one page has no neighbours");
	STM_ATOMIC {
		(void)get(FIRST);
	}
	they_commit(gone, 1);
	STM_ATOMIC {
	}
	EXPECT_COST(1, 0, 0, 0, n, 0, 1);
	EXPECT_PAGES(gone, gone + 1, UNMAPPED);
	they_commit(gone, 2); /* missed: it is not mapped */
	they_commit(FIRST, 3);
	STM_ATOMIC {
	}
	EXPECT_COST(0, 0, 0, 0, 0, 2, 2);
	EXPECT_PAGES(FIRST, gone, PRIVATE);
	EXPECT_PAGES(gone, gone + 1, UNMAPPED);
	EXPECT_PAGES(gone + 1, FIRST + n, SHARED);
	EXPECT_EQ(2, read_outright(gone));
	EXPECT_COST(1, 0, 0, 0, 0, 1, 0);
}

/* ---- PRIVATE ---- */

TEST_F(pages, apply_to_private_costs_nothing)
{
	STM_ATOMIC {
		STM_SET(*at(FIRST), 1);
	}
	EXPECT_COST(0, 0, 0, 0, 0, self->n, 0);
	for (uint64_t value = 2; value < 50; value++) {
		they_commit(FIRST, value);
		EXPECT_EQ(value, read_outright(FIRST));
	}
	EXPECT_COST(0, 0, 0, 0, 0, 0, 0);
}

TEST_F(pages, abort_drops_nothing)
{
	for (int i = 0; i < 3; i++) {
		STM_ATOMIC {
			EXPECT_EQ(0, load(FIRST));
			STM_SET(*at(FIRST), 1);
			stm_cancel(1);
		}
		EXPECT_PAGES(FIRST, FIRST + self->n, PRIVATE);
	}
	EXPECT_COST(1, 0, 0, 0, self->n, self->n, self->n);
	EXPECT_EQ(0, read_outright(FIRST));
}

/* ---- pages that the kernel takes ---- */

/* What reclaim does to a SHARED page, done by hand. */
static void take_page(size_t page)
{
	if (madvise(us->view.heap + page * STM_PAGE, STM_PAGE, MADV_DONTNEED))
		abort();
}

TEST_F(pages, reclaimed_page_is_shared_again)
{
	size_t n = self->n, page = FIRST + n / 2;

	they_commit(page, 4);
	they_help();
	EXPECT_EQ(4, read_outright(page));
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
	for (int i = 0; i < 3; i++) {
		take_page(page);
		EXPECT_EQ(4, read_outright(page));
		EXPECT_COST(0, 0, 0, 1, 0, 0, 0);
		EXPECT_PAGES(FIRST, FIRST + n, SHARED);
	}
	/* It came back write-protected. */
	STM_ATOMIC {
		store(page, 5);
	}
	EXPECT_COST(0, 0, 1, 0, 0, self->stored, self->stored);
	EXPECT_EQ(4, stm_global.base[page * STM_PAGE]);
}

TEST_F(pages, store_to_reclaimed_page)
{
	size_t n = self->n;

	read_outright(FIRST);
	take_page(FIRST);
	STM_ATOMIC {
		store(FIRST, 5);
	}
	EXPECT_COST(1, 0, 1, 0, n, n, n);
	EXPECT_EQ(5, load(FIRST));
	EXPECT_EQ(0, stm_global.base[FIRST * STM_PAGE]);
}

TEST_F(pages, apply_to_reclaimed_page)
{
	size_t n = self->n;

	STM_ATOMIC {
		(void)get(FIRST);
	}
	take_page(FIRST);
	they_commit(FIRST, 5);
	EXPECT_EQ(5, read_outright(FIRST));
	EXPECT_COST(1, 0, 0, 0, n, n, n);
}

static bool is_present(size_t page)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &entry, sizeof(entry),
			    (off_t)((uintptr_t)(us->view.heap + page * STM_PAGE) / STM_PAGE * sizeof(entry))) < 0)
		abort();
	close(fd);
	return entry >> 63;
}

/* The real thing: what the kernel takes of SHARED pages comes back; PRIVATE ones keep their bytes. */
TEST_F(pages, pageout)
{
	size_t n = self->n;
	unsigned int taken = 0;

	STM_ATOMIC {
		store(FIRST - 2 * n, 77);
	}
	for (size_t i = 0; i < n; i++)
		read_outright(FIRST + i);
	EXPECT_COST(1, 1, 0, 0, n, n, 0);
	ASSERT_EQ(0, madvise(us->view.heap + (FIRST - 2 * n) * STM_PAGE, 3 * n * STM_PAGE, MADV_PAGEOUT));
	for (size_t i = 0; i < n; i++)
		taken += !is_present(FIRST + i);
	for (size_t i = 0; i < n; i++)
		EXPECT_EQ(0, read_outright(FIRST + i));
	EXPECT_EQ(77, read_outright(FIRST - 2 * n));
	EXPECT_COST(0, 0, 0, taken, 0, 0, 0);
	TH_LOG("the kernel took %u of %zu pages", taken, n);
}

/* ---- prefault ---- */

TEST_F(pages, prefault_is_a_read_without_faults)
{
	size_t n = self->n;

	they_commit(FIRST, 6);
	STM_ATOMIC {
		EXPECT_EQ(0, stm_prefault((void STM *)at(FIRST), 2 * n * STM_PAGE));
		EXPECT_EQ(6, load(FIRST));
	}
	EXPECT_COST(0, 0, 0, 0, 2 * n - 1, 1, 0);
	EXPECT_PAGES(FIRST, FIRST + 1, PRIVATE);
	EXPECT_PAGES(FIRST + 1, FIRST + 2 * n, SHARED);
	take_page(FIRST + n);
	STM_ATOMIC {
		EXPECT_EQ(0, stm_prefault((void STM *)at(FIRST), 2 * n * STM_PAGE));
		EXPECT_EQ(0, load(FIRST + n));
	}
	EXPECT_COST(0, 0, 0, 0, 0, 0, 0);
}

/* ---- all pages at once ---- */

TEST_F(pages, detach_drops_all)
{
	size_t n = self->n;

	read_outright(FIRST);
	STM_ATOMIC {
		STM_SET(*at(FIRST + n), 1);
	}
	EXPECT_COST(1, 0, 0, 0, n, n, 0);
	ASSERT_EQ(0, stm_thread_detach());
	EXPECT_PAGES(0, HEAP_PAGES, UNMAPPED);
	EXPECT_COST(0, 0, 0, 0, 0, 0, 2 * n);
	ASSERT_EQ(0, stm_thread_attach());
	ASSERT_TRUE(us == stm__self);
	EXPECT_PAGES(0, HEAP_PAGES, UNMAPPED);
	EXPECT_COST(0, 0, 0, 0, 0, 0, 0);
	EXPECT_EQ(1, read_outright(FIRST + n));
}

/* A helper brings a sleeping segment up to date, or parks it when it has not run for some visits. */
TEST_F(pages, sleeper_is_served_then_parked)
{
	struct stm_stats stats;
	size_t n = self->n;
	unsigned int visits = 0;

	STM_ATOMIC {
		STM_SET(*at(FIRST), 1);
	}
	read_outright(FIRST + n);
	EXPECT_COST(1, 0, 0, 0, n, n, 0);
	they_commit(FIRST, 2);
	they_help();
	EXPECT_EQ(folded(), us->snapshot);
	EXPECT_EQ(2, *(uint64_t *)(us->view.heap + FIRST * STM_PAGE));
	EXPECT_COST(0, 0, 0, 0, 0, 0, 0);
	while (taken() != STM_PARKED && visits++ < 100) {
		they_commit(FIRST, 3);
		they_help();
	}
	EXPECT_EQ(STM_PARKED, taken());
	EXPECT_COST(0, 0, 0, 0, 0, 0, 2 * n);
	EXPECT_PAGES(0, HEAP_PAGES, UNMAPPED);
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_EQ(1, stats.parked);
	/* It holds nothing back. */
	they_commit(FIRST, 4);
	they_help();
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_EQ(stats.committed, stats.folded);
	they_commit(FIRST, 5); /* alone: folded at once */
	EXPECT_EQ(5, read_outright(FIRST));
	EXPECT_EQ(STM_FREE, taken());
	EXPECT_COST(1, 0, 0, 0, n, 0, 0);
}

/* A transaction that runs is left alone, and what it sees is not folded away from under it. */
TEST_F(pages, runner_holds_fold_back)
{
	volatile uint64_t before;

	they_commit(FIRST, 1);
	STM_ATOMIC {
		before = us->snapshot;
		for (uint64_t i = 0; i < 20; i++) {
			they_commit(FIRST, 2 + i);
			they_help();
		}
		EXPECT_EQ(before, folded());
		EXPECT_EQ(STM_FREE, taken());
		EXPECT_EQ(1, load(FIRST));
	}
	they_help();
	they_help();
	EXPECT_LT(before, folded());
	EXPECT_EQ(21, read_outright(FIRST));
}

TEST_HARNESS_MAIN
