// SPDX-License-Identifier: MIT
/*
 * pages.c - how a page of a view comes and goes (DESIGN 5).
 *
 *   read of an UNMAPPED page     share a cluster; copy and replay what unfolded entries touch, or is hot
 *   write to an UNMAPPED page    copy a cluster, replay
 *   store to a SHARED page       make its cluster private
 *   apply to a SHARED page       used of late: make it private; else drop it
 *
 * Copy and replay, without a lock: set the replay pin to `folded`, copy the base, though fold may be writing it, then
 * apply all entries from the pin to the snapshot in order. Whatever fold may have torn is among
 * them; after-images are idempotent, and later ones win.
 * A SHARED page needs no replay: no entry below the snapshot touches it, and fold stays below the snapshot.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "compat.h"
#include "entry.h"
#include "fault.h"
#include "internal.h"
#include "recorder.h"
#include "strict.h"
#include "watch.h"

/* ---- the replay pin ---- */

uint64_t stm_log_pin(struct stm_seg *seg)
{
	uint64_t from = atomic_load_explicit(&stm_global.folded, memory_order_acquire);

	if (STM_MUTATED(NO_PIN))
		return from;
	for (;;) {
		uint64_t again;

		/* The fence pairs with that of fold, which stores `folded`, then looks at the pins. */
		atomic_store_explicit(&seg->pin, from, memory_order_relaxed);
		atomic_thread_fence(memory_order_seq_cst);
		STM_POINT(PINNED);
		again = atomic_load_explicit(&stm_global.folded, memory_order_acquire);
		if (again == from)
			return from;
		from = again;
	}
}

void stm_log_unpin(struct stm_seg *seg)
{
	/* Pairs with fold's acquire: our reads of the log are over. */
	atomic_store_explicit(&seg->pin, STM_NO_PIN, memory_order_release);
}

/* ---- unfolded entries that touch a range of pages ---- */

struct walk {
	const struct stm_seg *seg;
	struct stm_slot *slot;
	uint64_t position;
	size_t first, last;             /* pages [first, last) */
};

static bool group_touches(const struct stm_group *group, size_t first, size_t last)
{
	size_t window = first / STM_WINDOW_PAGES;
	size_t end = (last - 1) / STM_WINDOW_PAGES;

	for (; window <= end; window++)
		if (atomic_load_explicit(&group->windows[window / 64 % 8], memory_order_relaxed) >>
			    (window % 64) & 1)
			return true;
	return false;
}

/* The next slot before the snapshot that may touch the range, or NULL. */
static const struct stm_slot *next_slot(struct walk *walk)
{
	uint64_t end = walk->seg->snapshot;

	while (walk->position < end) {
		struct stm_slot *slot = walk->slot;
		uint64_t position = walk->position;
		unsigned int step = 1;

		if (position % STM_GROUP_SLOTS == 0 && end - position >= STM_GROUP_SLOTS &&
		    !group_touches(stm_log_group(slot, position), walk->first, walk->last))
			step = STM_GROUP_SLOTS;
		walk->position = position + step;
		walk->slot = stm_slot_next(slot + step - 1, position + step - 1);
		if (step == 1)
			return slot;
	}
	return NULL;
}

static bool clip(const struct stm_piece *piece, size_t first, size_t last, size_t *from, size_t *to)
{
	*from = piece->granule > first * STM_PAGE_GRANULES ? piece->granule : first * STM_PAGE_GRANULES;
	*to = piece->granule + piece->count;
	if (*to > last * STM_PAGE_GRANULES)
		*to = last * STM_PAGE_GRANULES;
	return *from < *to;
}

/* Mark in @touched the pages of [first, last) that unfolded entries from @pin on touch. */
static void find_touched(const struct stm_seg *seg, uint64_t pin, size_t first, size_t last, uint64_t *touched)
{
	struct walk walk = { seg, stm_slot_at(pin), pin, first, last };
	const struct stm_slot *slot;

	while ((slot = next_slot(&walk))) {
		struct stm_reader reader = stm_read_slot(slot);
		struct stm_piece piece;
		size_t from, to;

		while (stm_next_piece(&reader, &piece)) {
			if (!clip(&piece, first, last, &from, &to))
				continue;
			for (size_t page = from / STM_PAGE_GRANULES; page <= (to - 1) / STM_PAGE_GRANULES; page++)
				touched[(page - first) / 64] |= (uint64_t)1 << ((page - first) % 64);
		}
	}
}

