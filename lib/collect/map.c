// SPDX-License-Identifier: MIT
/*
 * map.c - hash maps: what uffdstm/map.h does not inline.
 *
 * Growing:
 *  1. An insertion that has passed LONG_CHAIN entries looks how many entries the map has, about, by the
 *     counter's cells, without barriers. If there are more than buckets, it doubles @mask. Two that do so conflict.
 *  2. An insertion splits the bucket it goes to until that is as deep as @mask allows. A split reads and writes that
 *     bucket, writes its nodes, and the word of the bucket that is split off, which nobody else depends on: it is 0.
 *  3. What memory cannot be had for is left for the next insertion.
 * A map does not shrink.
 */
#include <errno.h>
#include <sys/auxv.h>

#include <uffdstm/map.h>

#include "collect.h"

#define LONG_CHAIN 3u           /* of other keys; with a bucket for each entry one chain in 50 has as many, or more */
#define MASK_FIRST ((uint64_t)STM_ARRAY_FIRST - 1)
#define MASK_LIMIT (((uint64_t)1 << (STM_ARRAY_LEVELS + 3)) - 1)
#define DEPTH_ONE ((uint64_t)1 << 56)

static unsigned int depth_of(uint64_t word)
{
	return (unsigned int)(word >> 56) - 1;
}

/* As deep as may be? */
static bool is_deep(const struct stm_map STM *map, uint64_t word)
{
	return ((uint64_t)1 << depth_of(word)) > map->mask;
}

/* The same for all maps of a process, but not for its next run. */
static uint64_t process_seed(void)
{
	uint64_t seed;

	__builtin_memcpy(&seed, (const void *)getauxval(AT_RANDOM), sizeof(seed)); /* 16 bytes, by the kernel */
	return seed;
}

struct stm_map STM *stm_map_new(const struct stm_map_type *type)
{
	struct stm_map STM *map;
	uint64_t STM *words;

	stm_tx_self("stm_map_new");
	map = stm_zalloc(sizeof(*map));
	if (!map)
		return NULL;
	if (stm_array_make(&map->buckets, 0, STM__MAP_SHAPE)) {
		stm_free(map);
		errno = ENOMEM;
		return NULL;
	}
	map->seed = process_seed() ^ (uintptr_t)map;
	map->key_size = type->key_size;
	map->entry_size = type->entry_size;
	map->mask = MASK_FIRST;
	words = (uint64_t STM *)stm__array_at(&map->buckets, 0, STM__MAP_SHAPE);
	for (unsigned int i = 0; i <= MASK_FIRST; i++)
		words[i] = DEPTH_ONE * (1 + (unsigned int)__builtin_popcountll(MASK_FIRST));
	stm_counter_init(&map->size, STM_COUNTER_SUM);
	return map;
}

void stm_map_free(struct stm_map STM *map)
{
	struct stm_map_cursor cursor = STM_MAP_CURSOR(map);
	unsigned char STM *entry;

	stm_tx_self("stm_map_free");
	if (!map)
		return;
	while ((entry = stm_map_next(&cursor)))
		stm_free(entry - sizeof(struct stm_map_link));
	stm_array_free(&map->buckets, STM__MAP_SHAPE);
	stm_free(map);
}

size_t stm_map_size(const struct stm_map STM *map)
{
	stm_tx_self("stm_map_size");
	return (size_t)stm_counter_get(&map->size);
}

/* ---- growing ---- */

static void grow(struct stm_map STM *map)
{
	uint64_t entries = 0;

	for (unsigned int i = 0; i < STM_COUNTER_CELLS; i++)
		entries += (uint64_t)map->size.cells[i].value;
	if ((int64_t)entries > (int64_t)map->mask && map->mask < MASK_LIMIT)
		STM_SET(map->mask, map->mask * 2 + 1);
}

