// SPDX-License-Identifier: MIT
/*
 * fifo.c - FIFO queues: a list of chunks of slots, with an end for gets and one for puts.
 *
 *  1. Each end is a granule of its own, and counts: that many items were taken, that many were put. Chunks have as
 *     many slots each, a power of two, so an end's count also tells the slot in its chunk.
 *  2. A slot tells whether it was filled, beside its item, and has granules of its own. So a get looks at its own end
 *     and at one slot: it conflicts with a put only if that put fills this very slot, that is, if the queue is empty.
 *  3. A slot is used once. A put that begins a chunk allocates it, and stores its address where the chunk before it
 *     ends; the get that goes there frees the chunk before.
 *  4. A limit is compared with what is known to be taken: @room, the count up to which puts may go on without a look
 *     at the other end. It is looked at when they get there, so once in so many puts as there is room then.
 *
 * The granule with the sizes is read by all calls and written by none, but when the queue is freed.
 */
#include <errno.h>
#include <string.h>

#include <uffdstm/fifo.h>

#include "../internal.h"

#define CHUNK_BYTES ((size_t)1024)      /* about so many */
#define CHUNK_SLOTS_MIN 4u

struct end {
	uintptr_t chunk;                /* 0: none yet */
	uint64_t count;
} __attribute__((__aligned__(16)));

struct chunk {
	uintptr_t next;
	uint64_t unused;
	uint8_t slots[];
} __attribute__((__aligned__(16)));

struct slot {                           /* a multiple of 16 bytes each */
	uint64_t filled;
	uint8_t item[];
};

struct stm_fifo {
	struct sizes {
		uint32_t item, slot;    /* bytes */
		uint32_t slots;         /* in a chunk */
		uint32_t unused;
	} __attribute__((__aligned__(16))) sizes;
	struct end get;
	struct puts {
		struct end end;
		uint64_t room;
		uint64_t unused;
	} put;
	uint64_t limit;                 /* 0: none */
	uintptr_t first;                /* the first chunk that ever was */
};

_Static_assert(sizeof(struct sizes) == STM_GRANULE && sizeof(struct end) == STM_GRANULE, "granules of their own");

struct stm_priority {
	uint64_t levels;
	uint64_t unused;
	struct stm_fifo level[];
} __attribute__((__aligned__(16)));

/* A slot that is one granule, as with items of 8 bytes. */
struct small_slot {
	uint64_t filled, item;
} __attribute__((__aligned__(16)));

static inline struct sizes sizes_of(struct stm_fifo STM *fifo)
{
	stm_read(&fifo->sizes);
	return *(struct sizes *)stm_local(&fifo->sizes);
}

static inline uintptr_t slot_at(const struct sizes *sizes, uintptr_t chunk, uint64_t count)
{
	return chunk + sizeof(struct chunk) + (count & (sizes->slots - 1)) * sizes->slot;
}

/* Where the address of the chunk behind @end's is. */
static inline uintptr_t STM *link_behind(struct stm_fifo STM *fifo, uintptr_t chunk)
{
	return chunk ? &((struct chunk STM *)chunk)->next : &fifo->first;
}

/* ---- the end where gets are ---- */

/* The oldest item: its slot, or 0. *@chunk: where it is. */
static inline uintptr_t oldest(struct stm_fifo STM *fifo, const struct sizes *sizes, uintptr_t *chunk)
{
	const struct end *get;
	uintptr_t slot;

	stm_read(&fifo->get);
	get = stm_local(&fifo->get);
	*chunk = get->chunk;
	if (!(get->count & (sizes->slots - 1)))
		*chunk = STM_GET(*link_behind(fifo, get->chunk));
	if (!*chunk)
		return 0;
	slot = slot_at(sizes, *chunk, get->count);
	if (!STM_MUTATED(FIFO_EMPTY))
		stm_read(&((struct slot STM *)slot)->filled);
	return ((struct slot STM *)slot)->filled ? slot : 0;
}

static inline void copy_out(void *item, uintptr_t slot, const struct sizes *sizes)
{
	const struct slot *from;

	if (sizes->slot > STM_GRANULE) /* else it was read when it was found filled */
		stm_read_range((void STM *)slot, sizeof(*from) + sizes->item);
	from = stm_local((void STM *)slot);
	__builtin_memcpy(item, from->item, sizes->item);
}

static int take(struct stm_fifo STM *fifo, void *item)
{
	const struct sizes sizes = sizes_of(fifo);
	uintptr_t chunk, slot = oldest(fifo, &sizes, &chunk), before;
	struct end *get;

	if (!slot)
		return -EAGAIN;
	if (item)
		copy_out(item, slot, &sizes);
	stm_write(&fifo->get);
	get = stm_local(&fifo->get);
	before = get->chunk;
	get->chunk = chunk;
	get->count++;
	if (before != chunk)
		stm_free((void STM *)before);
	return 0;
}

/* ---- the end where puts are ---- */

