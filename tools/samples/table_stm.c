// SPDX-License-Identifier: MIT
/*
 * The table in the shared heap, filled by one transaction for each file:
 *
 *   1. read, cut and hash the file into the worker's list: ordinary memory, no heap access;
 *   2. if it cannot be used, return: a transaction that wrote nothing;
 *   3. else put each chunk of the list into the hash map.
 *
 * What keeps two workers from meeting:
 * - The map has as many buckets as chunks are expected, or up to twice as many, so two files that
 *   have nothing in common rarely meet in one granule (two buckets).
 * - A node's key never changes and has granules of its own: walking a chain does not conflict with
 *   adding holders to its nodes. New nodes go to the front, so `next` does not change either.
 * - There are no totals in the heap; they are computed from the table afterwards.
 * - A restarted attempt finds the list of the one before, so it repeats step 3 only.
 * - Step 1 reads nothing in the heap, but ages the snapshot. After a long one the attempt is
 *   restarted on purpose: it goes on at once, with a fresh snapshot. And a list so long that
 *   other commits would often hit it in step 3 makes the transaction inevitable before.
 *
 * --naive is the program as it may be written first: it keeps totals in the heap, which each task updates, and an
 * attempt reads the file anew.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uffdstm.h>

#include "chunker.h"
#include "table.h"

/*
 * While a file of n chunks is read, another worker puts about n into the map: n * n in
 * 2^18 granules meet with 2 % at 64. Reading that many takes some 200 us, a restart 2.
 */
#define REFRESH_SPANS 64

/* Step 3 takes some 1/10 of step 1, so by then it would be repeated too often. */
#define INEVITABLE_SPANS 1024

/*
 * Pages mapped by one fault. Hashes hit the buckets all over, so all of them are wanted soon: with
 * 16, the default, 65,000 files of 890 MB took 2,600 system calls, with 256 70 to 600. A small
 * table, however, is filled before the pages of a large cluster are copied.
 */
#define CLUSTER_LEAST 16
#define CLUSTER_MOST 256
#define CLUSTERS 16             /* that the table should take at least */

struct more {
	uint32_t file;
	uint32_t count;
	uint64_t offset;
	struct more STM *next;
	uint64_t unused;
};

/* Two granules that never change once committed, so that one barrier covers them. */
struct key {
	_Alignas(16) uint64_t low;
	uint64_t high;
	struct node STM *next;
	uint32_t size;
	uint32_t unused;
};

struct node {
	struct key key;
	struct holder first;    /* never changes once committed */
	struct more STM *more;  /* all other holders, the latest first */
	uint64_t unused;
};

typedef struct node STM *bucket_t;

/* Buckets come in slabs, each allocated and cleared by a transaction of its own. */
#define SLAB_BITS 17
#define SLAB_BUCKETS ((size_t)1 << SLAB_BITS)

/* Two tasks that run at once always meet here, though these are two granules. */
struct totals {
	_Alignas(STM_GRANULE) uint64_t bytes;   /* of the files that were read */
	_Alignas(STM_GRANULE) uint64_t entries; /* in the map */
};

/* Changes only while no worker runs. */
struct map {
	struct totals STM *totals; /* NULL: not naive */
	bucket_t STM **slabs;
	size_t nr_slabs;        /* made so far */
	size_t buckets;         /* a power of two */
	int shift;              /* of hash.high, that leaves a bucket's number */
};

struct task {
	const struct map *map;
	struct file *file;
	uint32_t number;
};

/* ---- the map ---- */

static int count_buckets(struct map *map, uint64_t chunks)
{
	int bits = 8;

	while (bits < 40 && (1ull << bits) < chunks)
		bits++;
	map->buckets = (size_t)1 << bits;
	map->shift = 64 - bits;
	map->slabs = calloc((map->buckets >> SLAB_BITS) + 1, sizeof(*map->slabs));
	return map->slabs ? 0 : -ENOMEM;
}

