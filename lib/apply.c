// SPDX-License-Identifier: MIT
/*
 * apply.c - what a segment does with the commits of others: look for conflicts, and copy
 * their after-images into the private pages of its view.
 *
 * A slot whose regions the view does not map is skipped on sight; a group of slots likewise, when
 * the segment is far behind.
 */
#include "entry.h"
#include "internal.h"
#include "strict.h"

static inline bool touches_view(const struct stm_view *view, uint64_t entry, uint64_t summary)
{
	if (unlikely(entry & STM_SLOT_MANY))
		return true;
	if (stm_view_has_region(view, summary & 0xffff))
		return true;
	if (likely(summary == (summary << 16 | summary >> 48))) /* all lanes repeat one region */
		return false;
	return stm_view_has_region(view, summary >> 16 & 0xffff) ||
	       stm_view_has_region(view, summary >> 32 & 0xffff) ||
	       stm_view_has_region(view, summary >> 48 & 0xffff);
}

static inline uint64_t entry_word(const struct stm_slot *slot)
{
	/* Pairs with the publisher's cmpxchg16b, or its release of a PENDING slot. */
	return atomic_load_explicit(&slot->entry, memory_order_acquire);
}

/* Did the transaction read any of these granules? They are on one page. */
static inline bool was_read(const struct stm_seg *seg, size_t granule, size_t count)
{
	const stm_marker *marker = seg->read_markers + granule;
	uint32_t span = seg->span, first = seg->version - span;

	for (; count; count--, marker++)
		if (*marker - first <= span)
			return true;
	return false;
}

/* Two granules at most. */
static inline bool clashes_packed(const struct stm_seg *seg, const struct stm_slot *slot, uint32_t runs)
{
	uint32_t span = seg->span, first = seg->version - span;

	for (uint32_t i = 0; i < runs; i++) {
		unsigned int count;
		size_t granule = stm_packed_run(slot, i, &count);

		STM_COUNT(tested_granules, count);
		for (; count; count--, granule++)
			/* Not mapped: not read. Its markers are not touched, or they would be mapped. */
			if (seg->view.state[granule / STM_PAGE_GRANULES] != STM_PAGE_UNMAPPED &&
			    seg->read_markers[granule] - first <= span)
				return true;
	}
	return false;
}

static __attribute__((__noinline__)) bool clashes_long(const struct stm_seg *seg, const struct stm_slot *slot)
{
	const uint8_t *state = seg->view.state;
	struct stm_reader reader = stm_read_entry(slot);
	struct stm_piece piece;

	while (stm_next_piece(&reader, &piece)) {
		size_t granule = piece.granule, end = granule + piece.count;

		STM_COUNT(tested_granules, piece.count);

		do {
			size_t page = granule / STM_PAGE_GRANULES;
			size_t stop = (page + 1) * STM_PAGE_GRANULES;

			stop = stop < end ? stop : end;
			if (state[page] != STM_PAGE_UNMAPPED && was_read(seg, granule, stop - granule))
				return true;
			granule = stop;
		} while (granule < end);
	}
	return false;
}

/* The transaction read something that was written in the slot, which touches the view. */
static inline bool clashes(const struct stm_seg *seg, const struct stm_slot *slot)
{
	uint32_t packed = stm_packed_runs(slot);

	return likely(packed) ? clashes_packed(seg, slot, packed) : clashes_long(seg, slot);
}

static __attribute__((__noinline__)) void apply_by_pages(struct stm_seg *seg, const struct stm_piece *piece)
{
	size_t granule = piece->granule, end = granule + piece->count;
	const uint8_t *bytes = piece->bytes;

	while (granule < end) {
		size_t page = granule / STM_PAGE_GRANULES;
		size_t stop = (page + 1) * STM_PAGE_GRANULES;
		size_t count = (stop < end ? stop : end) - granule;

		if (seg->view.state[page] == STM_PAGE_SHARED)
			stm_page_apply(seg, page);
		if (unlikely(seg->view.state[page] == STM_PAGE_GUARDED))
			stm_strict_apply(seg, page);
		if (seg->view.state[page] == STM_PAGE_PRIVATE) {
			STM_COUNT(applied_bytes, count * STM_GRANULE);
			stm_copy_granules(seg->view.heap + granule * STM_GRANULE, bytes, count);
		}
		bytes += count * STM_GRANULE;
		granule += count;
	}
}

