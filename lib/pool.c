// SPDX-License-Identifier: MIT
/*
 * pool.c - heap memory that belongs to no segment.
 *
 *  1. Each class has a queue of batches, oldest first. Stamps never decrease along it: a batch that
 *     comes with an older stamp takes its predecessor's. So the first batch fits, or none does.
 *  2. Free chunks are bits in a map; a free chunk's stamp stands in its use word, and stays there
 *     as "since when" once it is used again. Runs of chunks are found first fit, from the lowest.
 *  3. Chunks past the top were never used; taking them makes the heap grow.
 *     A region belongs to one kind of memory, so what is left of a region at the top is made free chunks when
 *     the other kind needs new ones.
 *  4. When the heap is full, chunks that lie wholly in the queues become free chunks: that is how
 *     memory moves from class to class. It walks the whole pool, so it is the last resort.
 *
 * All of it is ordinary memory outside the heap. The tables have a place for each chunk that the
 * heap may ever have, but the system gives pages only to the part in use. The pool lock stands
 * alone: it is not held while the heap grows.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"
#include "pool.h"

struct stm_class stm_classes[STM_CLASSES];
_Atomic uint64_t *stm_uses;
size_t stm_uses_n;
_Atomic uint8_t *stm_tracked_regions;

#define REGION_CHUNKS (STM_REGION_PAGES * STM_PAGE / STM_HEAP_CHUNK)

struct queue {
	struct stm_batch *first, *last;
};

/* Constant from open to close: the tables' addresses. The rest: under the lock, unless atomic. */
static struct {
	pthread_mutex_t lock;
	struct queue queues[STM_CLASSES];
	struct stm_batch *empties;
	uint64_t *free_map;             /* a bit a chunk */
	size_t free_chunks;
	size_t free_low;                /* no bit is set in words below */
	size_t top;
	_Atomic uint32_t *span_pages;   /* by the span's first chunk */
	uint32_t *tally;                /* reclaim: blocks of each chunk found in the pool */
	uint64_t *newest;               /* reclaim: the latest of their stamps */
	bool changed;                   /* since the last reclaim */
	void *tables;
	size_t tables_bytes;
} pool;

static void lock(void)
{
	pthread_mutex_lock(&pool.lock);
}

static void unlock(void)
{
	pthread_mutex_unlock(&pool.lock);
}

/* ---- open and close ---- */

static void make_classes(void)
{
	for (unsigned int i = 0; i < STM_CLASSES; i++) {
		struct stm_class *class = &stm_classes[i];
		unsigned int n = i % STM_SIZES, step = n < 8 ? 0 : (n - 8) / 4;
		size_t room;

		class->size = n < 8 ? (n + 1) * 16 : (5 + n % 4) << (5 + step);
		class->inverse = (uint32_t)(((uint64_t)1 << 32) / class->size) +
				 !!(((uint64_t)1 << 32) % class->size);
		room = STM_BATCH_BYTES / class->size;
		class->room = room < STM_BATCH_BLOCKS ? (uint32_t)room : STM_BATCH_BLOCKS;
		class->blocks = (uint32_t)(STM_HEAP_CHUNK / class->size);
	}
}

int stm_pool_open(size_t heap_limit)
{
	size_t chunks = heap_limit >> STM_HEAP_CHUNK_SHIFT;
	size_t words = (chunks + 63) / 64;
	size_t bytes = words * sizeof(*pool.free_map) +
		       chunks * (sizeof(*stm_uses) + sizeof(*pool.newest) +
				 sizeof(*pool.span_pages) + sizeof(*pool.tally)) +
		       chunks / REGION_CHUNKS + 1;
	uint8_t *tables = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (tables == MAP_FAILED)
		return -errno;
	memset(&pool, 0, sizeof(pool));
	pthread_mutex_init(&pool.lock, NULL);
	make_classes();
	pool.tables = tables;
	pool.tables_bytes = bytes;
	pool.free_map = (uint64_t *)tables;
	stm_uses = (_Atomic uint64_t *)(pool.free_map + words);
	pool.newest = (uint64_t *)(stm_uses + chunks);
	pool.span_pages = (_Atomic uint32_t *)(pool.newest + chunks);
	pool.tally = (uint32_t *)(pool.span_pages + chunks);
	stm_tracked_regions = (_Atomic uint8_t *)(pool.tally + chunks);
	pool.top = 1;                   /* above the roots */
	stm_uses_n = chunks;
	return 0;
}

