// SPDX-License-Identifier: MIT
/*
 * vector.c - vectors: an array (uffdstm/array.h) and a size.
 *
 * Who finds element @i below the size reads the size without a barrier, and so does not conflict with who changes it:
 * instead all that drops an element writes it. What is behind the end is zero, so elements that come back are.
 */
#include <errno.h>

#include <uffdstm/vector.h>

#include "collect.h"

#define CHUNK_BYTES ((size_t)4096)      /* about; at least STM_ARRAY_FIRST elements */

struct stm_vector {
	uint64_t element;               /* bytes; constant, as is the shift */
	uint64_t shift;
	uint64_t size;
	uint64_t unused;
	struct stm_array array;
} __attribute__((__aligned__(16)));

static struct stm_array_shape shape_of(const struct stm_vector STM *vector)
{
	return (struct stm_array_shape){ vector->element, (unsigned int)vector->shift };
}

struct stm_vector STM *stm_vector_new(size_t element)
{
	struct stm_vector STM *vector;
	unsigned int shift = 4;

	stm_tx_self("stm_vector_new");
	if (!element) {
		errno = EINVAL;
		return NULL;
	}
	while (element << (shift + 1) <= CHUNK_BYTES)
		shift++;
	vector = stm_zalloc(sizeof(*vector));
	if (!vector)
		return NULL;
	vector->element = element;
	vector->shift = shift;
	return vector;
}

void stm_vector_free(struct stm_vector STM *vector)
{
	stm_tx_self("stm_vector_free");
	if (!vector)
		return;
	/* All that is done to it meanwhile conflicts. */
	stm_vector_resize(vector, 0);
	stm_array_free(&vector->array, shape_of(vector));
	stm_free(vector);
}

size_t stm_vector_size(const struct stm_vector STM *vector)
{
	stm_tx_self("stm_vector_size");
	return STM_GET(vector->size);
}

/* Element @i, or NULL; if it is there without a barrier for the size. */
static void STM *element_at(const struct stm_vector STM *vector, size_t i)
{
	if (i >= vector->size && (STM_MUTATED(VECTOR_END) || i >= STM_GET(vector->size)))
		return NULL;
	return (void STM *)stm__array_at(&vector->array, i, shape_of(vector));
}

void STM *stm_vector_at(struct stm_vector STM *vector, size_t i)
{
	stm_tx_self("stm_vector_at");
	return element_at(vector, i);
}

bool stm_vector_get(struct stm_vector STM *vector, size_t i, void *element)
{
	const void STM *p;

	stm_tx_self("stm_vector_get");
	p = element_at(vector, i);
	if (p)
		stm_memcpy_out(element, p, vector->element);
	return p;
}

bool stm_vector_set(struct stm_vector STM *vector, size_t i, const void *element)
{
	void STM *p;

	stm_tx_self("stm_vector_set");
	p = element_at(vector, i);
	if (p)
		stm_memcpy_in(p, element, vector->element);
	return p;
}

int stm_vector_push(struct stm_vector STM *vector, const void *element)
{
	uint64_t size;

	stm_tx_self("stm_vector_push");
	size = STM_GET(vector->size);
	if (stm_array_make(&vector->array, size, shape_of(vector)))
		return -ENOMEM;
	stm_memcpy_in((void STM *)stm__array_at(&vector->array, size, shape_of(vector)), element, vector->element);
	STM_SET(vector->size, size + 1);
	return 0;
}

/* Elements [@size, @old) are dropped: whoever read one of them is to know. */
static void drop(struct stm_vector STM *vector, uint64_t size, uint64_t old)
{
	if (!STM_MUTATED(VECTOR_DROP))
		for (uint64_t i = size; i < old; i++)
			stm_memset((void STM *)stm__array_at(&vector->array, i, shape_of(vector)), 0, vector->element);
	STM_SET(vector->size, size);
}

bool stm_vector_pop(struct stm_vector STM *vector, void *element)
{
	uint64_t size;

	stm_tx_self("stm_vector_pop");
	size = STM_GET(vector->size);
	if (!size)
		return false;
	if (element)
		stm_memcpy_out(element, (void STM *)stm__array_at(&vector->array, size - 1, shape_of(vector)),
			       vector->element);
	drop(vector, size - 1, size);
	return true;
}

int stm_vector_resize(struct stm_vector STM *vector, size_t size)
{
	const struct stm_array_shape shape = shape_of(vector);
	uint64_t old;

	stm_tx_self("stm_vector_resize");
	old = STM_GET(vector->size);
	if (size < old) {
		drop(vector, size, old);
		return 0;
	}
	/* Whole chunks: an element of each makes it, and so does the last. */
	for (uint64_t i = old; i < size; i += STM_ARRAY_FIRST) {
		if (stm_array_make(&vector->array, i, shape))
			return -ENOMEM;
	}
	if (size > old) {
		if (stm_array_make(&vector->array, size - 1, shape))
			return -ENOMEM;
		STM_SET(vector->size, size);
	}
	return 0;
}
