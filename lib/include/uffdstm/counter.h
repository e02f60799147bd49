/* SPDX-License-Identifier: MIT */
/*
 * uffdstm/counter.h - numbers that many transactions add to at once
 *
 *	struct stm_counter STM *hits = stm_counter_new(STM_COUNTER_SUM);
 *
 *	stm_counter_add(hits, 1);               never conflicts with another stm_counter_add()
 *	printf("%ld\n", stm_counter_get(hits)); exact; conflicts with each commit that has added meanwhile
 *
 * Each segment has a cell of its own, on a granule of its own. Adding reads and writes that
 * cell alone; reading reads all cells.
 *
 * All calls are for transactions; outside one they stop the process with a line. What a call does is
 * part of the transaction, and is undone with it.
 */
#ifndef UFFDSTM_COUNTER_H
#define UFFDSTM_COUNTER_H

#include <uffdstm.h>

#define STM_COUNTER_CELLS 64    /* segments that there can be */

enum stm_counter_kind {
	STM_COUNTER_SUM,        /* of what was added; starts at 0, wraps around as unsigned long does */
	STM_COUNTER_MIN,        /* the least of what was added; LONG_MAX if nothing was */
	STM_COUNTER_MAX         /* the greatest of it; LONG_MIN if nothing was */
};

/* Heap memory: 1,040 bytes, aligned to 16, which may be a part of an object of yours. Only for the calls below. */
struct stm_counter {
	long kind;              /* enum stm_counter_kind: constant */
	long unused;
	struct {
		long value;
		long unused;
	} cells[STM_COUNTER_CELLS];
} __attribute__((__aligned__(16)));

#ifndef __cplusplus
/* stm_counter_new - a counter to which nothing was added. NULL with errno ENOMEM, or EINVAL: no such @kind. */
struct stm_counter STM *stm_counter_new(enum stm_counter_kind kind);

/* stm_counter_init - the same in memory that the caller has, such as a part of a block. 0 or -EINVAL. */
int stm_counter_init(struct stm_counter STM *counter, enum stm_counter_kind kind);

/* stm_counter_free - give back what stm_counter_new() made. NULL is fine. */
void stm_counter_free(struct stm_counter STM *counter);

/*
 * stm_counter_add - add @n, which may be negative, to a sum; or let a minimum or a maximum know of @n.
 *
 * A minimum or maximum is written only if @n goes beyond what this segment has added so far.
 */
void stm_counter_add(struct stm_counter STM *counter, long n);

/* stm_counter_get - the sum, minimum or maximum, exactly. */
long stm_counter_get(const struct stm_counter STM *counter);

/* stm_counter_set - from here on the counter is @n. Conflicts as stm_counter_get() does, and with that, too. */
void stm_counter_set(struct stm_counter STM *counter, long n);

#endif
#endif
