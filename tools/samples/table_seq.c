// SPDX-License-Identifier: MIT
/*
 * The table built by a plain sequential program: what --verify compares with, and what the threads
 * are measured against. Layout and algorithm are those of table_stm.c, and nodes come from an
 * arena, so that it is not slowed by anything that a transaction would not pay as well.
 */
#include <errno.h>
#include <stdlib.h>

#include "table.h"

struct more {
	uint32_t file;
	uint32_t count;
	uint64_t offset;
	struct more *next;
	uint64_t unused;
};

struct node {
	struct hash hash;
	struct node *next;
	uint32_t size;
	uint32_t unused;
	struct holder first;
	struct more *more;      /* all other holders, the latest first */
	uint64_t unused_too;
};

struct arena {
	struct slab {
		struct slab *next;
		_Alignas(16) unsigned char bytes[];
	} *slabs;
	size_t left;            /* bytes at the end of the first slab */
};

#define SLAB_BYTES ((size_t)1 << 20)

struct map {
	struct node **buckets;
	size_t nr;              /* a power of two */
	int shift;              /* of hash.high, that leaves a bucket's number */
	struct arena arena;
};

static void *arena_alloc(struct arena *arena, size_t size)
{
	void *p;

	if (arena->left < size) {
		struct slab *slab = malloc(sizeof(*slab) + SLAB_BYTES);

		if (!slab)
			return NULL;
		slab->next = arena->slabs;
		arena->slabs = slab;
		arena->left = SLAB_BYTES;
	}
	p = arena->slabs->bytes + SLAB_BYTES - arena->left;
	arena->left -= size;
	return p;
}

static int map_init(struct map *map, uint64_t chunks)
{
	int bits = 8;

	while (bits < 40 && (1ull << bits) < chunks)
		bits++;
	map->nr = (size_t)1 << bits;
	map->shift = 64 - bits;
	map->buckets = calloc(map->nr, sizeof(*map->buckets));
	return map->buckets ? 0 : -ENOMEM;
}

static void map_free(struct map *map)
{
	free(map->buckets);
	while (map->arena.slabs) {
		struct slab *slab = map->arena.slabs;

		map->arena.slabs = slab->next;
		free(slab);
	}
}

static int add_holder(struct map *map, struct node *node, uint32_t file, uint64_t offset)
{
	struct more *more = node->more;

	if (more ? more->file == file : node->first.file == file) {
		if (more)
			more->count++;
		else
			node->first.count++;
		return 0;
	}
	more = arena_alloc(&map->arena, sizeof(*more));
	if (!more)
		return -ENOMEM;
	more->file = file;
	more->count = 1;
	more->offset = offset;
	more->next = node->more;
	node->more = more;
	return 0;
}

static int add_span(struct map *map, const struct span *span, uint32_t file)
{
	struct node **bucket = &map->buckets[span->hash.high >> map->shift];
	struct node *node;

	for (node = *bucket; node; node = node->next)
		if (node->hash.low == span->hash.low && node->hash.high == span->hash.high &&
		    node->size == span->size)
			return add_holder(map, node, file, span->offset);
	node = arena_alloc(&map->arena, sizeof(*node));
	if (!node)
		return -ENOMEM;
	node->hash = span->hash;
	node->size = span->size;
	node->first = (struct holder){ file, 1, span->offset };
	node->more = NULL;
	node->next = *bucket;
	*bucket = node;
	return 0;
}

static int add_file(struct map *map, struct scan *scan, struct file *file, uint32_t number,
		    bool again)
{
	struct identity identity;
	int error = 0, ret = 0;
	const enum file_state state = scan_file(scan, file, &identity, &error);

	if (state == FILE_READ && again && !identity_equal(&identity, &file->identity)) {
		file->state = FILE_CHANGED_LATER;
		return 0;
	}
	if (state == FILE_UNREADABLE && (error == ENOMEM || error == EMFILE || error == ENFILE))
		return -error;
	if (state != FILE_READ) {
		file->state = again ? FILE_CHANGED_LATER : state;
		file->error = error;
		return 0;
	}
	file->state = FILE_READ;
	file->identity = identity;
	for (size_t i = 0; i < scan->nr && !ret; i++)
		ret = add_span(map, &scan->spans[i], number);
	return ret;
}

static int flatten(const struct map *map, struct table *table)
{
	int ret = 0;

	for (size_t i = 0; i < map->nr && !ret; i++)
		for (const struct node *node = map->buckets[i]; node && !ret; node = node->next) {
			ret = table_add_chunk(table, &node->hash, node->size);
			if (!ret)
				ret = table_add_holder(table, node->first.file, node->first.count,
						       node->first.offset);
			for (const struct more *more = node->more; more && !ret; more = more->next)
				ret = table_add_holder(table, more->file, more->count,
						       more->offset);
		}
	if (!ret)
		table_sort(table);
	return ret;
}

int table_build_seq(struct walk *walk, bool again, struct table *table, struct build *build)
{
	const double start = now(), cpu_start = cpu_now();
	struct map map = { 0 };
	struct scan *scan = scan_new();
	int ret;

	if (!scan)
		return -ENOMEM;
	ret = map_init(&map, walk->chunks);
	for (size_t i = 0; i < walk->nr && !ret; i++)
		if (!again || walk->files[i].state == FILE_READ)
			ret = add_file(&map, scan, &walk->files[i], (uint32_t)i, again);
	if (build) {
		build->seconds = now() - start;
		build->cpu_seconds = cpu_now() - cpu_start;
	}
	if (!ret)
		ret = flatten(&map, table);
	map_free(&map);
	return ret;
}
