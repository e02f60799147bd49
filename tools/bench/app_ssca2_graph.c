/* SPDX-License-Identifier: MIT */
/* app_ssca2_graph.c - see app_ssca2_graph.h */
#include <stdlib.h>

#include "app_ssca2_graph.h"

/* Cliques are rows of places. Which vertex stands where is chance, so that no order is left in their numbers. */
struct places {
	uint32_t *vertex_at, *place_of;
	uint32_t *low, *high;   /* the clique's places */
};

static struct places places_make(uint32_t n, uint64_t *random)
{
	const size_t size = n * sizeof(uint32_t);
	struct places p = { zeroed(size), zeroed(size), zeroed(size), zeroed(size) };

	for (uint32_t i = 0, end = 0; i < n; i++) {
		const uint32_t k = random_below(random_next(random), i + 1);

		p.vertex_at[i] = p.vertex_at[k];
		p.vertex_at[k] = i;
		p.low[i] = i == end ? end : p.low[i - 1];
		if (i == end)
			end += 1 + random_below(random_next(random), GRAPH_CLIQUE);
		p.high[i] = end < n ? end : n;
	}
	for (uint32_t i = 0; i < n; i++)
		p.place_of[p.vertex_at[i]] = i;
	return p;
}

static void places_free(struct places *p)
{
	free(p->vertex_at);
	free(p->place_of);
	free(p->low);
	free(p->high);
}

static bool leads_to(const struct graph_edge *first, const struct graph_edge *end, uint32_t to)
{
	while (first < end)
		if (first++->to == to)
			return true;
	return false;
}

/* The edges of @v, at @e. Where the next ones go. */
static struct graph_edge *make_edges(const struct places *p, uint32_t n, uint32_t v, struct graph_edge *e,
				     uint64_t *random)
{
	const uint32_t place = p->place_of[v], high = p->high[place];
	const uint32_t far = random_below(random_next(random), GRAPH_FAR + 1);
	const struct graph_edge *first = e;

	for (uint32_t i = p->low[place]; i < high + far; i++) {
		const uint64_t r = random_next(random);
		const uint32_t to = p->vertex_at[i < high ? i : random_below(r, n)];

		/* Not all edges of a clique exist; and none leads far away to where one leads already. */
		if (to == v || (i < high ? r % 8 == 0 : leads_to(first, e, to)))
			continue;
		for (uint32_t parallel = 1 + r / 8 % GRAPH_PARALLEL; parallel; parallel--)
			*e++ = (struct graph_edge){ v, to, (uint32_t)(random_next(random) >> 48) };
	}
	return e;
}

struct graph *graph_make(uint32_t vertices)
{
	struct graph *g = zeroed(sizeof(*g));
	uint64_t random = random_seed(vertices);
	struct places places = places_make(vertices, &random);
	struct graph_edge *e;

	g->vertices = vertices;
	/* As many as there can be; what is not used is not touched. */
	g->edges = e = malloc((size_t)vertices * GRAPH_ENDS * GRAPH_PARALLEL * sizeof(*e));
	if (!e)
		die("no memory for the edges of %u vertices", vertices);
	g->begin = zeroed((vertices + 1) * sizeof(*g->begin));
	for (uint32_t v = 0; v < vertices; v++) {
		e = make_edges(&places, vertices, v, e, &random);
		g->begin[v + 1] = (uint32_t)(e - g->edges);
	}
	g->edges_n = g->begin[vertices];
	g->ends = zeroed(g->edges_n * sizeof(*g->ends));
	g->ends_n = zeroed(vertices * sizeof(*g->ends_n));
	places_free(&places);
	return g;
}

void graph_free(struct graph *g)
{
	free(g->edges);
	free(g->begin);
	free(g->ends);
	free(g->ends_n);
	free(g);
}

void graph_ends(struct graph *g, uint32_t low, uint32_t high)
{
	for (uint32_t v = low; v < high; v++) {
		struct graph_end *ends = g->ends + g->begin[v];
		uint32_t n = 0;

		for (uint32_t i = g->begin[v]; i < g->begin[v + 1]; i++) {
			const struct graph_edge *edge = &g->edges[i];

			if (!n || ends[n - 1].to != edge->to)
				ends[n++] = (struct graph_end){ edge->to, edge->weight };
			else if (edge->weight < ends[n - 1].weight)
				ends[n - 1].weight = edge->weight;
		}
		g->ends_n[v] = n;
	}
}

static bool is_edge(const struct graph *g, uint32_t from, uint32_t to)
{
	const struct graph_end *ends = g->ends + g->begin[from];

	for (uint32_t i = 0; i < g->ends_n[from]; i++)
		if (ends[i].to == to)
			return true;
	return false;
}

unsigned int graph_implied_by(const struct graph *g, uint32_t low, uint32_t high, struct graph_implied *implied)
{
	unsigned int n = 0;

	for (uint32_t v = low; v < high; v++) {
		const struct graph_end *ends = g->ends + g->begin[v];

		for (uint32_t i = 0; i < g->ends_n[v]; i++)
			if (!is_edge(g, ends[i].to, v))
				implied[n++] = (struct graph_implied){ v, ends[i].to };
	}
	return n;
}

static uint64_t hash_end(uint64_t of, uint32_t to, uint32_t weight)
{
	const uint32_t end[] = { to, weight };

	return hash_bytes(end, sizeof(end), of);
}

const char *graph_check(const struct graph *g, const uint32_t *implied, const uint32_t *begin, uint64_t *result)
{
	*result = 0;
	for (uint32_t v = 0; v < g->vertices; v++) {
		if (begin[v + 1] < begin[v] || begin[v + 1] > g->edges_n)
			return "an array of what is implied ends before it begins";
		for (uint32_t i = 0; i < g->ends_n[v]; i++) {
			const struct graph_end *end = &g->ends[g->begin[v] + i];

			*result += hash_end(2 * v, end->to, end->weight);
		}
		for (uint32_t i = begin[v]; i < begin[v + 1]; i++) {
			const uint32_t from = implied[i];

			if (from >= g->vertices || !is_edge(g, from, v) || is_edge(g, v, from))
				return "what is implied is not";
			*result += hash_end(2 * v + 1, from, 0);
		}
	}
	return NULL;
}
