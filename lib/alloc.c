// SPDX-License-Identifier: MIT
/*
 * alloc.c - heap memory for transactions.
 *
 *  1. A segment keeps, for each size class, two batches of free blocks and a range that was never
 *     handed out. It takes from the first batch, else the other, else the range, else the pool.
 *  2. What a transaction takes and frees is remembered in two lists. At commit the freed blocks go
 *     to the segment's batches: its snapshot is past that commit. At abort the taken ones go back,
 *     and the frees are forgotten. A block in both lists is thereby free once, either way.
 *  3. When both batches of a class are full, one goes to the pool with the snapshot as its stamp.
 *     Spans go there at once.
 *  4. When the heap is full, the segment gives all it has to the pool, which then looks for whole
 *     chunks. If only its snapshot is too old for what there is, the transaction restarts.
 *
 * All but open, close and detach is for the segment's own thread: no locks, except in the pool.
 *
 * An old snapshot may free, or ask the size of, a block that is in use for something else by now.
 * Each chunk's use word says since which position it holds; a transaction with an older snapshot
 * restarts, rather than being told something that is not true in its own time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "label.h"
#include "pool.h"
#include "recorder.h"

struct shelf {
	struct stm_batch *first, *second;
	struct stm_bump bump;
};

/* Blocks as offset << 8 | enum stm_use. The first @owed ones found no batch yet: no memory. */
struct list {
	uint64_t *items;
	size_t n, room, owed;
};

struct stm_blocks {
	struct list taken, freed;
	uint64_t latest;                /* stamp given last; attach starts with an older snapshot */
	struct shelf shelves[STM_CLASSES];
};

#define LIST_FIRST ((size_t)64)         /* room to begin with */
#define LIST_KEPT ((size_t)4096)        /* room kept between transactions */
#define LIST_SEARCHED ((size_t)16)      /* latest frees that are searched for the same block */

/* Stands for a batch that there is not: nothing to take, no room to give. Never written. */
static struct stm_batch no_batch;

/* ---- lists ---- */

static __attribute__((__noinline__)) bool list_grow(struct list *list)
{
	size_t room = list->room ? list->room * 2 : LIST_FIRST;
	uint64_t *items = realloc(list->items, room * sizeof(*items));

	if (!items)
		return false;
	list->items = items;
	list->room = room;
	return true;
}

static inline bool list_reserve(struct list *list)
{
	return likely(list->n < list->room) || list_grow(list);
}

static inline void list_append(struct list *list, uint64_t offset, unsigned int use)
{
	list->items[list->n++] = offset << 8 | use;
}

static __attribute__((__noinline__)) void list_shrink(struct list *list)
{
	uint64_t *items = realloc(list->items, LIST_KEPT * sizeof(*items));

	if (!items)
		return;
	list->items = items;
	list->room = LIST_KEPT;
}

/* ---- a segment's free blocks ---- */

static __attribute__((__noinline__)) bool give_slow(struct stm_seg *seg, unsigned int class,
						     uint64_t offset)
{
	struct shelf *shelf = &seg->blocks->shelves[class];
	struct stm_batch *batch = shelf->second;

	if (batch->count || !batch->room) {
		struct stm_batch *empty = stm_pool_empty(class);

		if (!empty)
			return false;
		if (batch->room)
			stm_pool_put(class, batch, seg->snapshot);
		batch = empty;
	}
	shelf->second = shelf->first;
	shelf->first = batch;
	batch->blocks[batch->count++] = offset;
	return true;
}

/* Make a block free for this segment. False: no memory to remember it. */
static inline bool give(struct stm_seg *seg, uint64_t item)
{
	unsigned int use = item & 0xff;
	uint64_t offset = item >> 8;

	if (unlikely(use == STM_USE_SPAN)) {
		stm_pool_unspan(offset, seg->snapshot);
		return true;
	}
	unsigned int class = use - STM_USE_BLOCKS;
	struct stm_batch *batch = seg->blocks->shelves[class].first;

	if (unlikely(batch->count >= batch->room))
		return give_slow(seg, class, offset);
	batch->blocks[batch->count++] = offset;
	return true;
}

/*
 * Give the first @n items of the list, and empty it. Last taken, first given: so the next attempt
 * of a transaction gets the same blocks in the same order.
 */
static inline void give_list(struct stm_seg *seg, struct list *list, size_t n)
{
	while (n && likely(give(seg, list->items[n - 1])))
		n--;
	list->n = list->owed = n;
	if (unlikely(list->room > LIST_KEPT) && n <= LIST_KEPT)
		list_shrink(list);
}

