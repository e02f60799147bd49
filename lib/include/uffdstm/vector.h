/* SPDX-License-Identifier: MIT */
/*
 * uffdstm/vector.h - arrays in the heap that grow and shrink at their end
 *
 *	struct stm_vector STM *v = stm_vector_new(sizeof(struct point));
 *
 *	stm_vector_push(v, &point);
 *	stm_vector_get(v, 0, &point);
 *
 * Elements never move. One of them is read and written without a conflict with those that use others, push
 * or pop, except where neighbours share a granule. Push and pop conflict with each other.
 *
 * All calls are for transactions; outside one they stop the process with a line. They are undone with it.
 */
#ifndef UFFDSTM_VECTOR_H
#define UFFDSTM_VECTOR_H

#include <uffdstm.h>

#ifndef __cplusplus

struct stm_vector;

/* stm_vector_new - an empty one, for elements of @element bytes. NULL with errno ENOMEM, or EINVAL: @element is 0. */
struct stm_vector STM *stm_vector_new(size_t element);

/* stm_vector_free - give back the vector with its elements. NULL is fine. */
void stm_vector_free(struct stm_vector STM *vector);

/* stm_vector_size - the number of elements. Conflicts with push, pop and resize. */
size_t stm_vector_size(const struct stm_vector STM *vector);

/*
 * stm_vector_at - element @i, for barriers of the caller's: while it is in the vector. NULL: there is none, which
 * conflicts with push and resize.
 */
void STM *stm_vector_at(struct stm_vector STM *vector, size_t i);

/* stm_vector_get, stm_vector_set - copy element @i out, or in. False: there is none. */
bool stm_vector_get(struct stm_vector STM *vector, size_t i, void *element);
bool stm_vector_set(struct stm_vector STM *vector, size_t i, const void *element);

/* stm_vector_push - one more at the end. 0; -ENOMEM: nothing has changed. */
int stm_vector_push(struct stm_vector STM *vector, const void *element);

/* stm_vector_pop - take the last one out, to *@element unless that is NULL. False: there is none. */
bool stm_vector_pop(struct stm_vector STM *vector, void *element);

/*
 * stm_vector_resize - let there be @size elements: new ones are zero. 0; -ENOMEM: nothing has changed.
 *
 * The memory of elements that are dropped, or that there was not enough memory for, stays with the vector until that
 * is freed.
 */
int stm_vector_resize(struct stm_vector STM *vector, size_t size);

#endif
#endif
