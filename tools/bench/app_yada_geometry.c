/* SPDX-License-Identifier: MIT */
/* app_yada_geometry.c - exact decisions about points, circles and triangles */
#include <stdlib.h>

#include "app_yada_geometry.h"

#define NARROW 0.116977778              /* the square of the sine of 20 degrees */
#define FAR (4.0 * YADA_SIDE)

static inline int64_t square_of_distance(struct yada_point a, struct yada_point b)
{
	const int64_t x = (int64_t)b.x - a.x, y = (int64_t)b.y - a.y;

	return x * x + y * y;
}

/* The sign of a determinant. Differences are below 2^28: squares and products below 2^57, terms below 2^115. */
bool yada_in_circle(const struct yada_point *corner, struct yada_point p)
{
	int64_t x[3], y[3], square[3];
	__int128 sum = 0;

	for (unsigned int i = 0; i < 3; i++) {
		x[i] = (int64_t)corner[i].x - p.x;
		y[i] = (int64_t)corner[i].y - p.y;
		square[i] = x[i] * x[i] + y[i] * y[i];
	}
	sum += (__int128)(x[1] * y[2] - y[1] * x[2]) * square[0];
	sum += (__int128)(x[2] * y[0] - y[2] * x[0]) * square[1];
	sum += (__int128)(x[0] * y[1] - y[0] * x[1]) * square[2];
	return sum > 0;
}

struct yada_point yada_centre(const struct yada_point *corner)
{
	const double bx = corner[1].x - corner[0].x, by = corner[1].y - corner[0].y;
	const double cx = corner[2].x - corner[0].x, cy = corner[2].y - corner[0].y;
	const double b = bx * bx + by * by, c = cx * cx + cy * cy;
	const double area = 2 * (double)yada_area(corner[0], corner[1], corner[2]);
	/* From corner 0, and from a point inside the triangle, from where the way to the centre is inside the circle. */
	const double insidex = (bx + cx) / 3, insidey = (by + cy) / 3;
	double x = (cy * b - by * c) / area - insidex, y = (bx * c - cx * b) / area - insidey;
	const double distance = (x < 0 ? -x : x) + (y < 0 ? -y : y);

	if (distance > FAR) {
		x *= FAR / distance;
		y *= FAR / distance;
	}
	return (struct yada_point){ (int32_t)(corner[0].x + insidex + x), (int32_t)(corner[0].y + insidey + y) };
}

/* Inside the circle of which the edge is a diameter: the angle at @p is more than a right one. */
static inline bool inside_diametral(struct yada_point a, struct yada_point b, struct yada_point p)
{
	return ((int64_t)a.x - p.x) * ((int64_t)b.x - p.x) + ((int64_t)a.y - p.y) * ((int64_t)b.y - p.y) < 0;
}

bool yada_encroaches(struct yada_point a, struct yada_point b, struct yada_point p)
{
	return yada_area(a, b, p) <= 0 || inside_diametral(a, b, p);
}

/* The least angle is between the two longest edges: area = half of their product, times its sine. */
unsigned int yada_fault(const struct yada_point *corner, unsigned int border)
{
	double square[3], least, product = 1, area;

	for (unsigned int i = 0; i < 3; i++)
		if (border >> i & 1 && inside_diametral(corner[i], corner[(i + 1) % 3], corner[(i + 2) % 3]))
			return i;
	for (unsigned int i = 0; i < 3; i++)
		square[i] = (double)square_of_distance(corner[i], corner[(i + 1) % 3]);
	least = square[0] < square[1] ? square[0] : square[1];
	least = least < square[2] ? least : square[2];
	product = square[0] * square[1] * square[2] / least;
	area = (double)yada_area(corner[0], corner[1], corner[2]);
	return area * area < NARROW * product ? YADA_NARROW : YADA_GOOD;
}

struct placed {
	struct yada_point point;
	int64_t place;
};

static int by_place(const void *a, const void *b)
{
	const struct placed *p = a, *q = b;

	return (p->place > q->place) - (p->place < q->place);
}

/*
 * As many rounds as n has bits, each over the whole square, row by row, to and fro. A mesh that grows so needs short
 * ways to the next point, and few changes for each.
 */
void yada_points(struct yada_point *point, unsigned int n)
{
	struct placed *placed = zeroed(n * sizeof(*placed));
	uint64_t random = random_seed(n);
	unsigned int from = 0, to = 1, rows;

	for (unsigned int i = 0; i < n; i++)
		placed[i].point = (struct yada_point){ 1 + (int32_t)random_below(random_next(&random), YADA_SIDE - 1),
						       1 + (int32_t)random_below(random_next(&random), YADA_SIDE - 1) };
	for (; from < n; from = to, to = 2 * to < n ? 2 * to : n) {
		for (rows = 1; rows * rows * 2 < to - from; rows++)
			;
		for (unsigned int i = from; i < to; i++) {
			const int64_t row = (int64_t)placed[i].point.y * rows / YADA_SIDE;

			placed[i].place = row * YADA_SIDE +
					  (row & 1 ? YADA_SIDE - placed[i].point.x : placed[i].point.x);
		}
		qsort(placed + from, to - from, sizeof(*placed), by_place);
	}
	for (unsigned int i = 0; i < n; i++)
		point[i] = placed[i].point;
	free(placed);
}
