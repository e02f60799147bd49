/* SPDX-License-Identifier: MIT */
/*
 * app_yada.h - Delaunay mesh refinement, in the manner of STAMP's yada
 *
 * A square is filled by triangles. Ruppert's algorithm (1995) gets rid of narrow ones. Included once for each
 * implementation: see words.h. Each transaction treats one triangle:
 *
 * 1. The point to be added is the centre of the circle around the triangle.
 * 2. The cavity: all triangles in whose circles this point is, from the bad one on, by their neighbours.
 * 3. If the cavity has an edge at the square's border that the point is too near to, the middle of that
 *    edge is added instead, with a cavity of its own, and the bad triangle is looked at again.
 * 4. The cavity is filled with new triangles, from its edges to the point. Those of them that are bad are work to do.
 *
 * Threads have lists of bad triangles of their own. They give some away, and take some, by a pool.
 *
 * The corners of a triangle are constant, so they need no barriers. Its links, two granules, are read in the
 * cavity, and written around it, where a neighbour changes. Who takes a triangle out writes that into its links, so
 * that all who have read them notice. A triangle that is in a list is freed by the thread that has the list.
 *
 * Which triangles there are depends on the order; the check is of what must be true: app_yada_check.h.
 */
#include "app_yada_check.h"
#include "app_yada_geometry.h"

#define YADA_CAVITY 256u                /* triangles, at most: 5 or so is what there is */
#define YADA_BATCH 64u                  /* triangles from and to the pool at once */

struct yada_triangle {
	struct yada_links {
		_Alignas(16) struct yada_triangle SHARED *neighbour[3]; /* behind each edge; NULL: the border */
		uint32_t gone;                  /* out of the mesh */
		uint32_t listed;                /* in a thread's list, or in the pool */
	} links;
	struct yada_point corner[3];
	uint64_t unused;
};

struct yada_pool {
	_Alignas(16) uint64_t count;
	struct yada_triangle SHARED *triangle[];
};

struct yada_root {
	_Alignas(16) struct yada_triangle SHARED *triangle;     /* one at the corner 0, 0 */
};

/* An edge of a cavity, and what is outside. */
struct yada_edge {
	struct yada_point from, to;
	struct yada_triangle SHARED *outside;   /* NULL: the border */
	struct yada_triangle SHARED *made;      /* in the cavity, by the time that this is filled */
};

/* What one thread has. */
struct yada_worker {
	struct yada_triangle SHARED **list;     /* bad triangles */
	unsigned int count, room;
	uint64_t added;                         /* points */

	/* the transaction that runs */
	struct yada_triangle SHARED *bad;
	bool again;                             /* it is still in the mesh */
	struct yada_point point;
	struct yada_triangle SHARED *cavity[YADA_CAVITY];
	struct yada_edge edge[YADA_CAVITY + 2];
	unsigned int triangles, edges;
	struct yada_triangle SHARED *encroached;        /* the triangle of the edge that is to be split */
	unsigned int split;                     /* that edge, 0 to 2; or one of those below */
	struct yada_triangle SHARED *made[YADA_CAVITY + 2];     /* bad ones */
	unsigned int made_bad;
	unsigned int gave;                      /* triangles to the pool */
	uint64_t apart[8];
};

#define YADA_NO_EDGE 3u                 /* none yet */
#define YADA_SPLIT_NONE 4u              /* none, even if the point is too near */

/* All triangles of a mesh. */
struct yada_all {
	struct yada_triangle SHARED **triangle;
	struct yada_flat *flat;         /* what is known of each, for the check */
	unsigned int count, room;
	uint32_t *number;               /* a hash table by address: 1 + where in these lists a triangle is; 0: free */
	uint64_t places;                /* in that, a power of two */
};

/* Ordinary memory, constant while threads work. */
struct yada {
	unsigned int points;                    /* at the start, besides the square's corners */
	struct yada_point *point;
	struct yada_root SHARED *root;
	struct yada_pool SHARED *pool;
	unsigned int pool_room;
	struct yada_worker *worker;             /* of each thread */
	struct yada_all all;                    /* at the end */
};

/* ---- a cavity ---- */

static inline const struct yada_point *yada_corners(struct yada_triangle SHARED *t)
{
	return LOCAL(t->corner);
}

static inline bool yada_in_cavity(const struct yada_worker *w, struct yada_triangle SHARED *t)
{
	for (unsigned int i = 0; i < w->triangles; i++)
		if (w->cavity[i] == t)
			return true;
	return false;
}

/*
 * The cavity of w->point, which is in the circle of @start, or the middle of its edge w->split, if that is one. It ends
 * early where an edge at the border has to be split before: then that is w->split of w->encroached.
 */
