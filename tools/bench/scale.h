/* SPDX-License-Identifier: MIT */
/*
 * scale.h - what the library does for each transaction as segments are added: counted, not timed
 *
 * scale_run.c runs a workload and counts, scale_time.c times what single steps cost on two cores, scale_fit.c fits
 * lines and says where each term binds, scale.c puts them together.
 */
#ifndef BENCH_SCALE_H
#define BENCH_SCALE_H

#include "bench.h"

#define SCALE_SEGMENTS 64u

enum scale_workload { PARTITIONED, SHARED_HOT, READ_MOSTLY, SCALE_WORKLOADS };

extern const char *const scale_names[SCALE_WORKLOADS];

enum scale_what {
	/* of a build with -DSTM_COUNTING: what was done about other segments' commits */
	SLOTS_APPLIED,          /* the snapshot moved over them one by one */
	SLOTS_APPLIED_SKIPPED,  /* of these: on sight, since the view has none of their regions */
	SLOTS_TESTED,           /* looked through for conflicts before a commit */
	SLOTS_TESTED_SKIPPED,
	GROUPS_SKIPPED,         /* of 64 slots, at once, in either way */
	BYTES_APPLIED,
	FOREIGN_LINES,          /* cache lines that others wrote last: see scale_run.c */
	SLOTS_LOST,             /* others took the slot first */
	ENTRIES_FOLDED,
	/* of any build */
	COMMITS,                /* transactions that wrote */
	ABORTS,
	SYSTEM_CALLS,
	FAULTS,                 /* of the heap */
	PARKED,
	PRIVATE_PAGES,          /* at the end, for each segment */
	/* by callgrind */
	INSTRUCTIONS,
	FOLD_INSTRUCTIONS,      /* of them; whoever folds does it for all */
	SCALE_WHATS
};

extern const char *const scale_whats[SCALE_WHATS];

struct scale_counts {
	bool known[SCALE_WHATS];
	double per_transaction[SCALE_WHATS];
	double folded;          /* entries, since the start */
};

/* So many transactions of each segment, after some to warm up. */
struct scale_counts scale_count(enum scale_workload workload, unsigned int segments, unsigned int transactions);

/* ns */
enum scale_time {
	/* One foreign commit that a transaction meets at its begin; ... */
	BEGIN_SKIPPED,          /* its region is not in the view */
	BEGIN_LOOKED,           /* its region is, the page is not */
	BEGIN_APPLIED,          /* the page is */
	/* ... that was committed after its begin, when it commits itself */
	COMMIT_SKIPPED,
	COMMIT_LOOKED,
	COMMIT_APPLIED,
	/* One commit of one granule */
	ALONE,                  /* of one thread */
	TAIL,                   /* of two, that do nothing else: both together */
	SCALE_TIMES
};

struct scale_timed {
	double ns, min, max;
};

extern const char *const scale_times[SCALE_TIMES];

void scale_time(struct scale_timed *times, unsigned int rounds);

struct scale_line {
	double constant, slope; /* of the number of other segments */
	double off;             /* the largest distance of a point from it, in percent of the largest value */
};

struct scale_line scale_fit(const unsigned int *segments, const double *values, unsigned int n);

/* Where a term takes as long as the transactions themselves: so many cores. Infinite: nowhere. */
enum scale_term { WALK, THE_TAIL, FOLD, CALLS, SCALE_TERMS };

extern const char *const scale_terms[SCALE_TERMS];

/* What one transaction costs beyond itself: @walk, for each of the others; the rest one after the other, for all. */
double scale_cores(enum scale_term term, double ns_per_transaction, double transaction_us);

#endif
