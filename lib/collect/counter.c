// SPDX-License-Identifier: MIT
/*
 * counter.c - counters that never conflict: a cell for each segment.
 *
 * A segment's number is taken over by the next thread that attaches: it goes on with the cell as it is.
 * A cell that nobody has written holds the kind's neutral value, which changes no result.
 */
#include <errno.h>
#include <limits.h>

#include <uffdstm/counter.h>

#include "internal.h"

_Static_assert(STM_COUNTER_CELLS == STM_SEGMENTS_LIMIT, "a cell for each segment");
_Static_assert(sizeof(((struct stm_counter *)NULL)->cells[0]) == STM_GRANULE, "cells do not share granules");
_Static_assert(sizeof(struct stm_counter) == 1040, "as the header says");

static const long neutral[] = {
	[STM_COUNTER_SUM] = 0,
	[STM_COUNTER_MIN] = LONG_MAX,
	[STM_COUNTER_MAX] = LONG_MIN,
};

#define KINDS (sizeof(neutral) / sizeof(neutral[0]))

/* The kind is read without a barrier: who makes the memory another counter writes all cells, too. */
static enum stm_counter_kind kind_of(const char *call, const struct stm_counter STM *counter)
{
	unsigned long kind;

	stm_tx_self(call);
	kind = (unsigned long)counter->kind;
	if (unlikely(kind >= KINDS))
		stm_die("%s: %#lx: not a counter", call, (unsigned long)counter);
	return (enum stm_counter_kind)kind;
}

static inline long combine(enum stm_counter_kind kind, long a, long b)
{
	switch (kind) {
	case STM_COUNTER_MIN:
		return a < b ? a : b;
	case STM_COUNTER_MAX:
		return a > b ? a : b;
	default:
		return (long)((unsigned long)a + (unsigned long)b);
	}
}

int stm_counter_init(struct stm_counter STM *counter, enum stm_counter_kind kind)
{
	stm_tx_self("stm_counter_init");
	if ((unsigned int)kind >= KINDS)
		return -EINVAL;
	stm_write_range(counter, sizeof(*counter));
	counter->kind = kind;
	counter->unused = 0;
	for (unsigned int i = 0; i < STM_COUNTER_CELLS; i++) {
		counter->cells[i].value = neutral[kind];
		counter->cells[i].unused = 0;
	}
	return 0;
}

struct stm_counter STM *stm_counter_new(enum stm_counter_kind kind)
{
	struct stm_counter STM *counter;

	stm_tx_self("stm_counter_new");
	if ((unsigned int)kind >= KINDS) {
		errno = EINVAL;
		return NULL;
	}
	counter = stm_alloc(sizeof(*counter));
	if (counter)
		stm_counter_init(counter, kind);
	return counter;
}

void stm_counter_free(struct stm_counter STM *counter)
{
	stm_tx_self("stm_counter_free");
	stm_free(counter);
}

void stm_counter_add(struct stm_counter STM *counter, long n)
{
	const enum stm_counter_kind kind = kind_of("stm_counter_add", counter);
	long STM *value = &counter->cells[STM_MUTATED(COUNTER_CELL) ? 0 : stm__self->id].value;
	long old = STM_MUTATED(COUNTER_BEYOND) ? *value : STM_GET(*value), new = combine(kind, old, n);

	if (new != old)
		STM_SET(*value, new);
}

long stm_counter_get(const struct stm_counter STM *counter)
{
	const enum stm_counter_kind kind = kind_of("stm_counter_get", counter);
	long result = neutral[kind];

	stm_read_range(counter->cells, sizeof(counter->cells));
	for (unsigned int i = 0; i < STM_COUNTER_CELLS; i++)
		result = combine(kind, result, counter->cells[i].value);
	return result;
}

void stm_counter_set(struct stm_counter STM *counter, long n)
{
	const enum stm_counter_kind kind = kind_of("stm_counter_set", counter);

	/* All are read, even those that stay as they are: who adds meanwhile was before it or is after it. */
	stm_read_range(counter->cells, sizeof(counter->cells));
	for (unsigned int i = 0; i < STM_COUNTER_CELLS; i++) {
		long value = i == stm__self->id ? n : neutral[kind];

		if (counter->cells[i].value != value)
			STM_SET(counter->cells[i].value, value);
	}
}
