/* SPDX-License-Identifier: MIT */
/*
 * sweep.h - transactions with one property that is swept: sweep_ops.h runs them, sweep.c measures
 *
 * The data is the same for all: for each thread a part of its own, so that nothing conflicts, and one shared cell.
 */
#ifndef BENCH_SWEEP_H
#define BENCH_SWEEP_H

#include "bench.h"

enum sweep_kind {
	SWEEP_ACCESSES,         /* single cells, at random */
	SWEEP_CONFLICT,         /* the same, after an update of the shared cell or of one's own */
	SWEEP_OBJECTS,          /* one object is read, another one updated */
};

/* One transaction. measure() is given its workload; the sum of all cells is the size that it checks. */
struct sweep_point {
	struct workload workload;       /* first; its batch is used, and its name */
	enum sweep_kind kind;
	unsigned int accesses;          /* cells in a transaction */
	unsigned int step;              /* every so manyth access is an update; 0: none */
	unsigned int percent;           /* transactions that only read; of SWEEP_CONFLICT: that update the shared cell */
	unsigned int bytes;             /* an object's */
};

#define SWEEP_PARTS 2u                          /* as many threads, at most */
#define SWEEP_CELLS (1u << 17)                  /* in a part: 2 MiB, what a log slot's summary tells apart */
#define SWEEP_OBJECTS 64u                       /* in a part, or as many as it holds */

extern const struct impl sweep_seq, sweep_mutex, sweep_stm;

#endif