static inline void yada_grow(struct yada_worker *w, struct yada_triangle SHARED *start)
{
	w->edges = 0;
	w->triangles = 1;
	w->cavity[0] = start;
	for (unsigned int i = 0; i < w->triangles; i++) {
		struct yada_triangle SHARED *t = w->cavity[i];
		const struct yada_point *corner = yada_corners(t);

		READ(&t->links);
		for (unsigned int e = 0; e < 3; e++) {
			struct yada_triangle SHARED *next = t->links.neighbour[e];
			const struct yada_point from = corner[e], to = corner[e == 2 ? 0 : e + 1];

			if (next && yada_in_cavity(w, next))
				continue;
			if (next && yada_in_circle(yada_corners(next), w->point)) {
				if (w->triangles == YADA_CAVITY)
					die("yada: a cavity of more than %u triangles", YADA_CAVITY);
				w->cavity[w->triangles++] = next;
				continue;
			}
			if (!next && !i && e == w->split)
				continue;
			if (!next && w->split == YADA_NO_EDGE && yada_encroaches(from, to, w->point)) {
				w->encroached = t;
				w->split = e;
				return;
			}
			w->edge[w->edges++] = (struct yada_edge){ from, to, next, NULL };
		}
	}
}

/* The triangle behind the edge from @b to @a of @t is @next. */
static inline void yada_join(struct yada_triangle SHARED *t, struct yada_point b, struct yada_triangle SHARED *next)
{
	const struct yada_point *corner = yada_corners(t);
	const unsigned int e = yada_same(corner[0], b) ? 0 : yada_same(corner[1], b) ? 1 : 2;

	SET(t->links.neighbour[e], next);
}

/* New triangles from all edges of the cavity to the point. Their first edges are those of the cavity. */
static inline void yada_fill(struct yada *y, struct yada_worker *w)
{
	const struct yada_point origin = { 0, 0 };

	for (unsigned int i = 0; i < w->edges; i++) {
		struct yada_edge *edge = &w->edge[i];
		struct yada_triangle SHARED *t = ALLOC(struct yada_triangle);

		edge->made = t;
		t->links.neighbour[0] = edge->outside;
		t->links.neighbour[1] = t->links.neighbour[2] = NULL;
		t->links.gone = t->links.listed = 0;
		t->corner[0] = edge->from;
		t->corner[1] = edge->to;
		t->corner[2] = w->point;
		if (edge->outside)
			yada_join(edge->outside, edge->to, t);
		if (yada_same(edge->from, origin) || yada_same(edge->to, origin)) /* one of them may be split */
			SET(y->root->triangle, t);
	}
	for (unsigned int i = 0; i < w->edges; i++) {
		for (unsigned int j = 0; j < w->edges; j++) {
			if (!yada_same(w->edge[i].to, w->edge[j].from))
				continue;
			w->edge[i].made->links.neighbour[1] = w->edge[j].made;
			w->edge[j].made->links.neighbour[2] = w->edge[i].made;
			break;
		}
	}
	for (unsigned int i = 0; i < w->triangles; i++) {
		struct yada_triangle SHARED *t = w->cavity[i];

		SET(t->links.gone, 1);
		if (!t->links.listed)
			FREE(t);
	}
}

static inline unsigned int yada_fault_of(struct yada_triangle SHARED *t)
{
	return yada_fault(yada_corners(t), (t->links.neighbour[0] ? 0 : 1) | (t->links.neighbour[1] ? 0 : 2) |
						   (t->links.neighbour[2] ? 0 : 4));
}

/* ---- what threads do ---- */

/* A point that improves the mesh near w->bad, if it is still there. */
OPERATION void yada_refine(struct yada *y, struct yada_worker *w)
{
	ATOMIC {
		struct yada_triangle SHARED *bad = w->bad;
		unsigned int fault;

		w->again = false;
		w->made_bad = w->edges = 0;
		READ(&bad->links);
		if (!bad->links.gone) {
			fault = yada_fault_of(bad);
			w->split = fault == YADA_NARROW ? YADA_NO_EDGE : fault;
			w->encroached = bad;
			if (fault == YADA_NARROW) {
				w->point = yada_centre(yada_corners(bad));
				yada_grow(w, bad);
			}
			if (w->split != YADA_NO_EDGE) {
				const struct yada_point *corner = yada_corners(w->encroached);

				w->point = yada_middle(corner[w->split], corner[(w->split + 1) % 3]);
				yada_grow(w, w->encroached);
			}
			yada_fill(y, w);
			for (unsigned int i = 0; i < w->edges; i++) {
				struct yada_triangle SHARED *t = w->edge[i].made;

				if (yada_fault_of(t) == YADA_GOOD)
					continue;
				t->links.listed = 1;
				w->made[w->made_bad++] = t;
			}
		}
		if (bad->links.gone)
			FREE(bad);
		else
			w->again = true;
	}
	w->added += w->edges != 0;
}

