// SPDX-License-Identifier: MIT
/*
 * log.c - the commit log: slots by position, in chunks found by position.
 *
 *   1. Position p is slot p % 1024 of chunk p / 1024; a directory leads from number to chunk.
 *   2. Who publishes in the last slot of a chunk provides the next chunk first, so the chunk of the
 *      position after a published slot always exists.
 *   3. Chunks wholly below `recyclable` are given back (slab.c).
 *   4. Group summaries let who is far behind skip 64 commits at once. They are functions of published
 *      slots, so whoever needs one first makes it; nobody pays for it at commit.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "entry.h"
#include "internal.h"

/* 2^18 chunks of 1024 slots: 16 GiB of unfolded log, far past the point where begins wait. */
#define DIRECTORY ((uint64_t)1 << 18)

static _Atomic(struct stm_chunk *) directory[DIRECTORY];

static _Atomic(struct stm_chunk *) *entry_of(uint64_t position)
{
	return &directory[position / STM_CHUNK_SLOTS % DIRECTORY];
}

struct stm_slot *stm_slot_at(uint64_t position)
{
	/* Pairs with the release in stm_log_provide(). */
	struct stm_chunk *chunk = atomic_load_explicit(entry_of(position), memory_order_acquire);

	return &chunk->slots[position % STM_CHUNK_SLOTS];
}

static struct stm_chunk *take_chunk(void)
{
	struct stm_chunk *chunk = stm_part_take();

	if (!chunk)
		return NULL;
	__atomic_fetch_add(&stm_status->slot_bytes, sizeof(*chunk), __ATOMIC_RELAXED);
	memset(chunk, 0, sizeof(*chunk));
	return chunk;
}

static void give_chunk(struct stm_chunk *chunk)
{
	stm_part_give(chunk);
	__atomic_fetch_sub(&stm_status->slot_bytes, sizeof(*chunk), __ATOMIC_RELAXED);
}

bool stm_log_provide(uint64_t position)
{
	_Atomic(struct stm_chunk *) *place = entry_of(position);
	struct stm_chunk *chunk, *none = NULL;

	/*
	 * A chunk in the place is that of this position, or one 2^28 positions older: fold removes it before
	 * the log can come round, unless it is held back that long.
	 */
	if (atomic_load_explicit(place, memory_order_acquire)) {
		if (position - atomic_load_explicit(&stm_global.recyclable, memory_order_relaxed) <
		    (DIRECTORY - 1) * STM_CHUNK_SLOTS)
			return true;
		return false;
	}
	chunk = take_chunk();
	if (!chunk)
		return false;
	if (!atomic_compare_exchange_strong_explicit(place, &none, chunk, memory_order_acq_rel,
						     memory_order_relaxed))
		give_chunk(chunk);
	return true;
}

void stm_log_release(uint64_t position)
{
	uint64_t *released = &stm_global.chunks_released;

	for (; (*released + 1) * STM_CHUNK_SLOTS <= position; ++*released)
		give_chunk(atomic_exchange_explicit(entry_of(*released * STM_CHUNK_SLOTS), NULL,
						    memory_order_acq_rel));
}

int stm_log_open(void)
{
	stm_global.chunks_released = stm_global.fold_told = 0;
	atomic_store(&stm_global.folded, 0);
	atomic_store(&stm_global.recyclable, 0);
	if (!stm_log_provide(0))
		return -ENOMEM;
	stm_global.fold_slot = stm_slot_at(0);
	return 0;
}

void stm_log_close(void)
{
	for (uint64_t i = 0; i < DIRECTORY; i++) {
		struct stm_chunk *chunk = atomic_load_explicit(&directory[i], memory_order_relaxed);

		if (chunk) {
			atomic_store_explicit(&directory[i], NULL, memory_order_relaxed);
			give_chunk(chunk);
		}
	}
	stm_parts_close();
}

/* ---- group summaries ---- */

/* Bits first % 512 to last % 512. */
static void add_bits(uint64_t *mask, uint64_t first, uint64_t last)
{
	if (last - first >= 512)
		last = first + 511;
	for (; first <= last; first++)
		mask[first / 64 % 8] |= (uint64_t)1 << (first % 64);
}

static void summarise(const struct stm_slot *slot, uint64_t *regions, uint64_t *windows)
{
	struct stm_reader reader = stm_read_slot(slot);
	struct stm_piece piece;

	while (stm_next_piece(&reader, &piece)) {
		uint64_t first = piece.granule / STM_PAGE_GRANULES;
		uint64_t last = (piece.granule + piece.count - 1) / STM_PAGE_GRANULES;

		add_bits(windows, first / STM_WINDOW_PAGES, last / STM_WINDOW_PAGES);
		add_bits(regions, first / STM_REGION_PAGES, last / STM_REGION_PAGES);
	}
}

const struct stm_group *stm_log_group(struct stm_slot *slot, uint64_t position)
{
	struct stm_chunk *chunk = (struct stm_chunk *)(slot - position % STM_CHUNK_SLOTS);
	struct stm_group *group = &chunk->groups[position % STM_CHUNK_SLOTS / STM_GROUP_SLOTS];

	/* Pairs with the release below. */
	if (!atomic_load_explicit(&group->ready, memory_order_acquire)) {
		uint64_t regions[8] = { 0 }, windows[8] = { 0 };

		for (unsigned int i = 0; i < STM_GROUP_SLOTS; i++)
			summarise(slot + i, regions, windows);
		for (unsigned int i = 0; i < 8; i++) {
			atomic_store_explicit(&group->regions[i], regions[i], memory_order_relaxed);
			atomic_store_explicit(&group->windows[i], windows[i], memory_order_relaxed);
		}
		atomic_store_explicit(&group->ready, 1, memory_order_release);
	}
	return group;
}

/* ---- waiting for an inevitable transaction ---- */

#define SPINS 64                        /* a short one is over by then; each spin is about 40 ns */

static _Atomic uint32_t resolved;       /* the futex: PENDING slots resolved so far */
static _Atomic uint32_t waiters;

void stm_pending_wait(struct stm_slot *slot)
{
	for (unsigned int i = 0; i < SPINS; i++) {
		if (atomic_load_explicit(&slot->entry, memory_order_acquire) != STM_SLOT_PENDING)
			return;
		__builtin_ia32_pause();
	}
	/* Announce, then look again; the owner resolves, then looks for waiters: both seq_cst. */
	atomic_fetch_add(&waiters, 1);
	uint32_t seen = atomic_load(&resolved);

	if (atomic_load(&slot->entry) == STM_SLOT_PENDING)
		syscall(SYS_futex, &resolved, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
	atomic_fetch_sub(&waiters, 1);
}

void stm_pending_resolved(void)
{
	atomic_fetch_add(&resolved, 1);
	if (atomic_load(&waiters))
		syscall(SYS_futex, &resolved, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
