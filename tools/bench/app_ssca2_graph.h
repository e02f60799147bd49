/* SPDX-License-Identifier: MIT */
/*
 * app_ssca2_graph.h - the list of a graph's edges, and what leaves each vertex: ordinary memory, one for all
 * implementations
 *
 * Vertices form cliques in which most edges are; some lead elsewhere. From one vertex to another there may be several.
 */
#ifndef BENCH_APP_SSCA2_GRAPH_H
#define BENCH_APP_SSCA2_GRAPH_H

#include "common.h"

#define GRAPH_CLIQUE 16         /* vertices of the largest clique */
#define GRAPH_FAR 3             /* other vertices that one has edges to, at most */
#define GRAPH_PARALLEL 3        /* edges from one vertex to another, at most */
#define GRAPH_ENDS (GRAPH_CLIQUE + GRAPH_FAR)

struct graph_edge {
	uint32_t from, to, weight;
};

struct graph_end {
	uint32_t to, weight;
};

/* An edge leads from @from to @to, and none back. */
struct graph_implied {
	uint32_t from, to;
};

struct graph {
	uint32_t vertices, edges_n;
	struct graph_edge *edges;       /* by the vertex that they leave */
	uint32_t *begin;                /* of each vertex's edges, and of those of the one behind the last */
	/* Where its edges begin, each vertex's ends do: each once, with the least weight, so there may be fewer. */
	struct graph_end *ends;
	uint32_t *ends_n;
};

/* The list alone; graph_ends() makes the arrays of vertices [@low, @high). */
struct graph *graph_make(uint32_t vertices);
void graph_free(struct graph *graph);
void graph_ends(struct graph *graph, uint32_t low, uint32_t high);

/* What is implied by the edges of vertices [@low, @high), GRAPH_ENDS for each at most, to @implied. How many. */
unsigned int graph_implied_by(const struct graph *graph, uint32_t low, uint32_t high, struct graph_implied *implied);

/*
 * NULL, or what is wrong with @implied: from @begin[v] on there are the vertices that have an edge to v, but none back.
 * *@result: of all that is in the arrays, in no order.
 */
const char *graph_check(const struct graph *graph, const uint32_t *implied, const uint32_t *begin, uint64_t *result);

#endif
