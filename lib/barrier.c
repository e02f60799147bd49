// SPDX-License-Identifier: MIT
/*
 * barrier.c - barriers out of line: the write slow path, long ranges, checked forms.
 *
 * The slow path, for each run of granules on one page that does not carry the current version: make
 * the page private, append the run to the entry in the making and the old bytes to the undo log, set
 * the write and the read markers. A write implies a read: else two transactions that write halves
 * of one granule would lose one.
 */
#include <errno.h>

#include "entry.h"
#include "internal.h"
#include "recorder.h"
#include "strict.h"

static struct stm_seg *self_in_transaction(uintptr_t a, size_t len, const char *call)
{
	struct stm_seg *seg = stm__self;
	size_t offset = a - STM_HEAP;

	if (unlikely(!seg || !stm_in_tx(seg)))
		stm_tx_missing(call);
	if (unlikely(offset >= stm_view_pages(&seg->view) * STM_PAGE || len > stm_view_pages(&seg->view) * STM_PAGE - offset))
		stm_die("%s: %zu bytes at address %#zx: not in the heap (%zu bytes at %#zx)", call, len, (size_t)a,
			atomic_load(&stm_global.heap_size), (size_t)STM_HEAP);
	return seg;
}

static inline void mark(struct stm_seg *seg, size_t granule, size_t count)
{
	stm_set_markers(seg->write_markers + granule, count, seg->version);
	if (!seg->blind && !STM_MUTATED(WRITE_NOT_READ))
		stm_set_markers(seg->read_markers + granule, count, seg->version);
}

static void no_log_memory(size_t bytes) __attribute__((__noreturn__, __cold__));
static void no_log_memory(size_t bytes)
{
	stm_die("stm_write: no memory for %zu bytes of undo log (ENOMEM): write less in one transaction, or raise the limit",
		bytes);
}

/*
 * A commit to the base (alone.c) stores there, to lines that are in no cache if the heap is large: have them come while
 * the transaction goes on. Without this it costs 10 ns a granule of a map of 100,000 entries.
 */
static inline void expect_base(const struct stm_seg *seg, size_t granule)
{
	if (atomic_load_explicit(&seg->alone, memory_order_relaxed))
		__builtin_prefetch(stm_global.base + granule * STM_GRANULE, 1);
}

/* Append a run, or lengthen the last one. Room is there. @fresh: 0 or STM_FRESH. */
static inline void append(struct stm_seg *seg, size_t granule, size_t count, uint64_t fresh)
{
	expect_base(seg, granule);
	if (seg->extends == (granule | fresh) && seg->last->count + count <= STM_RUN_MAX) {
		seg->last->count += count;
	} else {
		seg->last = (struct stm_run *)seg->tail;
		*seg->last = (struct stm_run){ .granule = granule, .count = count, .fresh = !!fresh };
		seg->runs++;
		seg->tail += sizeof(struct stm_run);
	}
	seg->extends = (granule + count) | fresh;
	seg->tail += count * STM_GRANULE;
}

static inline bool has_room(const struct stm_seg *seg, size_t bytes)
{
	return (size_t)(seg->limit - seg->tail) >= bytes + sizeof(struct stm_run) &&
	       (size_t)(seg->undo_limit - seg->undo_tail) >= bytes;
}

/* At the transaction's private page 0, 1, 2, 4, 8, ...: a look walks all that was committed meanwhile. */
static bool look_again(struct stm_seg *seg)
{
	uint32_t pages;

	if (seg->private_version != seg->version) {
		seg->private_version = seg->version;
		seg->private_pages = 0;
	}
	pages = seg->private_pages++;
	return !(pages & (pages - 1));
}

/* Log a run that is not logged, whose bytes were @old when the transaction began. */
static inline void log_old(struct stm_seg *seg, size_t granule, size_t count, const uint8_t *old)
{
	size_t bytes = count * STM_GRANULE;

	if (unlikely(!has_room(seg, bytes)) &&
	    (!stm_entry_reserve(seg, bytes + sizeof(struct stm_run)) || !stm_undo_reserve(seg, bytes)))
		no_log_memory(bytes);
	append(seg, granule, count, 0);
	stm_copy_granules(seg->undo_tail, old, count);
	seg->undo_tail += bytes;
}

