// SPDX-License-Identifier: MIT
/*
 * publish.c - what a transaction wrote becomes the next position of the commit log.
 *
 *   1. Put the after-images into the entry.
 *   2. Validate against each published slot from the snapshot on. At the first EMPTY one take it by cmpxchg16b:
 *      {entry, summary}; if another was quicker, go on from there. A PENDING one: wait until it is resolved.
 *   3. Copy a small entry into its slot, so that who reads it moves one cache line.
 *   4. Apply what was validated; publish the snapshot: own position + 1.
 *
 * An inevitable transaction puts PENDING at the tail before, and fills that slot here: nobody can commit in between.
 */
#include <sched.h>
#include <string.h>

#include "entry.h"
#include "internal.h"
#include "recorder.h"
#include "strict.h"

/* ---- a mistake for check-mutants: the inevitable transaction's lock stands beside the log ---- */

static atomic_flag inevitable_flag = ATOMIC_FLAG_INIT;

static void mutant_lock(void)
{
	while (atomic_flag_test_and_set(&inevitable_flag))
		sched_yield();
}

static void mutant_unlock(void)
{
	atomic_flag_clear(&inevitable_flag);
}

/* ---- parts of a commit ---- */

static inline bool take_slot(struct stm_slot *slot, uint64_t entry, uint64_t summary)
{
	unsigned __int128 empty = 0, full = (unsigned __int128)summary << 64 | entry;

	return __sync_bool_compare_and_swap((unsigned __int128 *)slot, empty, full);
}

/* In a transaction: its state is its site. */
static inline uint64_t origin_of(const struct stm_seg *seg)
{
	return atomic_load_explicit(&seg->state, memory_order_relaxed) << STM_ORIGIN_SITE | seg->id;
}

#define ALL_LANES 0x0001000100010001u  /* times a region: that region in every lane */

/* Add @region to a summary of @used lanes. False: it is full. */
static __attribute__((__noinline__)) bool add_lane(uint64_t *summary, unsigned int *used, uint64_t region)
{
	for (unsigned int i = 0; i < *used; i++)
		if ((*summary >> i * 16 & 0xffff) == region)
			return true;
	if (*used == STM_LANES)
		return false;
	*summary &= ~((uint64_t)0xffff << *used * 16);
	*summary |= region << *used * 16;
	++*used;
	return true;
}

/* Put the new bytes into the runs. Returns the summary; *@flags gets STM_SLOT_MANY if there is none. */
static inline uint64_t fill_entry(struct stm_seg *seg, uint64_t *flags)
{
	struct stm_run *run = (struct stm_run *)(seg->entry + 1);
	uint64_t lane0 = run->granule / STM_REGION_GRANULES;
	uint64_t summary = lane0 * ALL_LANES;
	unsigned int used = 1;

	*flags = 0;
	for (uint32_t left = seg->runs; left; left--) {
		size_t granule = run->granule, count = run->count;
		uint64_t first = granule / STM_REGION_GRANULES;
		uint64_t last = (granule + count - 1) / STM_REGION_GRANULES;

		stm_copy_fresh_granules(run + 1, seg->view.heap + granule * STM_GRANULE, count);
		if (unlikely(first != lane0 || last != lane0))
			for (; first <= last; first++)
				if (!add_lane(&summary, &used, first)) {
					*flags = STM_SLOT_MANY;
					break;
				}
		run = (struct stm_run *)((uint8_t *)(run + 1) + count * STM_GRANULE);
	}
	return summary;
}

/* Of another's inevitable transaction. */
static void wait_for(struct stm_seg *seg, struct stm_slot *slot)
{
	uint64_t since = stm_record_start(seg);

	seg->calls++;
	stm_pending_wait(slot);
	stm_record_since(seg, STM_EVENT_WAIT, since, STM_WAIT_INEVITABLE);
}

