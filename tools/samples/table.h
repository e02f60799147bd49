/* SPDX-License-Identifier: MIT */
/*
 * The table: chunk -> size and holders. It is built either in the shared heap by transactions, or
 * sequentially in ordinary memory; both are then put into the one form below, in which
 * they can be compared entry by entry.
 */
#ifndef FINDDUP_TABLE_H
#define FINDDUP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "scan.h"
#include "walk.h"

/* That a file holds a chunk, and how often. */
struct holder {
	uint32_t file;          /* its number */
	uint32_t count;         /* times that it holds the chunk */
	uint64_t offset;        /* bytes, of the first time */
};

struct chunk {
	struct hash hash;
	uint32_t size;          /* bytes */
	uint32_t nr;            /* of holders */
	size_t first;           /* of them, in the table's array */
};

struct table {
	struct chunk *chunks;   /* by hash, then size */
	size_t nr;
	struct holder *holders; /* of each chunk together, by file */
	size_t nr_holders;
	size_t chunks_capacity, holders_capacity;
};

/* Filling a table: chunks in any order, each followed by its holders. 0 or -ENOMEM. */
int table_add_chunk(struct table *table, const struct hash *hash, uint32_t size);
int table_add_holder(struct table *table, uint32_t file, uint32_t count, uint64_t offset);
/* table_sort - after the last of them. */
void table_sort(struct table *table);

/* table_leave_out - drop holders whose state is not FILE_READ, and chunks without holders. */
void table_leave_out(struct table *table, const struct file *files);

/* table_compare - whether they are equal; else the first difference is written to @out, a line. */
bool table_compare(const struct table *a, const struct table *b, const struct file *files,
		   const char *name_a, const char *name_b, FILE *out);

void table_free(struct table *table);

/* How a table was built. */
struct build {
	double seconds;         /* from the start, empty table included, to the last file */
	double cpu_seconds;     /* user and system, of all threads, in the same time */
	uint64_t restarts;      /* attempts undone; 0 if sequential */
	struct stm_stats *stats; /* NULL if sequential */
};

/*
 * table_build_seq - by a plain program. With @again, only files whose state is FILE_READ
 * are read; one that is not as it was then becomes FILE_CHANGED_LATER. 0 or -errno.
 */
int table_build_seq(struct walk *walk, bool again, struct table *table, struct build *build);

/*
 * table_build_stm - by one transaction for each file, in @threads threads; with @naive, they share totals.
 *
 * Starts and stops the library. 0, or -errno after a line on stderr. build->stats is filled in.
 */
int table_build_stm(struct walk *walk, unsigned int threads, bool pin, bool naive, struct table *table,
		    struct build *build);

/* now - seconds of the monotonic clock. cpu_now - seconds of CPU that the process has used. */
double now(void);
double cpu_now(void);

#endif
