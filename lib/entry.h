/* SPDX-License-Identifier: MIT */
/*
 * entry.h - reading a published slot: its runs one by one, packed or not.
 *
 * Who reads must keep the position from being recycled: by its published snapshot, by a replay pin, or by
 * the fold lock.
 */
#ifndef STM_ENTRY_H
#define STM_ENTRY_H

#include "internal.h"

#define STM_ENTRY_ROOM ((size_t)512)    /* at least this much of a block is left, or it is called full */
#define STM_PACKED_RUNS 8               /* stm_slot.packed: runs are above 8 bits of segment */
#define STM_ORIGIN_SITE 16

struct stm_reader {
	const struct stm_slot *slot;
	const uint8_t *next;            /* the next run, or the next packed bytes */
	uint32_t left;                  /* runs */
	uint32_t index;                 /* of the next packed run */
	bool packed;
};

struct stm_piece {
	size_t granule, count;
	const uint8_t *bytes;
};

static inline bool stm_is_published(uint64_t entry)
{
	return entry > STM_SLOT_PENDING;
}

static inline const struct stm_entry *stm_entry_of(uint64_t entry)
{
	return (const struct stm_entry *)(entry & ~STM_SLOT_FLAGS);
}

/* How many runs are packed into the slot; 0: it is not packed, or not yet. */
static inline uint32_t stm_packed_runs(const struct stm_slot *slot)
{
	/* Pairs with the release in pack(). */
	return (uint32_t)(atomic_load_explicit(&slot->packed, memory_order_acquire) >> STM_PACKED_RUNS & 0xff);
}

/* Packed or not. */
static inline struct stm_reader stm_read_entry(const struct stm_slot *slot)
{
	/* Relaxed: the caller saw the slot published, by an acquire load. */
	const struct stm_entry *entry =
		stm_entry_of(atomic_load_explicit(&slot->entry, memory_order_relaxed));

	return (struct stm_reader){ .slot = slot, .next = (const uint8_t *)(entry + 1), .left = entry->runs };
}

static inline struct stm_reader stm_read_slot(const struct stm_slot *slot)
{
	uint32_t packed = stm_packed_runs(slot);

	if (likely(packed))
		return (struct stm_reader){ .slot = slot, .next = slot->bytes, .packed = true, .left = packed };
	return stm_read_entry(slot);
}

/* Packed run @i: its first granule, and how many there are. */
static inline size_t stm_packed_run(const struct stm_slot *slot, unsigned int i, unsigned int *count)
{
	uint32_t run = slot->runs[i];
	uint64_t region = slot->summary >> (run >> 30) * 16 & 0xffff;

	*count = run & 3;
	return region * STM_REGION_GRANULES + (run >> 2 & (STM_REGION_GRANULES - 1));
}

static inline bool stm_next_piece(struct stm_reader *reader, struct stm_piece *piece)
{
	if (!reader->left)
		return false;
	reader->left--;
	if (likely(reader->packed)) {
		unsigned int count;

		piece->granule = stm_packed_run(reader->slot, reader->index++, &count);
		piece->count = count;
		piece->bytes = reader->next;
		reader->next += piece->count * STM_GRANULE;
	} else {
		const struct stm_run *run = (const struct stm_run *)reader->next;

		piece->granule = run->granule;
		piece->count = run->count;
		piece->bytes = (const uint8_t *)(run + 1);
		reader->next = piece->bytes + piece->count * STM_GRANULE;
	}
	return true;
}

/* Is there room in the block for an entry of @bytes, which are whole lines, and the next one? */
static inline bool stm_entry_has_room(const struct stm_seg *seg, size_t bytes)
{
	return (size_t)(seg->limit - (uint8_t *)seg->entry) >= bytes + STM_ENTRY_ROOM;
}

/* The entry in the making is empty. */
static inline void stm_entry_reset(struct stm_seg *seg)
{
	/* Ours again, before the stores of the next transaction wait for it. */
	__builtin_prefetch(seg->entry, 1);
	seg->tail = (uint8_t *)(seg->entry + 1);
	seg->undo_tail = seg->undo;
	seg->extends = STM_NOTHING;
	seg->runs = 0;
}

/* stm_entry_published() for an entry of @bytes, where there is room. */
static inline void stm_entry_next_line(struct stm_seg *seg, uint64_t position, size_t bytes)
{
	seg->block->last = position;
	seg->entry = (struct stm_entry *)((uint8_t *)seg->entry + bytes);
	stm_entry_reset(seg);
}

/* Granules are aligned: two words each, faster than memcpy for the few of a usual run. */
static inline void stm_copy_granules(void *to, const void *from, size_t count)
{
	if (unlikely(count > 16)) {
		__builtin_memcpy(to, from, count * STM_GRANULE);
		return;
	}
	for (; count; count--) {
		__builtin_memcpy(to, from, STM_GRANULE);
		to = (uint8_t *)to + STM_GRANULE;
		from = (const uint8_t *)from + STM_GRANULE;
	}
}

/*
 * The same, of bytes that were stored a moment ago: by words, since a load wider than the store it waits for cannot be
 * forwarded to, and stalls (12 cycles for each granule of a bank transfer). The empty asm keeps
 * compilers from joining the words.
 */
static inline void stm_copy_fresh_granules(void *to, const void *from, size_t count)
{
	for (; count; count--) {
		uint64_t low, high;

		__builtin_memcpy(&low, from, 8);
		__asm__("" : "+r"(low));
		__builtin_memcpy(&high, (const uint8_t *)from + 8, 8);
		__builtin_memcpy(to, &low, 8);
		__builtin_memcpy((uint8_t *)to + 8, &high, 8);
		to = (uint8_t *)to + STM_GRANULE;
		from = (const uint8_t *)from + STM_GRANULE;
	}
}

#endif
