/* SPDX-License-Identifier: MIT */
/*
 * ordered.h - a set of integers as the library's ordered map, with values
 *
 * Included once for each implementation: see impl.h for the words. Without transactions the map is the library's own
 * source once more, as plain code.
 */
#ifndef IMPL_STM
#include "plain.h"

#define stm_compare_u64 NAME(compare_u64)
#define stm_compare_i64 NAME(compare_i64)
#define stm_ordered_new NAME(ordered_new)
#define stm_ordered_free NAME(ordered_free)
#define stm_ordered_get NAME(ordered_get)
#define stm_ordered_find NAME(ordered_find)
#define stm_ordered_put NAME(ordered_put)
#define stm_ordered_remove NAME(ordered_remove)
#define stm_ordered_count NAME(ordered_count)
#define stm_ordered_seek NAME(ordered_seek)
#define stm_ordered_next NAME(ordered_next)
#define stm_ordered_previous NAME(ordered_previous)
#define stm_ordered_value NAME(ordered_value)

#include "../../lib/collect/ordered.c"
#else
#include <uffdstm/ordered.h>
#endif

STM_ORDERED_TYPE(ordered_map, uint64_t, uint64_t, stm_compare_u64)

OPERATION bool ordered_contains(struct stm_ordered SHARED *map, long key)
{
	ATOMIC {
		uint64_t value;

		return ordered_map_get(map, (uint64_t)key, &value);
	}
	return false;
}

OPERATION bool ordered_insert(struct stm_ordered SHARED *map, long key)
{
	ATOMIC {
		const uint64_t value = (uint64_t)key;

		return ordered_map_put(map, (uint64_t)key, &value) == 1;
	}
	return false;
}

OPERATION bool ordered_remove(struct stm_ordered SHARED *map, long key)
{
	ATOMIC {
		return ordered_map_remove(map, (uint64_t)key, NULL);
	}
	return false;
}

static uintptr_t ordered_make(void)
{
	ATOMIC {
		return (uintptr_t)ordered_map_new();
	}
	return 0;
}

OPERATION const char *ordered_check(struct stm_ordered SHARED *map, uint64_t *size)
{
	const char *volatile wrong = NULL;

	ATOMIC {
		struct stm_ordered_cursor cursor;
		uint64_t key = 0, value, entries = 0, last = 0;

		for (bool is = ordered_map_seek(&cursor, map, STM_ORDERED_FIRST, &key, &value); is;
		     is = ordered_map_next(&cursor, &key, &value)) {
			if (entries++ && key <= last)
				wrong = "keys are out of order";
			if (value != key)
				wrong = "an entry has lost its value";
			last = key;
		}
		if (entries != ordered_map_count(map))
			wrong = "the count is another";
		*size = entries;
	}
	return wrong;
}
