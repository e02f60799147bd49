/* SPDX-License-Identifier: MIT */
/*
 * app_yada_geometry.h - points and triangles in the plane: ordinary memory, for all implementations
 *
 * Coordinates are whole numbers, so that each decision is exact: no rounding makes two triangles overlap. Corners of a
 * triangle are in counter-clockwise order; its edge i goes from corner i to the next one.
 */
#ifndef BENCH_APP_YADA_GEOMETRY_H
#define BENCH_APP_YADA_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "common.h"

#define YADA_SIDE (1 << 24)             /* of the square that the mesh fills */

struct yada_point {
	int32_t x, y;                   /* in the square 0 .. YADA_SIDE; of a circle's centre perhaps eight times that far */
};

static inline bool yada_same(struct yada_point a, struct yada_point b)
{
	return a.x == b.x && a.y == b.y;
}

/* Twice the area of a triangle: more than 0 if @c is to the left of the way from @a to @b. */
static inline int64_t yada_area(struct yada_point a, struct yada_point b, struct yada_point c)
{
	return ((int64_t)b.x - a.x) * ((int64_t)c.y - a.y) - ((int64_t)b.y - a.y) * ((int64_t)c.x - a.x);
}

static inline struct yada_point yada_middle(struct yada_point a, struct yada_point b)
{
	return (struct yada_point){ (a.x + b.x) / 2, (a.y + b.y) / 2 };
}

/* Whether @p is inside the circle through three corners. */
PURE bool yada_in_circle(const struct yada_point *corner, struct yada_point p);

/* The centre of that circle, or, if it is far away, a point on the way to it. */
PURE struct yada_point yada_centre(const struct yada_point *corner);

/* Whether an edge at the border must be split for @p: it is inside the circle around the edge, or behind it. */
PURE bool yada_encroaches(struct yada_point a, struct yada_point b, struct yada_point p);

/*
 * What is wrong with a triangle, of which bits of @border tell the edges at the border: an edge, 0 to 2, that its own
 * third corner encroaches upon; or
 */
#define YADA_NARROW 3                   /* it has an angle of less than 20 degrees */
#define YADA_GOOD 4
PURE unsigned int yada_fault(const struct yada_point *corner, unsigned int border);

/* @n points inside the square, in an order in which most are near the one before. */
void yada_points(struct yada_point *point, unsigned int n);

#endif
