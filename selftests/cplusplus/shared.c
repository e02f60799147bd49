// SPDX-License-Identifier: MIT
/* shared.c - C code on the heap that face.cc uses. */
#include <string.h>

#include <uffdstm/map.h>
#include <uffdstm/ordered.h>

#include "shared.h"

STM_MAP(ages, uint64_t, long);
STM_ORDERED_TYPE(prices, int64_t, long, stm_compare_i64)

static struct item STM *STM *list(void)
{
	return (struct item STM *STM *)stm_root(1);
}

void c_push(long number, const char *name)
{
	STM_ATOMIC {
		struct item STM *item = stm_zalloc(sizeof(*item));

		STM_SET(item->number, number);
		stm_memcpy_in(item->name, name, strlen(name));
		STM_SET(item->next, STM_GET(*list()));
		STM_SET(*list(), item);
	}
}

long c_sum(void)
{
	STM_ATOMIC {
		long sum = 0;

		for (struct item STM *item = STM_GET(*list()); item; item = STM_GET(item->next))
			sum += STM_GET(item->number);
		return sum;
	}
	return -1;
}

void c_restart(volatile int *count)
{
	if (*count) {
		--*count;
		stm_restart();
	}
}

int c_outermost(void (*fn)(void *arg), void *arg)
{
	volatile int attempts = 0;

	STM_ATOMIC {
		attempts++;
		fn(arg);
	}
	return attempts;
}

long c_map_sum(uintptr_t map, uint64_t keys)
{
	STM_ATOMIC {
		struct ages STM *m = (struct ages STM *)map;
		long sum = 0, age;

		for (uint64_t key = 0; key < keys; key++)
			if (ages_get(m, key, &age))
				sum += age;
		if (ages_put(m, keys, 1000))
			return -1;
		ages_remove(m, 0);
		return sum;
	}
	return -1;
}

long c_ordered_sum(uintptr_t map)
{
	STM_ATOMIC {
		struct stm_ordered STM *m = (struct stm_ordered STM *)map;
		struct stm_ordered_cursor cursor;
		int64_t key = 0;
		long sum = 0, price;

		for (bool is = prices_seek(&cursor, m, STM_ORDERED_FIRST, &key, &price); is;
		     is = prices_next(&cursor, &key, &price))
			sum = sum * 10 + price;
		return sum;
	}
	return -1;
}
