// SPDX-License-Identifier: MIT
/*
 * All orders here are total, and no figure depends on the order in which the table was filled, so
 * two equal tables give one summary.
 */
#include "summary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct holder *first_holder(const struct table *table, const struct chunk *chunk)
{
	return &table->holders[chunk->first];
}

/* Whether @a belongs before @b. */
static bool chunk_before(const struct table *table, const struct top_chunk *a,
			 const struct top_chunk *b)
{
	const struct holder *x = first_holder(table, a->chunk);
	const struct holder *y = first_holder(table, b->chunk);

	if (a->copies != b->copies)
		return a->copies > b->copies;
	if (a->chunk->size != b->chunk->size)
		return a->chunk->size > b->chunk->size;
	if (x->file != y->file)
		return x->file < y->file;
	if (x->offset != y->offset)
		return x->offset < y->offset;
	return a->chunk < b->chunk;             /* the table's order: by hash */
}

static void offer_chunk(const struct table *table, struct summary *summary, struct top_chunk chunk)
{
	unsigned int i = summary->nr_chunks;

	if (i == TOP && !chunk_before(table, &chunk, &summary->chunks[i - 1]))
		return;
	if (i < TOP)
		summary->nr_chunks++;
	else
		i--;
	for (; i && chunk_before(table, &chunk, &summary->chunks[i - 1]); i--)
		summary->chunks[i] = summary->chunks[i - 1];
	summary->chunks[i] = chunk;
}

static bool pair_before(const struct top_pair *a, const struct top_pair *b)
{
	if (a->bytes != b->bytes)
		return a->bytes > b->bytes;
	if (a->a != b->a)
		return a->a < b->a;
	return a->b < b->b;
}

static void offer_pair(struct summary *summary, struct top_pair pair)
{
	unsigned int i = summary->nr_pairs;

	if (i == TOP && !pair_before(&pair, &summary->pairs[i - 1]))
		return;
	if (i < TOP)
		summary->nr_pairs++;
	else
		i--;
	for (; i && pair_before(&pair, &summary->pairs[i - 1]); i--)
		summary->pairs[i] = summary->pairs[i - 1];
	summary->pairs[i] = pair;
}

/* Bytes that pairs of files share: open addressing, at most half full; 0 in an empty place. */
struct pairs {
	struct top_pair *at;
	size_t nr;
	size_t places;          /* a power of two */
};

static struct top_pair *find_pair(const struct pairs *pairs, uint32_t a, uint32_t b)
{
	size_t i = (((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15) >> 24;

	for (;; i++) {
		struct top_pair *pair = &pairs->at[i & (pairs->places - 1)];

		if (!pair->bytes || (pair->a == a && pair->b == b))
			return pair;
	}
}

static int add_pair(struct pairs *pairs, uint32_t a, uint32_t b, uint64_t bytes)
{
	struct top_pair *pair;

	if (2 * pairs->nr >= pairs->places) {
		struct pairs bigger = { .places = pairs->places ? 2 * pairs->places : 4096 };

		bigger.at = calloc(bigger.places, sizeof(*bigger.at));
		if (!bigger.at)
			return -ENOMEM;
		for (size_t i = 0; i < pairs->places; i++) {
			const struct top_pair *old = &pairs->at[i];

			if (old->bytes)
				*find_pair(&bigger, old->a, old->b) = *old;
		}
		bigger.nr = pairs->nr;
		free(pairs->at);
		*pairs = bigger;
	}
	pair = find_pair(pairs, a, b);
	if (!pair->bytes) {
		pair->a = a;
		pair->b = b;
		pairs->nr++;
	}
	pair->bytes += bytes;
	return 0;
}

static int add_pairs(struct pairs *pairs, const struct table *table, const struct chunk *chunk)
{
	const struct holder *holders = &table->holders[chunk->first];
	const uint32_t nr = chunk->nr < PAIR_HOLDERS ? chunk->nr : PAIR_HOLDERS;
	int ret = 0;

	for (uint32_t i = 0; i < nr; i++)
		for (uint32_t j = i + 1; j < nr && !ret; j++) {
			const uint32_t x = holders[i].count, y = holders[j].count;

			ret = add_pair(pairs, holders[i].file, holders[j].file,
				       (uint64_t)chunk->size * (x < y ? x : y));
		}
	return ret;
}

int summarise(const struct table *table, const struct walk *walk, struct summary *summary)
{
	struct pairs pairs = { 0 };
	int ret = 0;

	memset(summary, 0, sizeof(*summary));
	for (size_t i = 0; i < walk->nr; i++)
		summary->files += walk->files[i].state == FILE_READ;
	for (size_t i = 0; i < table->nr && !ret; i++) {
		const struct chunk *chunk = &table->chunks[i];
		uint64_t copies = 0;

		for (uint32_t j = 0; j < chunk->nr; j++)
			copies += table->holders[chunk->first + j].count;
		summary->copies += copies;
		summary->bytes += copies * chunk->size;
		summary->unique_bytes += chunk->size;
		summary->crowded += chunk->nr > PAIR_HOLDERS;
		if (copies > 1)
			offer_chunk(table, summary, (struct top_chunk){ chunk, copies });
		ret = add_pairs(&pairs, table, chunk);
	}
	for (size_t i = 0; i < pairs.places && !ret; i++)
		if (pairs.at[i].bytes)
			offer_pair(summary, pairs.at[i]);
	free(pairs.at);
	return ret;
}
