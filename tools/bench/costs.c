/* SPDX-License-Identifier: MIT */
/*
 * costs.c - what single calls cost: large transactions, large heaps, readers
 *
 * All figures are medians over samples, taken by one pinned thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <uffdstm.h>

#include "bench.h"

#define MIB ((size_t)1 << 20)
#define SAMPLES 41

struct cell {
	_Alignas(16) long value;
	long unused;            /* one granule */
};

/* Run @fn(@arg) in a pinned thread of its own. */
static void in_thread(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;
	int ret = pthread_create(&thread, NULL, fn, arg);

	if (ret)
		die("pthread_create: %s", strerror(ret));
	pthread_join(thread, NULL);
}

struct block {
	size_t size;
	bool zero;
	void STM *p;
};

static int allocate(void *arg)
{
	struct block *block = arg;

	block->p = block->zero ? stm_zalloc(block->size) : stm_alloc(block->size);
	return block->p ? 0 : -ENOMEM;
}

/* A block that an earlier transaction has made. */
static void STM *make_block(size_t size, bool zero)
{
	struct block block = { .size = size, .zero = zero };

	if (stm_atomic(allocate, &block))
		die("stm_alloc of %zu bytes: %m", size);
	return block.p;
}

static void STM *old_block(size_t size)
{
	return make_block(size, true);
}

/* ---- a transaction that writes 1,000 old granules ---- */

#define GRANULES 1000
#define GRANULES_BAR_US 10
#define GRANULES_REACH_US 4
#define SPREAD 4                /* every fourth granule: each a run of its own */

static __attribute__((__noinline__)) void write_granules(struct cell STM *cells, unsigned int step)
{
	STM_ATOMIC {
		for (unsigned int i = 0; i < GRANULES; i++) {
			struct cell STM *cell = &cells[i * step];

			stm_write(cell);
			cell->value++;
		}
	}
}

static __attribute__((__noinline__)) void write_block(struct cell STM *cells)
{
	STM_ATOMIC {
		stm_write_range(cells, GRANULES * sizeof(*cells));
		for (unsigned int i = 0; i < GRANULES; i++)
			cells[i].value++;
	}
}

static void print_granules(const char *how, double *us)
{
	const double value = median(us, SAMPLES);

	printf("  %-44s %6.2f us (%.2f to %.2f)  %s\n", how, value, us[0], us[SAMPLES - 1],
	       value <= GRANULES_REACH_US ? "reached" :
	       value <= GRANULES_BAR_US ? "met" : "NOT MET");
}

static void *granules_main(void *arg)
{
	const unsigned int per_sample = 50;
	struct cell STM *cells;
	double us[3][SAMPLES];

	(void)arg;
	pin(0);
	thread_attach();
	cells = old_block(GRANULES * SPREAD * sizeof(*cells));
	for (unsigned int i = 0; i < 1000; i++)
		write_granules(cells, i % 2 ? SPREAD : 1);
	for (unsigned int i = 0; i < SAMPLES; i++) {
		for (unsigned int how = 0; how < 3; how++) {
			const uint64_t start = now();

			for (unsigned int k = 0; k < per_sample; k++) {
				if (how == 2)
					write_block(cells);
				else
					write_granules(cells, how ? SPREAD : 1);
			}
			us[how][i] = (double)(now() - start) / per_sample / 1000;
		}
	}
	print_granules("side by side, a barrier each", us[0]);
	print_granules("every fourth granule, a barrier each", us[1]);
	print_granules("side by side, one range", us[2]);
	stm_thread_detach();
	return NULL;
}

int granules_run(const struct settings *s)
{
	(void)s;
	library_start(64 * MIB);
	printf("\none transaction that writes %u old granules; asked: at most %u us, "
	       "reach for %u us\n", GRANULES, GRANULES_BAR_US, GRANULES_REACH_US);
	in_thread(granules_main, NULL);
	stm_fini();
	return 0;
}

/* ---- begin, commit, abort, attach against the heap's size ---- */

#define HEAP_BLOCK MIB
#define HEAP_TURN (64 * MIB)    /* then detach, which gives the private pages back */
#define HEAP_BATCH 1000
#define ATTACHES 101

static __attribute__((__noinline__)) void empty_transaction(void)
{
	STM_ATOMIC {
		__asm__ __volatile__("");
	}
}

static __attribute__((__noinline__)) void write_one(struct cell STM *cell)
{
	STM_ATOMIC {
		stm_write(cell);
		cell->value++;
	}
}

static __attribute__((__noinline__)) void abort_one(struct cell STM *cell)
{
	STM_ATOMIC {
		stm_write(cell);
		cell->value++;
		stm_cancel(1);
	}
}

static void time_calls(struct cell STM *cell, unsigned int which, double *ns)
{
	const uint64_t start = now();

	for (unsigned int k = 0; k < HEAP_BATCH; k++) {
		if (which == 0)
			empty_transaction();
		else if (which == 1)
			write_one(cell);
		else
			abort_one(cell);
	}
	*ns = (double)(now() - start) / HEAP_BATCH;
}

