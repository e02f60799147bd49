/* SPDX-License-Identifier: MIT */
/*
 * app_ssca2.h - a graph from the list of its edges: arrays of what leaves each vertex, and of what is implied
 *
 * Kernel 1 of the graph benchmark SSCA #2, after the description of STAMP's ssca2 (Cao Minh et al., IISWC 2008). The
 * edges come sorted by the vertex that they leave, so the threads share out the vertices, and make the arrays of their
 * ends without meeting. Then they look for each edge whether there is one back. Where there is none it is implied:
 * the vertex is added to a list of the other one, which belongs to anybody. A transaction does that for some vertices.
 * Few of them meet, and little of the time is spent in them. At the end the lists become arrays.
 * Locks of its own: one for each vertex's list.
 *
 * The order of a list is chance. The result is the arrays' contents, for what is implied in no order.
 */
#include "app_ssca2_graph.h"

#define SSCA2_TAKE 8            /* vertices of a transaction */
#define SSCA2_SLOTS 13          /* of a list before it needs a node; its first three lie beside the number */
#define SSCA2_MORE 14           /* of each node */

struct ssca2_parameters {
	unsigned int vertices;
};

struct ssca2_more {
	struct ssca2_more SHARED *next;
	uint32_t from[SSCA2_MORE];
};

/* Who has an edge to this vertex, but none back. */
struct ssca2_list {
	_Alignas(16) uint32_t n;
	uint32_t from[SSCA2_SLOTS];
	struct ssca2_more SHARED *more; /* the last first */
};

struct ssca2 {
	struct graph *graph;
	uint32_t *implied, *implied_begin;
	uint32_t *sums;         /* of each thread's vertices: what is implied */
	struct ssca2_list SHARED *lists;
};

static void ssca2_make(struct run *run)
{
	const struct ssca2_parameters *p = run->parameters;
	struct ssca2 *s = zeroed(sizeof(*s));

	s->graph = graph_make(p->vertices);
	s->implied = zeroed(s->graph->edges_n * sizeof(*s->implied));
	s->implied_begin = zeroed((p->vertices + 1) * sizeof(*s->implied_begin));
	s->sums = zeroed(run->threads * sizeof(*s->sums));
	ATOMIC {
		s->lists = ALLOC_ZERO(p->vertices * sizeof(*s->lists));
	}
	run->data = s;
}

static inline void ssca2_add(struct ssca2_list SHARED *list, uint32_t from)
{
	struct ssca2_more SHARED *more;
	uint32_t n;

	WRITE(&list->n);
	n = list->n++;
	if (n < SSCA2_SLOTS) {
		SET(list->from[n], from);
		return;
	}
	n = (n - SSCA2_SLOTS) % SSCA2_MORE;
	more = GET(list->more);
	if (n == 0) {
		struct ssca2_more SHARED *next = more;

		more = ALLOC(struct ssca2_more);
		more->next = next;
		SET(list->more, more);
	}
	SET(more->from[n], from);
}

/* What is implied by the edges of some vertices: there is none from @implied[i].to back to .from. */
OPERATION void ssca2_add_all(struct ssca2 *s, const struct graph_implied *implied, unsigned int n)
{
	ATOMIC_ALL {
		for (unsigned int i = 0; i < n; i++) {
			struct ssca2_list SHARED *list = &s->lists[implied[i].to];

			ATOMIC_EACH(list) {
				ssca2_add(list, implied[i].from);
			}
		}
	}
}

static inline void ssca2_take_list(struct ssca2_list SHARED *list, uint32_t *to)
{
	struct ssca2_more SHARED *more = GET(list->more);
	uint32_t left = GET(list->n);

	READ(list);
	for (uint32_t i = 0; i < left && i < SSCA2_SLOTS; i++)
		to[i] = list->from[i];
	while (left > SSCA2_SLOTS) {
		const uint32_t n = 1 + (left - SSCA2_SLOTS - 1) % SSCA2_MORE;

		READ(more);
		left -= n;
		for (uint32_t i = 0; i < n; i++)
			to[left + i] = more->from[i];
		more = more->next;
	}
}

/* Lists of these vertices become arrays, now that nobody adds to them. */
OPERATION void ssca2_take(struct ssca2 *s, uint32_t low, uint32_t high)
{
	ATOMIC_READ {
		for (uint32_t v = low; v < high; v++)
			ssca2_take_list(&s->lists[v], s->implied + s->implied_begin[v]);
	}
}

OPERATION uint32_t ssca2_lengths(struct ssca2 *s, uint32_t low, uint32_t high, uint32_t begin)
{
	uint32_t sum = 0;

	ATOMIC_READ {
		sum = begin;
		for (uint32_t v = low; v < high; v++) {
			s->implied_begin[v] = sum;
			sum += GET(s->lists[v].n);
		}
	}
	return sum;
}

static uint32_t ssca2_next(uint32_t v, uint32_t high)
{
	return v + SSCA2_TAKE < high ? v + SSCA2_TAKE : high;
}

static void ssca2_work(struct run *run, unsigned int id)
{
	const struct ssca2_parameters *p = run->parameters;
	struct ssca2 *s = run->data;
	const uint32_t low = (uint32_t)((uint64_t)p->vertices * id / run->threads);
	const uint32_t high = (uint32_t)((uint64_t)p->vertices * (id + 1) / run->threads);
	uint32_t sum = 0, before = 0;

	graph_ends(s->graph, low, high);
	run_wait(run);
	for (uint32_t v = low; v < high; v = ssca2_next(v, high)) {
		struct graph_implied implied[SSCA2_TAKE * GRAPH_ENDS];

		ssca2_add_all(s, implied, graph_implied_by(s->graph, v, ssca2_next(v, high), implied));
	}
	run_wait(run);
	for (uint32_t v = low; v < high; v = ssca2_next(v, high))
		sum = ssca2_lengths(s, v, ssca2_next(v, high), sum);
	s->sums[id] = sum;
	run_wait(run);
	for (unsigned int i = 0; i < id; i++)
		before += s->sums[i];
	for (uint32_t v = low; v < high; v++)
		s->implied_begin[v] += before;
	if (high == p->vertices)
		s->implied_begin[high] = before + sum;
	for (uint32_t v = low; v < high; v = ssca2_next(v, high))
		ssca2_take(s, v, ssca2_next(v, high));
}

static const char *ssca2_check(struct run *run, uint64_t *result)
{
	struct ssca2 *s = run->data;

	return graph_check(s->graph, s->implied, s->implied_begin, result);
}

static void ssca2_clear(struct run *run)
{
	const struct ssca2_parameters *p = run->parameters;
	struct ssca2 *s = run->data;

	ATOMIC {
		for (uint32_t v = 0; v < p->vertices; v++) {
			struct ssca2_more SHARED *more = GET(s->lists[v].more);

			while (more) {
				struct ssca2_more SHARED *next = GET(more->next);

				FREE(more);
				more = next;
			}
		}
		FREE(s->lists);
	}
	graph_free(s->graph);
	free(s->implied);
	free(s->implied_begin);
	free(s->sums);
	free(s);
}

static const struct ssca2_parameters ssca2_large = { 1 << 17 };
static const struct ssca2_parameters ssca2_small = { 1 << 11 };

#define SSCA2_APPS                                                                                              \
	{                                                                                                       \
		.name = "ssca2", .has = APP_FINE | APP_READS, .parameters = &ssca2_large, .small = &ssca2_small, \
		.bar = 1.5,                                                                                     \
		.make = ssca2_make, .work = ssca2_work, .check = ssca2_check, .clear = ssca2_clear,             \
	},