static void free_batches(struct stm_batch *batch)
{
	while (batch) {
		struct stm_batch *next = batch->next;

		free(batch);
		batch = next;
	}
}

void stm_pool_close(void)
{
	if (!pool.tables)
		return;
	for (unsigned int i = 0; i < STM_CLASSES; i++)
		free_batches(pool.queues[i].first);
	free_batches(pool.empties);
	munmap(pool.tables, pool.tables_bytes);
	pthread_mutex_destroy(&pool.lock);
	memset(&pool, 0, sizeof(pool));
	stm_uses = NULL;
	stm_tracked_regions = NULL;
	stm_uses_n = 0;
}

/* ---- chunks; all under the lock ---- */

static uint64_t since(size_t chunk)
{
	return atomic_load_explicit(&stm_uses[chunk], memory_order_relaxed) >> 8;
}

/* Pairs with the acquire of whoever looks up a block: who sees the use sees what belongs to it. */
static void set_use(size_t chunk, uint64_t position, unsigned int use)
{
	atomic_store_explicit(&stm_uses[chunk], stm_use_word(position, use), memory_order_release);
}

static bool is_free(size_t chunk)
{
	return pool.free_map[chunk / 64] >> (chunk % 64) & 1;
}

static bool is_tracked(size_t chunk)
{
	return atomic_load_explicit(&stm_tracked_regions[chunk / REGION_CHUNKS], memory_order_relaxed);
}

/* Chunks from the top up to @end come into use. */
static void raise_top(size_t end, bool tracked)
{
	size_t region = (pool.top + REGION_CHUNKS - 1) / REGION_CHUNKS; /* the first that was never used */

	/* Relaxed: who comes to use it has seen a commit, or taken the lock, since. */
	for (; region * REGION_CHUNKS < end; region++)
		atomic_store_explicit(&stm_tracked_regions[region], tracked, memory_order_relaxed);
	pool.top = end;
}

static void chunk_free(size_t chunk, uint64_t stamp)
{
	pool.free_map[chunk / 64] |= (uint64_t)1 << (chunk % 64);
	pool.free_chunks++;
	if (chunk / 64 < pool.free_low)
		pool.free_low = chunk / 64;
	set_use(chunk, stamp, STM_USE_FREE);
}

static void chunk_use(size_t chunk, unsigned int use)
{
	if (is_free(chunk)) {
		pool.free_map[chunk / 64] &= ~((uint64_t)1 << (chunk % 64));
		pool.free_chunks--;
	}
	set_use(chunk, since(chunk), use);
}

/*
 * The first run of @n free chunks that fit the snapshot, or else where the free chunks right below
 * the top begin: the run may go on above it. Sets *@later if chunks that do not fit yet would make
 * a run.
 */
static size_t find_free(size_t n, bool tracked, uint64_t snapshot, bool *later)
{
	size_t run = 0, any = 0, chunk;

	while (pool.free_low < pool.top / 64 && !pool.free_map[pool.free_low])
		pool.free_low++;
	if (!pool.free_chunks)
		return pool.top;
	for (chunk = pool.free_low * 64; chunk < pool.top; chunk++) {
		if (chunk % 64 == 0 && !pool.free_map[chunk / 64]) {
			run = any = 0;
			chunk += 63;
			continue;
		}
		any = is_free(chunk) && is_tracked(chunk) == tracked ? any + 1 : 0;
		run = any && stm_stamp_fits(since(chunk), snapshot) ? run + 1 : 0;
		if (run == n)
			return chunk + 1 - n;
		if (any >= n)
			*later = true;
	}
	if (pool.top + n - any <= stm_uses_n)
		*later |= any > run;
	return pool.top - run;
}

/* Does the heap reach to where chunk @end begins? */
static bool heap_has(size_t end)
{
	return (end << STM_HEAP_CHUNK_SHIFT) <= atomic_load(&stm_global.heap_size);
}