void stm_blocks_committed(struct stm_seg *seg)
{
	struct stm_blocks *blocks = seg->blocks;

	give_list(seg, &blocks->freed, blocks->freed.n);
	give_list(seg, &blocks->taken, blocks->taken.owed);
}

void stm_blocks_aborted(struct stm_seg *seg)
{
	struct stm_blocks *blocks = seg->blocks;

	give_list(seg, &blocks->taken, blocks->taken.n);
	give_list(seg, &blocks->freed, blocks->freed.owed);
}

static void complain_lost(uint64_t offset)
{
	stm_complain("stm_free: no memory to note that the block at %#lx is free: it is lost; "
		     "give the process more memory", (unsigned long)(STM_HEAP + offset));
}

void stm_blocks_mark(const struct stm_seg *seg, size_t *taken, size_t *freed)
{
	*taken = seg->blocks->taken.n;
	*freed = seg->blocks->freed.n;
}

void stm_blocks_roll_back(struct stm_seg *seg, size_t n_taken, size_t n_freed)
{
	struct list *taken = &seg->blocks->taken, *freed = &seg->blocks->freed;

	freed->n = n_freed;
	if (STM_MUTATED(SAVEPOINT_BLOCKS))
		return;
	while (taken->n > n_taken && likely(give(seg, taken->items[taken->n - 1])))
		taken->n--;
	/* No memory to do so: in both lists they are free at the end of the transaction, whichever it is. */
	for (size_t i = n_taken; i < taken->n; i++) {
		if (list_reserve(freed))
			freed->items[freed->n++] = taken->items[i];
		else
			complain_lost(taken->items[i] >> 8);
	}
}

/* Let the pool have all that is free in this segment. */
static void surrender(struct stm_seg *seg)
{
	uint64_t stamp = seg->snapshot;

	if (stamp < seg->blocks->latest)
		stamp = seg->blocks->latest;
	seg->blocks->latest = stamp;
	for (unsigned int i = 0; i < STM_CLASSES; i++) {
		struct shelf *shelf = &seg->blocks->shelves[i];
		struct stm_bump *bump = &shelf->bump;

		if (shelf->first->room)
			stm_pool_put(i, shelf->first, stamp);
		if (shelf->second->room)
			stm_pool_put(i, shelf->second, stamp);
		shelf->first = shelf->second = &no_batch;
		if (bump->next == bump->end)
			continue;

		struct stm_batch *rest = stm_pool_empty(i);

		if (!rest)
			continue;
		rest->range = true;
		rest->blocks[0] = bump->next;
		rest->count = (uint32_t)((bump->end - bump->next) / stm_classes[i].size);
		stm_pool_put(i, rest, stamp);
		bump->next = bump->end;
	}
}

void stm_blocks_detach(struct stm_seg *seg)
{
	struct stm_blocks *blocks = seg->blocks;

	give_list(seg, &blocks->freed, blocks->freed.owed);
	give_list(seg, &blocks->taken, blocks->taken.owed);
	surrender(seg);
}

int stm_blocks_open(struct stm_seg *seg)
{
	struct stm_blocks *blocks = calloc(1, sizeof(*blocks));

	if (!blocks)
		return -ENOMEM;
	for (unsigned int i = 0; i < STM_CLASSES; i++)
		blocks->shelves[i].first = blocks->shelves[i].second = &no_batch;
	seg->blocks = blocks;
	return 0;
}

void stm_blocks_close(struct stm_seg *seg)
{
	struct stm_blocks *blocks = seg->blocks;

	if (!blocks)
		return;
	for (unsigned int i = 0; i < STM_CLASSES; i++) {
		struct shelf *shelf = &blocks->shelves[i];

		if (shelf->first->room)
			free(shelf->first);
		if (shelf->second->room)
			free(shelf->second);
	}
	free(blocks->taken.items);
	free(blocks->freed.items);
	free(blocks);
	seg->blocks = NULL;
}

int stm_alloc_open(void)
{
	return stm_pool_open(stm_global.heap_limit);
}

void stm_alloc_close(void)
{
	stm_pool_close();
}

/* ---- taking ---- */

/* The heap is full: is there anything left to try? @err: what the pool said. True: ask it again. */
static bool scrape(struct stm_seg *seg, int err, bool *scraped)
{
	if (!*scraped) {
		*scraped = true;
		surrender(seg);
		stm_pool_reclaim();
		return true;
	}
	/* An inevitable transaction has the latest snapshot that there is. */
	if (err == -EAGAIN && seg->inevitable != STM_INEVITABLE)
		stm_tx_restart(seg, STM_ABORT_VALIDATE);
	return false;
}

