// SPDX-License-Identifier: MIT
/* The form of the table that is reported and compared. */
#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

int table_add_chunk(struct table *table, const struct hash *hash, uint32_t size)
{
	struct chunk *chunk;

	if (table->nr == table->chunks_capacity) {
		size_t capacity = table->nr ? 2 * table->nr : 4096;
		struct chunk *chunks = reallocarray(table->chunks, capacity, sizeof(*chunks));

		if (!chunks)
			return -ENOMEM;
		table->chunks = chunks;
		table->chunks_capacity = capacity;
	}
	chunk = &table->chunks[table->nr++];
	chunk->hash = *hash;
	chunk->size = size;
	chunk->nr = 0;
	chunk->first = table->nr_holders;
	return 0;
}

int table_add_holder(struct table *table, uint32_t file, uint32_t count, uint64_t offset)
{
	if (table->nr_holders == table->holders_capacity) {
		size_t capacity = table->nr_holders ? 2 * table->nr_holders : 4096;
		struct holder *holders = reallocarray(table->holders, capacity, sizeof(*holders));

		if (!holders)
			return -ENOMEM;
		table->holders = holders;
		table->holders_capacity = capacity;
	}
	table->holders[table->nr_holders++] = (struct holder){ file, count, offset };
	table->chunks[table->nr - 1].nr++;
	return 0;
}

static int compare_keys(const struct chunk *a, const struct chunk *b)
{
	if (a->hash.high != b->hash.high)
		return a->hash.high < b->hash.high ? -1 : 1;
	if (a->hash.low != b->hash.low)
		return a->hash.low < b->hash.low ? -1 : 1;
	return (a->size > b->size) - (a->size < b->size);
}

static int by_key(const void *a, const void *b)
{
	return compare_keys(a, b);
}

static int by_file(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	return (x->file > y->file) - (x->file < y->file);
}

void table_sort(struct table *table)
{
	for (size_t i = 0; i < table->nr; i++) {
		const struct chunk *chunk = &table->chunks[i];

		if (chunk->nr > 1)
			qsort(&table->holders[chunk->first], chunk->nr, sizeof(struct holder),
			      by_file);
	}
	if (table->nr)
		qsort(table->chunks, table->nr, sizeof(*table->chunks), by_key);
}

void table_leave_out(struct table *table, const struct file *files)
{
	size_t nr = 0;

	for (size_t i = 0; i < table->nr; i++) {
		struct chunk *chunk = &table->chunks[i];
		struct holder *holders = &table->holders[chunk->first];
		uint32_t left = 0;

		for (uint32_t j = 0; j < chunk->nr; j++)
			if (files[holders[j].file].state == FILE_READ)
				holders[left++] = holders[j];
		chunk->nr = left;
		if (left)
			table->chunks[nr++] = *chunk;
	}
	table->nr = nr;
}

static void tell_chunk(FILE *out, const struct chunk *chunk)
{
	fprintf(out, "chunk %016" PRIx64 "%016" PRIx64 " of %" PRIu32 " bytes", chunk->hash.high,
		chunk->hash.low, chunk->size);
}

static void tell_holder(FILE *out, const struct table *table, const struct chunk *chunk,
			uint32_t number, const struct file *files)
{
	const struct holder *holder = &table->holders[chunk->first + number];

	if (number >= chunk->nr) {
		fprintf(out, "none");
		return;
	}
	print_path(files[holder->file].path, out);
	fprintf(out, ", offset %" PRIu64 ", %" PRIu32 " times", holder->offset, holder->count);
}

/* The number of the first holder that is not the same in both, or UINT32_MAX. */
static uint32_t compare_holders(const struct table *a, const struct chunk *x,
				const struct table *b, const struct chunk *y)
{
	const struct holder *h = &a->holders[x->first], *g = &b->holders[y->first];

	for (uint32_t i = 0; i < x->nr || i < y->nr; i++)
		if (i >= x->nr || i >= y->nr || h[i].file != g[i].file ||
		    h[i].count != g[i].count || h[i].offset != g[i].offset)
			return i;
	return UINT32_MAX;
}

bool table_compare(const struct table *a, const struct table *b, const struct file *files,
		   const char *name_a, const char *name_b, FILE *out)
{
	for (size_t i = 0; i < a->nr || i < b->nr; i++) {
		const struct chunk *x = i < a->nr ? &a->chunks[i] : NULL;
		const struct chunk *y = i < b->nr ? &b->chunks[i] : NULL;
		const int order = !x ? 1 : !y ? -1 : compare_keys(x, y);
		uint32_t holder = 0;

		if (!order) {
			holder = compare_holders(a, x, b, y);
			if (holder == UINT32_MAX)
				continue;
		}
		tell_chunk(out, order > 0 ? y : x);
		fprintf(out, ", holder %" PRIu32 " in the %s table: ", holder + 1, name_a);
		if (order > 0)
			fprintf(out, "no such chunk");
		else
			tell_holder(out, a, x, holder, files);
		fprintf(out, "; in the %s table: ", name_b);
		if (order < 0)
			fprintf(out, "no such chunk");
		else
			tell_holder(out, b, y, holder, files);
		putc('\n', out);
		return false;
	}
	return true;
}

void table_free(struct table *table)
{
	free(table->chunks);
	free(table->holders);
	memset(table, 0, sizeof(*table));
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double cpu_now(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}
