// SPDX-License-Identifier: MIT
/*
 * track.c - memory without barriers: which pages of it a transaction uses is found by page faults.
 *
 *   1. A tracked page that a view maps is on the segment's list, and counts as read: all its read markers are set, when
 *      a fault maps it, or at begin if it is mapped already.
 *   2. Each has a pre-image: the base's page, where all that the view has of it is folded, since fold does not go beyond
 *      the snapshot; else a copy. Commit compares the two and logs the granules that differ, unless they are
 *      logged already; abort puts the pre-image back.
 *   3. Pages stay mapped from one transaction to the next, which is presumed to use them again: to mark and to compare
 *      a page costs a tenth of a fault or less. Whether it did is seen by a fault, or by bytes that changed. Pages of which
 *      nothing is seen are given up when to hold them has cost as much as to fault in the others again: all at once then, in
 *      a call or two, since each call is a shoot-down. A presumption may also be the reason of a conflict: a
 *      transaction that fails twice starts with no page mapped, and presumes nothing.
 *   4. What was changed is folded soon: a fault replays what is not, and walks all of it.
 *
 * Foreign commits meet the pages of the list as any others: at begin, before they are marked. Later ones would be conflicts.
 * The fault handler comes here: no malloc, no locks.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "entry.h"
#include "internal.h"
#include "pool.h"

#define UNUSED_AFTER 2u                 /* transactions that were not seen to use a page */
#define FAULT_COST 16u                  /* of one page, against holding it for one transaction: 8 to 25 us, and 0.8 */
#define DROP_COST (4 * FAULT_COST)      /* of a call that takes pages out of the view */
#define RATIO_ONE 256                   /* see stm_tracked.written */
#define RATIO_COPIES (RATIO_ONE / 4)
#define LAG_RUNS 4096u                  /* of some 1.2 ns in each fault */
#define UNFOLDED_WALKED 64u             /* commits */
#define GAP_LOGGED 4u                   /* granules that did not change: a cache line costs less than a run */
#define PRESUMES_ATTEMPTS 2u            /* failed attempts after which nothing is presumed */
#define IMAGES_STEP ((size_t)256)       /* pre-images that become usable at once: 1 MiB */
#define IMAGES_KEPT ((size_t)1024)      /* whose memory is kept when the list is emptied */

/* Pages on the list, by place. Lies in a reservation of its own, like its arrays. */
struct stm_tracked {
	size_t reserved;                /* bytes of all of it */
	uint32_t n, usable;             /* pages on the list; pre-images that may be written */
	int written;                    /* share of the pages seen used that were changed, of late; RATIO_ONE is all */
	uint64_t runs;                  /* committed since segments that sleep were last kept from holding up fold */
	uint64_t wasted;                /* unused pages that were held, summed over transactions */
	uint32_t *place;                /* by page: place on the list, from 1 on; 0: it is not there */
	uint32_t *page;                 /* by place, from 0 on */
	uint8_t *unused;                /* by place: transactions since one was seen to use it, up to UNUSED_AFTER */
	bool *has_image;
	uint8_t (*image)[STM_PAGE];
};

bool stm_page_is_tracked(size_t page)
{
	size_t region = page / STM_REGION_PAGES;

	/* Relaxed: it was stored before any pointer to such memory was committed. */
	return atomic_load_explicit(&stm_tracked_regions[region], memory_order_relaxed);
}

/*
 * A page that is shared at its first read, and then written, costs a second fault and a shoot-down. Where a fourth of the
 * pages is written, to copy all of them at once costs less.
 */
bool stm_track_copies(const struct stm_seg *seg)
{
	return seg->tracked && seg->tracked->written >= RATIO_COPIES;
}

/* ---- the list's memory ---- */

static size_t whole_pages(size_t bytes)
{
	return (bytes + STM_PAGE - 1) / STM_PAGE * STM_PAGE;
}

static void no_memory(void) __attribute__((__noreturn__, __cold__));
static void no_memory(void)
{
	stm_die("page tracking: no memory to keep a page as it was (ENOMEM): use less tracked memory in one transaction, or raise the limit");
}