/* The other end has to be looked at. */
static __attribute__((__noinline__)) bool has_room(struct stm_fifo STM *fifo, uint64_t count)
{
	struct puts *put = stm_local(&fifo->put);
	const uint64_t limit = STM_GET(fifo->limit);
	const uint64_t room = (STM_MUTATED(FIFO_ROOM) ? fifo->get.count : STM_GET(fifo->get.count)) + limit;

	if (count == room)
		return false;
	stm_write(&fifo->put.room);
	put->room = room;
	return true;
}

static uintptr_t new_chunk(const struct sizes *sizes)
{
	const uintptr_t p = (uintptr_t)stm_alloc(sizeof(struct chunk) + (size_t)sizes->slots * sizes->slot);
	struct chunk *chunk;

	if (!p)
		return 0;
	chunk = stm_local((void STM *)p);
	chunk->next = 0;
	chunk->unused = 0;
	for (uint32_t i = 0; i < sizes->slots; i++)
		((struct slot *)(chunk->slots + (size_t)i * sizes->slot))->filled = 0;
	return p;
}

static int add(struct stm_fifo STM *fifo, const void *item)
{
	const struct sizes sizes = sizes_of(fifo);
	struct puts *put;
	struct slot *to;
	uintptr_t chunk, slot;

	stm_read(&fifo->put);
	put = stm_local(&fifo->put);
	if (put->end.count == put->room && !has_room(fifo, put->end.count))
		return -EAGAIN;
	chunk = put->end.chunk;
	if (!(put->end.count & (sizes.slots - 1))) {
		const uintptr_t next = new_chunk(&sizes);

		if (!next)
			return -ENOMEM;
		STM_SET(*link_behind(fifo, chunk), next);
		chunk = next;
	}
	slot = slot_at(&sizes, chunk, put->end.count);
	if (sizes.slot == sizeof(struct small_slot))
		stm_write((struct small_slot STM *)slot);
	else
		stm_write_range((void STM *)slot, sizeof(*to) + sizes.item);
	to = stm_local((void STM *)slot);
	to->filled = 1;
	__builtin_memcpy(to->item, item, sizes.item);
	stm_write(&fifo->put.end);
	put->end.chunk = chunk;
	put->end.count++;
	return 0;
}

/* ---- FIFO queues ---- */

static bool sizes_are_good(size_t item_size)
{
	if (item_size && item_size <= STM_FIFO_ITEM_MAX)
		return true;
	errno = EINVAL;
	return false;
}

/* In fresh memory. */
static void set_up(struct stm_fifo *fifo, size_t item_size, uint64_t limit)
{
	const size_t slot = (sizeof(struct slot) + item_size + STM_GRANULE - 1) & ~(STM_GRANULE - 1);
	uint32_t slots = CHUNK_SLOTS_MIN;

	while (sizeof(struct chunk) + 2 * slots * slot <= CHUNK_BYTES + sizeof(struct chunk))
		slots *= 2;
	*fifo = (struct stm_fifo){
		.sizes = { .item = (uint32_t)item_size, .slot = (uint32_t)slot, .slots = slots },
		.put.room = limit ? limit : UINT64_MAX,
		.limit = limit,
	};
}

static void free_chunks(struct stm_fifo STM *fifo)
{
	uintptr_t chunk = STM_GET(fifo->get.chunk);

	if (!chunk)
		chunk = STM_GET(fifo->first);
	while (chunk) {
		const uintptr_t next = STM_GET(((struct chunk STM *)chunk)->next);

		stm_free((void STM *)chunk);
		chunk = next;
	}
	stm_write(&fifo->sizes); /* all calls read it */
}

static uint64_t length(struct stm_fifo STM *fifo)
{
	stm_read(&fifo->sizes);
	return STM_GET(fifo->put.end.count) - STM_GET(fifo->get.count);
}

struct stm_fifo STM *stm_fifo_new(size_t item_size, uint64_t limit)
{
	struct stm_fifo STM *fifo;

	stm_tx_self("stm_fifo_new");
	if (!sizes_are_good(item_size))
		return NULL;
	fifo = stm_alloc(sizeof(*fifo));
	if (fifo)
		set_up(stm_local(fifo), item_size, limit);
	return fifo;
}

void stm_fifo_free(struct stm_fifo STM *fifo)
{
	stm_tx_self("stm_fifo_free");
	if (fifo)
		free_chunks(fifo);
	stm_free(fifo);
}

/*
 * Waiting: what the attempt has read is, besides what others do not write, its own end, and the slot or the other end
 * that it waits for.
 */
int stm_fifo_put(struct stm_fifo STM *fifo, const void *item)
{
	int ret;

	stm_tx_self("stm_fifo_put");
	ret = add(fifo, item);
	return ret == -EAGAIN ? stm_retry() : ret;
}

int stm_fifo_put_until(struct stm_fifo STM *fifo, const void *item, const struct timespec *deadline)
{
	int ret;

	stm_tx_self("stm_fifo_put_until");
	ret = add(fifo, item);
	return ret == -EAGAIN ? stm_retry_until(deadline) : ret;
}

