/* SPDX-License-Identifier: MIT */
/*
 * app_kmeans_space.h - points of k-means, and which of some centres is nearest: ordinary memory, one for all
 * implementations
 *
 * Coordinates are multiples of 1/256 below 1, and there are at most 65,536 points: so sums of floats are exact, in any
 * order.
 */
#ifndef BENCH_APP_KMEANS_SPACE_H
#define BENCH_APP_KMEANS_SPACE_H

#include "common.h"

#define KMEANS_DIMENSIONS 32

struct kmeans_point {
	float x[KMEANS_DIMENSIONS];
};

/* @n points about some places. */
void kmeans_generate(struct kmeans_point *points, unsigned int n);

/* The number of the nearest centre; of several as near the first. */
PURE unsigned int kmeans_nearest(const struct kmeans_point *point, const struct kmeans_point *centres, unsigned int n);

#endif