/* Granules [from, to) of it, page by page. */
static void write_piece(struct stm_view *view, const struct stm_piece *piece, size_t from, size_t to)
{
	while (from < to) {
		size_t page = from / STM_PAGE_GRANULES;
		size_t stop = (page + 1) * STM_PAGE_GRANULES;

		stop = stop < to ? stop : to;
		stm_copy_granules(stm_view_contents(view, page) + from % STM_PAGE_GRANULES * STM_GRANULE,
				  piece->bytes + (from - piece->granule) * STM_GRANULE, stop - from);
		from = stop;
	}
}

static void replay(struct stm_seg *seg, uint64_t pin, size_t first, size_t last)
{
	struct walk walk = { seg, stm_slot_at(pin), pin, first, last };
	const struct stm_slot *slot;

	if (STM_MUTATED(NO_REPLAY))
		return;
	while ((slot = next_slot(&walk))) {
		struct stm_reader reader = stm_read_slot(slot);
		struct stm_piece piece;
		size_t from, to;

		while (stm_next_piece(&reader, &piece))
			if (clip(&piece, first, last, &from, &to))
				write_piece(&seg->view, &piece, from, to);
	}
}

/* ---- events ---- */

#define TRACKED_MAX ((size_t)16)        /* pages of tracked memory that one fault maps at most: all count as read */
#define CLUSTER_FIRST ((size_t)16)      /* pages: 64 KiB, a chunk of the allocator */

static size_t within_bounds(size_t cluster, size_t min)
{
	if (cluster < min)
		return min;
	return cluster > stm_global.cluster_max ? stm_global.cluster_max : cluster;
}

/* The same for tracked memory, where a stride may leave out some pages, as not each page that is read is written. */
static size_t next_tracked_cluster(const struct stm_stride *stride, size_t page)
{
	bool goes_on = page >= stride->high ? page - stride->high <= stride->size : stride->low - page - 1 <= stride->size;
	size_t size = goes_on ? stride->size * 2 : stride->size / 2;

	return size < 1 ? 1 : size < TRACKED_MAX ? size : TRACKED_MAX;
}

/* Twice as much as last time if @page goes on from there, upwards or downwards; half as much if it does not. */
static size_t next_cluster(const struct stm_seg *seg, const struct stm_stride *stride, size_t page)
{
	bool goes_on = page == stride->high || page + 1 == stride->low;
	size_t min = stride == &seg->writes ? stm_global.writes_min : stm_global.cluster_min;

	if (stride == &seg->tracked_reads || stride == &seg->tracked_writes)
		return next_tracked_cluster(stride, page);
	return within_bounds(!stride->size ? CLUSTER_FIRST : goes_on ? stride->size * 2 : stride->size / 2, min);
}

/* The pages around @page, in its aligned @cluster, that have state @state as it has: [*first, *last). */
static void cluster_of(const struct stm_seg *seg, size_t page, uint8_t state, size_t cluster, size_t *first, size_t *last)
{
	size_t low = page / cluster * cluster, high = low + cluster;
	/* The heap may grow meanwhile, and a view may have pages that the heap failed to get. */
	size_t end = atomic_load_explicit(&stm_global.heap_size, memory_order_acquire) / STM_PAGE;

	if (high > end)
		high = end;
	*first = page;
	*last = page + 1;
	while (*first > low && seg->view.state[*first - 1] == state)
		--*first;
	while (*last < high && seg->view.state[*last] == state)
		++*last;
}

static void cluster_at(struct stm_seg *seg, size_t page, uint8_t state, bool write, size_t *first, size_t *last)
{
	struct stm_stride *stride = write ? &seg->writes : &seg->reads;
	size_t cluster;

	if (unlikely(stm_page_is_tracked(page)))
		stride = write ? &seg->tracked_writes : &seg->tracked_reads;
	cluster = next_cluster(seg, stride, page);

	cluster_of(seg, page, state, cluster, first, last);
	*stride = (struct stm_stride){ *first, *last, cluster };
}

uint32_t stm_tick(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return ((uint32_t)now.tv_sec << 4 | (uint32_t)(now.tv_nsec >> 26)) & (UINT32_MAX >> 1); /* 2^26 ns: 67 ms */
}

/*
 * Written lately, and not just once: shared, it would have to be taken out of the view again soon, which is a shoot-down. What
 * was written once, as a table is filled, is shared.
 */
