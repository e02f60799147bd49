/* SPDX-License-Identifier: MIT */
/*
 * map.h - the library's hash map, from integers to integers
 *
 * Included once for each implementation: see impl.h for the words. Those without transactions compile
 * the library's source as plain C: plain.h.
 */
#ifdef IMPL_STM
#include <uffdstm/map.h>
#else
#include "plain.h"

/* Nodes without a size, which would cost a cache line: all that is freed are nodes of an entry of two longs. */
#define MAP_NODE 32
#define stm_alloc(size) pool_alloc(&pool, size)
#define stm_zalloc(size) ALLOC_ZERO(size)
#define stm_free(p) pool_free(&pool, p, MAP_NODE)

/* A counter is a number. */
#define UFFDSTM_COUNTER_H
#define STM_COUNTER_CELLS 1
#define STM_COUNTER_SUM 0
struct stm_counter {
	struct {
		long value;
	} cells[STM_COUNTER_CELLS];
};
#define stm_counter_init(counter, kind) ((void)((counter)->cells[0].value = 0))
#define stm_counter_add(counter, n) ((void)((counter)->cells[0].value += (n)))
#define stm_counter_get(counter) ((counter)->cells[0].value)

#define stm_array_make NAME(array_make)
#define stm_array_free NAME(array_free)
#define stm_map_new NAME(map_new)
#define stm_map_free NAME(map_free)
#define stm_map_size NAME(map_size)
#define stm_map_next NAME(map_next)
#define stm__map_add NAME(map_add)
#define stm__map_take_out NAME(map_take_out)

#include "../../lib/collect/array.c"
#include "../../lib/collect/map.c"
#endif

STM_MAP(numbers, long, long);

OPERATION bool map_contains(struct numbers SHARED *map, long key)
{
	ATOMIC {
		long value;

		return numbers_get(map, key, &value);
	}
	return false;
}

OPERATION bool map_insert(struct numbers SHARED *map, long key)
{
	ATOMIC
		return !numbers_insert(map, key, key);
	return false;
}

OPERATION bool map_remove(struct numbers SHARED *map, long key)
{
	ATOMIC
		return numbers_remove(map, key);
	return false;
}

static uintptr_t map_make(void)
{
	struct numbers SHARED *volatile map = NULL;

	ATOMIC
		map = numbers_new();
	if (!map)
		die("no memory");
	return (uintptr_t)map;
}

OPERATION const char *map_check(struct numbers SHARED *map, uint64_t *size)
{
	const char *volatile wrong = NULL;

	ATOMIC {
		struct stm_map_cursor cursor = STM_MAP_CURSOR(map);
		struct numbers_entry SHARED *entry;

		*size = 0;
		while ((entry = numbers_next(&cursor))) {
			if (entry->value != entry->key)
				wrong = "an entry has lost its value";
			++*size;
		}
		if (numbers_size(map) != *size)
			wrong = "the size is not that of the entries";
	}
	return wrong;
}
