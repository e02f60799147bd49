// SPDX-License-Identifier: MIT
/*
 * The rolling hash is a gear hash: for each byte, shift left by one and add a random number
 * that stands for the byte. A byte's influence is shifted out after 64 more, so the hash depends
 * on the last 64 bytes. Its upper bits depend on all of them, hence the comparison of the whole
 * value with a threshold instead of a mask over lower bits: a cut follows where it is below.
 */
#include "chunker.h"

#include <stdint.h>

#define WINDOW 64               /* bytes that the hash depends on: the bits of the hash */

/*
 * A cut comes with probability 1/SPACING at each byte behind CHUNK_MIN, so the mean is
 * CHUNK_MIN + SPACING * (1 - exp(-(CHUNK_MAX - CHUNK_MIN) / SPACING)) = 1024 + 3072.
 */
#define SPACING 3093
#define THRESHOLD (UINT64_MAX / SPACING)

static uint64_t gear[256];

/* A fixed sequence (splitmix64), so that every run and every machine cuts alike. */
void chunker_init(void)
{
	uint64_t state = 0x66696e64647570; /* "finddup" */

	for (int i = 0; i < 256; i++) {
		uint64_t z = state += 0x9e3779b97f4a7c15;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
		z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
		gear[i] = z ^ (z >> 31);
	}
}

size_t chunk_cut(const unsigned char *p, size_t len)
{
	uint64_t hash = 0;
	size_t i;

	if (len <= CHUNK_MIN)
		return len;
	if (len > CHUNK_MAX)
		len = CHUNK_MAX;
	for (i = CHUNK_MIN - WINDOW; i < CHUNK_MIN - 1; i++)
		hash = (hash << 1) + gear[p[i]];
	for (; i < len; i++) {
		hash = (hash << 1) + gear[p[i]];
		if (hash < THRESHOLD)
			return i + 1;
	}
	return len;
}