static bool is_hot(size_t page, uint32_t now)
{
	uint32_t tick = atomic_load_explicit(&stm_global.fold_ticks[page], memory_order_relaxed);

	return tick & 1 && now - (tick >> 1) <= STM_TICKS_LATELY && !stm_global.shares_hot_pages;
}

static int copy_and_replay(struct stm_seg *seg, uint64_t pin, size_t first, size_t last)
{
	int error = stm_view_copy(&seg->view, first, last);

	STM_POINT(COPIED);
	if (!error)
		replay(seg, pin, first, last);
	if (unlikely(seg->strict) && !error)
		stm_strict_guard(seg, first, last);
	return error;
}

/* ---- markers: a page of them is for four pages of the heap ---- */

#define MARKERS_AT_ONCE ((size_t)64)    /* pages of a cluster whose read markers may come with it: 16 plain faults */
#define MARKERS_SAMPLED ((size_t)8)
#define MARKERS_USED ((size_t)6)
#define SAMPLE_STEP ((size_t)37)        /* odd: reads at equal distances hit some of the samples only */

static uint8_t *marker_page(stm_marker *markers, size_t page)
{
	return (uint8_t *)((uintptr_t)(markers + page * STM_PAGE_GRANULES) & ~(STM_PAGE - 1));
}

/* Give them memory. No matter if it fails. */
static void have_markers(struct stm_seg *seg, stm_marker *markers, size_t first, size_t last)
{
	uint8_t *start = marker_page(markers, first), *end = (uint8_t *)(markers + last * STM_PAGE_GRANULES);

	seg->view.calls++;
	madvise(start, (size_t)(end - start), MADV_POPULATE_WRITE);
}

static bool holds_markers(const uint8_t *page)
{
	const uint64_t *words = (const uint64_t *)page;

	for (size_t i = 0; i < STM_PAGE / sizeof(*words); i++)
		if (words[i])
			return true;
	return false;
}

/*
 * Were the read markers of the last cluster used, nearly all of their pages? Then those of the next one will be: a scan. Who
 * reads here and there would pay a fourth of what he maps for nothing.
 */
static bool uses_read_markers(struct stm_seg *seg, const struct stm_stride *last)
{
	unsigned char in_memory[STM_REGION_PAGES / 4];
	uint8_t *start = marker_page(seg->read_markers, last->low);
	size_t n = (last->high - last->low) / 4, used = 0;

	seg->view.calls++;
	if (n < MARKERS_SAMPLED || n > sizeof(in_memory) || mincore(start, n * STM_PAGE, in_memory))
		return false;
	for (size_t i = 0; i < MARKERS_SAMPLED; i++) {
		size_t at = i * SAMPLE_STEP % n;

		used += in_memory[at] & 1 && holds_markers(start + at * STM_PAGE);
	}
	return used >= MARKERS_USED;
}

/*
 * Pages that were made private are about to be written. A write marker is read before it is written, so that its page would be the
 * zero page first, and then a copy-on-write fault and a shoot-down: have them all at once. A write is a read, too.
 */
static void have_both_markers(struct stm_seg *seg, size_t first, size_t last)
{
	have_markers(seg, seg->write_markers, first, last);
	if (last - first >= MARKERS_AT_ONCE && !seg->blind)
		have_markers(seg, seg->read_markers, first, last);
}

/* @page needed pages [first, last) mapped; if all went well, @to_write tells what for. */
static void was_mapped(struct stm_seg *seg, size_t page, size_t first, size_t last, bool to_write)
{
	if (to_write)
		have_both_markers(seg, first, last);
	if (unlikely(stm_page_is_tracked(page)))
		stm_track(seg, first, last);
	stm_trim_mapped(seg, page, first, last);
}

#define CLUSTER_WORDS (STM_REGION_PAGES / 64)

