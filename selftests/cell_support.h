/* SPDX-License-Identifier: MIT */
/*
 * cell_support.h - a library that is up, and a cell of the heap on a page that is not mapped: whether its page faults work,
 * whatever the program does.
 */
#ifndef STM_SELFTESTS_CELL_SUPPORT_H
#define STM_SELFTESTS_CELL_SUPPORT_H

#include <errno.h>

#include <uffdstm.h>

#include "support.h"

#define PAGE ((size_t)4096)

static long STM *cell;

/* Attached, and with a page of the heap that is not mapped. */
UNUSED static void attach_fresh(void)
{
	if (stm_in_transaction() || (stm_thread_detach() != -ENXIO && stm_thread_attach()))
		abort();
}

UNUSED static void start(void)
{
	if (stm_init(NULL) || stm_thread_attach())
		abort();
	STM_ATOMIC {
		cell = stm_zalloc(100 * PAGE);
		STM_SET(*cell, 42);
	}
	attach_fresh();
}

/* Our own faults still work: a read of a page that is not mapped. */
UNUSED static bool heap_works(void)
{
	volatile bool works = false;

	attach_fresh();
	STM_ATOMIC {
		works = STM_GET(*cell) == 42;
		STM_SET(cell[PAGE], STM_GET(cell[PAGE]) + 1);
	}
	return works && !stm_outcome();
}

#endif