/* Split the bucket of this word in two. False: no memory. */
static bool split(struct stm_map STM *map, uint64_t STM *word, uint64_t hash)
{
	const uint64_t old = STM_GET(*word);
	const unsigned int depth = depth_of(old);
	const uint64_t bit = (uint64_t)1 << depth;
	const uint64_t twin = (hash & (bit - 1)) | bit;
	uint64_t STM *words[2] = { word };
	uint64_t nodes = old & STM__MAP_NODE;

	if (stm_array_make(&map->buckets, twin, STM__MAP_SHAPE))
		return false;
	words[1] = (uint64_t STM *)stm__array_at(&map->buckets, twin, STM__MAP_SHAPE);
	stm_write(words[0]);
	stm_write(words[1]);
	*words[0] = *words[1] = DEPTH_ONE * (depth + 2);
	while (nodes) {
		struct stm_map_link STM *link = (struct stm_map_link STM *)nodes;
		uint64_t STM *to = words[!!(link->hash & bit)];
		const uint64_t next = link->next;

		if ((*to & STM__MAP_NODE) != next)
			STM_SET(link->next, *to & STM__MAP_NODE);
		*to = (*to & ~STM__MAP_NODE) | nodes;
		nodes = next;
	}
	return true;
}

/* Split the bucket of this hash until it is as deep as may be. Its word. */
static uint64_t STM *deepen(struct stm_map STM *map, uint64_t hash)
{
	uint64_t STM *word;

	do {
		word = stm__map_bucket(map, hash);
	} while (!is_deep(map, STM_GET(*word)) && split(map, word, hash));
	return word;
}

struct stm_map_node STM *stm__map_add(struct stm_map STM *map, const struct stm_map_type *type, uint64_t hash,
				      unsigned int passed)
{
	struct stm_map_node STM *node;
	uint64_t STM *word;

	stm_tx_self("stm_map_put");
	node = stm_alloc(sizeof(*node) + type->entry_size);
	if (!node)
		return NULL;
	if (unlikely(passed >= LONG_CHAIN))
		grow(map);
	word = stm__map_bucket(map, hash);
	if (unlikely(!is_deep(map, STM_GET(*word)))) {
		/* The neighbour shares the granules of all these words: splitting it, too, makes no conflict more. */
		deepen(map, hash ^ 1);
		word = deepen(map, hash);
	}
	node->link.hash = hash;
	node->link.next = *word & STM__MAP_NODE;
	STM_SET(*word, (*word & ~STM__MAP_NODE) | (uintptr_t)node);
	stm_counter_add(&map->size, 1);
	return node;
}

void stm__map_take_out(struct stm_map STM *map, const struct stm__map_place *at)
{
	stm_tx_self("stm_map_remove");
	if (!STM_MUTATED(MAP_LINK) || at->link == at->bucket)
		stm_write(at->bucket);
	if (at->link != at->bucket)
		stm_write(at->link);
	*at->link = (*at->link & ~STM__MAP_NODE) | at->node->link.next;
	stm_free(at->node);
	stm_counter_add(&map->size, -1);
}

/* ---- all entries ---- */

void STM *stm_map_next(struct stm_map_cursor *cursor)
{
	const struct stm_map STM *map = cursor->map;
	struct stm_map_node STM *node;

	stm_tx_self("stm_map_next");
	while (!cursor->next) {
		const uint64_t STM *word;

		if (cursor->bucket > map->mask)
			return NULL;
		word = (const uint64_t STM *)stm__array_at(&map->buckets, cursor->bucket++, STM__MAP_SHAPE);
		/* One that is not split off is read with the one that has its entries. */
		if (word && *word && !(STM_MUTATED(MAP_PHANTOM) && !(*word & STM__MAP_NODE)))
			cursor->next = STM_GET(*word) & STM__MAP_NODE;
	}
	node = (struct stm_map_node STM *)cursor->next;
	stm_read_range(node, sizeof(*node) + map->entry_size);
	cursor->next = node->link.next;
	return node->entry;
}