static struct stm_tracked *make(struct stm_seg *seg)
{
	size_t pages = stm_global.heap_limit / STM_PAGE;
	size_t words = whole_pages(pages * sizeof(uint32_t)), flags = whole_pages(pages * sizeof(bool));
	size_t tables = STM_PAGE + 2 * words + 2 * flags;
	uint8_t *start = stm_reserve(tables + pages * STM_PAGE);
	struct stm_tracked *t = (struct stm_tracked *)start;

	if (!start || stm_make_usable(start, tables))
		no_memory();
	t->reserved = tables + pages * STM_PAGE;
	t->place = (uint32_t *)(start + STM_PAGE);
	t->page = (uint32_t *)(start + STM_PAGE + words);
	t->unused = start + STM_PAGE + 2 * words;
	t->has_image = (bool *)(t->unused + flags);
	t->image = (uint8_t (*)[STM_PAGE])(start + tables);
	seg->tracked = t;
	return t;
}

void stm_track_close(struct stm_seg *seg)
{
	if (seg->tracked)
		munmap(seg->tracked, seg->tracked->reserved);
	seg->tracked = NULL;
}

static void keep_image(struct stm_seg *seg, struct stm_tracked *t, uint32_t place)
{
	if (place >= t->usable) {
		size_t pages = stm_global.heap_limit / STM_PAGE;
		size_t usable = (place / IMAGES_STEP + 1) * IMAGES_STEP;

		usable = usable < pages ? usable : pages;
		if (stm_make_usable(t->image[t->usable], (usable - t->usable) * STM_PAGE))
			no_memory();
		t->usable = (uint32_t)usable;
	}
	memcpy(t->image[place], stm_view_contents(&seg->view, t->page[place]), STM_PAGE);
	t->has_image[place] = true;
}

/* ---- in a transaction ---- */

static void count_as_read(struct stm_seg *seg, size_t page)
{
	stm_set_markers(seg->read_markers + page * STM_PAGE_GRANULES, STM_PAGE_GRANULES, seg->version);
}

static bool base_is_snapshot(const struct stm_seg *seg)
{
	/* Pairs with fold's release. It does not go beyond our snapshot. */
	return atomic_load_explicit(&stm_global.folded, memory_order_acquire) == seg->snapshot;
}

void stm_track(struct stm_seg *seg, size_t first, size_t last)
{
	struct stm_tracked *t = seg->tracked ? seg->tracked : make(seg);
	bool is_folded = base_is_snapshot(seg);

	for (size_t page = first; page < last; page++) {
		if (seg->view.state[page] == STM_PAGE_UNMAPPED)
			continue;
		if (!t->place[page]) {
			t->page[t->n] = (uint32_t)page;
			t->has_image[t->n] = false;
			t->place[page] = ++t->n;
			count_as_read(seg, page);
			if (seg->view.state[page] == STM_PAGE_PRIVATE && !is_folded)
				keep_image(seg, t, t->n - 1);
		}
		t->unused[t->place[page] - 1] = 0;
	}
	seg->attention |= STM_ATTEND_TRACKED;
	seg->heed |= STM_HEED_TRACKED;
}

/* What the page was when the transaction began, if it may have been stored to; else NULL. */
static const uint8_t *image_of(const struct stm_seg *seg, const struct stm_tracked *t, uint32_t place)
{
	size_t page = t->page[place];

	if (t->has_image[place])
		return t->image[place];
	if (seg->view.state[page] == STM_PAGE_SHARED && !stm_view_hides_stores())
		return NULL;
	return seg->view.base + page * STM_PAGE;
}

/* Did the transaction change the page? If so it is PRIVATE from here on. */
static bool has_changed(struct stm_seg *seg, size_t page, const uint8_t *image)
{
	if (!image || !memcmp(seg->view.heap + page * STM_PAGE, image, STM_PAGE))
		return false;
	if (seg->view.state[page] == STM_PAGE_SHARED)
		stm_page_was_stored(seg, page);
	return true;
}

static inline bool granule_differs(const uint8_t *a, const uint8_t *b)
{
	uint64_t x[2], y[2];

	memcpy(x, a, STM_GRANULE);
	memcpy(y, b, STM_GRANULE);
	return (x[0] ^ y[0]) | (x[1] ^ y[1]);
}

