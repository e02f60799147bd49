/* SPDX-License-Identifier: MIT */
/*
 * app_yada_check.h - what must be true of a mesh at the end: ordinary memory, for all implementations
 */
#ifndef BENCH_APP_YADA_CHECK_H
#define BENCH_APP_YADA_CHECK_H

#include "app_yada_geometry.h"

#define YADA_NO_TRIANGLE UINT32_MAX

/* A triangle; others by their numbers. */
struct yada_flat {
	struct yada_point corner[3];
	uint32_t neighbour[3];          /* behind each edge; YADA_NO_TRIANGLE: the border */
	uint32_t gone;                  /* should not be there */
};

/*
 * NULL, or what is wrong with @n triangles of @points corners in all. They fill the square and do not overlap: each is
 * to the left of its edges, their areas add up to the square's, exactly, neighbours know each other by the same edge,
 * and edges without a neighbour are on the sides. No corner is in the circle around another triangle (seen from each
 * edge, which is enough), and no triangle is bad. The points of the start, @given, are corners. The number of triangles
 * follows from those of corners and of edges at the border (Euler).
 */
const char *yada_mesh_check(const struct yada_flat *t, uint32_t n, uint64_t points, const struct yada_point *given,
			    unsigned int given_n);

#endif
