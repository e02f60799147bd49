/* SPDX-License-Identifier: MIT */
/*
 * tracked.c - tasks of 10 ms without barriers
 *
 * The same function computes on 100 pages, of which it changes every other one: on tracked memory, a task a
 * transaction, and on ordinary memory without any. The results are compared. A second thread keeps the other CPU busy, so
 * that taking pages out of the view costs what it costs in a parallel program.
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

#define WORDS 512u              /* in a page */
#define AREA 10000u             /* pages */
#define TOUCHED 100u
#define TASKS 12u               /* in a round */
#define TASK_NS 10e6

enum pattern { SAME, NEXT, SCATTERED, PATTERNS };

static const char *const names[PATTERNS] = {
	[SAME] = "the same 100 pages",
	[NEXT] = "100 pages in a row, others each time",
	[SCATTERED] = "100 of 10,000 pages, others each time",
};

static uint64_t STM *tracked;
static uint64_t *ordinary;
static unsigned int sweeps = 100;

/* What a task does. Knows nothing of transactions. */
static __attribute__((__noinline__)) void compute(uint64_t *area, const uint32_t *pages)
{
	uint64_t sum = 1;

	for (unsigned int sweep = 0; sweep < sweeps; sweep++)
		for (unsigned int i = 0; i < TOUCHED; i++) {
			uint64_t *page = area + (size_t)pages[i] * WORDS;

			for (unsigned int w = 0; w < WORDS; w += 8)
				sum = (sum ^ page[w]) * 0x9e3779b97f4a7c15u;
			if (i % 2)
				page[sum % WORDS] += sum;
		}
}

static void choose(enum pattern pattern, unsigned int task, uint64_t *random, uint32_t *pages)
{
	for (unsigned int i = 0; i < TOUCHED; i++) {
		switch (pattern) {
		case SAME:
			pages[i] = i;
			break;
		case NEXT:
			pages[i] = (task * TOUCHED + i) % AREA;
			break;
		default:
			pages[i] = (uint32_t)(random_next(random) % AREA);
		}
	}
}

static int transaction(void *arg)
{
	compute(stm_local(tracked), arg);
	return 0;
}

/* Milliseconds a task. */
static double run(enum pattern pattern, bool in_transactions, unsigned int first, uint64_t random)
{
	uint32_t pages[TOUCHED];
	uint64_t start = now();

	for (unsigned int task = first; task < first + TASKS; task++) {
		choose(pattern, task, &random, pages);
		if (in_transactions)
			stm_atomic(transaction, pages);
		else
			compute(ordinary, pages);
	}
	return (double)(now() - start) / 1e6 / TASKS;
}

static int make_area(void *arg)
{
	(void)arg;
	tracked = stm_alloc_tracked(AREA * WORDS * sizeof(*tracked));
	if (!tracked)
		return -ENOMEM;
	memset(stm_local(tracked), 0, AREA * WORDS * sizeof(*tracked));
	return 0;
}

static int differs(void *arg)
{
	(void)arg;
	return memcmp(stm_local(tracked), ordinary, AREA * WORDS * sizeof(*ordinary)) ? 1 : 0;
}

static atomic_bool busy = true;

static void *keep_busy(void *arg)
{
	pin(1);
	while (atomic_load_explicit(&busy, memory_order_relaxed))
		__builtin_ia32_pause();
	return arg;
}

static uint64_t all_faults(void)
{
	struct stm_stats stats;
	uint64_t sum = 0;

	stm_stats(&stats, sizeof(stats));
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		sum += stats.faults[i];
	return sum;
}

static int measure_all(const struct settings *s)
{
	unsigned int rounds = s->rounds < 3 ? 3 : s->rounds;

	for (enum pattern pattern = 0; pattern < PATTERNS; pattern++) {
		double with[rounds], without[rounds], ratio[rounds], times;
		uint64_t faults = all_faults();

		for (unsigned int round = 0; round < rounds; round++) {
			uint64_t random = 0x853c49e6748fea9bu + round;

			without[round] = run(pattern, false, round * TASKS, random);
			with[round] = run(pattern, true, round * TASKS, random);
			ratio[round] = with[round] / without[round];
		}
		faults = (all_faults() - faults) / (rounds * TASKS);
		times = median(ratio, rounds);
		printf("%-38s %9.2f %9.2f %8.2fx %8llu  %s\n", names[pattern], median(without, rounds), median(with, rounds),
		       times, (unsigned long long)faults, times <= 1.15 ? "met" : "NOT MET");
		fflush(stdout);
	}
	if (!stm_atomic(differs, NULL))
		return 0;
	printf("transactions and plain code made different results\n");
	return 1;
}

int tracked_run(const struct settings *s)
{
	pthread_t other;
	uint32_t pages[TOUCHED];
	uint64_t random = 1, start;
	int ret;

	library_start((size_t)256 << 20);
	pin(0);
	thread_attach();
	ordinary = calloc(AREA, WORDS * sizeof(*ordinary));
	if (!ordinary || stm_atomic(make_area, NULL) || pthread_create(&other, NULL, keep_busy, NULL))
		die("no memory, or no thread");
	for (size_t i = 0; i < AREA * WORDS; i += WORDS)
		*(volatile uint64_t *)&ordinary[i] = 0;

	/* How much is 10 ms? All zeros, then put back. */
	choose(SAME, 0, &random, pages);
	compute(ordinary, pages);
	start = now();
	compute(ordinary, pages);
	sweeps = (unsigned int)(sweeps * TASK_NS / (double)(now() - start));
	memset(ordinary, 0, AREA * WORDS * sizeof(*ordinary));

	printf("\ntasks of some 10 ms on tracked memory against the same code without transactions; asked: at most 1.15x\n"
	       "%-38s %9s %9s %9s %8s\n", "a task uses", "plain, ms", "stm, ms", "ratio", "faults");
	ret = measure_all(s);
	atomic_store(&busy, false);
	pthread_join(other, NULL);
	stm_thread_detach();
	stm_fini();
	return ret;
}