/* If the top's region belongs to the other kind: where it ends. Else the top. */
static size_t end_of_others(bool tracked)
{
	size_t end = (pool.top + REGION_CHUNKS - 1) / REGION_CHUNKS * REGION_CHUNKS;

	if (end == pool.top || is_tracked(pool.top) == tracked)
		return pool.top;
	return end < stm_uses_n ? end : stm_uses_n;
}

/* Take @n chunks in a row. The lock is dropped while the heap grows. */
static int take_chunks(size_t n, bool tracked, uint64_t snapshot, size_t *first)
{
	for (;;) {
		bool later = false;
		size_t chunk = find_free(n, tracked, snapshot, &later), end = chunk + n, others;
		int err = -ENOMEM;

		if (end <= pool.top) {
			*first = chunk;
			return 0;
		}
		others = end_of_others(tracked);
		if (others > pool.top)
			end = others;
		if (end <= stm_uses_n && !heap_has(end)) {
			unlock();
			err = stm_heap_grow(end << STM_HEAP_CHUNK_SHIFT);
			lock();
		} else if (others > pool.top) {
			for (size_t rest = pool.top; rest < others; rest++)
				chunk_free(rest, 0);
			raise_top(others, !tracked);
			continue;
		} else if (end <= stm_uses_n) {
			raise_top(end, tracked);
			*first = chunk;
			return 0;
		}
		if (err)
			return later ? -EAGAIN : -ENOMEM;
	}
}

/* ---- batches ---- */

static void keep_empty(struct stm_batch *batch)
{
	batch->next = pool.empties;
	pool.empties = batch;
}

/* The first batch of the queue, if it fits. */
static struct stm_batch *take_batch(unsigned int class, uint64_t snapshot, bool *later)
{
	struct queue *queue = &pool.queues[class];
	struct stm_batch *batch = queue->first;

	if (!batch)
		return NULL;
	if (!stm_stamp_fits(batch->stamp, snapshot)) {
		*later = true;
		return NULL;
	}
	queue->first = batch->next;
	return batch;
}

int stm_pool_supply(unsigned int class, uint64_t snapshot, struct stm_batch **batch,
		    struct stm_bump *bump)
{
	const struct stm_class *k = &stm_classes[class];
	bool later = false;
	int err = 0;

	lock();
	struct stm_batch *got = take_batch(class, snapshot, &later);

	if (got && got->range) {
		bump->next = got->blocks[0];
		bump->end = bump->next + (uint64_t)got->count * k->size;
		keep_empty(got);
	} else if (got) {
		if ((*batch)->room)
			keep_empty(*batch);
		*batch = got;
	} else {
		size_t chunk;

		err = take_chunks(1, stm_class_is_tracked(class), snapshot, &chunk);
		if (!err) {
			chunk_use(chunk, STM_USE_BLOCKS + class);
			bump->next = (uint64_t)chunk << STM_HEAP_CHUNK_SHIFT;
			bump->end = bump->next + (uint64_t)k->blocks * k->size;
		} else if (later) {
			err = -EAGAIN;
		}
	}
	unlock();
	return err;
}

void stm_pool_put(unsigned int class, struct stm_batch *batch, uint64_t stamp)
{
	struct queue *queue = &pool.queues[class];

	lock();
	if (!batch->count) {
		keep_empty(batch);
	} else {
		batch->next = NULL;
		batch->stamp = stamp;
		if (!queue->first) {
			queue->first = batch;
		} else {
			if (queue->last->stamp > stamp)
				batch->stamp = queue->last->stamp;
			queue->last->next = batch;
		}
		queue->last = batch;
		pool.changed = true;
	}
	unlock();
}

struct stm_batch *stm_pool_empty(unsigned int class)
{
	lock();
	struct stm_batch *batch = pool.empties;

	if (batch)
		pool.empties = batch->next;
	unlock();
	if (!batch)
		batch = malloc(sizeof(*batch));
	if (!batch)
		return NULL;
	batch->count = 0;
	batch->room = stm_classes[class].room;
	batch->range = false;
	return batch;
}

/* ---- spans ---- */

