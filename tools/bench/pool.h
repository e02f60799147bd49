/* SPDX-License-Identifier: MIT */
/*
 * pool.h - the allocator of the implementations without transactions
 *
 * As cheap as an allocator can be, so that they are not handicapped: blocks of
 * constant size from one contiguous arena, a list of free blocks for each
 * size, last freed first used. No locks: seq has one thread, and mutex
 * allocates under its mutex.
 */
#ifndef BENCH_POOL_H
#define BENCH_POOL_H

#include <sys/mman.h>

#include "common.h"

#define POOL_ALIGN 16                           /* as stm_alloc() aligns */
#define POOL_SIZES 64                           /* free lists for 16, 32, .. 1,008 bytes */
#define POOL_ARENA ((size_t)64 << 20)

struct pool_block {
	struct pool_block *next;
};

struct pool {
	char *next, *end;
	struct pool_block *free[POOL_SIZES];
};

static __attribute__((__noinline__)) void *pool_grow(struct pool *pool, size_t size)
{
	char *p = pool->next;

	size = (size + POOL_ALIGN - 1) & ~(size_t)(POOL_ALIGN - 1);
	if (!p) {
		p = mmap(NULL, POOL_ARENA, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			die("mmap of %zu bytes: %m", POOL_ARENA);
		pool->end = p + POOL_ARENA;
	}
	if ((size_t)(pool->end - p) < size)
		die("the arena of %zu bytes is full", POOL_ARENA);
	pool->next = p + size;
	return p;
}

static inline void *pool_alloc(struct pool *pool, size_t size)
{
	const size_t i = size / POOL_ALIGN;
	struct pool_block *block;

	if (i >= POOL_SIZES || !pool->free[i])
		return pool_grow(pool, size);
	block = pool->free[i];
	pool->free[i] = block->next;
	return block;
}

static inline void pool_free(struct pool *pool, void *p, size_t size)
{
	struct pool_block *block = p;

	if (size / POOL_ALIGN >= POOL_SIZES)
		die("the pool has no free list for %zu bytes", size);
	block->next = pool->free[size / POOL_ALIGN];
	pool->free[size / POOL_ALIGN] = block;
}

/* Everything is free again, in its first order. */
static inline void pool_reset(struct pool *pool)
{
	char *start = pool->end ? pool->end - POOL_ARENA : NULL;

	*pool = (struct pool){ .next = start, .end = pool->end };
}

#endif
