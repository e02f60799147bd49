/* SPDX-License-Identifier: MIT */
/*
 * app_genome_input.h - a gene and the segments read from it: constant, in ordinary memory, for all implementations
 */
#ifndef BENCH_APP_GENOME_INPUT_H
#define BENCH_APP_GENOME_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#define GENOME_SEGMENT 64u              /* nucleotides */
#define GENOME_STEP 32u                 /* at most between two places where segments begin */

struct genome_input {
	unsigned int length;            /* of the gene */
	unsigned int segments;
	unsigned int distinct;          /* of them */
	char *gene;
	unsigned int *place;            /* where in the gene each was read: only genome_pack() may know */
};

/* A segment: two bits for each nucleotide, the first one lowest. */
struct genome_bases {
	uint64_t low, high;
};

/* A gene of @length nucleotides, every other place of it, or so, read @times on average. */
struct genome_input *genome_input_make(unsigned int length, unsigned int times);
void genome_input_free(struct genome_input *input);

/* @n segments, from number @from on, packed. */
void genome_pack(const struct genome_input *input, unsigned int from, unsigned int n, struct genome_bases *bases);

/* The first @n of a segment, 1 .. 63. */
static inline struct genome_bases genome_first(struct genome_bases b, unsigned int n)
{
	if (n < 32)
		return (struct genome_bases){ b.low & (((uint64_t)1 << 2 * n) - 1), 0 };
	return (struct genome_bases){ b.low, b.high & (((uint64_t)1 << (2 * n - 64)) - 1) };
}

/* The last @n, 1 .. 63. */
static inline struct genome_bases genome_last(struct genome_bases b, unsigned int n)
{
	const unsigned int by = 2 * (GENOME_SEGMENT - n);

	if (n <= 32)
		return (struct genome_bases){ b.high >> (by - 64), 0 };
	return (struct genome_bases){ b.low >> by | b.high << (64 - by), b.high >> by };
}

static inline uint64_t genome_hash(struct genome_bases b)
{
	const unsigned __int128 x = (unsigned __int128)(b.low ^ 0x9e3779b97f4a7c15u) * (b.high ^ 0x517cc1b727220a95u);

	return ((uint64_t)x ^ (uint64_t)(x >> 64)) * 0x9e3779b97f4a7c15u >> 32;
}

static inline bool genome_equal(struct genome_bases a, struct genome_bases b)
{
	return a.low == b.low && a.high == b.high;
}

#endif