/* Without the lock: the caller looks afterwards whether the use word is still the same. */
size_t stm_span_size(uint64_t offset)
{
	_Atomic uint32_t *pages = &pool.span_pages[offset >> STM_HEAP_CHUNK_SHIFT];

	return STM_SPAN_PAGE * atomic_load_explicit(pages, memory_order_acquire);
}

static size_t chunks_of(size_t bytes)
{
	return (bytes + STM_HEAP_CHUNK - 1) >> STM_HEAP_CHUNK_SHIFT;
}

int stm_pool_span(size_t bytes, bool tracked, uint64_t snapshot, uint64_t *offset)
{
	size_t n = chunks_of(bytes), first;

	lock();
	int err = take_chunks(n, tracked, snapshot, &first);

	if (!err) {
		/* Between the use words of the old span and of the new one: see stm_span_size(). */
		atomic_store_explicit(&pool.span_pages[first],
				      (uint32_t)((bytes + STM_SPAN_PAGE - 1) / STM_SPAN_PAGE),
				      memory_order_release);
		chunk_use(first, STM_USE_SPAN);
		for (size_t i = 1; i < n; i++)
			chunk_use(first + i, STM_USE_INSIDE);
		*offset = (uint64_t)first << STM_HEAP_CHUNK_SHIFT;
	}
	unlock();
	return err;
}

void stm_pool_unspan(uint64_t offset, uint64_t stamp)
{
	size_t first = offset >> STM_HEAP_CHUNK_SHIFT, n = chunks_of(stm_span_size(offset));

	lock();
	for (size_t i = 0; i < n; i++)
		chunk_free(first + i, stamp);
	unlock();
}

/* ---- reclaim ---- */

static size_t chunk_at(const struct stm_batch *batch, uint32_t i)
{
	return batch->blocks[i] >> STM_HEAP_CHUNK_SHIFT;
}

/* Count @blocks blocks of the chunk. Is it complete now? */
static bool count_blocks(size_t chunk, uint32_t blocks, uint64_t stamp, uint32_t all)
{
	if (!pool.tally[chunk] || pool.newest[chunk] < stamp)
		pool.newest[chunk] = stamp;
	pool.tally[chunk] += blocks;
	return pool.tally[chunk] == all;
}

static bool count_queue(const struct queue *queue, uint32_t all)
{
	bool found = false;

	for (const struct stm_batch *b = queue->first; b; b = b->next) {
		if (b->range) {
			found |= count_blocks(chunk_at(b, 0), b->count, b->stamp, all);
			continue;
		}
		for (uint32_t i = 0; i < b->count; i++)
			found |= count_blocks(chunk_at(b, i), 1, b->stamp, all);
	}
	return found;
}

/* Is the chunk complete? Then it is free from here on. */
static bool reclaim_chunk(size_t chunk, uint32_t all)
{
	if (pool.tally[chunk] != all)
		return false;
	if (!is_free(chunk))
		chunk_free(chunk, pool.newest[chunk]);
	return true;
}

/* Take the blocks of complete chunks out of the queue. */
static void filter_queue(struct queue *queue, uint32_t all)
{
	struct stm_batch **at = &queue->first, *b;

	while ((b = *at)) {
		uint32_t kept = 0;

		if (b->range)
			kept = reclaim_chunk(chunk_at(b, 0), all) ? 0 : b->count;
		for (uint32_t i = 0; !b->range && i < b->count; i++) {
			if (!reclaim_chunk(chunk_at(b, i), all))
				b->blocks[kept++] = b->blocks[i];
		}
		b->count = kept;
		if (kept) {
			queue->last = b;
			at = &b->next;
		} else {
			*at = b->next;
			keep_empty(b);
		}
	}
}

void stm_pool_reclaim(void)
{
	lock();
	if (pool.changed) {
		pool.changed = false;
		memset(pool.tally, 0, pool.top * sizeof(*pool.tally));
		for (unsigned int i = 0; i < STM_CLASSES; i++) {
			if (count_queue(&pool.queues[i], stm_classes[i].blocks))
				filter_queue(&pool.queues[i], stm_classes[i].blocks);
		}
	}
	unlock();
}