static inline void apply_packed(struct stm_seg *seg, const struct stm_slot *slot, uint32_t runs)
{
	const uint8_t *bytes = slot->bytes;

	for (uint32_t i = 0; i < runs; i++) {
		unsigned int count;
		size_t granule = stm_packed_run(slot, i, &count);

		for (; count; count--, granule++, bytes += STM_GRANULE) {
			uint8_t state = seg->view.state[granule / STM_PAGE_GRANULES];

			if (likely(state == STM_PAGE_PRIVATE)) {
				STM_COUNT(applied_bytes, STM_GRANULE);
				__builtin_memcpy(seg->view.heap + granule * STM_GRANULE, bytes, STM_GRANULE);
			} else if (state != STM_PAGE_UNMAPPED) {
				apply_by_pages(seg, &(struct stm_piece){ granule, 1, bytes });
			}
		}
	}
}

static __attribute__((__noinline__)) void apply_long(struct stm_seg *seg, const struct stm_slot *slot)
{
	struct stm_reader reader = stm_read_entry(slot);
	struct stm_piece piece;

	while (stm_next_piece(&reader, &piece)) {
		size_t page = piece.granule / STM_PAGE_GRANULES;
		bool one_page = page == (piece.granule + piece.count - 1) / STM_PAGE_GRANULES;
		uint8_t state = seg->view.state[page];

		if (likely(one_page && state == STM_PAGE_PRIVATE)) {
			STM_COUNT(applied_bytes, piece.count * STM_GRANULE);
			stm_copy_granules(seg->view.heap + piece.granule * STM_GRANULE, piece.bytes, piece.count);
		} else if (!one_page || state != STM_PAGE_UNMAPPED) {
			apply_by_pages(seg, &piece);
		}
	}
	STM_COUNT(entry_lines, ((size_t)(reader.next - (const uint8_t *)stm_entry_of(entry_word(slot))) + 63) / 64);
}

/* The slot touches the view. */
static inline void apply(struct stm_seg *seg, const struct stm_slot *slot)
{
	uint32_t packed = stm_packed_runs(slot);

	if (likely(packed))
		apply_packed(seg, slot, packed);
	else
		apply_long(seg, slot);
}

/*
 * Far behind: the whole group of 64 slots at @position is published. May it be skipped, because the view
 * maps none of its regions?
 */
static bool skip_group(const struct stm_view *view, struct stm_slot *slot, uint64_t position)
{
	const struct stm_group *group;
	uint64_t common = 0;

	if (!stm_is_published(entry_word(slot + STM_GROUP_SLOTS - 1)))
		return false;
	group = stm_log_group(slot, position);
	for (unsigned int i = 0; i < 8; i++)
		common |= atomic_load_explicit(&group->regions[i], memory_order_relaxed) & view->region_mask[i];
	return !common;
}

static void publish_snapshot(struct stm_seg *seg)
{
	/* Pairs with fold's acquire: what was applied from the log was read before this. */
	atomic_store_explicit(&seg->published, seg->snapshot, memory_order_release);
}

static inline void stand_at(struct stm_seg *seg, struct stm_slot *slot, uint64_t position)
{
	seg->slot = slot;
	seg->snapshot = position;
}

/*
 * How many of up to @n successive slots of a group may be skipped, up to the first that touches the view, or is not published. Most do
 * not, when there are many segments: this loop is what another one's commit costs.
 */
static inline unsigned int skim(const struct stm_view *view, const struct stm_slot *slot, unsigned int n)
{
	unsigned int i = 0;

	while (i < n) {
		uint64_t entry = entry_word(slot + i);

		if (!stm_is_published(entry) || touches_view(view, entry, slot[i].summary))
			break;
		i++;
	}
	return i;
}

/* From here to the end of the group. */
static inline unsigned int left_of_group(uint64_t position)
{
	return STM_GROUP_SLOTS - position % STM_GROUP_SLOTS;
}

