// SPDX-License-Identifier: MIT
/*
 * entry.c - the memory in which a segment makes its entries.
 *
 *   1. An entry is made in place while the transaction runs: each new run reserves the room where
 *      commit puts the new bytes. The old bytes go to the undo log beside it.
 *   2. Entries stand one behind the other in a block. A block that is full goes to a FIFO, in the
 *      order of the position of its last entry.
 *   3. A block whose last position is below `recyclable` comes out of the FIFO: one of the usual size is used
 *      again, the last one freed first, so that in the steady state a few blocks stay in the cache.
 *   4. A larger one is spare then, up to LARGE_KEPT in all: else it would be mapped, and its pages met, for each large
 *      commit. Spare blocks do not count as log: nobody need wait for them.
 * Only the segment's own thread comes here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "internal.h"
#include "recorder.h"

#define BLOCK_BYTES (STM_PART_BYTES - sizeof(struct stm_block)) /* 1,000 small commits between two looks at fold */
#define FREE_BLOCKS_MAX 16u
#define LARGE_KEPT ((size_t)2 << 20)
#define UNDO_BYTES ((size_t)4 << 10)    /* to begin with */

static size_t align_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

/* @change may be negative, as a size_t wraps. */
static void count_bytes(struct stm_seg *seg, size_t change)
{
	uint64_t bytes = atomic_load_explicit(&seg->block_bytes, memory_order_relaxed) + change;

	atomic_store_explicit(&seg->block_bytes, bytes, memory_order_relaxed);
	if (stm_recording(seg))
		stm_record_log_bytes(seg, bytes);
	if (bytes > stm_global.log_limit)
		seg->heed |= STM_HEED_LOG;
	else
		seg->heed &= ~STM_HEED_LOG;
}

/* The smallest spare block that is large enough; NULL: there is none. */
static struct stm_block *take_spare(struct stm_seg *seg, size_t size)
{
	struct stm_block **best = NULL, *block;

	for (struct stm_block **at = &seg->spare; *at; at = &(*at)->next)
		if ((*at)->size >= size && (!best || (*at)->size < (*best)->size))
			best = at;
	if (!best)
		return NULL;
	block = *best;
	*best = block->next;
	seg->spare_bytes -= block->size;
	return block;
}

/* Of @size bytes at least. */
static __attribute__((__noinline__)) struct stm_block *new_block(struct stm_seg *seg, size_t size)
{
	struct stm_block *block;

	if (size == BLOCK_BYTES) {
		block = stm_part_take();
	} else {
		block = take_spare(seg, size);
		if (block)
			size = block->size;
		else
			block = aligned_alloc(64, align_up(sizeof(*block) + size, 64));
	}
	if (!block)
		return NULL;
	block->size = size;
	block->last = 0;
	count_bytes(seg, size);
	return block;
}

static void delete_block(struct stm_seg *seg, struct stm_block *block)
{
	count_bytes(seg, -block->size);
	if (block->size == BLOCK_BYTES) {
		stm_part_give(block);
	} else if (seg->spare_bytes + block->size <= LARGE_KEPT) {
		block->next = seg->spare;
		seg->spare = block;
		seg->spare_bytes += block->size;
	} else {
		free(block);
	}
}

static void begin_entry(struct stm_seg *seg, uint8_t *at)
{
	seg->entry = (struct stm_entry *)at;
	seg->limit = seg->block->bytes + seg->block->size;
	stm_entry_reset(seg);
}

void stm_entry_reap(struct stm_seg *seg)
{
	/* Pairs with the release in fold: its reads of our entries came before. */
	uint64_t below = atomic_load_explicit(&stm_global.recyclable, memory_order_acquire);
	unsigned int kept = 0;

	for (struct stm_block *block = seg->free; block; block = block->next)
		kept++;
	while (seg->used_first && seg->used_first->last < below) {
		struct stm_block *block = seg->used_first;

		seg->used_first = block->next;
		if (block->size == BLOCK_BYTES && kept < FREE_BLOCKS_MAX) {
			block->next = seg->free;
			seg->free = block;
			kept++;
		} else {
			delete_block(seg, block);
		}
	}
}

static struct stm_block *usual_block(struct stm_seg *seg)
{
	struct stm_block *block;

	stm_entry_reap(seg);
	block = seg->free;
	if (block)
		seg->free = block->next;
	else
		block = new_block(seg, BLOCK_BYTES);
	return block;
}

#define UNDO_KEPT ((size_t)1 << 20)