/* Room for what comes from the pool. */
static void yada_reserve(struct yada_worker *w)
{
	w->room = 1024;
	w->list = zeroed(w->room * sizeof(*w->list));
}

static void yada_list(struct yada_worker *w, struct yada_triangle SHARED *t)
{
	if (w->count == w->room) {
		w->room *= 2;
		w->list = realloc(w->list, w->room * sizeof(*w->list));
		if (!w->list)
			die("no memory");
	}
	w->list[w->count++] = t;
}

/* If there is room in the pool, the first triangles of the list go there. */
OPERATION void yada_give(struct yada *y, struct yada_worker *w)
{
	ATOMIC {
		const uint64_t count = GET(y->pool->count);

		w->gave = 0;
		if (count + YADA_BATCH <= y->pool_room) {
			for (unsigned int i = 0; i < YADA_BATCH; i++)
				SET(y->pool->triangle[count + i], w->list[i]);
			SET(y->pool->count, count + YADA_BATCH);
			w->gave = YADA_BATCH;
		}
	}
	w->count -= w->gave;
	memmove(w->list, w->list + w->gave, w->count * sizeof(*w->list));
}

OPERATION void yada_take(struct yada *y, struct yada_worker *w)
{
	ATOMIC {
		const uint64_t count = GET(y->pool->count), n = count < YADA_BATCH ? count : YADA_BATCH;

		w->count = 0;
		for (uint64_t i = 0; i < n; i++)
			w->list[w->count++] = GET(y->pool->triangle[count - n + i]);
		if (n)
			SET(y->pool->count, count - n);
	}
}

static void yada_work(struct run *run, unsigned int id)
{
	struct yada *y = run->data;
	struct yada_worker *w = &y->worker[id];

	for (;;) {
		if (!w->count)
			yada_take(y, w);
		if (!w->count)
			break;
		w->bad = w->list[--w->count];
		do {
			yada_refine(y, w);
			for (unsigned int i = 0; i < w->made_bad; i++)
				yada_list(w, w->made[i]);
		} while (w->again);
		if (w->count >= 2 * YADA_BATCH)
			yada_give(y, w);
	}
}

/* ---- as an application ---- */

struct yada_parameters {
	unsigned int points;
};

OPERATION void yada_make_shared(struct yada *y)
{
	static const struct yada_point corner[2][3] = {
		{ { 0, 0 }, { YADA_SIDE, 0 }, { YADA_SIDE, YADA_SIDE } },
		{ { 0, 0 }, { YADA_SIDE, YADA_SIDE }, { 0, YADA_SIDE } },
	};

	ATOMIC {
		struct yada_triangle SHARED *t[2] = { ALLOC(struct yada_triangle), ALLOC(struct yada_triangle) };

		for (unsigned int i = 0; i < 2; i++) {
			for (unsigned int e = 0; e < 3; e++) {
				t[i]->corner[e] = corner[i][e];
				t[i]->links.neighbour[e] = NULL;
			}
			t[i]->links.gone = t[i]->links.listed = 0;
			t[i]->links.neighbour[i ? 0 : 2] = t[!i];
		}
		y->root = ALLOC_ZERO(sizeof(*y->root));
		y->root->triangle = t[0];
		y->pool = ALLOC_ZERO(sizeof(*y->pool) + y->pool_room * sizeof(y->pool->triangle[0]));
	}
}

OPERATION void yada_root_of(struct yada *y, struct yada_triangle SHARED **root)
{
	ATOMIC {
		*root = GET(y->root->triangle);
	}
}

/* The mesh has this point; w->bad is one of its triangles, at first anyone, at last one at the point. */
OPERATION void yada_insert(struct yada *y, struct yada_worker *w, struct yada_point point)
{
	ATOMIC {
		struct yada_triangle SHARED *t = w->bad;
		unsigned int e = 0;

		while (e < 3) { /* to the triangle that it is in */
			const struct yada_point *corner = yada_corners(t);

			for (e = 0; e < 3 && yada_area(corner[e], corner[e == 2 ? 0 : e + 1], point) >= 0; e++)
				;
			if (e < 3)
				t = GET(t->links.neighbour[e]);
		}
		w->bad = t;
		w->edges = 0;
		if (yada_in_circle(yada_corners(t), point)) { /* else it is a corner */
			w->point = point;
			w->split = YADA_SPLIT_NONE;
			yada_grow(w, t);
			yada_fill(y, w);
			w->bad = w->edge[0].made;
		}
	}
}