/* An STM pointer is the same number in every thread, so ordinary memory may hold it. */
static int make_slab(void *arg)
{
	struct map *map = arg;
	const size_t n = map->buckets < SLAB_BUCKETS ? map->buckets : SLAB_BUCKETS;
	bucket_t STM *slab = stm_zalloc(n * sizeof(bucket_t));

	if (!slab)
		return ENOMEM;
	map->slabs[map->nr_slabs] = slab;
	return 0;
}

static int make_totals(void *arg)
{
	struct map *map = arg;

	map->totals = stm_zalloc(sizeof(*map->totals));
	if (!map->totals)
		return ENOMEM;
	stm_label(&map->totals->bytes, sizeof(map->totals->bytes), "bytes seen");
	stm_label(&map->totals->entries, sizeof(map->totals->entries), "entries in the map");
	return 0;
}

static bucket_t STM *find_bucket(const struct map *map, const struct hash *hash)
{
	const size_t i = hash->high >> map->shift;

	return &map->slabs[i >> SLAB_BITS][i & (SLAB_BUCKETS - 1)];
}

/* In a transaction. What this file added in it before is still ours alone: fresh memory. */
static int add_holder(struct node STM *node, uint32_t file, uint64_t offset)
{
	struct more STM *more = STM_GET(node->more);

	if (more && STM_GET(more->file) == file) {
		STM_SET(more->count, more->count + 1);
		return 0;
	}
	if (!more && STM_GET(node->first.file) == file) {
		STM_SET(node->first.count, node->first.count + 1);
		return 0;
	}
	struct more STM *new = stm_alloc(sizeof(*new));

	if (!new)
		return ENOMEM;
	new->file = file;
	new->count = 1;
	new->offset = offset;
	new->next = more;
	STM_SET(node->more, new);
	return 0;
}

/* In a transaction. */
static int add_span(const struct map *map, const struct span *span, uint32_t file)
{
	bucket_t STM *bucket = find_bucket(map, &span->hash);
	struct node STM *head = STM_GET(*bucket), *node;

	for (node = head; node; node = node->key.next) {
		stm_read(&node->key);
		if (node->key.low == span->hash.low && node->key.high == span->hash.high &&
		    node->key.size == span->size)
			return add_holder(node, file, span->offset);
	}
	node = stm_alloc(sizeof(*node));
	if (!node)
		return ENOMEM;
	node->key.low = span->hash.low;
	node->key.high = span->hash.high;
	node->key.size = span->size;
	node->key.next = head;
	node->first.file = file;
	node->first.count = 1;
	node->first.offset = span->offset;
	node->more = NULL;
	STM_SET(*bucket, node);
	if (map->totals)
		STM_SET(map->totals->entries, STM_GET(map->totals->entries) + 1);
	return 0;
}

/* ---- one file, one transaction ---- */

static __thread struct scan *scan;

/*
 * Stores to ordinary memory are not undone, and need not be: an attempt that finds the list of the
 * one before does not read again, and any other stores what it found itself.
 */
static int run_task(void *arg)
{
	const struct task *task = arg;
	struct file *file = task->file;
	struct totals STM *totals = task->map->totals;

	if (!scan)
		scan = scan_new();
	if (!scan)
		return ENOMEM;
	if (scan->of != file || totals) {
		struct identity identity;

		file->state = scan_file(scan, file, &identity, &file->error);
		if (file->state == FILE_UNREADABLE &&
		    (file->error == ENOMEM || file->error == EMFILE || file->error == ENFILE))
			return file->error;
		if (file->state != FILE_READ)
			return 0;
		file->identity = identity;
		if (scan->nr >= REFRESH_SPANS && scan->nr < INEVITABLE_SPANS && !totals)
			stm_restart();
	}
	if (scan->nr >= INEVITABLE_SPANS && !totals)
		stm_become_inevitable("a long list of chunks to put into the map");
	for (size_t i = 0; i < scan->nr; i++) {
		const int ret = add_span(task->map, &scan->spans[i], task->number);

		if (ret)
			return ret;
	}
	if (totals)
		STM_SET(totals->bytes, STM_GET(totals->bytes) + (uint64_t)file->identity.size);
	return 0;
}