/* Granules [granule, granule + count) are on one page and not logged. */
static void log_run(struct stm_seg *seg, size_t granule, size_t count)
{
	uint8_t state = seg->view.state[granule / STM_PAGE_GRANULES];

	if (STM_MUTATED(TRIM_IN_TX) && seg->heed & STM_HEED_TRIM)
		stm_trim(seg);
	if (unlikely(state != STM_PAGE_PRIVATE)) {
		/* A page costs microseconds: see whether the transaction is worth it. In C++ no barrier throws. */
		if (state != STM_PAGE_GUARDED && look_again(seg) && !stm_unwind_of(seg) && stm_tx_doomed(seg))
			stm_tx_restart(seg, STM_ABORT_VALIDATE);
		if (!stm_page_make_private(seg, granule / STM_PAGE_GRANULES))
			stm_die("stm_write: no memory for a page of the heap (ENOMEM)");
	}
	log_old(seg, granule, count, seg->view.heap + granule * STM_GRANULE);
	mark(seg, granule, count);
	STM_POINT(LOGGED);
}

/*
 * The usual write, of one granule that is not logged, on a private page, if it is that. @seg NULL: it may not be done here.
 * Inlined, so that none of its callers has to save registers.
 */
static inline __attribute__((__always_inline__)) bool write_one(struct stm_seg *seg, uintptr_t a, size_t len)
{
	size_t offset = a - STM_HEAP, granule = offset / STM_GRANULE;

	if (unlikely(!(seg && stm_in_tx(seg) && offset < stm_view_pages(&seg->view) * STM_PAGE &&
		       (offset + len - 1) / STM_GRANULE == granule && seg->write_markers[granule] != seg->version &&
		       seg->view.state[granule / STM_PAGE_GRANULES] == STM_PAGE_PRIVATE && has_room(seg, STM_GRANULE))))
		return false;
	append(seg, granule, 1, 0);
	__builtin_memcpy(seg->undo_tail, seg->view.heap + granule * STM_GRANULE, STM_GRANULE);
	seg->undo_tail += STM_GRANULE;
	mark(seg, granule, 1);
	STM_POINT(LOGGED);
	return true;
}

/* Any range, of which some granules may be logged already. */
static __attribute__((__noinline__)) void write_any(uintptr_t a, size_t len)
{
	struct stm_seg *seg = self_in_transaction(a, len, "stm_write");
	size_t granule = (a - STM_HEAP) / STM_GRANULE;
	size_t end = (a - STM_HEAP + len + STM_GRANULE - 1) / STM_GRANULE;
	stm_marker *written = seg->write_markers;
	uint32_t version = seg->version, since = seg->since;

	if (STM_MUTATED(SHORT_MARKERS) && end - granule > 1)
		end--;
	while (granule < end) {
		size_t stop = (granule / STM_PAGE_GRANULES + 1) * STM_PAGE_GRANULES;
		size_t first = granule;

		if (version - written[granule] <= since) {
			written[granule++] = version; /* or it was that of a savepoint that is released */
			continue;
		}
		stop = stop < end ? stop : end;
		while (++granule < stop && version - written[granule] > since)
			;
		log_run(seg, first, granule - first);
	}
}

/* The same, by other code than what wrote last. */
static __attribute__((__noinline__)) void write_by(struct stm_seg *seg, uintptr_t a, size_t len, const void *behind)
{
	stm_record_new_code(seg, behind);
	if (!write_one(seg, a, len))
		write_any(a, len);
}

/* The same for the code before @behind, if the event log wants to know. */
static __attribute__((__noinline__)) void write_range(uintptr_t a, size_t len, const void *behind)
{
	struct stm_seg *seg = stm__self;

	if (seg && stm_recording(seg) && seg->behind != behind)
		write_by(seg, a, len, behind);
	else if (!write_one(seg, a, len))
		write_any(a, len);
}