/* UNMAPPED pages become SHARED, or PRIVATE where they must. */
static int map_unmapped(struct stm_seg *seg, size_t page, bool write)
{
	uint64_t touched[CLUSTER_WORDS] = { 0 };
	struct stm_stride before = seg->reads;
	size_t first, last;
	uint64_t pin;
	int error = 0;

	cluster_at(seg, page, STM_PAGE_UNMAPPED, write, &first, &last);
	pin = stm_log_pin(seg);
	if (write || (unlikely(stm_page_is_tracked(page)) && stm_track_copies(seg))) {
		memset(touched, 0xff, sizeof(touched));
	} else {
		uint32_t now = stm_tick();

		for (size_t i = 0; i < last - first; i++)
			touched[i / 64] |= (uint64_t)is_hot(first + i, now) << i % 64;
		if (!STM_MUTATED(NO_REPLAY))
			find_touched(seg, pin, first, last, touched);
	}
	for (size_t from = first, to; from < last && !error; from = to) {
		size_t i = from - first;
		bool copy = touched[i / 64] >> (i % 64) & 1;

		for (to = from + 1; to < last; to++)
			if ((touched[(to - first) / 64] >> ((to - first) % 64) & 1) != copy)
				break;
		error = copy ? copy_and_replay(seg, pin, from, to) : stm_view_share(&seg->view, from, to);
	}
	stm_log_unpin(seg);
	was_mapped(seg, page, first, last, write && !error);
	if (!write && !error && last - first >= MARKERS_AT_ONCE && uses_read_markers(seg, &before))
		have_markers(seg, seg->read_markers, first, last);
	/* What could not be had beside the page itself is not needed now. */
	return seg->view.state[page] == STM_PAGE_UNMAPPED ? error : 0;
}

/*
 * Pages that were stored to without a fault are as private as others, and hold what was stored. Who is about to drop
 * SHARED pages must know, and who is about to drop all of them counts them at least. Whether there were any.
 */
static bool collect(struct stm_seg *seg, size_t first, size_t last)
{
	size_t n = STM_MUTATED(NO_COLLECT) ? 0 : stm_view_collect(&seg->view, first, last);

	seg->faults[STM_FAULT_PROTECT] += n;
	return n;
}

bool stm_page_was_stored(struct stm_seg *seg, size_t page)
{
	return collect(seg, page, page + 1);
}

void stm_pages_collect(struct stm_seg *seg)
{
	size_t pages = stm_view_pages(&seg->view);

	for (size_t first = 0; first < pages && seg->view.shared; first += STM_REGION_PAGES)
		if (stm_view_has_region(&seg->view, (unsigned int)(first / STM_REGION_PAGES)))
			collect(seg, first, pages - first < STM_REGION_PAGES ? pages : first + STM_REGION_PAGES);
}

int stm_pages_drop_all(struct stm_seg *seg)
{
	stm_pages_collect(seg);
	return stm_view_drop(&seg->view, 0, stm_view_pages(&seg->view));
}

/* To those pages of [*first, *last) around @page that are SHARED as it is. */
static void shrink(const struct stm_seg *seg, size_t page, size_t *first, size_t *last)
{
	size_t low = page, high = page + 1;

	while (low > *first && seg->view.state[low - 1] == STM_PAGE_SHARED)
		low--;
	while (high < *last && seg->view.state[high] == STM_PAGE_SHARED)
		high++;
	*first = low;
	*last = high;
}

/*
 * SHARED pages become PRIVATE. Needs no replay, and takes SHARED neighbours only: an UNMAPPED one has missed the
 * entries that were skipped since, while the snapshot published may already be past them.
 */
static int make_shared_private(struct stm_seg *seg, size_t page)
{
	size_t first, last;
	int error;

	cluster_at(seg, page, STM_PAGE_SHARED, true, &first, &last);
	if (unlikely(collect(seg, first, last))) {
		if (seg->view.state[page] == STM_PAGE_PRIVATE)
			return 0;
		shrink(seg, page, &first, &last);
	}
	error = stm_view_drop(&seg->view, first, last);
	STM_POINT(DROPPED);
	if (!error) {
		error = stm_view_copy(&seg->view, first, last);
		/* What was read must not become UNMAPPED, which would not be looked at for conflicts. */
		if (unlikely(error))
			stm_view_share(&seg->view, first, last);
	}
	if (unlikely(seg->strict) && !error)
		stm_strict_guard(seg, first, last);
	was_mapped(seg, page, first, last, !error && stm_in_tx(seg));
	return error;
}

/* So many pages got mapped since @before. */
static uint64_t page_value(const struct stm_seg *seg, size_t page, unsigned int kind, uint64_t before)
{
	uint64_t pages = seg->view.mapped + seg->view.copied - before;

	return STM_FAULT_VALUE(STM_HEAP + page * STM_PAGE, kind, pages < 1 ? 1 : pages < STM_REGION_PAGES ? pages : STM_REGION_PAGES);
}