/* ---- all files ---- */

/* -errno after a line on stderr. @ret: of the library. */
static int failed(const char *what, int ret)
{
	fprintf(stderr, "finddup: %s: %s\n", what, stm_strerror(ret));
	return ret < 0 ? ret : -ret;
}

static int run_tasks(const struct map *map, struct walk *walk, unsigned int threads, bool pin,
		     struct task *tasks, struct build *build)
{
	const struct stm_queue_options options = { .size = sizeof(options), .pin = pin };
	struct stm_queue *queue = stm_queue_new(&options);
	struct stm_queue_counts counts;
	int ret = 0;

	if (!queue)
		return failed("making a queue", -errno);
	for (size_t i = 0; i < walk->nr && !ret; i++) {
		tasks[i] = (struct task){ map, &walk->files[i], (uint32_t)i };
		ret = stm_queue_add(queue, run_task, &tasks[i]);
	}
	if (ret) {
		failed("adding a task", ret);
		goto free;
	}
	ret = stm_queue_run(queue, threads);
	if (ret > 0) {                  /* a task's own code; negative ones are the queue's */
		fprintf(stderr, "finddup: putting files into the table: %s: %s\n", strerror(ret),
			ret == ENOMEM ? "give it fewer files, or more memory" :
					"give it more descriptors (ulimit -n)");
		ret = -ret;
	} else if (ret) {
		failed("running the queue", ret);
	}
	stm_queue_counts(queue, &counts);
	build->restarts = counts.restarts;
free:
	stm_queue_free(queue);
	return ret;
}

/* What the queue's transactions did: the counters of before are taken away. */
static void subtract(struct stm_stats *stats, const struct stm_stats *before)
{
	stats->commits -= before->commits;
	stats->commits_read_only -= before->commits_read_only;
	stats->inevitable -= before->inevitable;
	stats->pages_mapped -= before->pages_mapped;
	stats->pages_copied -= before->pages_copied;
	stats->pages_dropped -= before->pages_dropped;
	stats->system_calls -= before->system_calls;
	stats->log_waits -= before->log_waits;
	for (int i = 0; i < STM_ABORT_REASONS; i++)
		stats->aborts[i] -= before->aborts[i];
	for (int i = 0; i < STM_FAULT_KINDS; i++)
		stats->faults[i] -= before->faults[i];
}

static int fill(struct map *map, struct walk *walk, unsigned int threads, bool pin, bool naive,
		struct task *tasks, struct build *build)
{
	struct stm_stats before;
	int ret = stm_thread_attach();

	if (ret)
		return failed("attaching the main thread", ret);
	for (; map->nr_slabs << SLAB_BITS < map->buckets && !ret; map->nr_slabs++)
		ret = stm_atomic(make_slab, map);
	if (naive && !ret)
		ret = stm_atomic(make_totals, map);
	stm_thread_detach();            /* an idle segment would have to be carried along */
	if (ret)
		return failed("making the hash map", ret);
	stm_stats(&before, sizeof(before));
	ret = run_tasks(map, walk, threads, pin, tasks, build);
	stm_stats(build->stats, sizeof(*build->stats));
	subtract(build->stats, &before);
	return ret;
}

/* ---- from the heap into the common form ---- */

struct flatten {
	const struct map *map;
	struct table *table;
	uint64_t entries;       /* as --naive counted */
};