/* At most two runs, of two granules together. */
static inline bool fits_slot(const struct stm_seg *seg)
{
	size_t bytes = (size_t)(seg->tail - (const uint8_t *)(seg->entry + 1));

	return seg->runs <= 2 && bytes <= seg->runs * sizeof(struct stm_run) + STM_PACKED_GRANULES * STM_GRANULE;
}

/* The view holds all up to our own commit, in @slot at @position. */
static inline void stand_behind(struct stm_seg *seg, struct stm_slot *slot, uint64_t position)
{
	seg->slot = stm_slot_next(slot, position);
	seg->snapshot = position + 1;
	/* Pairs with fold's acquire. */
	atomic_store_explicit(&seg->published, position + 1, memory_order_release);
}

/*
 * A small entry goes into its slot, beside the pointer: readers then move one cache line. Our published snapshot
 * keeps the slot from being recycled meanwhile.
 */
static inline void pack(struct stm_seg *seg, struct stm_slot *slot, uint64_t summary, uint64_t flags)
{
	const uint8_t *next = (const uint8_t *)(seg->entry + 1);
	uint64_t packed = origin_of(seg) | seg->runs << STM_PACKED_RUNS;
	uint8_t *to = slot->bytes;

	STM_POINT(PACK);
	if (!fits_slot(seg) || flags)
		return;
	if (STM_MUTATED(PACK_EARLY))
		atomic_store_explicit(&slot->packed, packed, memory_order_release);
	for (uint32_t i = 0; i < seg->runs; i++) {
		const struct stm_run *run = (const struct stm_run *)next;
		uint64_t region = run->granule / STM_REGION_GRANULES;
		uint32_t lane = 0;

		while ((summary >> lane * 16 & 0xffff) != region)
			lane++;
		slot->runs[i] = lane << 30 | (uint32_t)(run->granule % STM_REGION_GRANULES) << 2 | (uint32_t)run->count;
		stm_copy_granules(to, run + 1, run->count);
		to += run->count * STM_GRANULE;
		next = (const uint8_t *)(run + 1) + run->count * STM_GRANULE;
		if (STM_MUTATED(PACK_EARLY))
			STM_POINT(PACK);
	}
	/* Pairs with the acquire in stm_packed_runs(). */
	atomic_store_explicit(&slot->packed, packed, memory_order_release);
}

/* Does anybody sleep in stm_retry(), who may have read what was just published? */
static inline bool is_waited_for(void)
{
	/* After the cmpxchg16b, or the exchange of a PENDING slot: pairs with the fence in announce(). */
	return unlikely(atomic_load(&stm_global.waiting));
}

static void provide_next(uint64_t position)
{
	if (unlikely(!stm_log_provide(position + 1)))
		stm_die("commit: no memory for the commit log at position %llu (ENOMEM)", (unsigned long long)position);
}

/* Invariant 6: before the last slot of a chunk is published, the next chunk exists. */
static inline void provide_after(struct stm_seg *seg, uint64_t position)
{
	if (unlikely((position + 1) % STM_CHUNK_SLOTS == 0)) {
		provide_next(position);
		seg->attention |= STM_ATTEND_FOLD;
	}
}

/* ---- the usual commit ---- */

#define LINE_BYTES 64u                  /* a small entry fills one cache line */
#define RUN_GRANULE (((uint64_t)1 << 34) - 1)

/* The words of a granule are read as they were stored: a wider load would wait for the stores. */
static inline void read_granule(const struct stm_seg *seg, uint64_t granule, uint64_t *low, uint64_t *high)
{
	const uint64_t *from = (const uint64_t *)(seg->view.heap + granule * STM_GRANULE);

	*low = from[0];
	*high = from[1];
}

/* It is published, an entry of @bytes. */
static inline bool end_small(struct stm_seg *seg, struct stm_slot *slot, uint64_t position, size_t bytes)
{
	STM_COMMITTED(position);
	stm_entry_next_line(seg, position, bytes);
	stand_behind(seg, slot, position);
	return true;
}

static __attribute__((__noinline__)) bool wake_and_end_small(struct stm_seg *seg, size_t bytes)
{
	stm_wake_waiters(seg, seg->slot);
	return end_small(seg, seg->slot, seg->snapshot, bytes);
}