bool stm_page_make_private(struct stm_seg *seg, size_t page)
{
	uint64_t since = stm_record_start(seg), before = seg->view.mapped + seg->view.copied;
	int error = 0;

	if (seg->view.state[page] == STM_PAGE_SHARED) {
		error = make_shared_private(seg, page);
		if (error && seg->view.state[page] == STM_PAGE_UNMAPPED)
			stm_die("page %zu of the heap: %s: no memory for it any more", page, stm_errno_name(error));
	} else if (seg->view.state[page] == STM_PAGE_UNMAPPED)
		error = map_unmapped(seg, page, true);
	if (seg->view.state[page] == STM_PAGE_GUARDED)
		stm_strict_write(seg, page);
	stm_record_since(seg, STM_EVENT_PRIVATISE, since, page_value(seg, page, STM_FAULT_WRITE, before));
	return !error;
}

/* Versions that count as "of late": a working set that comes round within them stays private. */
#define RECENT_VERSIONS 1000u

static bool used_recently(const struct stm_seg *seg, size_t page)
{
	const stm_marker *marker = seg->read_markers + page * STM_PAGE_GRANULES;

	for (size_t i = 0; i < STM_PAGE_GRANULES; i++)
		if (marker[i] && seg->version - marker[i] < RECENT_VERSIONS)
			return true;
	return false;
}

void stm_page_apply(struct stm_seg *seg, size_t page)
{
	int error = 0;

	if (unlikely(collect(seg, page, page + 1)))
		;
	else if (used_recently(seg, page) && !stm_page_is_tracked(page)) /* tracked ones are marked, used or not */
		error = make_shared_private(seg, page);
	if (seg->view.state[page] == STM_PAGE_SHARED) /* or without memory: UNMAPPED is as good */
		error = stm_view_drop(&seg->view, page, page + 1);
	if (error && seg->view.state[page] == STM_PAGE_SHARED)
		stm_die("madvise(MADV_DONTNEED): %s: cannot take page %zu of the heap out of a view",
			stm_errno_name(error), page);
	if (STM_MUTATED(APPLY_UNMAPPED)) {
		size_t first, last;

		cluster_of(seg, page, seg->view.state[page], stm_global.cluster_min, &first, &last);
		if (last < stm_view_pages(&seg->view) && seg->view.state[last] == STM_PAGE_UNMAPPED)
			stm_view_copy(&seg->view, last, last + 1);
	}
}

int stm_pages_prefault(struct stm_seg *seg, size_t first, size_t last)
{
	for (size_t page = first; page < last; page++) {
		int error = 0;

		if (seg->view.state[page] == STM_PAGE_UNMAPPED)
			error = map_unmapped(seg, page, false);
		else if (seg->view.state[page] == STM_PAGE_SHARED)
			error = stm_view_share_again(&seg->view, page);
		if (error)
			return error;
	}
	return 0;
}

/* ---- faults ---- */

static struct stm_seg *segment_at(uintptr_t address, size_t *offset)
{
	unsigned int n = atomic_load_explicit(&stm_global.segments_n, memory_order_acquire);

	for (unsigned int i = 0; i < n; i++) {
		struct stm_seg *seg = stm_global.segments[i];

		*offset = address - ((uintptr_t)seg - STM_HOT); /* in a child of fork(2) nothing is there */
		if (*offset < STM_HEAP + stm_global.heap_limit)
			return seg;
	}
	return NULL;
}

static const char not_attached[] = "this thread is not attached: call stm_thread_attach()";
static const char in_child[] = "in a child of fork(2), where the heap does not exist: only exec or _exit";

static const char *why_not_here(void)
{
	return atomic_load_explicit(&stm_forked, memory_order_relaxed) ? in_child : not_attached;
}

/* Is it that of the thread that faults? */
static bool is_own(const struct stm_seg *seg, const struct stm_fault *fault)
{
	if (!fault->thread)
		return seg == stm__self;
	if (!atomic_load_explicit(&seg->attached, memory_order_acquire))
		return false;
	return fault->thread == STM_CHILD_OF_OWNER ||
	       atomic_load_explicit(&seg->thread, memory_order_relaxed) == fault->thread;
}