static inline uint32_t yada_number(struct yada_all *all, struct yada_triangle SHARED *t)
{
	uint64_t place = ((uintptr_t)t >> 4) * 0x9e3779b97f4a7c15u >> 20;

	while (all->number[place & (all->places - 1)]) {
		const uint32_t number = all->number[place & (all->places - 1)] - 1;

		if (all->triangle[number] == t)
			return number;
		place++;
	}
	if (all->count == all->room)
		return YADA_NO_TRIANGLE;        /* more than there can be: links are wrong */
	all->triangle[all->count] = t;
	all->number[place & (all->places - 1)] = ++all->count;
	return all->count - 1;
}

/* From the root on, without barriers: nobody changes anything. */
OPERATION void yada_collect(struct yada *y, struct yada_all *all)
{
	ATOMIC {
		all->count = 0;
		for (uint64_t i = 0; i < all->places; i++)
			all->number[i] = 0;
		yada_number(all, y->root->triangle);
		for (unsigned int i = 0; i < all->count; i++) {
			struct yada_triangle SHARED *t = all->triangle[i];

			all->flat[i].gone = t->links.gone;
			for (unsigned int e = 0; e < 3; e++) {
				all->flat[i].corner[e] = t->corner[e];
				all->flat[i].neighbour[e] = t->links.neighbour[e] ?
							    yada_number(all, t->links.neighbour[e]) : YADA_NO_TRIANGLE;
			}
		}
	}
}

static void yada_all_make(struct yada *y, struct yada_all *all, uint64_t points)
{
	all->room = (unsigned int)(2 * points); /* so many triangles have that many corners, less those at the border */
	for (all->places = 1; all->places < 2 * (uint64_t)all->room;)
		all->places *= 2;
	all->triangle = zeroed(all->room * sizeof(*all->triangle));
	all->flat = zeroed(all->room * sizeof(*all->flat));
	all->number = zeroed(all->places * sizeof(*all->number));
	yada_collect(y, all);
}

static void yada_all_free(struct yada_all *all)
{
	free(all->triangle);
	free(all->flat);
	free(all->number);
}

/* The bad triangles of the mesh are in the pool. */
OPERATION void yada_list_bad(struct yada *y, struct yada_all *all)
{
	ATOMIC {
		uint64_t count = 0;

		WRITE(&y->pool->count);
		for (unsigned int i = 0; i < all->count; i++) {
			struct yada_triangle SHARED *t = all->triangle[i];

			if (yada_fault_of(t) == YADA_GOOD)
				continue;
			SET(t->links.listed, 1);
			SET(y->pool->triangle[count], t);
			count++;
		}
		y->pool->count = count;
	}
}

static void yada_make(struct run *run)
{
	const struct yada_parameters *p = run->parameters;
	struct yada *y = zeroed(sizeof(*y));
	struct yada_all all;

	y->points = p->points;
	y->point = zeroed(y->points * sizeof(*y->point));
	yada_points(y->point, y->points);
	y->worker = zeroed(run->threads * sizeof(*y->worker));
	y->pool_room = 2 * y->points + YADA_BATCH;
	yada_make_shared(y);
	yada_root_of(y, &y->worker[0].bad);
	for (unsigned int i = 0; i < y->points; i++)
		yada_insert(y, &y->worker[0], y->point[i]);
	yada_all_make(y, &all, y->points + 4);
	yada_list_bad(y, &all);
	yada_all_free(&all);
	for (unsigned int i = 0; i < run->threads; i++)
		yada_reserve(&y->worker[i]);
	run->data = y;
}

static const char *yada_check(struct run *run, uint64_t *result)
{
	struct yada *y = run->data;
	uint64_t points = y->points + 4;
	const char *wrong;

	for (unsigned int i = 0; i < run->threads; i++)
		points += y->worker[i].added;
	yada_all_make(y, &y->all, points);
	wrong = yada_mesh_check(y->all.flat, y->all.count, points, y->point, y->points);
	*result = y->points;
	return wrong;
}

/* Some triangles, so that no transaction is too long. */
OPERATION void yada_free_some(struct yada_all *all)
{
	ATOMIC {
		for (unsigned int i = all->count; i && i + 4096 > all->count; i--)
			FREE(all->triangle[i - 1]);
	}
	all->count -= all->count < 4096 ? all->count : 4096;
}

OPERATION void yada_free_shared(struct yada *y)
{
	ATOMIC {
		FREE(y->pool);
		FREE(y->root);
	}
}

static void yada_clear(struct run *run)
{
	struct yada *y = run->data;

	while (y->all.count)
		yada_free_some(&y->all);
	yada_free_shared(y);
	for (unsigned int i = 0; i < run->threads; i++)
		free(y->worker[i].list);
	yada_all_free(&y->all);
	free(y->worker);
	free(y->point);
	free(y);
}

#define YADA_APPS                                                                                                   \
	{ "yada", 0, &(const struct yada_parameters){ 60000 }, &(const struct yada_parameters){ 1500 }, 1.15,       \
	  false, yada_make, yada_work, yada_check, yada_clear },
