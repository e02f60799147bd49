/* SPDX-License-Identifier: MIT */
/* app_yada_check.c - is it the mesh that was asked for? */
#include <stdlib.h>
#include <string.h>

#include "app_yada_check.h"

static bool on_one_side(struct yada_point a, struct yada_point b)
{
	return (a.x == b.x && (a.x == 0 || a.x == YADA_SIDE)) || (a.y == b.y && (a.y == 0 || a.y == YADA_SIDE));
}

/* The edge @e of triangle @i, and what is behind it. */
static const char *check_edge(const struct yada_flat *t, uint32_t n, uint32_t i, unsigned int e)
{
	const struct yada_point from = t[i].corner[e], to = t[i].corner[(e + 1) % 3];
	const struct yada_flat *other;
	unsigned int back;

	if (t[i].neighbour[e] == YADA_NO_TRIANGLE)
		return on_one_side(from, to) ? NULL : "an edge without a neighbour is not at the border";
	if (t[i].neighbour[e] >= n)
		return "there are too many triangles";
	other = &t[t[i].neighbour[e]];
	for (back = 0; back < 3 && other->neighbour[back] != i; back++)
		;
	if (back == 3 || !yada_same(other->corner[back], to) || !yada_same(other->corner[(back + 1) % 3], from))
		return "two neighbours do not know each other";
	if (yada_in_circle(t[i].corner, other->corner[(back + 2) % 3]))
		return "a corner is in the circle around another triangle";
	return NULL;
}

static int by_coordinates(const void *a, const void *b)
{
	const struct yada_point *p = a, *q = b;

	return p->y != q->y ? (p->y > q->y) - (p->y < q->y) : (p->x > q->x) - (p->x < q->x);
}

static const char *check_points(const struct yada_flat *t, uint32_t n, uint64_t points, const struct yada_point *given,
				unsigned int given_n)
{
	struct yada_point *corner = zeroed((3 * (size_t)n + 1) * sizeof(*corner));
	const char *wrong = NULL;
	size_t different = 0;

	for (uint32_t i = 0; i < n; i++)
		memcpy(&corner[3 * (size_t)i], t[i].corner, sizeof(t[i].corner));
	qsort(corner, 3 * (size_t)n, sizeof(*corner), by_coordinates);
	for (size_t i = 0; i < 3 * (size_t)n; i++)
		if (!i || !yada_same(corner[i], corner[i - 1]))
			different++;
	if (different != points)
		wrong = "not as many corners as points were added";
	for (unsigned int i = 0; i < given_n && !wrong; i++)
		if (!bsearch(&given[i], corner, 3 * (size_t)n, sizeof(*corner), by_coordinates))
			wrong = "a point of the start is no corner";
	free(corner);
	return wrong;
}

const char *yada_mesh_check(const struct yada_flat *t, uint32_t n, uint64_t points, const struct yada_point *given,
			    unsigned int given_n)
{
	uint64_t border = 0;
	int64_t area = 0;

	for (uint32_t i = 0; i < n; i++) {
		const int64_t own = yada_area(t[i].corner[0], t[i].corner[1], t[i].corner[2]);
		unsigned int edges = 0;

		if (t[i].gone)
			return "a triangle that is gone is in the mesh";
		if (own <= 0)
			return "a triangle has no area";
		area += own;
		for (unsigned int e = 0; e < 3; e++) {
			const char *wrong = check_edge(t, n, i, e);

			if (wrong)
				return wrong;
			if (t[i].neighbour[e] == YADA_NO_TRIANGLE)
				edges |= 1u << e, border++;
		}
		if (yada_fault(t[i].corner, edges) != YADA_GOOD)
			return "a bad triangle is left";
	}
	if (area != 2 * (int64_t)YADA_SIDE * YADA_SIDE)
		return "the triangles do not fill the square";
	if (n != 2 * points - 2 - border)
		return "not as many triangles as there must be";
	return check_points(t, n, points, given, given_n);
}