/*
 * The granules of the page that differ from its pre-image, and were not logged by this version or the @since ones before
 * it. Runs that are near each other become one: what lies between is as it was, and nobody changed it since, since the whole page counts as read.
 */
static void log_changes(struct stm_seg *seg, size_t page, const uint8_t *image, uint32_t since)
{
	size_t first = page * STM_PAGE_GRANULES, from = 0, to = 0; /* the run: granules [from, to) of the page, if to */
	const stm_marker *written = seg->write_markers + first;
	const uint8_t *now = seg->view.heap + page * STM_PAGE;

	for (size_t i = 0; i < STM_PAGE_GRANULES; i++) {
		bool logged = seg->version - written[i] <= since;

		if (to && (logged || i - to > GAP_LOGGED)) {
			stm_log_change(seg, first + from, to - from, image + from * STM_GRANULE);
			to = 0;
		}
		if (logged || !granule_differs(now + i * STM_GRANULE, image + i * STM_GRANULE))
			continue;
		if (!to)
			from = i;
		to = i + 1;
	}
	if (to)
		stm_log_change(seg, first + from, to - from, image + from * STM_GRANULE);
}

void stm_track_commit(struct stm_seg *seg)
{
	struct stm_tracked *t = seg->tracked;
	uint32_t changed = 0, used = 0;

	for (uint32_t place = 0; place < t->n; place++) {
		const uint8_t *image = image_of(seg, t, place);

		if (has_changed(seg, t->page[place], image)) {
			changed++;
			t->unused[place] = 0;
			if (!STM_MUTATED(TRACK_NO_DIFF))
				log_changes(seg, t->page[place], image, seg->span); /* since whichever savepoint */
		}
		used += !t->unused[place];
	}
	t->runs += seg->runs;
	/* Each fault to come walks what is not folded. */
	if (changed)
		seg->attention |= STM_ATTEND_FOLD;
	if (used)
		t->written += ((int)((uint64_t)changed * RATIO_ONE / used) - t->written) / 4;
}

bool stm_track_lags(struct stm_seg *seg)
{
	if (!seg->tracked || seg->tracked->runs < LAG_RUNS)
		return false;
	seg->tracked->runs = 0;
	return true;
}

void stm_track_aborted(struct stm_seg *seg)
{
	const struct stm_tracked *t = seg->tracked;

	for (uint32_t place = 0; place < t->n; place++) {
		const uint8_t *image = image_of(seg, t, place);

		if (has_changed(seg, t->page[place], image) && !STM_MUTATED(TRACK_NO_UNDO))
			memcpy(seg->view.heap + t->page[place] * STM_PAGE, image, STM_PAGE);
	}
}

/* ---- savepoints ---- */

void stm_track_savepoint(struct stm_seg *seg)
{
	struct stm_tracked *t = seg->tracked;

	for (uint32_t place = 0; place < t->n; place++) {
		const uint8_t *image = image_of(seg, t, place);

		if (has_changed(seg, t->page[place], image)) {
			log_changes(seg, t->page[place], image, seg->since);
			keep_image(seg, t, place);
			t->unused[place] = 0;
		}
	}
}

const uint8_t *stm_track_image(const struct stm_seg *seg, size_t page)
{
	uint32_t place = seg->tracked->place[page];

	return place ? image_of(seg, seg->tracked, place - 1) : NULL;
}

void stm_track_rolled_back(struct stm_seg *seg)
{
	struct stm_tracked *t = seg->tracked;

	for (uint32_t place = 0; place < t->n; place++)
		if (has_changed(seg, t->page[place], image_of(seg, t, place)))
			keep_image(seg, t, place);
}

/* ---- between transactions ---- */

void stm_track_forget(struct stm_seg *seg)
{
	struct stm_tracked *t = seg->tracked;

	seg->heed &= ~STM_HEED_TRACKED;
	if (!t)
		return;
	for (uint32_t place = 0; place < t->n; place++)
		t->place[t->page[place]] = 0;
	if (t->n > IMAGES_KEPT)
		stm_empty(t->image, t->usable * STM_PAGE);
	t->n = 0;
	t->wasted = 0;
}

