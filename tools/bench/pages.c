/* SPDX-License-Identifier: MIT */
/*
 * pages.c - page faults against the size of clusters
 *
 * One thread maps a heap that another has filled, once, while a third keeps its CPU busy: so that taking a page out of a
 * view costs what it costs in a parallel program. Faults are those of the heap; barriers that find a page not private
 * need none. Shoot-downs are what /proc/interrupts counts as TLB and as CAL, of the whole machine: some
 * kernels count them here, some there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uffdstm.h>

#include "bench.h"

#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)
#define BLOCK (16 * MIB)
#define BLOCKS_MAX 64           /* 1 GiB */
#define ROUNDS 3

enum pattern { SCAN_WRITE, SHARED_WRITE, RANDOM_WRITE, SPARSE_WRITE, SCAN_READ, PATTERNS };

static const struct {
	const char *name;
	size_t bytes;
	size_t touches;         /* pages */
} patterns[PATTERNS] = {
	[SCAN_WRITE] = { "scan-write 64 MiB", 64 * MIB, 64 * MIB / PAGE },
	[SHARED_WRITE] = { "the same, read before", 64 * MIB, 64 * MIB / PAGE },
	[RANDOM_WRITE] = { "random write, 64 MiB", 64 * MIB, 64 * MIB / PAGE },
	[SPARSE_WRITE] = { "random write, 1 % of 1 GiB", 1024 * MIB, 1024 * MIB / PAGE / 100 },
	[SCAN_READ] = { "scan-read 1 GiB", 1024 * MIB, 1024 * MIB / PAGE },
};

static const struct {
	const char *name;
	unsigned int min, max;
} clusters[] = {
	{ "1", 1, 1 },
	{ "16", 16, 16 },
	{ "to 512", 0, 0 },     /* the default: from 8, for writes from 2 */
};

#define CLUSTERS (sizeof(clusters) / sizeof(clusters[0]))

static char STM *blocks[BLOCKS_MAX];

static int fill_block(void *arg)
{
	char STM **block = arg;

	*block = stm_zalloc(BLOCK);
	return *block ? 0 : -ENOMEM;
}

static void *fill(void *arg)
{
	const size_t *bytes = arg;

	pin(0);
	thread_attach();
	for (size_t i = 0; i < *bytes / BLOCK; i++)
		if (stm_atomic(fill_block, &blocks[i]))
			die("stm_alloc of %zu bytes: %m", BLOCK);
	stm_thread_detach();
	return NULL;
}

static atomic_bool busy;

static void *keep_busy(void *arg)
{
	pin(1);
	while (atomic_load_explicit(&busy, memory_order_relaxed))
		__builtin_ia32_pause();
	return arg;
}

static uint64_t shootdowns(void)
{
	FILE *f = fopen("/proc/interrupts", "re");
	char line[4096];
	uint64_t sum = 0;

	while (f && fgets(line, sizeof(line), f)) {
		char *at = strstr(line, "TLB:"), *end;

		if (!at)
			at = strstr(line, "CAL:");
		if (!at)
			continue;
		for (at += 4;; at = end) {
			const uint64_t n = strtoull(at, &end, 10);

			if (end == at)
				break;
			sum += n;
		}
	}
	if (f)
		fclose(f);
	return sum;
}

struct sample {
	double ms;
	uint64_t faults, shootdowns, copied;
};

/* Called twice: the difference stays. */
static void count(struct sample *s)
{
	struct stm_stats stats;
	uint64_t faults = 0;

	stm_stats(&stats, sizeof(stats));
	for (int i = 0; i < STM_FAULT_KINDS; i++)
		faults += stats.faults[i];
	s->faults = faults - s->faults;
	s->copied = stats.pages_copied - s->copied;
	s->shootdowns = shootdowns() - s->shootdowns;
}

static __attribute__((__noinline__)) void touch(size_t page, bool write)
{
	long STM *p = (long STM *)(blocks[page / (BLOCK / PAGE)] + page % (BLOCK / PAGE) * PAGE);

	STM_ATOMIC {
		if (write)
			STM_SET(*p, STM_GET(*p) + 1);
		else if (STM_GET(*p))
			die("the reader saw something else than zeros");
	}
}

static enum pattern pattern;

static void *run(void *arg)
{
	struct sample *s = arg;
	const size_t pages = patterns[pattern].bytes / PAGE, n = patterns[pattern].touches;
	uint64_t random = 88172645463325252u, start;

	pin(0);
	thread_attach();
	for (size_t i = 0; i < n && pattern == SHARED_WRITE; i++)
		touch(i, false);
	count(s);
	start = now();
	for (size_t i = 0; i < n; i++) {
		size_t page = i;

		if (pattern == RANDOM_WRITE || pattern == SPARSE_WRITE) {
			random ^= random << 13, random ^= random >> 7, random ^= random << 17;
			page = random % pages;
		}
		touch(page, pattern != SCAN_READ);
	}
	s->ms = (double)(now() - start) / 1e6;
	count(s);
	stm_thread_detach();
	return NULL;
}

static void in_thread(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;
	const int ret = pthread_create(&thread, NULL, fn, arg);

	if (ret)
		die("pthread_create: %s", strerror(ret));
	pthread_join(thread, NULL);
}

static struct sample take_sample(unsigned int cluster)
{
	struct stm_options options = STM_OPTIONS_INIT;
	struct sample sample = { 0 };
	size_t bytes = patterns[pattern].bytes;
	pthread_t other;

	options.heap_size = bytes + bytes / 8 + 64 * MIB;
	options.cluster = clusters[cluster].min;
	options.cluster_max = clusters[cluster].max;
	if (stm_init(&options))
		die("stm_init failed");
	in_thread(fill, &bytes);
	atomic_store(&busy, true);
	if (pthread_create(&other, NULL, keep_busy, NULL))
		die("pthread_create failed");
	in_thread(run, &sample);
	atomic_store(&busy, false);
	pthread_join(other, NULL);
	stm_fini();
	return sample;
}

int pages_run(const struct settings *s)
{
	(void)s;
	printf("\nfirst touches of a heap against the pages that a fault maps; a transaction a page, medians of %d rounds\n"
	       "%-28s %-10s %10s %10s %8s %8s %11s\n",
	       ROUNDS, "pattern", "cluster", "ms", "against 1", "faults", "copies", "shoot-downs");
	fflush(stdout);
	for (pattern = 0; pattern < PATTERNS; pattern++) {
		double ms[CLUSTERS][ROUNDS], one = 0;
		struct sample last[CLUSTERS];

		for (unsigned int round = 0; round < ROUNDS; round++)
			for (unsigned int i = 0; i < CLUSTERS; i++) {
				last[i] = take_sample(i);
				ms[i][round] = last[i].ms;
			}
		for (unsigned int i = 0; i < CLUSTERS; i++) {
			const double value = median(ms[i], ROUNDS);

			if (!i)
				one = value;
			printf("%-28s %-10s %10.1f %9.2fx %8llu %8llu %11llu\n", i ? "" : patterns[pattern].name,
			       clusters[i].name, value, value / one, (unsigned long long)last[i].faults,
			       (unsigned long long)last[i].copied, (unsigned long long)last[i].shootdowns);
		}
	}
	return 0;
}