/* A fault that says the program is wrong. The default action, or the program's handler, comes after the line. */
static void explain(const struct stm_seg *seg, size_t offset, const struct stm_fault *fault)
{
	const char *verb = fault->write ? "write" : "read";
	size_t pointer = offset;

	/* A barrier touches the marker first: tell the pointer that it was for. */
	if (offset < STM_HOT)
		verb = fault->write ? "write or stm_read" : "read";
	if (offset >= STM_WRITE_MARKERS && offset - STM_WRITE_MARKERS < STM_HOT / 4) {
		verb = "stm_write";
		pointer = (offset - STM_WRITE_MARKERS) * 4;
	}
	if (!is_own(seg, fault))
		stm_complain("%s of heap address %#zx: %s", verb, offset, why_not_here());
	else if (pointer < STM_HOT)
		stm_complain("%s through a null STM pointer, or a field of it: offset %zu", verb, pointer);
	else
		stm_complain("%s at segment offset %#zx: an STM pointer that is not into the heap, or its barrier",
			     verb, offset);
}

/* The heap, its markers, the hot page: an ordinary address is none of these, or hardly ever. */
static bool is_stm_pointer(uintptr_t address)
{
	size_t limit = stm_global.heap_limit;

	return address - STM_HEAP < limit || address - STM_HOT < STM_PAGE || address - STM_HEAP / 4 < limit / 4 ||
	       address - STM_WRITE_MARKERS - STM_HEAP / 4 < limit / 4;
}

/* " in system call 1", if that is so. */
static const char *inside(const struct stm_fault *fault, char call[32])
{
	int number = stm_fault_system_call(fault);

	call[0] = 0;
	if (number >= 0)
		snprintf(call, 32, " in system call %d", number);
	return call;
}

bool stm_resolve_fault(const struct stm_fault *fault)
{
	const char *verb = fault->write ? "write" : "read";
	char call[32];
	size_t offset, page;
	struct stm_seg *seg = segment_at(fault->address, &offset);
	struct stm_recorder *recorder;
	enum stm_fault_kind kind;
	uint64_t since, before;
	uint8_t *state;
	bool own;
	int error;

	/* Nothing of a segment may be touched before it is known to be this thread's. */
	if (!seg) {
		/* Without an attached segment the %gs base is 0, and the address is the pointer itself. */
		if (!stm__self && is_stm_pointer(fault->address))
			stm_complain("%s through an STM pointer (address %#zx): %s", verb, (size_t)fault->address,
				     why_not_here());
		return false;
	}
	own = is_own(seg, fault);
	if (own && stm_recording(seg) && stm_watch_fault(seg, offset, fault))
		return true;
	page = (offset - STM_HEAP) / STM_PAGE;
	if (!fault->mapped || offset < STM_HEAP || (own && page >= stm_view_pages(&seg->view))) {
		explain(seg, offset, fault);
		return false;
	}
	if (!own)
		stm_die("%s of heap address %#zx%s: %s", verb, offset, inside(fault, call), why_not_here());
	if (unlikely(seg->strict) && fault->write && !stm_site_of(seg))
		stm_strict_enter(seg, fault, page);
	else if (!stm_in_tx(seg))
		stm_die("%s of heap address %#zx%s outside a transaction: use STM_ATOMIC or stm_atomic()", verb, offset,
			inside(fault, call));

	/* The handler's thread is about to mark them for the owner, who waits: a store there would be its own fault. */
	if (fault->thread && stm_recording(seg) && stm_page_is_tracked(page))
		stm_watch_end(seg);
	recorder = stm_recorder_of(seg, fault);
	since = recorder ? stm_ticks() : 0;
	before = seg->view.mapped + seg->view.copied;
	state = &seg->view.state[page];
	if (*state == STM_PAGE_UNMAPPED) {
		kind = fault->write ? STM_FAULT_WRITE : STM_FAULT_READ;
		error = map_unmapped(seg, page, fault->write);
	} else if (*state == STM_PAGE_SHARED && fault->write) {
		kind = STM_FAULT_PROTECT;
		error = make_shared_private(seg, page);
	} else if (*state == STM_PAGE_SHARED) {
		kind = STM_FAULT_RECLAIMED;
		error = stm_view_share_again(&seg->view, page);
	} else if (*state == STM_PAGE_GUARDED && fault->write) {
		kind = STM_FAULT_PROTECT;
		error = 0;
	} else {
		return false; /* a private page does not fault to us: a hardware error */
	}
	seg->faults[kind]++;
	if (error)
		stm_die("page fault at heap address %#zx: %s: no memory for a page", offset, stm_errno_name(error));
	if (unlikely(recorder))
		stm_record_fault(recorder, seg, since, page_value(seg, page, kind, before));
	if (*state == STM_PAGE_GUARDED && fault->write)
		stm_strict_store(seg, fault);
	return true;
}