/* Regions of tracked memory hold nothing else, so one call may empty several. */
static void unmap_all(struct stm_seg *seg)
{
	const struct stm_tracked *t = seg->tracked;
	size_t low = SIZE_MAX, high = 0, first = 0, last = 0;

	for (uint32_t place = 0; place < t->n; place++) {
		size_t region = t->page[place] / STM_REGION_PAGES;

		low = region < low ? region : low;
		high = region >= high ? region + 1 : high;
	}
	for (size_t region = low; region <= high; region++) {
		bool mapped = region < high && stm_page_is_tracked(region * STM_REGION_PAGES) &&
			      stm_view_has_region(&seg->view, (unsigned int)region);

		if (mapped) {
			first = last ? first : region;
			last = region + 1;
		} else if (last) {
			size_t end = last * STM_REGION_PAGES, pages = stm_view_pages(&seg->view);

			if (stm_view_drop(&seg->view, first * STM_REGION_PAGES, end < pages ? end : pages))
				stm_die("madvise(MADV_DONTNEED): cannot take tracked pages out of a view");
			last = 0;
		}
	}
}

/* One more transaction has ended. Is it time to give up all pages? */
static bool count_unused(struct stm_tracked *t)
{
	uint32_t unused = 0;

	for (uint32_t place = 0; place < t->n; place++) {
		if (t->unused[place] < UNUSED_AFTER)
			t->unused[place]++;
		else
			unused++;
	}
	t->wasted += unused;
	return t->wasted >= (uint64_t)(t->n - unused) * FAULT_COST + DROP_COST;
}

static void keep_pages(struct stm_seg *seg, struct stm_tracked *t, size_t first, size_t last)
{
	for (size_t page = first; page <= last; page++) {
		uint32_t place = t->place[page];

		if (place && seg->view.state[page] == STM_PAGE_PRIVATE && !t->has_image[place - 1])
			keep_image(seg, t, place - 1);
	}
}

/* Pages that entries touch which are in the view, but not yet in the base, need an image. */
static void keep_unfolded(struct stm_seg *seg, struct stm_tracked *t)
{
	uint64_t position;
	struct stm_slot *slot;

	if (base_is_snapshot(seg))
		return;
	position = stm_log_pin(seg);
	slot = stm_slot_at(position);
	if (seg->snapshot - position > UNFOLDED_WALKED) {
		for (uint32_t place = 0; place < t->n; place++)
			keep_pages(seg, t, t->page[place], t->page[place]);
		position = seg->snapshot;
	}
	for (; position < seg->snapshot; position++) {
		struct stm_reader reader = stm_read_slot(slot);
		struct stm_piece piece;

		while (stm_next_piece(&reader, &piece))
			keep_pages(seg, t, piece.granule / STM_PAGE_GRANULES,
				   (piece.granule + piece.count - 1) / STM_PAGE_GRANULES);
		slot = stm_slot_next(slot, position);
	}
	stm_log_unpin(seg);
}

void stm_track_begin(struct stm_seg *seg)
{
	struct stm_tracked *t = seg->tracked;
	uint32_t n = 0;

	if (count_unused(t) || seg->attempt >= PRESUMES_ATTEMPTS || seg->attempt >= seg->attempts_limit) {
		unmap_all(seg);
		stm_track_forget(seg);
		return;
	}
	for (uint32_t place = 0; place < t->n; place++) {
		uint32_t page = t->page[place];

		if (seg->view.state[page] == STM_PAGE_UNMAPPED) { /* dropped by a foreign commit, or a helper */
			t->place[page] = 0;
			continue;
		}
		t->page[n] = page;
		t->unused[n] = t->unused[place];
		t->place[page] = n + 1;
		t->has_image[n] = false;
		if (!STM_MUTATED(TRACK_NO_MARKS))
			count_as_read(seg, page);
		n++;
	}
	t->n = n;
	keep_unfolded(seg, t);
	if (n)
		seg->attention |= STM_ATTEND_TRACKED;
	else
		seg->heed &= ~STM_HEED_TRACKED;
}
