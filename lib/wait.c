// SPDX-License-Identifier: MIT
/*
 * wait.c - stm_retry(): a transaction sleeps until a commit touches something that its attempt read.
 *
 *   waiter     undo the attempt; tell what it read: its versions, whose read markers stay, its regions and pages; set its bit in
 *              stm_global.waiting; validate against what was published since its snapshot. If nothing touches it: store
 *              IDLE, and sleep on a futex of its own.
 *   committer  publish; load stm_global.waiting. For each bit: if the entry touches the regions, pages and granules that carry
 *              the versions: clear the bit, wake it. Others sleep on: a producer that does not concern them costs them nothing.
 *
 * No wake-up is lost, pair by pair:
 *   1. Waiter: set the bit, then load slots. Committer: publish a slot, then load the bits. Both are stores followed by loads,
 *      with a full fence between (a locked instruction): at least one sees the other's. What the waiter's look passes as
 *      not yet published is published later, and all that follows it, too.
 *   2. The waiter writes sleeping, versions, regions and markers before it sets the bit (release); the committer reads them
 *      after it saw the bit (acquire).
 *   3. The committer clears the bit, then sleeping, then wakes; the waiter sleeps only as long as sleeping is set, which the
 *      kernel compares under its lock.
 *   4. Waiter, a task of a queue: set the bit, then load the queue's order to stop. Who stops it: store that, then load the
 *      bits; all seq_cst. Such a task runs once more, and its worker undoes it.
 *   5. A committer that is late with 3 may meet the next wait of the thread, whose fields it reads half written. What it
 *      misses it had published before that wait was announced, so that the look sees it. If it wakes, or clears sleeping,
 *      for nothing: the transaction runs once more.
 *
 * Asleep the segment is IDLE: a helper brings it up to date, or parks it, as any other, so fold is not held back. It need not
 * know what the waiter reads, since each committer does. Only the markers must stay until the wait is over; committers
 * look at these alone, not at page states, which helpers change.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"
#include "internal.h"
#include "recorder.h"

#define DOUBT_NS 100000000              /* asleep for so long: has it read anything at all? Once for each wait */

#define WAIT_PAGES 512u                 /* bits: one cache line */

/*
 * Written by the thread that waits, read by whoever commits. By segment, and not in it: segments lie at such distances that the
 * same place in each is the same set of a cache.
 */
static struct wait {
	_Atomic uint32_t sleeping;      /* the futex: 1 until somebody wakes it */
	_Atomic uint32_t first, span;   /* versions of the attempt that waits; its markers tell what it read */
	_Atomic(const volatile stm_marker *) markers; /* of reads, of the segment */
	_Atomic uint64_t regions[STM_REGION_SLOTS / 64] __attribute__((__aligned__(64))); /* as view.region_mask was */
	_Atomic uint64_t pages[WAIT_PAGES / 64]; /* bit p % WAIT_PAGES: it has read in page p; or all bits */
} waits[STM_SEGMENTS_LIMIT];

static inline uint64_t bit_of(const struct stm_seg *seg)
{
	return (uint64_t)1 << seg->id;
}

bool stm_waits(const struct stm_seg *seg)
{
	return atomic_load(&stm_global.waiting) & bit_of(seg);
}

/* ---- waiter ---- */

#define PAGES_SCANNED 256u              /* of some 30 ns; with more mapped committers look at the markers of any page */

static bool read_in_page(const struct stm_seg *seg, size_t page)
{
	const stm_marker *marker = seg->read_markers + page * STM_PAGE_GRANULES;
	uint32_t first = seg->version - seg->span, span = seg->span, found = 0;

	for (size_t i = 0; i < STM_PAGE_GRANULES; i++)
		found |= marker[i] - first <= span;
	return found;
}

/*
 * Which pages were read? So that committers need not touch markers of pages that were not: with 60 waiters these are more than
 * a TLB holds.
 */
static void find_pages(const struct stm_seg *seg, uint64_t *mask)
{
	size_t pages = stm_view_pages(&seg->view);

	if (seg->view.shared + seg->view.private > PAGES_SCANNED) {
		memset(mask, 0xff, WAIT_PAGES / 8);
		return;
	}
	memset(mask, 0, WAIT_PAGES / 8);
	for (size_t first = 0; first < pages; first += STM_REGION_PAGES) {
		size_t end = pages - first < STM_REGION_PAGES ? pages : first + STM_REGION_PAGES;

		if (!stm_view_has_region(&seg->view, (unsigned int)(first / STM_REGION_PAGES)))
			continue;
		for (size_t page = first; page < end; page++)
			if (seg->view.state[page] != STM_PAGE_UNMAPPED && read_in_page(seg, page))
				mask[page % WAIT_PAGES / 64] |= (uint64_t)1 << page % 64;
	}
}