static int flatten_node(struct table *table, const struct node STM *node)
{
	const struct hash hash = { node->key.low, node->key.high };
	int ret = table_add_chunk(table, &hash, node->key.size);

	if (!ret) {
		stm_read(&node->first);
		ret = table_add_holder(table, node->first.file, node->first.count,
				       node->first.offset);
	}
	for (const struct more STM *more = STM_GET(node->more); more && !ret; more = more->next) {
		stm_read(more);
		ret = table_add_holder(table, more->file, more->count, more->offset);
	}
	return -ret;
}

static int flatten(void *arg)
{
	struct flatten *f = arg;

	f->table->nr = f->table->nr_holders = 0; /* of an attempt before */
	if (f->map->totals)
		f->entries = STM_GET(f->map->totals->entries);
	for (size_t i = 0; i < f->map->buckets; i++) {
		bucket_t STM *bucket = &f->map->slabs[i >> SLAB_BITS][i & (SLAB_BUCKETS - 1)];

		for (const struct node STM *node = STM_GET(*bucket); node; node = node->key.next) {
			int ret;

			stm_read(&node->key);
			ret = flatten_node(f->table, node);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static int copy_out(const struct map *map, struct table *table)
{
	struct flatten f = { map, table, 0 };
	int ret = stm_thread_attach();

	if (ret)
		return failed("attaching the main thread", ret);
	ret = stm_atomic(flatten, &f);
	stm_thread_detach();
	if (ret)
		return failed("reading the table", ret);
	if (map->totals && f.entries != table->nr)
		return failed("the total is wrong", -EIO);
	table_sort(table);
	return 0;
}

/*
 * Room for the buckets and for as many nodes as there can be chunks, whatever the content. It is
 * address space only: memory is taken as the heap grows. 5/4 and 16 MiB a thread: what the
 * allocator keeps in each segment's chunks.
 */
static size_t heap_size(const struct map *map, const struct walk *walk, unsigned int threads)
{
	const uint64_t most = walk->nr + walk->bytes / CHUNK_MIN;
	const uint64_t nodes = most * (sizeof(struct node) + sizeof(struct more)) / 4 * 5;
	const uint64_t size = map->buckets * sizeof(bucket_t) + nodes +
			      (threads + 4ull) * (16 << 20);

	return size < STM_HEAP_LIMIT ? size : STM_HEAP_LIMIT;
}

static unsigned int cluster_size(const struct map *map, const struct walk *walk)
{
	const uint64_t bytes = map->buckets * sizeof(bucket_t) + walk->chunks * sizeof(struct node);
	const uint64_t pages = bytes / (size_t)sysconf(_SC_PAGESIZE);
	unsigned int cluster = CLUSTER_MOST;

	while (cluster > CLUSTER_LEAST && cluster > pages / CLUSTERS)
		cluster /= 2;
	return cluster;
}

int table_build_stm(struct walk *walk, unsigned int threads, bool pin, bool naive, struct table *table,
		    struct build *build)
{
	struct stm_options options = STM_OPTIONS_INIT;
	struct map map = { 0 };
	const double start = now(), cpu_start = cpu_now();
	struct task *tasks;
	int ret;

	if (count_buckets(&map, walk->chunks))
		return failed("making the hash map", -ENOMEM);
	tasks = calloc(walk->nr + 1, sizeof(*tasks));
	if (!tasks) {
		ret = failed("making the tasks", -ENOMEM);
		goto free;
	}
	options.heap_size = heap_size(&map, walk, threads);
	options.cluster = cluster_size(&map, walk);
	options.segments = threads < 63 ? threads + 1 : 64;
	ret = stm_init(&options);
	if (ret) {
		failed("starting libuffdstm", ret);
		goto free;
	}
	ret = fill(&map, walk, threads, pin, naive, tasks, build);
	build->seconds = now() - start;
	build->cpu_seconds = cpu_now() - cpu_start;
	if (!ret)
		ret = copy_out(&map, table);
	stm_fini();
free:
	free(tasks);
	free(map.slabs);
	return ret;
}