int stm_fifo_try_put(struct stm_fifo STM *fifo, const void *item)
{
	stm_tx_self("stm_fifo_try_put");
	return add(fifo, item);
}

int stm_fifo_get(struct stm_fifo STM *fifo, void *item)
{
	int ret;

	stm_tx_self("stm_fifo_get");
	ret = take(fifo, item);
	return ret == -EAGAIN ? stm_retry() : ret;
}

int stm_fifo_get_until(struct stm_fifo STM *fifo, void *item, const struct timespec *deadline)
{
	int ret;

	stm_tx_self("stm_fifo_get_until");
	ret = take(fifo, item);
	return ret == -EAGAIN ? stm_retry_until(deadline) : ret;
}

int stm_fifo_try_get(struct stm_fifo STM *fifo, void *item)
{
	stm_tx_self("stm_fifo_try_get");
	return take(fifo, item);
}

int stm_fifo_peek(struct stm_fifo STM *fifo, void *item)
{
	struct sizes sizes;
	uintptr_t chunk, slot;

	stm_tx_self("stm_fifo_peek");
	sizes = sizes_of(fifo);
	slot = oldest(fifo, &sizes, &chunk);
	if (!slot)
		return -EAGAIN;
	copy_out(item, slot, &sizes);
	return 0;
}

uint64_t stm_fifo_length(struct stm_fifo STM *fifo)
{
	stm_tx_self("stm_fifo_length");
	return length(fifo);
}

/* ---- priority queues ---- */

struct stm_priority STM *stm_priority_new(size_t item_size, unsigned int levels, uint64_t limit)
{
	struct stm_priority STM *priority;
	struct stm_priority *fresh;

	stm_tx_self("stm_priority_new");
	if (!sizes_are_good(item_size))
		return NULL;
	if (!levels || levels > STM_PRIORITY_LEVELS) {
		errno = EINVAL;
		return NULL;
	}
	priority = stm_alloc(sizeof(*priority) + levels * sizeof(priority->level[0]));
	if (!priority)
		return NULL;
	fresh = stm_local(priority);
	fresh->levels = levels;
	fresh->unused = 0;
	for (unsigned int i = 0; i < levels; i++)
		set_up(&fresh->level[i], item_size, limit);
	return priority;
}

void stm_priority_free(struct stm_priority STM *priority)
{
	stm_tx_self("stm_priority_free");
	if (!priority)
		return;
	for (uint64_t i = 0; i < STM_GET(priority->levels); i++)
		free_chunks(&priority->level[i]);
	stm_free(priority);
}

static int add_to(struct stm_priority STM *priority, unsigned int level, const void *item)
{
	return level < STM_GET(priority->levels) ? add(&priority->level[level], item) : -EINVAL;
}

static int take_first(struct stm_priority STM *priority, unsigned int *level, void *item)
{
	const uint64_t levels = STM_GET(priority->levels);

	for (unsigned int i = 0; i < levels; i++) {
		struct stm_fifo STM *fifo = &priority->level[i];

		if (STM_MUTATED(PRIORITY_EMPTY) && fifo->put.end.count == fifo->get.count)
			continue;
		if (take(fifo, item))
			continue;
		if (level)
			*level = i;
		return 0;
	}
	return -EAGAIN;
}

int stm_priority_put(struct stm_priority STM *priority, unsigned int level, const void *item)
{
	int ret;

	stm_tx_self("stm_priority_put");
	ret = add_to(priority, level, item);
	return ret == -EAGAIN ? stm_retry() : ret;
}

int stm_priority_put_until(struct stm_priority STM *priority, unsigned int level, const void *item,
			   const struct timespec *deadline)
{
	int ret;

	stm_tx_self("stm_priority_put_until");
	ret = add_to(priority, level, item);
	return ret == -EAGAIN ? stm_retry_until(deadline) : ret;
}

int stm_priority_try_put(struct stm_priority STM *priority, unsigned int level, const void *item)
{
	stm_tx_self("stm_priority_try_put");
	return add_to(priority, level, item);
}

int stm_priority_get(struct stm_priority STM *priority, unsigned int *level, void *item)
{
	int ret;

	stm_tx_self("stm_priority_get");
	ret = take_first(priority, level, item);
	return ret == -EAGAIN ? stm_retry() : ret;
}

int stm_priority_get_until(struct stm_priority STM *priority, unsigned int *level, void *item,
			   const struct timespec *deadline)
{
	int ret;

	stm_tx_self("stm_priority_get_until");
	ret = take_first(priority, level, item);
	return ret == -EAGAIN ? stm_retry_until(deadline) : ret;
}

int stm_priority_try_get(struct stm_priority STM *priority, unsigned int *level, void *item)
{
	stm_tx_self("stm_priority_try_get");
	return take_first(priority, level, item);
}

uint64_t stm_priority_length(struct stm_priority STM *priority)
{
	uint64_t levels, sum = 0;

	stm_tx_self("stm_priority_length");
	levels = STM_GET(priority->levels);
	for (uint64_t i = 0; i < levels; i++)
		sum += length(&priority->level[i]);
	return sum;
}
