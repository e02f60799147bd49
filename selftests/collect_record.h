/* SPDX-License-Identifier: MIT */
/*
 * collect_record.h - operations on queues and vectors of uint64_t, which record their results: @number is the queue's
 * or the sequence's in the checker's model. Items are not 0.
 */
#ifndef COLLECT_RECORD_H
#define COLLECT_RECORD_H

#include <errno.h>

#include <uffdstm/fifo.h>
#include <uffdstm/vector.h>

#include "collect_history.h"

static bool record_put(struct collect_thread *t, int ret, unsigned int number, uint64_t limit, uint64_t item)
{
	if (!ret) {
		collect_event(t, HISTORY_PUT, number, item);
		return true;
	}
	if (ret != -EAGAIN)
		schedule_fail("put into queue %u: %s", number, stm_strerror(ret));
	collect_event(t, HISTORY_LENGTH, number, limit);
	return false;
}

/* False: the queue is full, which is recorded. */
UNUSED static bool record_fifo_put(struct collect_thread *t, struct stm_fifo STM *fifo, unsigned int number,
				   uint64_t limit, uint64_t item)
{
	return record_put(t, stm_fifo_try_put(fifo, &item), number, limit, item);
}

/* 0: nothing is in it. */
UNUSED static uint64_t record_fifo_get(struct collect_thread *t, struct stm_fifo STM *fifo, unsigned int number)
{
	uint64_t item;

	if (stm_fifo_try_get(fifo, &item))
		item = 0;
	collect_event(t, HISTORY_GET, number, item);
	return item;
}

/* Its levels are queues of the model, the first of which is @number. */
UNUSED static bool record_priority_put(struct collect_thread *t, struct stm_priority STM *priority, unsigned int level,
				       unsigned int number, uint64_t limit, uint64_t item)
{
	return record_put(t, stm_priority_try_put(priority, level, &item), number + level, limit, item);
}

UNUSED static uint64_t record_priority_get(struct collect_thread *t, struct stm_priority STM *priority,
					   unsigned int levels, unsigned int number)
{
	unsigned int level;
	uint64_t item;

	if (stm_priority_try_get(priority, &level, &item))
		level = levels;
	for (unsigned int i = 0; i < level; i++)
		collect_event(t, HISTORY_GET, number + i, 0);
	if (level == levels)
		return 0;
	collect_event(t, HISTORY_GET, number + level, item);
	return item;
}

UNUSED static void record_push(struct collect_thread *t, struct stm_vector STM *vector, unsigned int number,
			       uint64_t item)
{
	const int ret = stm_vector_push(vector, &item);

	if (ret)
		schedule_fail("push: %s", stm_strerror(ret));
	collect_event(t, HISTORY_PUSH, HISTORY_ELEMENT(number, 0), item);
}

/* HISTORY_NONE: nothing is in it. */
UNUSED static uint64_t record_pop(struct collect_thread *t, struct stm_vector STM *vector, unsigned int number)
{
	uint64_t item;

	if (!stm_vector_pop(vector, &item))
		item = HISTORY_NONE;
	collect_event(t, HISTORY_POP, HISTORY_ELEMENT(number, 0), item);
	return item;
}

/* ---- at the end ---- */

UNUSED static void compare_fifo(struct stm_fifo STM *fifo, struct checker_queue *queue, const char *name)
{
	size_t i = queue->first;
	uint64_t item;

	while (!stm_fifo_try_get(fifo, &item)) {
		if (i == queue->end || item != queue->items[i++]) {
			schedule_fail("at the end: %s has other items", name);
			return;
		}
	}
	if (i != queue->end)
		schedule_fail("at the end: %s lacks items", name);
}

UNUSED static void compare_priority(struct stm_priority STM *priority, struct checker_queue *queues,
				    unsigned int levels)
{
	unsigned int level;
	uint64_t item;

	for (unsigned int i = 0; i < levels; i++) {
		for (size_t k = queues[i].first; k < queues[i].end; k++) {
			if (stm_priority_try_get(priority, &level, &item) || level != i || item != queues[i].items[k]) {
				schedule_fail("at the end: level %u has other items", i);
				return;
			}
		}
	}
	if (stm_priority_length(priority))
		schedule_fail("at the end: the priority queue has items too many");
}

UNUSED static void compare_vector(struct stm_vector STM *vector, const struct checker_sequence *sequence,
				  const char *name)
{
	uint64_t item;

	if (stm_vector_size(vector) != sequence->length)
		schedule_fail("at the end: %s has %zu elements, not %zu", name, stm_vector_size(vector), sequence->length);
	for (size_t i = 0; i < sequence->length; i++)
		if (!stm_vector_get(vector, i, &item) || item != sequence->items[i])
			schedule_fail("at the end: element %zu of %s is another", i, name);
}

#endif
