/* SPDX-License-Identifier: MIT */
/* app_labyrinth_maze.c - mazes, Lee's algorithm, and what is to be true at the end */
#include <stdlib.h>
#include <string.h>

#include "app_labyrinth_maze.h"

static uint32_t free_cell(const struct maze *maze, uint64_t *random)
{
	uint32_t cell;

	do
		cell = random_below(random_next(random), maze->cells);
	while (maze->start[cell] != MAZE_FREE);
	return cell;
}

struct maze *maze_make(unsigned int width, unsigned int height, unsigned int layers, unsigned int paths)
{
	const int row = (int)width + 2, layer = row * ((int)height + 2);
	struct maze *maze = zeroed(sizeof(*maze));
	uint64_t random = random_seed(paths);

	*maze = (struct maze){ .cells = (unsigned int)layer * (layers + 2), .paths = paths,
			       .step = { 1, -1, row, -row, layer, -layer } };
	maze->start = zeroed(maze->cells * sizeof(*maze->start));
	maze->ends = zeroed(paths * sizeof(*maze->ends));
	for (unsigned int i = 0; i < maze->cells; i++) {
		const unsigned int x = i % row, y = i % layer / row, z = i / layer;

		if (!x || !y || !z || x > width || y > height || z > layers)
			maze->start[i] = MAZE_WALL;
	}
	for (unsigned int i = 0; i < paths; i++) {
		maze->ends[i].from = free_cell(maze, &random);
		maze->start[maze->ends[i].from] = i + 1;
		maze->ends[i].to = free_cell(maze, &random);
		maze->start[maze->ends[i].to] = i + 1;
	}
	return maze;
}

void maze_free(struct maze *maze)
{
	free(maze->start);
	free(maze->ends);
	free(maze);
}

void maze_search_make(const struct maze *maze, struct maze_search *search)
{
	search->copy = zeroed(maze->cells * sizeof(*search->copy));
	search->queue = zeroed(maze->cells * sizeof(*search->queue));
	search->route = zeroed(maze->cells * sizeof(*search->route));
}

void maze_search_free(struct maze_search *search)
{
	free(search->copy);
	free(search->queue);
	free(search->route);
}

void maze_copy(const struct maze *maze, struct maze_search *search, const volatile void *cells)
{
	memcpy(search->copy, (const void *)cells, maze->cells * sizeof(*search->copy));
}

static bool wave(const struct maze *maze, struct maze_search *search, struct maze_ends ends)
{
	uint32_t *const copy = search->copy, *const queue = search->queue;
	unsigned int head = 0, tail = 0;

	copy[ends.to] = MAZE_FREE;
	copy[ends.from] = MAZE_WAVE;
	queue[tail++] = ends.from;
	while (head < tail) {
		const uint32_t cell = queue[head++], distance = copy[cell] + 1;

		for (unsigned int i = 0; i < 6; i++) {
			const uint32_t next = cell + (uint32_t)maze->step[i];

			if (copy[next] != MAZE_FREE)
				continue;
			copy[next] = distance;
			if (next == ends.to)
				return true;
			queue[tail++] = next;
		}
	}
	return false;
}

bool maze_find(const struct maze *maze, struct maze_search *search, unsigned int path, unsigned int *length)
{
	const struct maze_ends ends = maze->ends[path];
	uint32_t cell = ends.to, distance;
	unsigned int i;

	if (!wave(maze, search, ends))
		return false;
	*length = 0;
	for (distance = search->copy[cell] - 1; distance > MAZE_WAVE; distance--) {
		for (i = 0; search->copy[cell + (uint32_t)maze->step[i]] != distance; i++)
			;
		cell += (uint32_t)maze->step[i];
		search->route[(*length)++] = cell;
	}
	return true;
}

/* How many cells from one end to the other, both included; 0: they are not connected, or not by one line. */
static unsigned int walk(const struct maze *maze, const uint32_t *cells, unsigned int path)
{
	const struct maze_ends ends = maze->ends[path];
	uint32_t before = ends.from, cell = ends.from, next = 0;
	unsigned int n = 1;

	for (; cell != ends.to; n++) {
		unsigned int ways = 0;

		for (unsigned int i = 0; i < 6; i++) {
			const uint32_t neighbour = cell + (uint32_t)maze->step[i];

			if (cells[neighbour] != path + 1 || neighbour == before)
				continue;
			next = neighbour;
			ways++;
		}
		if (ways != 1 || n > maze->cells)
			return 0;
		before = cell;
		cell = next;
	}
	return n;
}

const char *maze_check(const struct maze *maze, const uint32_t *cells, const bool *routed)
{
	unsigned int *count = zeroed((maze->paths + 1) * sizeof(*count)), length;
	const char *wrong = NULL;
	struct maze_search search;

	maze_search_make(maze, &search);
	for (unsigned int i = 0; i < maze->cells; i++) {
		if (maze->start[i] != MAZE_FREE && cells[i] != maze->start[i])
			wrong = "a wall or an end of a path is gone";
		if (cells[i] <= maze->paths)
			count[cells[i]]++;
		else if (cells[i] != MAZE_WALL)
			wrong = "a cell belongs to nobody";
	}
	for (unsigned int i = 0; i < maze->paths && !wrong; i++) {
		if (routed[i]) {
			if (walk(maze, cells, i) != count[i + 1])
				wrong = "a path is not one line";
			continue;
		}
		maze_copy(maze, &search, cells);
		if (count[i + 1] != 2)
			wrong = "a path that was not found has cells";
		else if (maze_find(maze, &search, i, &length))
			wrong = "a path was not found, but there is a way";
	}
	maze_search_free(&search);
	free(count);
	return wrong;
}