/* Called by the inlined barrier, for a range of which some granules are not logged. */
void stm_write_plain(uintptr_t a, size_t len)
{
	if (unlikely(!write_one(stm__self, a, len)))
		write_any(a, len);
}

/* The same, if the event log wants to know by which code. */
void stm_write_recorded(uintptr_t a, size_t len)
{
	const void *behind = __builtin_return_address(0);
	struct stm_seg *seg = stm__self;

	if (unlikely(!(seg && seg->behind == behind && write_one(seg, a, len))))
		write_range(a, len, behind);
}

void stm_write_since(uintptr_t a, size_t len)
{
	struct stm_seg *seg = stm__self;

	if (seg && stm_recording(seg))
		stm_record_code(seg, __builtin_return_address(0));
	write_any(a, len);
}

void stm__write_range(uintptr_t a, size_t len)
{
	if (len)
		write_range(a, len, __builtin_return_address(0));
}

void stm_write_from(uintptr_t a, size_t len, const void *behind)
{
	if (len)
		write_range(a, len, behind);
}

static void mark_read(struct stm_seg *seg, uintptr_t a, size_t len)
{
	size_t granule = (a - STM_HEAP) / STM_GRANULE;
	size_t end = (a - STM_HEAP + len + STM_GRANULE - 1) / STM_GRANULE;

	stm_set_markers(seg->read_markers + granule, end - granule, seg->version);
}

void stm__read_range(uintptr_t a, size_t len)
{
	struct stm_seg *seg;

	if (!len)
		return;
	seg = self_in_transaction(a, len, "stm_read");
	if (!seg->blind)
		mark_read(seg, a, len);
}

int stm_log_fresh(struct stm_seg *seg, size_t granule, size_t count)
{
	size_t bytes = count * STM_GRANULE;
	size_t last = (granule + count - 1) / STM_PAGE_GRANULES;

	for (size_t page = granule / STM_PAGE_GRANULES; page <= last; page++)
		if (unlikely(seg->view.state[page] != STM_PAGE_PRIVATE) && !stm_page_make_private(seg, page))
			return -ENOMEM;
	size_t room = bytes + sizeof(struct stm_run);

	if (unlikely((size_t)(seg->limit - seg->tail) < room) && !stm_entry_reserve(seg, room))
		return -ENOMEM;
	append(seg, granule, count, STM_FRESH);
	mark(seg, granule, count);
	return 0;
}

void stm_log_change(struct stm_seg *seg, size_t granule, size_t count, const uint8_t *old)
{
	if (stm_recording(seg))
		stm_record_code(seg, NULL); /* nobody saw it */
	log_old(seg, granule, count, old);
}

/* ---- STM_DEBUG programs ---- */

/* stm__check_local() looks for what has been read: from the next attempt on it is marked in any case. */
static void check(uintptr_t a, size_t len, const char *call)
{
	struct stm_seg *seg = self_in_transaction(a, len, call);

	if (unlikely(!seg->checked)) {
		seg->checked = true;
		stm_mark_reads(seg);
	}
}

void stm__check_read(uintptr_t a, size_t len)
{
	check(a, len, "stm_read");
}

void stm__check_write(uintptr_t a, size_t len)
{
	check(a, len, "stm_write");
}

/* The granule itself tells: what it is used for, and how many there are, nobody knows. Outside it may be an address only. */
void stm__check_local(uintptr_t a)
{
	struct stm_seg *seg = stm__self;
	size_t offset = a - STM_HEAP, granule = offset / STM_GRANULE;
	uint32_t first;

	if (!seg || !stm_in_tx(seg) || seg->blind || offset >= stm_view_pages(&seg->view) * STM_PAGE ||
	    stm_page_is_tracked(offset / STM_PAGE))
		return;
	first = seg->version - seg->span;
	if (granule && a % STM_GRANULE == 0 && seg->read_markers[granule - 1] - first <= seg->span)
		return; /* where an array that was read ends */
	if (seg->read_markers[granule] - first > seg->span && seg->write_markers[granule] - first > seg->span)
		stm_strict_report_local((const char *)__builtin_return_address(0) - 1, a);
}
