/* SPDX-License-Identifier: MIT */
/* What a table says: the figures and lists that finddup reports. */
#ifndef FINDDUP_SUMMARY_H
#define FINDDUP_SUMMARY_H

#include <stdint.h>

#include "table.h"

#define TOP 10                  /* entries of the two lists */

/*
 * Of a chunk with more holders than this, only those with the smallest paths count for the pairs
 * of files. So a holder adds to 15.5 pairs on average at most: the work is bounded by the table.
 */
#define PAIR_HOLDERS 32

struct top_chunk {
	const struct chunk *chunk;
	uint64_t copies;        /* in all files */
};

struct top_pair {
	uint32_t a, b;          /* files, a < b */
	uint64_t bytes;         /* in chunks that both hold, each as often as both do */
};

struct summary {
	uint64_t files;         /* in the table; empty ones too */
	uint64_t bytes;         /* of all copies */
	uint64_t unique_bytes;  /* of one copy each */
	uint64_t copies;
	uint64_t crowded;       /* chunks with more than PAIR_HOLDERS holders */
	struct top_chunk chunks[TOP]; /* by copies, size, first holder, hash */
	unsigned int nr_chunks;
	struct top_pair pairs[TOP]; /* by bytes, a, b */
	unsigned int nr_pairs;
};

/* summarise - 0 or -ENOMEM. @summary points into @table. */
int summarise(const struct table *table, const struct walk *walk, struct summary *summary);

#endif
