/* SPDX-License-Identifier: MIT */
/*
 * app_labyrinth.h - maze routing by Lee's algorithm, in the manner of STAMP's labyrinth
 *
 * Many pairs of cells of a box are to be joined by paths that have no cell in common, each as short as it can be by
 * then. Included once for each implementation: see words.h.
 *
 * A transaction copies all cells, finds a route in the copy, and writes it: a long one, of which nearly all is work in
 * memory of the thread's own. Only the cells of the route count as read: if all of these are still free, so that it can
 * be, no other change matters. So the copy is made without barriers. What that means depends:
 *
 * stm		The copy is of the transaction's snapshot, so all of it was true at once, and commit finds out whether
 *		somebody has taken a cell of the route since. A cell shares its granule with three others.
 * mutex, omp	All of the transaction is in the lock. So they gain nothing by a second thread.
 * libitm	The copy is made by a function that is not instrumented, so it may hold half of what others do, or what
 *		they undo. So the cells of the route are read again, and where there seems to be no way, all are.
 * fine		The same by hand: route without a lock, look again and write under it.
 *
 * Which paths there are depends on the order; the check is of what must be true in any: see maze_check().
 */
#include "app_labyrinth_maze.h"

/* Is the route looked for outside of ATOMIC? May the copy be of what was never true at once? */
#if defined(IMPL_FINE)
#define LABYRINTH_OUTSIDE true
#define LABYRINTH_TORN true
#elif defined(IMPL_LIBITM)
#define LABYRINTH_OUTSIDE false
#define LABYRINTH_TORN true
#else
#define LABYRINTH_OUTSIDE false
#define LABYRINTH_TORN false
#endif

struct labyrinth_next {
	_Alignas(16) unsigned int path; /* the next one to be routed */
};

enum labyrinth_outcome { LABYRINTH_ROUTED, LABYRINTH_NO_WAY, LABYRINTH_TAKEN };

/* What one thread has. */
struct labyrinth_worker {
	struct maze_search search;
	unsigned int path;
	bool found;
	unsigned int length;            /* of what it found, which is in @search */
	enum labyrinth_outcome outcome;
	uint64_t apart[4];
};

struct labyrinth {
	struct maze *maze;              /* ordinary memory, constant; so are these pointers */
	uint32_t SHARED *cells;
	struct labyrinth_next SHARED *next;
	struct labyrinth_worker *worker;        /* of each thread */
	bool *routed;                   /* of each path, by the thread that had it */
};

/* All cells as they are within this transaction, for certain. */
static inline void labyrinth_copy_exactly(struct labyrinth *l, struct maze_search *search)
{
	for (unsigned int i = 0; i < l->maze->cells; i++)
		search->copy[i] = GET(l->cells[i]);
}

/* Whether it is there: one of its cells may have been taken since they were copied. */
static inline bool labyrinth_write(struct labyrinth *l, const struct labyrinth_worker *w)
{
	const uint32_t *route = w->search.route;

	for (unsigned int i = 0; i < w->length; i++)
		if (GET(l->cells[route[i]]) != MAZE_FREE)
			return false;
	for (unsigned int i = 0; i < w->length; i++)
		SET(l->cells[route[i]], w->path + 1);
	return true;
}

OPERATION void labyrinth_try(struct labyrinth *l, struct labyrinth_worker *w, bool exactly)
{
	if (LABYRINTH_OUTSIDE && !exactly) {
		maze_copy(l->maze, &w->search, LOCAL(l->cells));
		w->found = maze_find(l->maze, &w->search, w->path, &w->length);
	}
	ATOMIC {
		if (exactly)
			labyrinth_copy_exactly(l, &w->search);
		else if (!LABYRINTH_OUTSIDE)
			maze_copy(l->maze, &w->search, LOCAL(l->cells));
		if (exactly || !LABYRINTH_OUTSIDE)
			w->found = maze_find(l->maze, &w->search, w->path, &w->length);
		w->outcome = !w->found ? LABYRINTH_NO_WAY : labyrinth_write(l, w) ? LABYRINTH_ROUTED : LABYRINTH_TAKEN;
	}
}

OPERATION void labyrinth_take(struct labyrinth *l, struct labyrinth_worker *w)
{
	ATOMIC_ADD(w->path, l->next->path, 1);
}

static void labyrinth_work(struct run *run, unsigned int id)
{
	struct labyrinth *l = run->data;
	struct labyrinth_worker *w = &l->worker[id];

	for (;;) {
		labyrinth_take(l, w);
		if (w->path >= l->maze->paths)
			break;
		do
			labyrinth_try(l, w, false);
		while (w->outcome == LABYRINTH_TAKEN);
		if (w->outcome == LABYRINTH_NO_WAY && LABYRINTH_TORN)
			labyrinth_try(l, w, true);
		l->routed[w->path] = w->outcome == LABYRINTH_ROUTED;
	}
}

/* ---- as an application ---- */

struct labyrinth_parameters {
	unsigned int width, height, layers, paths;
};

OPERATION void labyrinth_make_shared(struct labyrinth *l)
{
	const size_t size = l->maze->cells * sizeof(*l->cells);

	ATOMIC {
		l->cells = ALLOC_ZERO(size);
		l->next = ALLOC_ZERO(sizeof(*l->next));
		for (unsigned int i = 0; i < l->maze->cells; i++)
			l->cells[i] = l->maze->start[i];
	}
}

static void labyrinth_make(struct run *run)
{
	const struct labyrinth_parameters *p = run->parameters;
	struct labyrinth *l = zeroed(sizeof(*l));

	l->maze = maze_make(p->width, p->height, p->layers, p->paths);
	l->routed = zeroed(l->maze->paths * sizeof(*l->routed));
	l->worker = zeroed(run->threads * sizeof(*l->worker));
	for (unsigned int i = 0; i < run->threads; i++)
		maze_search_make(l->maze, &l->worker[i].search);
	labyrinth_make_shared(l);
	run->data = l;
}

OPERATION void labyrinth_end(struct labyrinth *l, uint32_t *cells)
{
	ATOMIC {
		for (unsigned int i = 0; i < l->maze->cells; i++)
			cells[i] = l->cells[i]; /* nobody writes any more */
		FREE(l->cells);
		FREE(l->next);
	}
}

static const char *labyrinth_check(struct run *run, uint64_t *result)
{
	struct labyrinth *l = run->data;
	uint32_t *cells = zeroed(l->maze->cells * sizeof(*cells));
	const char *wrong;

	labyrinth_end(l, cells);
	wrong = maze_check(l->maze, cells, l->routed);
	free(cells);
	*result = l->maze->paths;
	return wrong;
}

static void labyrinth_clear(struct run *run)
{
	struct labyrinth *l = run->data;

	for (unsigned int i = 0; i < run->threads; i++)
		maze_search_free(&l->worker[i].search);
	maze_free(l->maze);
	free(l->worker);
	free(l->routed);
	free(l);
}

#define LABYRINTH_APPS                                                                                              \
	{ "labyrinth", APP_FINE, &(const struct labyrinth_parameters){ 128, 128, 4, 256 },                          \
	  &(const struct labyrinth_parameters){ 24, 24, 3, 40 }, 1.15, false, labyrinth_make, labyrinth_work,       \
	  labyrinth_check, labyrinth_clear },