/* At the @n-th slot from here, one group further at most. */
static inline struct stm_slot *slot_after(struct stm_slot *slot, uint64_t position, unsigned int n)
{
	return n ? stm_slot_next(slot + n - 1, position + n - 1) : slot;
}

/* Apply from the snapshot on what is published, but nothing from @end on: a group of slots at a time, where that may be skipped. */
static void walk(struct stm_seg *seg, uint64_t end)
{
	struct stm_slot *slot = seg->slot;
	uint64_t position = seg->snapshot;

	while (position < end) {
		unsigned int n = left_of_group(position), left;

		if (n > end - position)
			n = (unsigned int)(end - position);
		left = n;
		if (unlikely(n == STM_GROUP_SLOTS) && skip_group(&seg->view, slot, position)) {
			STM_COUNT(applied_groups, 1);
		} else {
			n = skim(&seg->view, slot, n);
			STM_COUNT(applied_slots, n);
			STM_COUNT(applied_skipped, n);
		}
		if (STM_MUTATED(EARLY_SNAPSHOT))
			atomic_store_explicit(&seg->published, position + n + 1, memory_order_release);
		slot = slot_after(slot, position, n);
		position += n;
		if (n == left)
			continue;
		if (!stm_is_published(entry_word(slot)))
			break;
		STM_COUNT(applied_slots, 1);
		stand_at(seg, slot, position); /* a page that is mapped holds what is before it */
		apply(seg, slot);
		STM_POINT(APPLIED);
		slot = stm_slot_next(slot, position);
		position++;
	}
	stand_at(seg, slot, position);
	publish_snapshot(seg);
}

void stm_advance(struct stm_seg *seg)
{
	if (stm_is_published(entry_word(seg->slot)))
		walk(seg, UINT64_MAX);
}

bool stm_find_conflict(const struct stm_seg *seg, struct stm_walk *w)
{
	if (unlikely(seg->blind) && !STM_MUTATED(BLIND))
		return stm_is_published(entry_word(w->slot));
	for (;;) {
		unsigned int left = left_of_group(w->position), n = left;

		if (unlikely(n == STM_GROUP_SLOTS) && skip_group(&seg->view, w->slot, w->position)) {
			STM_COUNT(tested_groups, 1);
		} else {
			n = skim(&seg->view, w->slot, n);
			STM_COUNT(tested_slots, n);
			STM_COUNT(tested_skipped, n);
		}
		w->slot = slot_after(w->slot, w->position, n);
		w->position += n;
		if (n == left)
			continue;
		if (!stm_is_published(entry_word(w->slot)))
			return false;
		STM_COUNT(tested_slots, 1);
		if (!w->touched) {
			w->touched = w->slot;
			w->touched_at = w->position;
		}
		if (unlikely(clashes(seg, w->slot)))
			return true;
		w->slot = stm_slot_next(w->slot, w->position);
		w->position++;
	}
}

void stm_follow(struct stm_seg *seg, const struct stm_walk *w)
{
	if (w->touched) {
		STM_COUNT(again_slots, w->position - w->touched_at);
		stand_at(seg, w->touched, w->touched_at);
		walk(seg, w->position);
	} else if (seg->snapshot != w->position) {
		stand_at(seg, w->slot, w->position);
		publish_snapshot(seg);
	}
}

/* Which granule of it, the first that was read: its run, too. False: none. */
static bool find_in_slot(const struct stm_seg *seg, const struct stm_slot *slot, struct stm_clash *clash)
{
	struct stm_reader reader = stm_read_slot(slot);
	struct stm_piece piece;

	for (clash->run = 0; stm_next_piece(&reader, &piece); clash->run++)
		for (size_t i = 0; i < piece.count; i++) {
			clash->granule = piece.granule + i;
			if (seg->view.state[clash->granule / STM_PAGE_GRANULES] != STM_PAGE_UNMAPPED &&
			    was_read(seg, clash->granule, 1))
				return true;
		}
	return false;
}

bool stm_find_clash(const struct stm_seg *seg, struct stm_clash *clash)
{
	struct stm_walk w = stm_walk_from(seg);

	if (!stm_find_conflict(seg, &w))
		return false;
	clash->slot = w.slot;
	clash->position = w.position;
	return find_in_slot(seg, w.slot, clash);
}
