// SPDX-License-Identifier: MIT
/*
 * tune_log.c - the log while a thread stands still in a transaction, as one does whose CPU the system gave to another.
 *
 * A turn: one thread begins a transaction and sleeps in it, while a worker on each CPU commits until the log has
 * grown by so and so many bytes. Then the sleeper ends, the workers commit as much again, and the log is folded and
 * its memory given back, but for what the library keeps for the next turn.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uffdstm.h>

#include "tune.h"

#define WORKERS_MAX 8u          /* from there on, the log's tail is the bound, not the threads */
#define CELLS 64                /* a worker's own, one of which a commit writes; a granule each */
#define CELL_LONGS 2
#define COMMIT_BYTES 128        /* a slot, and an entry of one run: lib/internal.h */
#define TURNS 12
#define TURNS_QUICK 3

static unsigned int workers, turns;
static uint64_t commits;        /* of a worker, in each half of a turn */
static pthread_barrier_t gate;
static double rates[TURNS + 1], turn_ns[WORKERS_MAX][TURNS + 1]; /* of each worker, both halves */

static void attach(void)
{
	int error = stm_thread_attach();

	if (error)
		give_up("stm_thread_attach: %s", stm_strerror(error));
}

static int make_cells(void *arg)
{
	long STM **cells = arg;

	*cells = stm_zalloc(CELLS * CELL_LONGS * sizeof(long));
	return *cells ? 0 : ENOMEM;
}

static __attribute__((__noinline__)) void commit(long STM *cell)
{
	STM_ATOMIC {
		STM_SET(*cell, STM_GET(*cell) + 1);
	}
}

static double commit_half(long STM *cells)
{
	stretch_begin();
	for (uint64_t i = 0; i < commits; i++)
		commit(&cells[i % CELLS * CELL_LONGS]);
	return stretch_end();
}

static uint64_t log_bytes(void)
{
	struct stm_stats stats;

	if (stm_stats(&stats, sizeof(stats)))
		give_up("stm_stats");
	return stats.log_bytes;
}

/* Gates: the sleeper stands; both halves are done, between which it leaves. */
static void *work(void *arg)
{
	const unsigned int i = (unsigned int)(uintptr_t)arg;
	long STM *cells;

	pin_to(i);
	attach();
	if (stm_atomic(make_cells, &cells))
		give_up("memory for a few objects: %s", errno_name(ENOMEM));
	commit_half(cells);
	for (unsigned int turn = 0; turn < turns; turn++) {
		uint64_t bytes;

		pthread_barrier_wait(&gate);
		bytes = i ? 0 : log_bytes();
		turn_ns[i][turn] = commit_half(cells);
		pthread_barrier_wait(&gate);
		if (!i)
			rates[turn] = (double)(log_bytes() - bytes) / turn_ns[i][turn];
		pthread_barrier_wait(&gate);
		turn_ns[i][turn] += commit_half(cells);
		pthread_barrier_wait(&gate);
	}
	stm_thread_detach();
	return NULL;
}

/* The sleeper. */
static __attribute__((__noinline__)) void stand_still(void)
{
	STM_ATOMIC {
		pthread_barrier_wait(&gate);
		pthread_barrier_wait(&gate);
	}
}

static void *sleep_in_turns(void *arg)
{
	attach();
	for (unsigned int turn = 0; turn < turns; turn++) {
		stand_still();
		pthread_barrier_wait(&gate);
		pthread_barrier_wait(&gate);
	}
	stm_thread_detach();
	return arg;
}

void measure_log(const struct task *task, void *result)
{
	struct log_costs *costs = result;
	pthread_t threads[WORKERS_MAX];

	start_library(task, (size_t)16 << 20);
	workers = cpus_n() < WORKERS_MAX ? cpus_n() : WORKERS_MAX;
	turns = 1 + (task->quick ? TURNS_QUICK : TURNS);
	commits = task->bytes / workers / COMMIT_BYTES + 1;
	pthread_barrier_init(&gate, NULL, workers + 1);
	for (unsigned int i = 0; i < workers; i++) {
		int error = pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i);

		if (error)
			give_up("pthread_create: %s", errno_name(error));
	}
	in_thread(sleep_in_turns, NULL);
	for (unsigned int i = 0; i < workers; i++)
		pthread_join(threads[i], NULL);
	for (unsigned int turn = 1; turn < turns; turn++) /* the first one warms up */
		for (unsigned int i = 1; i < workers; i++)
			turn_ns[0][turn] += turn_ns[i][turn];
	costs->ns = median_of(turn_ns[0] + 1, turns - 1) / (double)(2 * commits * workers);
	costs->rate = median_of(rates + 1, turns - 1);
}
