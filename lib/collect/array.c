// SPDX-License-Identifier: MIT
/*
 * array.c - arrays that grow where they stand: see uffdstm/array.h
 *
 * Two transactions that make the same block conflict: both find NULL and write. Nobody else does, as
 * the pointers are read without barriers.
 */
#include <errno.h>

#include "collect.h"

/* The block that *@p points to, made if it is NULL. 0: no memory. */
static uintptr_t block(uintptr_t STM *p, size_t bytes)
{
	if (!STM_GET(*p)) {
		uintptr_t made = (uintptr_t)stm_zalloc(bytes);

		if (made)
			STM_SET(*p, made);
	}
	return *p;
}

static uint64_t level_items(unsigned int level)
{
	return stm__array_before(level + 1) - stm__array_before(level);
}

int stm_array_make(struct stm_array STM *array, uint64_t i, struct stm_array_shape shape)
{
	const unsigned int level = stm__array_level(i);
	const size_t chunk = (size_t)1 << shape.shift;
	uintptr_t p;

	if (level >= STM_ARRAY_LEVELS)
		return -ENOMEM;
	if (stm__array_at(array, i, shape))
		return 0;
	if (!stm__array_has_chunks(level, shape.shift))
		return block(&array->levels[level], level_items(level) * shape.item) ? 0 : -ENOMEM;
	p = block(&array->levels[level], level_items(level) / chunk * sizeof(uintptr_t));
	if (!p)
		return -ENOMEM;
	i -= stm__array_before(level);
	return block((uintptr_t STM *)p + i / chunk, chunk * shape.item) ? 0 : -ENOMEM;
}

void stm_array_free(struct stm_array STM *array, struct stm_array_shape shape)
{
	for (unsigned int level = 0; level < STM_ARRAY_LEVELS; level++) {
		const uintptr_t p = STM_GET(array->levels[level]);

		if (p && stm__array_has_chunks(level, shape.shift)) {
			for (uint64_t k = 0; k < level_items(level) >> shape.shift; k++)
				stm_free((void STM *)STM_GET(((uintptr_t STM *)p)[k]));
		}
		stm_free((void STM *)p);
	}
}
