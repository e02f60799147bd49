/* SPDX-License-Identifier: MIT */
/*
 * uffdstm/fifo.h - FIFO queues in the heap: items of a fixed size, first in, first out
 *
 *	STM_FIFO_TYPE(jobs, struct job)
 *
 *	struct stm_fifo STM *fifo = jobs_new(100);      at most 100 items; 0: no limit
 *
 *	jobs_put(fifo, &job);           waits while the queue is full
 *	jobs_get(fifo, &job);           waits while it is empty
 *
 * A put conflicts with puts, a get with gets; a put and a get only where the queue is, or was, empty or full: the
 * get looks at the slot that it takes from, and not at the other end. See uffdstm-collections(7).
 *
 * All calls are for transactions: outside one they stop the process with one line. A queue is heap memory: what a
 * transaction that aborts did to it is undone, and a pointer to it may stand in a root slot or in other objects.
 */
#ifndef UFFDSTM_FIFO_H
#define UFFDSTM_FIFO_H

#include <uffdstm.h>

#ifndef __cplusplus

#define STM_FIFO_ITEM_MAX 4096u         /* bytes */
#define STM_PRIORITY_LEVELS 256u

struct stm_fifo;

/*
 * stm_fifo_new - an empty queue of items of @item_size bytes, 1 to STM_FIFO_ITEM_MAX, of which @limit may be in it at
 * once; 0: no limit. NULL with errno EINVAL, ENOMEM.
 */
struct stm_fifo STM *stm_fifo_new(size_t item_size, uint64_t limit);

/* stm_fifo_free - free the queue, and all that is in it, when this transaction commits. NULL is fine. */
void stm_fifo_free(struct stm_fifo STM *fifo);

/*
 * stm_fifo_put - add a copy of *@item. Where the limit is reached it waits by stm_retry(): the transaction is undone,
 * and runs again once there may be room. stm_fifo_put_until waits until @deadline of CLOCK_MONOTONIC, stm_fifo_try_put
 * does not wait.
 *
 * 0; -ENOMEM: the heap is full. Where there is no room: -EAGAIN: stm_fifo_try_put. -EPERM: the transaction is
 * inevitable, and cannot wait. -ETIMEDOUT: @deadline has passed; -EINVAL: it is NULL, or no time.
 */
int stm_fifo_put(struct stm_fifo STM *fifo, const void *item);
int stm_fifo_put_until(struct stm_fifo STM *fifo, const void *item, const struct timespec *deadline);
int stm_fifo_try_put(struct stm_fifo STM *fifo, const void *item);

/*
 * stm_fifo_get - take the oldest item out, into *@item, which may be NULL. Where there is none, the three are as those
 * above, with the same errors.
 */
int stm_fifo_get(struct stm_fifo STM *fifo, void *item);
int stm_fifo_get_until(struct stm_fifo STM *fifo, void *item, const struct timespec *deadline);
int stm_fifo_try_get(struct stm_fifo STM *fifo, void *item);

/* stm_fifo_peek - copy the oldest item to *@item, and leave it there. 0; -EAGAIN: there is none. */
int stm_fifo_peek(struct stm_fifo STM *fifo, void *item);

/* stm_fifo_length - the number of items. Looks at both ends, and so conflicts with each put and get. */
uint64_t stm_fifo_length(struct stm_fifo STM *fifo);

/*
 * A priority queue: so many FIFO queues in a row, its levels. A get takes from the first one, from 0 on, that is
 * not empty: so it conflicts with puts in that level and those before it, where they are empty.
 */
struct stm_priority;

/* stm_priority_new - @levels: 1 to STM_PRIORITY_LEVELS; @limit of each level. Else like stm_fifo_new(). */
struct stm_priority STM *stm_priority_new(size_t item_size, unsigned int levels, uint64_t limit);
void stm_priority_free(struct stm_priority STM *priority);

/* stm_priority_put - into @level. Like stm_fifo_put() and the others, and -EINVAL: there is no such level. */
int stm_priority_put(struct stm_priority STM *priority, unsigned int level, const void *item);
int stm_priority_put_until(struct stm_priority STM *priority, unsigned int level, const void *item,
			   const struct timespec *deadline);
int stm_priority_try_put(struct stm_priority STM *priority, unsigned int level, const void *item);

/* stm_priority_get - like stm_fifo_get() and the others. @level, if it is not NULL: where the item was. */
int stm_priority_get(struct stm_priority STM *priority, unsigned int *level, void *item);
int stm_priority_get_until(struct stm_priority STM *priority, unsigned int *level, void *item,
			   const struct timespec *deadline);
int stm_priority_try_get(struct stm_priority STM *priority, unsigned int *level, void *item);

/* stm_priority_length - the number of items in all levels. */
uint64_t stm_priority_length(struct stm_priority STM *priority);

/* STM_FIFO_TYPE(name, type) - the calls above for items of this type: name_new(limit), name_try_get(fifo, &item) .. */
#define STM_FIFO_TYPE(name, item_type)                                                                                 \
	STM__FIFO struct stm_fifo STM *name##_new(uint64_t limit)                                                      \
	{                                                                                                              \
		return stm_fifo_new(sizeof(item_type), limit);                                                         \
	}                                                                                                              \
	STM__FIFO void name##_free(struct stm_fifo STM *fifo)                                                          \
	{                                                                                                              \
		stm_fifo_free(fifo);                                                                                   \
	}                                                                                                              \
	STM__FIFO int name##_put(struct stm_fifo STM *fifo, const item_type *item)                                     \
	{                                                                                                              \
		return stm_fifo_put(fifo, item);                                                                       \
	}                                                                                                              \
	STM__FIFO int name##_put_until(struct stm_fifo STM *fifo, const item_type *item,                               \
				       const struct timespec *deadline)                                                \
	{                                                                                                              \
		return stm_fifo_put_until(fifo, item, deadline);                                                       \
	}                                                                                                              \
	STM__FIFO int name##_try_put(struct stm_fifo STM *fifo, const item_type *item)                                 \
	{                                                                                                              \
		return stm_fifo_try_put(fifo, item);                                                                   \
	}                                                                                                              \
	STM__FIFO int name##_get(struct stm_fifo STM *fifo, item_type *item)                                           \
	{                                                                                                              \
		return stm_fifo_get(fifo, item);                                                                       \
	}                                                                                                              \
	STM__FIFO int name##_get_until(struct stm_fifo STM *fifo, item_type *item, const struct timespec *deadline)    \
	{                                                                                                              \
		return stm_fifo_get_until(fifo, item, deadline);                                                       \
	}                                                                                                              \
	STM__FIFO int name##_try_get(struct stm_fifo STM *fifo, item_type *item)                                       \
	{                                                                                                              \
		return stm_fifo_try_get(fifo, item);                                                                   \
	}                                                                                                              \
	STM__FIFO int name##_peek(struct stm_fifo STM *fifo, item_type *item)                                          \
	{                                                                                                              \
		return stm_fifo_peek(fifo, item);                                                                      \
	}                                                                                                              \
	STM__FIFO uint64_t name##_length(struct stm_fifo STM *fifo)                                                    \
	{                                                                                                              \
		return stm_fifo_length(fifo);                                                                          \
	}

#define STM__FIFO __attribute__((__unused__)) static inline

#endif

#endif
