/* SPDX-License-Identifier: MIT */
/*
 * queue_support.h - what tests of queues share: a heap with a queue, and counters in it, where an attempt that is
 * undone leaves nothing behind.
 */
#ifndef STM_SELFTESTS_QUEUE_SUPPORT_H
#define STM_SELFTESTS_QUEUE_SUPPORT_H

#include <errno.h>

#include <uffdstm.h>

#include "support.h"

static struct stm_queue *queue;         /* each test is a process of its own */

/* For so many attached threads, 0: as many as there can be. 0, or an error of one of the calls. */
UNUSED static int open_queue(unsigned int segments, const struct stm_queue_options *queue_options)
{
	struct stm_options options = STM_OPTIONS_INIT;
	int error;

	options.heap_size = (size_t)16 << 20;
	if (segments)
		options.segments = segments;
	error = stm_init(&options);
	if (!error)
		error = stm_thread_attach();
	if (!error) {
		queue = stm_queue_new(queue_options);
		error = queue ? 0 : errno;
	}
	return error;
}

/* A counter in the heap: root slot @index, a granule of its own. */
UNUSED static uint64_t STM *counter(unsigned int index)
{
	return (uint64_t STM *)stm_root(index);
}

UNUSED static void count(unsigned int index)
{
	STM_SET(*counter(index), STM_GET(*counter(index)) + 1);
}

UNUSED static uint64_t counted(unsigned int index)
{
	volatile uint64_t n = 0;

	STM_ATOMIC {
		n = STM_GET(*counter(index));
	}
	return n;
}

UNUSED static struct stm_queue_counts counts_of(struct stm_queue *q)
{
	struct stm_queue_counts c = { 0 };

	if (stm_queue_counts(q, &c))
		abort();
	return c;
}

#endif