static __attribute__((__noinline__)) uint64_t take_slow(struct stm_seg *seg, unsigned int class)
{
	struct shelf *shelf = &seg->blocks->shelves[class];
	struct stm_batch *batch = shelf->second;
	bool scraped = false;

	if (batch->count) {
		shelf->second = shelf->first;
		shelf->first = batch;
		return batch->blocks[--batch->count];
	}
	while (shelf->bump.next == shelf->bump.end) {
		int err = stm_pool_supply(class, seg->snapshot, &shelf->first, &shelf->bump);

		if (err && !scrape(seg, err, &scraped))
			return 0;
		if (shelf->first->count)
			return shelf->first->blocks[--shelf->first->count];
	}
	uint64_t offset = shelf->bump.next;

	shelf->bump.next += stm_classes[class].size;
	return offset;
}

/* The offset of a free block, no longer free; 0: there is none. */
static inline uint64_t take_block(struct stm_seg *seg, unsigned int class)
{
	struct stm_batch *batch = seg->blocks->shelves[class].first;

	if (unlikely(!batch->count))
		return take_slow(seg, class);
	return batch->blocks[--batch->count];
}

static __attribute__((__noinline__)) uint64_t take_span(struct stm_seg *seg, size_t size, bool tracked)
{
	uint64_t offset;
	bool scraped = false;
	int err;

	if (size > stm_global.heap_limit)
		return 0;
	while ((err = stm_pool_span(size, tracked, seg->snapshot, &offset))) {
		if (!scrape(seg, err, &scraped))
			return 0;
	}
	return offset;
}

/* A run of the log has room for 8 GiB. */
static inline int log_fresh(struct stm_seg *seg, uint64_t offset, size_t bytes)
{
	size_t granule = offset / STM_GRANULE, count = bytes / STM_GRANULE;

	for (; unlikely(count > STM_RUN_MAX); granule += STM_RUN_MAX, count -= STM_RUN_MAX) {
		if (stm_log_fresh(seg, granule, STM_RUN_MAX))
			return -ENOMEM;
	}
	return stm_log_fresh(seg, granule, count);
}

/* A block for the running transaction. Its offset, or 0 with errno set. */
static inline uint64_t obtain(struct stm_seg *seg, size_t size, bool tracked)
{
	struct stm_blocks *blocks = seg->blocks;
	unsigned int use = STM_USE_SPAN;
	uint64_t offset = 0;
	size_t bytes;

	if (unlikely(!list_reserve(&blocks->taken))) {
		errno = ENOMEM;
		return 0;
	}
	if (likely(size <= STM_BLOCK_MAX)) {
		unsigned int class = stm_class_of(size) + (tracked ? STM_SIZES : 0);

		use = STM_USE_BLOCKS + class;
		bytes = stm_classes[class].size;
		offset = take_block(seg, class);
	} else {
		offset = take_span(seg, size, tracked);
		bytes = offset ? stm_span_size(offset) : 0;
	}
	if (unlikely(!offset)) {
		errno = ENOMEM;
		return 0;
	}
	/* First of all: what follows may restart the transaction. */
	list_append(&blocks->taken, offset, use);
	seg->attention |= STM_ATTEND_BLOCKS;
	if (likely(!log_fresh(seg, offset, bytes)))
		return offset;

	/* Not to be had again by this transaction, which may have marked a part of it. */
	if (list_reserve(&blocks->freed))
		list_append(&blocks->freed, offset, use);
	else
		complain_lost(offset);
	errno = ENOMEM;
	return 0;
}

/* ---- looking up ---- */

static void __attribute__((__noreturn__, __cold__)) not_a_block(const char *call, uintptr_t p)
{
	stm_die("%s: %#lx: not a block of the heap", call, (unsigned long)p);
}

/* The block at @p: its size, and what it is. Does not return if there is none. */
static inline size_t look_up(struct stm_seg *seg, const char *call, uintptr_t p, unsigned int *use)
{
	uint64_t offset = p - STM_HEAP, chunk = offset >> STM_HEAP_CHUNK_SHIFT, word;
	uint32_t inside = offset & (STM_HEAP_CHUNK - 1);
	size_t size = 0;

	if (unlikely(chunk >= stm_uses_n))
		not_a_block(call, p);
	do {
		/* Pairs with set_use(). */
		word = atomic_load_explicit(&stm_uses[chunk], memory_order_acquire);
		*use = word & 0xff;
		if (*use == STM_USE_SPAN)
			size = stm_span_size(offset);
	} while (*use == STM_USE_SPAN &&
		 word != atomic_load_explicit(&stm_uses[chunk], memory_order_acquire));

	if (seg && unlikely(word >> 8 > seg->snapshot) && seg->inevitable != STM_INEVITABLE)
		stm_tx_restart(seg, STM_ABORT_VALIDATE);
	if (likely(*use >= STM_USE_BLOCKS)) {
		const struct stm_class *class = &stm_classes[*use - STM_USE_BLOCKS];

		if (unlikely(!stm_class_has(class, inside)))
			not_a_block(call, p);
		return class->size;
	}
	if (*use != STM_USE_SPAN || inside)
		not_a_block(call, p);
	return size;
}

