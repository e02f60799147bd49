/* SPDX-License-Identifier: MIT */
/* app_kmeans_space.c - see app_kmeans_space.h */
#include "app_kmeans_space.h"

#define SOURCES 16      /* places that points lie about */
#define HALF 128        /* of the steps of 1/256 to 1 */

void kmeans_generate(struct kmeans_point *points, unsigned int n)
{
	struct kmeans_point sources[SOURCES];
	uint64_t random = random_seed(n);

	for (unsigned int i = 0; i < SOURCES; i++)
		for (unsigned int d = 0; d < KMEANS_DIMENSIONS; d++)
			sources[i].x[d] = (float)random_below(random_next(&random), HALF) / 256;
	for (unsigned int i = 0; i < n; i++) {
		const struct kmeans_point *source = &sources[random_below(random_next(&random), SOURCES)];

		for (unsigned int d = 0; d < KMEANS_DIMENSIONS; d++)
			points[i].x[d] = source->x[d] + (float)random_below(random_next(&random), HALF) / 256;
	}
}

static float distance(const struct kmeans_point *a, const struct kmeans_point *b)
{
	float sum = 0; /* its square */

	for (unsigned int d = 0; d < KMEANS_DIMENSIONS; d++) {
		const float difference = a->x[d] - b->x[d];

		sum += difference * difference;
	}
	return sum;
}

unsigned int kmeans_nearest(const struct kmeans_point *point, const struct kmeans_point *centres, unsigned int n)
{
	float least = distance(point, &centres[0]);
	unsigned int nearest = 0;

	for (unsigned int i = 1; i < n; i++) {
		const float d = distance(point, &centres[i]);

		if (d < least) {
			least = d;
			nearest = i;
		}
	}
	return nearest;
}
