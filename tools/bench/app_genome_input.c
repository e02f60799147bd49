/* SPDX-License-Identifier: MIT */
/* app_genome_input.c - a gene, segments from it, and how they are packed */
#include <stdlib.h>
#include <string.h>

#include "app_genome_input.h"
#include "common.h"

/* Neighbouring places are at most GENOME_STEP apart. The number of them. */
static unsigned int choose_places(unsigned int *place, unsigned int last, uint64_t *random)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i <= last; i++)
		if (!n || i == last || i - place[n - 1] == GENOME_STEP || random_next(random) >> 63)
			place[n++] = i;
	return n;
}

static void shuffle(unsigned int *place, unsigned int n, uint64_t *random)
{
	for (unsigned int i = n - 1; i; i--) {
		const unsigned int j = random_below(random_next(random), i + 1), kept = place[i];

		place[i] = place[j];
		place[j] = kept;
	}
}

struct genome_input *genome_input_make(unsigned int length, unsigned int times)
{
	static const char letters[] = "ACGT";
	struct genome_input *input = zeroed(sizeof(*input));
	uint64_t random = random_seed(length);

	input->length = length;
	input->gene = zeroed(length);
	for (unsigned int i = 0; i < length; i++)
		input->gene[i] = letters[random_next(&random) >> 62];
	input->place = zeroed((size_t)length * times * sizeof(*input->place));
	input->distinct = choose_places(input->place, length - GENOME_SEGMENT, &random);
	input->segments = input->distinct * times;
	for (unsigned int i = input->distinct; i < input->segments; i++) /* each place was read at least once */
		input->place[i] = input->place[random_below(random_next(&random), input->distinct)];
	shuffle(input->place, input->segments, &random);
	return input;
}

void genome_input_free(struct genome_input *input)
{
	free(input->gene);
	free(input->place);
	free(input);
}

/* Bits 1 and 2 of the four letters differ. */
static inline uint64_t pack8(const char *letters)
{
	uint64_t x;

	memcpy(&x, letters, 8);
	x = x >> 1 & 0x0303030303030303u;
	x = (x | x >> 6) & 0x000f000f000f000fu;
	x = (x | x >> 12) & 0x000000ff000000ffu;
	return (x | x >> 24) & 0xffff;
}

static inline uint64_t pack32(const char *letters)
{
	return pack8(letters) | pack8(letters + 8) << 16 | pack8(letters + 16) << 32 |
	       pack8(letters + 24) << 48;
}

void genome_pack(const struct genome_input *input, unsigned int from, unsigned int n, struct genome_bases *bases)
{
	for (unsigned int i = 0; i < n; i++) {
		const char *letters = input->gene + input->place[from + i];

		bases[i] = (struct genome_bases){ pack32(letters), pack32(letters + 32) };
	}
}