bool stm_find_block(uintptr_t p, uintptr_t *start, size_t *size)
{
	uint64_t offset = p - STM_HEAP, chunk = offset >> STM_HEAP_CHUNK_SHIFT;
	unsigned int use = STM_USE_INSIDE;

	if (chunk >= stm_uses_n)
		return false;
	/* Relaxed: who stores to a block found it after its chunk had been put to this use. */
	for (; use == STM_USE_INSIDE; chunk--) {
		use = atomic_load_explicit(&stm_uses[chunk], memory_order_relaxed) & 0xff;
		*start = STM_HEAP + (chunk << STM_HEAP_CHUNK_SHIFT);
	}
	if (use >= STM_USE_BLOCKS) {
		*size = stm_classes[use - STM_USE_BLOCKS].size;
		*start += (p - *start) / *size * *size;
	} else if (use == STM_USE_SPAN) {
		*size = stm_span_size(*start - STM_HEAP);
	} else {
		return false;
	}
	return p - *start < *size;
}

/* Whether the transaction freed the block lately: a broken program, worth a short look. */
static inline bool freed_already(const struct list *freed, uint64_t item)
{
	size_t n = freed->n, end = freed->owed;

	if (n - end > LIST_SEARCHED)
		end = n - LIST_SEARCHED;

	while (n > end) {
		if (freed->items[--n] == item)
			return true;
	}
	return false;
}

static inline void let_go(struct stm_seg *seg, const char *call, uintptr_t p, unsigned int use)
{
	struct list *freed = &seg->blocks->freed;
	uint64_t offset = p - STM_HEAP;

	if (unlikely(freed_already(freed, offset << 8 | use)))
		stm_die("%s: %#lx: freed already by this transaction", call, (unsigned long)p);
	seg->attention |= STM_ATTEND_BLOCKS;
	if (likely(list_reserve(freed)))
		list_append(freed, offset, use);
	else
		complain_lost(offset);
}

/* ---- public ---- */

/* @offset is what obtain() gave the public function that this is inlined into. */
static inline __attribute__((__always_inline__)) void STM *pointer(uint64_t offset)
{
	if (!offset)
		return NULL;
	if (STM_EVENTS && unlikely(stm_global.recording))
		stm_label_allocated(STM_HEAP + offset, __builtin_return_address(0));
	return (void STM *)(STM_HEAP + offset);
}

void STM *stm_alloc(size_t size)
{
	return pointer(obtain(stm_tx_self("stm_alloc"), size, false));
}

void STM *stm_alloc_tracked(size_t size)
{
	return pointer(obtain(stm_tx_self("stm_alloc_tracked"), size, true));
}

void STM *stm_zalloc(size_t size)
{
	struct stm_seg *seg = stm_tx_self("stm_zalloc");
	uint64_t offset = obtain(seg, size, false);

	if (offset)
		memset(seg->view.heap + offset, 0, size);
	return pointer(offset);
}

void stm_free(volatile void STM *p)
{
	struct stm_seg *seg = stm_tx_self("stm_free");
	unsigned int use;

	if (!p)
		return;
	look_up(seg, "stm_free", (uintptr_t)p, &use);
	let_go(seg, "stm_free", (uintptr_t)p, use);
}

void STM *stm_realloc(volatile void STM *p, size_t size)
{
	struct stm_seg *seg = stm_tx_self("stm_realloc");
	unsigned int use;

	if (!p)
		return pointer(obtain(seg, size, false));

	size_t old = look_up(seg, "stm_realloc", (uintptr_t)p, &use);

	if (size <= old && (size >= old / 2 || old == stm_classes[0].size))
		return (void STM *)p;

	bool tracked = stm_page_is_tracked(((uintptr_t)p - STM_HEAP) / STM_PAGE);
	void STM *to = pointer(obtain(seg, size, tracked));

	if (!to)
		return NULL;
	stm_memcpy(to, p, size < old ? size : old);
	let_go(seg, "stm_realloc", (uintptr_t)p, use);
	return to;
}

size_t stm_usable_size(const volatile void STM *p)
{
	struct stm_seg *seg = stm__self;
	unsigned int use;

	stm_stop_if_forked("stm_usable_size");
	if (!p)
		return 0;
	return look_up(seg && stm_in_tx(seg) ? seg : NULL, "stm_usable_size", (uintptr_t)p, &use);
}