static void announce(struct stm_seg *seg)
{
	uint64_t pages[WAIT_PAGES / 64];

	find_pages(seg, pages);
	/* Relaxed: the bit comes after them. */
	atomic_store_explicit(&waits[seg->id].markers, seg->read_markers, memory_order_relaxed);
	for (unsigned int i = 0; i < WAIT_PAGES / 64; i++)
		atomic_store_explicit(&waits[seg->id].pages[i], pages[i], memory_order_relaxed);
	atomic_store_explicit(&waits[seg->id].first, seg->version - seg->span, memory_order_relaxed);
	atomic_store_explicit(&waits[seg->id].span, seg->span, memory_order_relaxed);
	for (unsigned int i = 0; i < STM_REGION_SLOTS / 64; i++)
		atomic_store_explicit(&waits[seg->id].regions[i], seg->view.region_mask[i], memory_order_relaxed);
	atomic_store_explicit(&waits[seg->id].sleeping, 1, memory_order_relaxed);
	atomic_fetch_or(&stm_global.waiting, bit_of(seg));
	/* Pairs with the cmpxchg16b of who publishes: see 1. */
	atomic_thread_fence(memory_order_seq_cst);
}

void stm_wait_end(struct stm_seg *seg)
{
	atomic_fetch_and(&stm_global.waiting, ~bit_of(seg));
	atomic_store_explicit(&waits[seg->id].sleeping, 0, memory_order_relaxed);
}

/* Not a commit hook's transaction, which would not be undone. */
static bool is_to_stop(const struct stm_seg *seg)
{
	return seg->stop && !seg->hooks && atomic_load(seg->stop);
}

/* The attempt is undone, and the segment still RUNNING, so that nobody moves its snapshot. */
void stm_wait_begin(struct stm_seg *seg)
{
	if (!STM_MUTATED(WAIT_LATE))
		announce(seg);
	STM_POINT(WAITING);
	if (stm_tx_doomed(seg) || is_to_stop(seg)) {
		stm_wait_end(seg);
		return;
	}
	STM_POINT(WAIT_LOOKED);
	if (STM_MUTATED(WAIT_LATE))
		announce(seg);
}

/* Is there a granule of the region that carries a version of the attempt? */
static bool has_read_in(const struct stm_seg *seg, size_t region)
{
	size_t first = region * STM_REGION_GRANULES, end = stm_view_pages(&seg->view) * STM_PAGE_GRANULES;
	uint32_t version = atomic_load_explicit(&waits[seg->id].first, memory_order_relaxed);
	uint32_t span = atomic_load_explicit(&waits[seg->id].span, memory_order_relaxed);
	unsigned char in_memory[STM_REGION_GRANULES * sizeof(stm_marker) / STM_PAGE];
	const stm_marker *markers = seg->read_markers + first;
	size_t n = end - first < STM_REGION_GRANULES ? end - first : STM_REGION_GRANULES, a_page = STM_PAGE / sizeof(*markers);

	if (mincore((void *)(uintptr_t)markers, n * sizeof(*markers), in_memory))
		return true;
	for (size_t i = 0; i < n; i++)
		if (!(in_memory[i / a_page] & 1))
			i += a_page - 1;
		else if (markers[i] - version <= span)
			return true;
	return false;
}

static bool has_read(const struct stm_seg *seg)
{
	for (size_t region = 0; region * STM_REGION_PAGES < stm_view_pages(&seg->view); region++) {
		uint64_t mask = atomic_load_explicit(&waits[seg->id].regions[region / 64 % (STM_REGION_SLOTS / 64)],
						     memory_order_relaxed);

		if (mask >> region % 64 & 1 && has_read_in(seg, region))
			return true;
	}
	return false;
}

/* False: @deadline (of CLOCK_MONOTONIC, NULL: none) has passed. */
static bool sleep_until(struct stm_seg *seg, const struct timespec *deadline)
{
	/* Pairs with wake(). */
	while (atomic_load_explicit(&waits[seg->id].sleeping, memory_order_acquire)) {
		if (syscall(SYS_futex, &waits[seg->id].sleeping, FUTEX_WAIT_BITSET_PRIVATE, 1, deadline, NULL,
			    FUTEX_BITSET_MATCH_ANY) && errno == ETIMEDOUT)
			return false;
	}
	return true;
}

static struct timespec after_now(long ns)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_nsec += ns;
	at.tv_sec += at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	return at;
}