/*
 * A commit of one or two granules of one region, when nobody committed since the snapshot: each word is read
 * once, kept in a register, and stored to the entry and to the slot. False: not so, or somebody was quicker.
 * @recording is constant: without an event log nothing is left of it.
 */
static inline __attribute__((__always_inline__)) bool publish_small(struct stm_seg *seg, bool recording)
{
	size_t bytes = recording ? 2 * LINE_BYTES : LINE_BYTES;
	struct stm_slot *slot = seg->slot;
	uint64_t position = seg->snapshot, region, granule, origin, low, high, low2 = 0, high2 = 0;
	uint64_t *run = (uint64_t *)(seg->entry + 1);
	uint32_t runs = seg->runs, count, packed[2] = { 0, 0 };

	if (!fits_slot(seg) || seg->attention & (STM_ATTEND_PENDING | (recording ? 0 : STM_ATTEND_EVENTS)) ||
	    (position + 1) % STM_CHUNK_SLOTS == 0 || !stm_entry_has_room(seg, bytes) ||
	    atomic_load_explicit(&slot->entry, memory_order_acquire) != STM_SLOT_EMPTY ||
	    STM_MUTATED(INEVITABLE_LOCK) || STM_MUTATED(PACK_EARLY))
		return false;

	granule = run[0] & RUN_GRANULE;
	count = (uint32_t)((const struct stm_run *)run)->count;
	region = granule / STM_REGION_GRANULES;
	packed[0] = (uint32_t)(granule % STM_REGION_GRANULES) << 2 | count;
	if ((granule + count - 1) / STM_REGION_GRANULES != region)
		return false;
	read_granule(seg, granule, &low, &high);
	run[1] = low, run[2] = high;
	if (runs == 2) {
		granule = run[3] & RUN_GRANULE;
		packed[1] = (uint32_t)(granule % STM_REGION_GRANULES) << 2 | 1;
		if (granule / STM_REGION_GRANULES != region)
			return false;
		read_granule(seg, granule, &low2, &high2);
		run[4] = low2, run[5] = high2;
	} else if (count == 2) {
		read_granule(seg, granule + 1, &low2, &high2);
		run[3] = low2, run[4] = high2;
	}
	origin = origin_of(seg);
	seg->entry->origin = origin;    /* without STM_ORIGIN_CODES nobody looks at @codes, which is not stored here */
	seg->entry->runs = runs;
	if (recording) {
		/* Not more than one a run and another one: they fit into a second line. */
		size_t codes = stm_record_codes(seg);

		seg->entry->origin = origin | STM_ORIGIN_CODES;
		seg->entry->codes = (uint32_t)(codes / sizeof(struct stm_code));
		if (seg->tail + codes <= (uint8_t *)seg->entry + LINE_BYTES)
			bytes = LINE_BYTES;
	}
	STM_POINT(VALIDATED);
	if (!take_slot(slot, (uint64_t)(uintptr_t)seg->entry, region * ALL_LANES)) {
		STM_COUNT(lost_slots, 1);
		return false;
	}
	STM_POINT(PUBLISHED);
	STM_POINT(PACK);
	memcpy(slot->runs, packed, sizeof(packed));
	memcpy(slot->bytes, (uint64_t[4]){ low, high, low2, high2 }, sizeof(slot->bytes));
	/* Pairs with the acquire in stm_packed_runs(). */
	atomic_store_explicit(&slot->packed, origin | runs << STM_PACKED_RUNS, memory_order_release);

	if (is_waited_for())
		return wake_and_end_small(seg, bytes);
	return end_small(seg, slot, position, bytes);
}

/* ---- any commit ---- */

