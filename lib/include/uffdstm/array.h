/* SPDX-License-Identifier: MIT */
/*
 * uffdstm/array.h - what maps and vectors are made of: an array that grows where it stands. Not for programs.
 *
 * Items never move. Level 0 has the first 16 of them, each further level as many as all before it. A level of up to
 * one chunk is one block; a larger one is a directory of chunks. Both are made when an item in them is first needed.
 *
 * A pointer to a block or a chunk is NULL, or what it will be until the array is freed. So a reader needs no
 * barrier for a pointer that is there: no commit changes it. Who finds NULL and depends on it looks again with one.
 */
#ifndef UFFDSTM_ARRAY_H
#define UFFDSTM_ARRAY_H

#include <uffdstm.h>

#define STM_ARRAY_LEVELS 34     /* 2^37 items */
#define STM_ARRAY_FIRST 16      /* items of level 0 */

struct stm_array {
	uintptr_t levels[STM_ARRAY_LEVELS];
};

/* Where items are: 2^shift to a chunk, at least STM_ARRAY_FIRST. */
struct stm_array_shape {
	size_t item;            /* bytes */
	unsigned int shift;
};

static inline __attribute__((__always_inline__)) unsigned int stm__array_level(uint64_t i)
{
	return 60 - (unsigned int)__builtin_clzll(i | (STM_ARRAY_FIRST - 1));
}

/* Items of all levels before this one. */
static inline __attribute__((__always_inline__)) uint64_t stm__array_before(unsigned int level)
{
	return level ? (uint64_t)STM_ARRAY_FIRST / 2 << level : 0;
}

/* Is it a directory of chunks? */
static inline __attribute__((__always_inline__)) bool stm__array_has_chunks(unsigned int level, unsigned int shift)
{
	return level + 3 > shift;
}

#ifndef __cplusplus
/* The address of item @i, or 0: it was not made yet. */
static inline __attribute__((__always_inline__)) uintptr_t
stm__array_at(const struct stm_array STM *array, uint64_t i, struct stm_array_shape shape)
{
	const unsigned int level = stm__array_level(i);
	uint64_t k = i - stm__array_before(level);
	uintptr_t p = array->levels[level];

	if (stm__array_has_chunks(level, shape.shift) && p) {
		p = ((const uintptr_t STM *)p)[k >> shape.shift];
		k &= ((uint64_t)1 << shape.shift) - 1;
	}
	return p ? p + k * shape.item : 0;
}

#endif
#endif