/* Outside a transaction by now: until a commit touches what was read, or @deadline. @site: its transaction, for a message. */
void stm_wait(struct stm_seg *seg, const struct timespec *deadline, const struct stm_site *site)
{
	if (atomic_load_explicit(&waits[seg->id].sleeping, memory_order_acquire)) {
		struct timespec doubt = after_now(DOUBT_NS);

		if (deadline) {
			sleep_until(seg, deadline);
		} else if (!sleep_until(seg, &doubt)) {
			/* Once the bit is cleared, a helper may have emptied the markers. */
			if (!has_read(seg) && stm_waits(seg))
				stm_die("stm_retry: the transaction at %s:%u has read nothing, so that no commit could wake it: read what it is to wait for, or give a deadline to stm_retry_until()",
					site->file, site->line);
			sleep_until(seg, NULL);
		}
	}
	stm_wait_end(seg);
}

/* ---- committer ---- */

static bool has_region(const struct wait *wait, uint64_t region)
{
	return atomic_load_explicit(&wait->regions[region / 64 % (STM_REGION_SLOTS / 64)], memory_order_relaxed) >>
		       (region % 64) & 1;
}

static bool has_page(const struct wait *wait, size_t page)
{
	return atomic_load_explicit(&wait->pages[page % WAIT_PAGES / 64], memory_order_relaxed) >> (page % 64) & 1;
}

/* Did the attempt that waits read something of what the slot, which is published, wrote? */
static bool concerns(const struct wait *wait, const struct stm_slot *slot)
{
	uint32_t version = atomic_load_explicit(&wait->first, memory_order_relaxed);
	uint32_t span = atomic_load_explicit(&wait->span, memory_order_relaxed);
	uint64_t entry = atomic_load_explicit(&slot->entry, memory_order_relaxed), summary = slot->summary;
	struct stm_reader reader;
	struct stm_piece piece;

	if (!(entry & STM_SLOT_MANY) && !has_region(wait, summary & 0xffff) && !has_region(wait, summary >> 16 & 0xffff) &&
	    !has_region(wait, summary >> 32 & 0xffff) && !has_region(wait, summary >> 48 & 0xffff))
		return false;
	reader = stm_read_slot(slot);
	while (stm_next_piece(&reader, &piece)) {
		/* Its thread may run again, and write them: see 5. */
		const volatile stm_marker *marker = atomic_load_explicit(&wait->markers, memory_order_relaxed);
		size_t granule = piece.granule, end = granule + piece.count;

		while (granule < end) {
			size_t page = granule / STM_PAGE_GRANULES, stop = (page + 1) * STM_PAGE_GRANULES;

			stop = stop < end ? stop : end;
			if (!has_page(wait, page))
				granule = stop;
			for (; granule < stop; granule++)
				if (marker[granule] - version <= span)
					return true;
		}
	}
	return false;
}

static void wake(struct stm_seg *self, struct stm_seg *seg)
{
	if (!(atomic_fetch_and(&stm_global.waiting, ~bit_of(seg)) & bit_of(seg)))
		return; /* another does it */
	/* Pairs with sleep_until(). */
	atomic_store_explicit(&waits[seg->id].sleeping, 0, memory_order_release);
	if (self)
		self->calls++;
	syscall(SYS_futex, &waits[seg->id].sleeping, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Our snapshot is not published yet, which keeps the slot from being recycled. */
void stm_wake_waiters(struct stm_seg *self, const struct stm_slot *slot)
{
	uint64_t waiting = atomic_load(&stm_global.waiting);

	for (; waiting; waiting &= waiting - 1) {
		unsigned int i = (unsigned int)__builtin_ctzll(waiting);

		if (concerns(&waits[i], slot))
			wake(self, stm_global.segments[i]);
	}
}

void stm_wake_waiter(struct stm_seg *seg)
{
	wake(stm__self, seg);
}

/* ---- public ---- */

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static bool is_none(const struct timespec *deadline)
{
	return !deadline->tv_sec && !deadline->tv_nsec; /* when the machine was started: it has passed */
}

static bool has_passed(const struct timespec *deadline)
{
	struct timespec now = after_now(0);

	return !is_before(&now, deadline);
}

static int retry(const char *call, const struct timespec *deadline)
{
	struct stm_seg *seg = stm_tx_if_any(call);
	struct timespec earliest; /* of the alternatives that retried, too */

	if (!seg || seg->inevitable == STM_INEVITABLE)
		return -EPERM;
	if (deadline && has_passed(deadline))
		return -ETIMEDOUT;
	if (deadline && (is_none(&seg->deadline) || is_before(deadline, &seg->deadline)))
		seg->deadline = *deadline;
	if (seg->alternative)
		stm_take_alternative(seg);
	earliest = seg->deadline;
	seg->deadline = (struct timespec){ .tv_sec = 0 };
	stm_tx_wait(seg, is_none(&earliest) ? NULL : &earliest);
}

int stm_retry(void)
{
	return retry("stm_retry", NULL);
}

int stm_retry_until(const struct timespec *deadline)
{
	if (!deadline || deadline->tv_nsec < 0 || deadline->tv_nsec >= 1000000000)
		return -EINVAL;
	return retry("stm_retry_until", deadline);
}