/* Publish what the transaction wrote. False: it conflicts. */
static __attribute__((__noinline__)) bool publish(struct stm_seg *seg)
{
	/* First, as it may move the entry. */
	size_t codes = seg->attention & STM_ATTEND_EVENTS ? stm_record_codes(seg) : 0;
	uint64_t flags, summary = fill_entry(seg, &flags);
	uint64_t entry = (uint64_t)(uintptr_t)seg->entry | flags;
	bool pending = seg->attention & STM_ATTEND_PENDING;
	struct stm_walk w = stm_walk_from(seg);

	seg->entry->origin = origin_of(seg) | (codes ? STM_ORIGIN_CODES : 0);
	seg->entry->runs = seg->runs;
	seg->entry->codes = (uint32_t)(codes / sizeof(struct stm_code));
	for (;;) {
		if (unlikely(stm_find_conflict(seg, &w)))
			return false;
		if (STM_MUTATED(INEVITABLE_LOCK) && !pending) {
			mutant_lock();
			mutant_unlock(); /* nobody is inevitable: publish, then */
		}
		STM_POINT(VALIDATED);
		provide_after(seg, w.position);
		if (unlikely(pending) && !STM_MUTATED(INEVITABLE_LOCK)) {
			w.slot->summary = summary; /* nobody looks before it is published */
			atomic_store(&w.slot->entry, entry);
			stm_pending_resolved();
			break;
		}
		if (unlikely(atomic_load_explicit(&w.slot->entry, memory_order_relaxed) == STM_SLOT_PENDING)) {
			wait_for(seg, w.slot);
		} else if (likely(take_slot(w.slot, entry, summary))) {
			break;
		}
		STM_COUNT(lost_slots, 1);
	}
	if (STM_MUTATED(INEVITABLE_LOCK) && pending)
		mutant_unlock();
	seg->inevitable = STM_UNDOABLE;
	STM_POINT(PUBLISHED);
	pack(seg, w.slot, summary, flags);
	seg->tail += codes;
	if (is_waited_for())
		stm_wake_waiters(seg, w.slot);
	STM_COMMITTED(w.position);
	stm_entry_published(seg, w.position);
	if (w.touched)
		stm_follow(seg, &w);
	stand_behind(seg, w.slot, w.position);
	return true;
}

static __attribute__((__noinline__)) bool publish_recorded(struct stm_seg *seg)
{
	return publish_small(seg, true) || publish(seg);
}

bool stm_publish(struct stm_seg *seg)
{
	/* Relaxed: the commit itself asks once more. */
	if (atomic_load_explicit(&seg->alone, memory_order_relaxed) && likely(stm_publish_alone(seg)))
		return true;
	if (unlikely(seg->attention & STM_ATTEND_EVENTS))
		return publish_recorded(seg);
	return publish_small(seg, false) || publish(seg);
}

/* ---- inevitable transactions ---- */

bool stm_take_pending(struct stm_seg *seg)
{
	struct stm_walk w = stm_walk_from(seg);

	if (STM_MUTATED(INEVITABLE_LOCK))
		mutant_lock();
	for (;;) {
		uint64_t empty = STM_SLOT_EMPTY;

		if (stm_find_conflict(seg, &w)) {
			if (STM_MUTATED(INEVITABLE_LOCK))
				mutant_unlock();
			return false;
		}
		STM_POINT(PENDING);
		if (STM_MUTATED(INEVITABLE_LOCK))
			break;
		if (atomic_load_explicit(&w.slot->entry, memory_order_relaxed) == STM_SLOT_PENDING) {
			wait_for(seg, w.slot);
		} else if (atomic_compare_exchange_strong(&w.slot->entry, &empty, STM_SLOT_PENDING)) {
			break;
		}
	}
	stm_follow(seg, &w);
	if (unlikely(seg->strict))
		stm_strict_applied(seg);
	seg->attention |= STM_ATTEND_PENDING;
	seg->inevitables++;
	return true;
}

void stm_empty_pending(struct stm_seg *seg)
{
	if (STM_MUTATED(INEVITABLE_LOCK)) {
		mutant_unlock();
	} else {
		atomic_store(&seg->slot->entry, STM_SLOT_EMPTY);
		stm_pending_resolved();
	}
	seg->inevitable = STM_UNDOABLE;
}
