/* SPDX-License-Identifier: MIT */
/*
 * pool.h - heap memory that belongs to no segment, and what every part of the heap is used for.
 *
 * The heap is cut into chunks of 64 KiB. A chunk holds blocks of one size class, or is part of a
 * span (one large block of whole chunks), or is free. The first chunk holds the root slots and
 * nothing else.
 *
 * A region of 2 MiB is for tracked memory, or for the other kind, from its first use on and for ever: clusters of
 * pages do not cross regions, so a page of either kind is never mapped as one of the other.
 *
 * Memory that leaves a segment carries a stamp: the position at which it is known to be free. It
 * goes only to a transaction whose snapshot is at or past the stamp, because an older snapshot may
 * still reach the old contents through its pointers.
 */
#ifndef STM_POOL_H
#define STM_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "testing.h"

#define STM_HEAP_CHUNK_SHIFT 16
#define STM_HEAP_CHUNK ((size_t)1 << STM_HEAP_CHUNK_SHIFT)

/* Multiples of 16 up to 128, then four steps for each doubling; and the same sizes of tracked memory. */
#define STM_SIZES 40u
#define STM_CLASSES (2 * STM_SIZES)
#define STM_BLOCK_MAX ((size_t)32 << 10) /* larger blocks are spans */

#define STM_SPAN_PAGE ((size_t)4096)     /* spans are as large as their pages, not their chunks */

/* Blocks of a class that a batch has room for: so many, and so many bytes. */
#define STM_BATCH_BLOCKS 64u
#define STM_BATCH_BYTES ((size_t)32 << 10)

struct stm_class {
	uint32_t size;
	uint32_t inverse;               /* 2^32 / size, rounded up: see stm_class_has() */
	uint32_t room;                  /* of a batch of this class */
	uint32_t blocks;                /* in a chunk */
};

extern struct stm_class stm_classes[STM_CLASSES];

static inline bool stm_class_is_tracked(unsigned int class)
{
	return class >= STM_SIZES;
}

/* The class of blocks that are not tracked. */
static inline unsigned int stm_class_of(size_t size)
{
	if (size <= 128)
		return size ? (unsigned int)((size - 1) >> 4) : 0;

	unsigned int log = 63 - (unsigned int)__builtin_clzl(size - 1);

	return 8 + (log - 7) * 4 + (unsigned int)((size - 1) >> (log - 2) & 3);
}

/*
 * Is @offset, in a chunk, where a block starts? It is a multiple of the size iff offset / size has
 * no fraction: 32 bits of it, off by less than 1 / size for all offsets in a chunk.
 */
static inline bool stm_class_has(const struct stm_class *class, uint32_t offset)
{
	return offset * class->inverse < class->inverse && offset + class->size <= STM_HEAP_CHUNK;
}

/*
 * Free blocks of one class: their heap offsets, or a range that was never handed out. It belongs
 * to one segment, or to the pool under the pool lock.
 */
struct stm_batch {
	struct stm_batch *next;         /* in the pool's list */
	uint64_t stamp;                 /* in the pool: see above */
	uint32_t count;
	uint32_t room;
	bool range;                     /* @count blocks from blocks[0] on. In the pool only. */
	uint64_t blocks[STM_BATCH_BLOCKS];
};

/* What a chunk is used for. */
enum stm_use {
	STM_USE_NONE,                   /* never used, or the roots */
	STM_USE_FREE,
	STM_USE_SPAN,                   /* the first chunk of a span */
	STM_USE_INSIDE,                 /* a later one */
	STM_USE_BLOCKS                  /* plus the class */
};

/*
 * A word for each chunk: since which position << 8 | enum stm_use. A transaction with an older
 * snapshot learns from it only that it is too old.
 */
extern _Atomic uint64_t *stm_uses;
extern size_t stm_uses_n;

/* By region: is it for tracked memory? */
extern _Atomic uint8_t *stm_tracked_regions;

static inline uint64_t stm_use_word(uint64_t since, unsigned int use)
{
	return since << 8 | use;
}

/* May memory with this stamp go to a transaction with this snapshot? */
static inline bool stm_stamp_fits(uint64_t stamp, uint64_t snapshot)
{
	return STM_MUTATED(POOL) || stamp <= snapshot;
}

/* Blocks never handed out: offsets from @next up to @end. */
struct stm_bump {
	uint64_t next, end;
};

int stm_pool_open(size_t heap_limit);
void stm_pool_close(void);

/* All of these take the pool lock. Errors: */
/* -ENOMEM: there is none. -EAGAIN: there is some, but not for a snapshot as old as this one. */

/*
 * Get free blocks of a class: a batch in exchange for the empty *@batch (if that has no room, it is
 * nobody's and stays where it is), or a *@bump.
 */
int stm_pool_supply(unsigned int class, uint64_t snapshot, struct stm_batch **batch,
		    struct stm_bump *bump);

/* Give a batch, which may be empty, to the pool. */
void stm_pool_put(unsigned int class, struct stm_batch *batch, uint64_t stamp);

/* Get an empty batch with room for blocks of @class. NULL: no memory. */
struct stm_batch *stm_pool_empty(unsigned int class);

/* Get, and give back, a span of @bytes; @offset is where in the heap. */
int stm_pool_span(size_t bytes, bool tracked, uint64_t snapshot, uint64_t *offset);
void stm_pool_unspan(uint64_t offset, uint64_t stamp);
size_t stm_span_size(uint64_t offset);

/* Turn chunks all of whose blocks are in the pool into free chunks. */
void stm_pool_reclaim(void);

#endif
