/* SPDX-License-Identifier: MIT */
/*
 * app_labyrinth_maze.h - a maze, and how a route is found in a copy of it: ordinary memory, one for all implementations
 *
 * A maze is a box of cells with a wall around it, so that each cell inside has six neighbours. A cell is numbered by
 * its place in memory, row by row.
 */
#ifndef BENCH_APP_LABYRINTH_MAZE_H
#define BENCH_APP_LABYRINTH_MAZE_H

#include <stdbool.h>
#include <stdint.h>

#include "common.h"

#define MAZE_FREE 0u                    /* else the cell belongs to path - 1 */
#define MAZE_WALL 0x7fffffffu
#define MAZE_WAVE 0x80000000u           /* in a copy: 2^31 + the distance from the path's start */

struct maze_ends {
	uint32_t from, to;              /* cells, which belong to the path from the start on */
};

/* Constant, but for the cells, which are how the maze is at the start. */
struct maze {
	unsigned int cells;             /* with the wall */
	int step[6];                    /* from a cell to its neighbours */
	unsigned int paths;
	struct maze_ends *ends;         /* of each path */
	uint32_t *start;
};

/* What one thread needs for a search. */
struct maze_search {
	uint32_t *copy;                 /* of all cells */
	uint32_t *queue;                /* those that the wave has reached, in order */
	uint32_t *route;                /* the cells of what was found, but for the ends */
};

/* @width times @height times @layers cells inside, and ends of @paths paths, some of which nearly cross the maze. */
struct maze *maze_make(unsigned int width, unsigned int height, unsigned int layers, unsigned int paths);
void maze_free(struct maze *maze);
void maze_search_make(const struct maze *maze, struct maze_search *search);
void maze_search_free(struct maze_search *search);

/* Copies all cells, while others may change some of them: then what is found may not be there. */
PURE void maze_copy(const struct maze *maze, struct maze_search *search, const volatile void *cells);

/*
 * A shortest route for a path, by Lee's algorithm, in the copy, which is of no use afterwards: a wave goes
 * from one end over free cells until it comes to the other one, and the way is gone back. False: there is none;
 * else *@length is how many cells are between the ends.
 */
PURE bool maze_find(const struct maze *maze, struct maze_search *search, unsigned int path, unsigned int *length);

/*
 * NULL, or what is wrong in a maze at the end, in which @routed tells of each path whether it was found: those that
 * were are connected, without a detour over a cell beside them, and nothing else is in the maze; and for the others
 * there is no way. (Cells do not become free again, so there was one whenever there is one at the end.)
 */
const char *maze_check(const struct maze *maze, const uint32_t *cells, const bool *routed);

#endif