static void *heap_fill(void *arg)
{
	const size_t size = *(size_t *)arg;

	pin(0);
	for (size_t done = 0; done < size;) {
		thread_attach();
		do {
			make_block(HEAP_BLOCK, false);
			done += HEAP_BLOCK;
		} while (done < size && done % HEAP_TURN);
		stm_thread_detach();
	}
	return NULL;
}

static void *heap_calls(void *arg)
{
	double *result = arg, ns[3][SAMPLES], attach[ATTACHES], detach[ATTACHES];
	struct cell STM *cell;

	pin(0);
	thread_attach();
	cell = old_block(sizeof(*cell));
	for (unsigned int i = 0; i < SAMPLES + 10; i++) /* 10 to warm up */
		for (unsigned int which = 0; which < 3; which++)
			time_calls(cell, which, &ns[which][i % SAMPLES]);
	stm_thread_detach();
	for (unsigned int i = 0; i < ATTACHES; i++) {
		uint64_t start = now();

		thread_attach();
		attach[i] = (double)(now() - start);
		write_one(cell);
		start = now();
		stm_thread_detach();
		detach[i] = (double)(now() - start);
	}
	for (unsigned int which = 0; which < 3; which++)
		result[which] = median(ns[which], SAMPLES);
	result[3] = median(attach, ATTACHES) / 1000;
	result[4] = median(detach, ATTACHES) / 1000;
	return NULL;
}

int heap_run(const struct settings *s)
{
	static const size_t sizes[] = { 16 * MIB, 256 * MIB, 4096 * MIB };
	const unsigned int n = sizeof(sizes) / sizeof(sizes[0]);
	const double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
	double result[5];

	(void)s;
	printf("\nagainst the part of the heap that is in use (must not grow)\n"
	       "%10s %14s %14s %14s %10s %10s\n", "MiB in use", "empty tx, ns", "commit, ns",
	       "abort, ns", "attach, us", "detach, us");
	for (unsigned int i = 0; i < n; i++) {
		if ((double)sizes[i] * 3 > memory) {
			printf("%10zu left out: the machine has too little memory\n",
			       sizes[i] / MIB);
			continue;
		}
		library_start(sizes[i] / 2 * 3);
		in_thread(heap_fill, (void *)&sizes[i]);
		in_thread(heap_calls, result);
		printf("%10zu %14.1f %14.1f %14.1f %10.1f %10.1f\n", sizes[i] / MIB, result[0],
		       result[1], result[2], result[3], result[4]);
		if (stm_fini())
			die("stm_fini failed");
	}
	printf("commit, abort: a whole transaction that writes one granule; "
	       "detach: after one such\n");
	return 0;
}

/* ---- a segment that only reads ---- */

#define READER_BYTES (64 * MIB)
#define READER_STEP ((size_t)64 << 10)

static struct cell STM *reader_data;

static void *reader_fill(void *arg)
{
	(void)arg;
	pin(0);
	thread_attach();
	reader_data = old_block(READER_BYTES);
	stm_thread_detach();
	return NULL;
}

static __attribute__((__noinline__)) long read_all(struct cell STM *cells, size_t bytes)
{
	STM_ATOMIC {
		long sum = 0;

		for (size_t done = 0; done < bytes; done += READER_STEP) {
			struct cell STM *part = cells + done / sizeof(*cells);

			stm_read_range(part, READER_STEP);
			for (size_t i = 0; i < READER_STEP / sizeof(*part); i++)
				sum += part[i].value;
		}
		return sum;
	}
	return -1;
}

static struct stm_stats stats_now(void)
{
	struct stm_stats stats;
	int ret = stm_stats(&stats, sizeof(stats));

	if (ret)
		die("stm_stats: %s", stm_strerror(ret));
	return stats;
}

static void *reader_main(void *arg)
{
	struct stm_stats before, after;
	uint64_t start, first, again, faults = 0;

	(void)arg;
	pin(0);
	thread_attach();
	before = stats_now();
	start = now();
	if (read_all(reader_data, READER_BYTES))
		die("the reader saw something else than zeros");
	first = now() - start;
	start = now();
	read_all(reader_data, READER_BYTES);
	again = now() - start;
	after = stats_now();
	for (int i = 0; i < STM_FAULT_KINDS; i++)
		faults += after.faults[i] - before.faults[i];
	printf("  pages made private %lld, pages shared %lld of %zu, faults %llu: %s\n"
	       "  first pass %.2f ms (%.0f ns per page), second %.2f ms\n",
	       (long long)(after.pages_private - before.pages_private),
	       (long long)(after.pages_shared - before.pages_shared), READER_BYTES / 4096,
	       (unsigned long long)faults,
	       after.pages_private == before.pages_private &&
	       after.pages_copied == before.pages_copied ? "met" : "NOT MET",
	       (double)first / 1e6, (double)first / (double)(READER_BYTES / 4096),
	       (double)again / 1e6);
	stm_thread_detach();
	return NULL;
}

int reader_run(const struct settings *s)
{
	(void)s;
	library_start(2 * READER_BYTES);
	printf("\na segment reads %zu MiB while nobody writes; asked: no copy of a page\n",
	       READER_BYTES / MIB);
	in_thread(reader_fill, NULL);
	in_thread(reader_main, NULL);
	stm_fini();
	return 0;
}