void stm_entry_abandon(struct stm_seg *seg)
{
	struct stm_block *block;

	if (unlikely((size_t)(seg->undo_limit - seg->undo) > UNDO_KEPT)) {
		uint8_t *less = realloc(seg->undo, UNDO_KEPT);

		if (less) {
			seg->undo = less;
			seg->undo_limit = less + UNDO_KEPT;
		}
	}
	/* A large block goes, unless commits to the base left it in use, and something was published from it since. */
	block = seg->block->size == BLOCK_BYTES || (uint8_t *)seg->entry != seg->block->bytes ? NULL : usual_block(seg);
	if (block) {
		delete_block(seg, seg->block);
		seg->block = block;
		begin_entry(seg, block->bytes);
	}
	stm_entry_reset(seg);
}

/* The block in use has its last entry. */
static void retire(struct stm_seg *seg)
{
	struct stm_block *block = seg->block;

	block->next = NULL;
	if (seg->used_first)
		seg->used_last->next = block;
	else
		seg->used_first = block;
	seg->used_last = block;
}

bool stm_undo_reserve(struct stm_seg *seg, size_t bytes)
{
	size_t have = (size_t)(seg->undo_tail - seg->undo), cap;
	uint8_t *more;

	if (likely((size_t)(seg->undo_limit - seg->undo_tail) >= bytes))
		return true;
	cap = (have + bytes) * 2;
	more = realloc(seg->undo, cap);
	if (!more)
		return false;
	seg->undo = more;
	seg->undo_tail = more + have;
	seg->undo_limit = more + cap;
	return true;
}

bool stm_entry_reserve(struct stm_seg *seg, size_t bytes)
{
	size_t have = (size_t)(seg->tail - (uint8_t *)seg->entry);
	size_t last = seg->runs ? (size_t)((uint8_t *)seg->last - (uint8_t *)seg->entry) : 0;
	bool usual = have + bytes + STM_ENTRY_ROOM <= BLOCK_BYTES;
	struct stm_block *block;
	uint8_t *old = (uint8_t *)seg->entry;
	struct stm_block *left = seg->block;
	bool first = old == left->bytes; /* nothing else is in it */

	if (likely((size_t)(seg->limit - seg->tail) >= bytes))
		return true;
	block = usual ? usual_block(seg) : new_block(seg, align_up((have + bytes) * 2, STM_PAGE));
	if (!block)
		return false;
	if (!first)
		retire(seg);
	memcpy(block->bytes, old, have);
	if (first)
		delete_block(seg, left);
	seg->block = block;
	seg->entry = (struct stm_entry *)block->bytes;
	seg->tail = block->bytes + have;
	seg->limit = block->bytes + block->size;
	if (seg->runs)
		seg->last = (struct stm_run *)(block->bytes + last);
	return true;
}

void stm_entry_published(struct stm_seg *seg, uint64_t position)
{
	uint8_t *end = seg->block->bytes +
		       align_up((size_t)(seg->tail - seg->block->bytes), 64);

	seg->block->last = position;
	/* A block made for one large entry goes back at once, or small ones would keep it for long. */
	if (unlikely(end + STM_ENTRY_ROOM > seg->limit || seg->block->size != BLOCK_BYTES)) {
		struct stm_block *block = usual_block(seg);

		if (!block)
			stm_die("commit: no memory for %zu bytes of log (ENOMEM): raise the memory limit of the process",
				BLOCK_BYTES);
		retire(seg);
		seg->block = block;
		seg->attention |= STM_ATTEND_FOLD;
		end = block->bytes;
	}
	begin_entry(seg, end);
}

int stm_entry_open(struct stm_seg *seg)
{
	seg->block = usual_block(seg);
	if (!seg->block || !stm_undo_reserve(seg, UNDO_BYTES))
		return -ENOMEM;
	begin_entry(seg, seg->block->bytes);
	return 0;
}

static void delete_all(struct stm_seg *seg, struct stm_block *block)
{
	while (block) {
		struct stm_block *next = block->next;

		delete_block(seg, block);
		block = next;
	}
}

void stm_entry_close(struct stm_seg *seg)
{
	delete_all(seg, seg->used_first);
	delete_all(seg, seg->free);
	if (seg->block)
		delete_block(seg, seg->block);
	while (seg->spare) {
		struct stm_block *block = seg->spare;

		seg->spare = block->next;
		free(block);
	}
	seg->spare_bytes = 0;
	free(seg->undo);
	seg->undo = seg->undo_tail = seg->undo_limit = NULL;
	seg->used_first = seg->used_last = seg->free = seg->block = NULL;
}
