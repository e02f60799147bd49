/* SPDX-License-Identifier: MIT */
/*
 * scale_time.c - what one commit costs who publishes it, and each other segment: timed, on two cores
 *
 * Two threads take turns on cores of their own: one commits COMMITS transactions of one granule, then the other one's
 * transaction, which meets them at its begin or at its commit, is timed. The same without any commits is subtracted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <uffdstm.h>

#include "scale.h"

#define MIB ((size_t)1 << 20)
#define REGION (2 * MIB)
#define PAGE_CELLS 256u
#define TURNS 201u
#define COMMITS_AT_ONCE 32u     /* as of 33 segments that are equally fast: fewer than a group of slots */
#define TAIL_COMMITS 200000u    /* of each thread */
#define TAIL_WARM_UP 20000u

const char *const scale_times[SCALE_TIMES] = {
	[BEGIN_SKIPPED] = "a foreign commit at begin: region not in the view",
	[BEGIN_LOOKED] = "a foreign commit at begin: page not in the view",
	[BEGIN_APPLIED] = "a foreign commit at begin: applied",
	[COMMIT_SKIPPED] = "a foreign commit at commit: region not in the view",
	[COMMIT_LOOKED] = "a foreign commit at commit: page not in the view",
	[COMMIT_APPLIED] = "a foreign commit at commit: tested and applied",
	[ALONE] = "a commit of one granule, one thread",
	[TAIL] = "the same, two threads, both together",
};

struct cell {
	_Alignas(16) uint64_t value;
	uint64_t unused;
};

struct duel {
	struct cell STM *committed;     /* a page */
	struct cell STM *used;          /* by the walker: updated by each of its transactions */
	struct cell STM *touched;       /* and read: what of the committed page's surroundings is in its view */
	unsigned int commits;
	bool late;                      /* they are committed between its begin and its commit */
	_Atomic unsigned int turn;      /* odd: the committer's */
	double ns[TURNS];
	struct gate gate;
	uint64_t start[2], end[2];
	struct cell STM *own[2];
};

static void start_thread(pthread_t *thread, void *(*fn)(void *arg), void *arg)
{
	int ret = pthread_create(thread, NULL, fn, arg);

	if (ret)
		die("pthread_create: %s", strerror(ret));
}

static __attribute__((__noinline__)) void commit_one(struct cell STM *cell)
{
	STM_ATOMIC {
		stm_write(cell);
		cell->value++;
	}
}

static void wait_turn(struct duel *d, unsigned int turn)
{
	while (atomic_load(&d->turn) != turn)
		__builtin_ia32_pause();
}

static void *committer_main(void *arg)
{
	struct duel *d = arg;

	pin(0);
	thread_attach();
	for (unsigned int i = 0; i < TURNS; i++) {
		wait_turn(d, 2 * i + 1);
		for (unsigned int k = 0; k < d->commits; k++)
			commit_one(&d->committed[k % PAGE_CELLS]);
		atomic_store(&d->turn, 2 * i + 2);
	}
	stm_thread_detach();
	return NULL;
}

/* The other one's turn, in the middle of the transaction or before it. */
static __attribute__((__noinline__)) void walk(struct duel *d, unsigned int i)
{
	volatile uint64_t start = 0;

	if (!d->late) {
		atomic_store(&d->turn, 2 * i + 1);
		wait_turn(d, 2 * i + 2);
		start = now();
	}
	STM_ATOMIC {
		stm_read(d->touched);
		__asm__ __volatile__("" : : "r"(d->touched->value));
		stm_write(d->used);
		d->used->value++;
		if (d->late && !start) {
			atomic_store(&d->turn, 2 * i + 1);
			wait_turn(d, 2 * i + 2);
			start = now();
		}
	}
	d->ns[i] = (double)(now() - start);
}

static void *walker_main(void *arg)
{
	struct duel *d = arg;

	pin(1);
	thread_attach();
	for (unsigned int i = 0; i < TURNS; i++)
		walk(d, i);
	stm_thread_detach();
	return NULL;
}

/* The median of the turns. */
static double duel_ns(struct duel *d, unsigned int commits)
{
	pthread_t committer, walker;

	d->commits = commits;
	atomic_store(&d->turn, 0);
	start_thread(&committer, committer_main, d);
	start_thread(&walker, walker_main, d);
	pthread_join(committer, NULL);
	pthread_join(walker, NULL);
	return median(d->ns, TURNS);
}

struct racer {
	struct duel *duel;
	unsigned int id;
};

static void *race_main(void *arg)
{
	struct racer *racer = arg;
	struct duel *d = racer->duel;

	pin(racer->id);
	thread_attach();
	for (unsigned int i = 0; i < TAIL_WARM_UP; i++)
		commit_one(d->own[racer->id]);
	gate_wait(&d->gate);
	d->start[racer->id] = now();
	for (unsigned int i = 0; i < TAIL_COMMITS; i++)
		commit_one(d->own[racer->id]);
	d->end[racer->id] = now();
	gate_wait(&d->gate);
	stm_thread_detach();
	return NULL;
}

/* ns for each commit of all @threads, which touch regions of their own */
static double race_ns(struct duel *d, unsigned int threads)
{
	struct racer racers[2] = { { d, 0 }, { d, 1 } };
	uint64_t start, end;
	pthread_t thread[2];

	d->gate.threads = threads;
	for (unsigned int i = 0; i < threads; i++)
		start_thread(&thread[i], race_main, &racers[i]);
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	start = d->start[0];
	end = d->end[0];
	if (threads == 2) {
		start = d->start[1] < start ? d->start[1] : start;
		end = d->end[1] > end ? d->end[1] : end;
	}
	return (double)(end - start) / (double)(threads * TAIL_COMMITS);
}

static int allocate(void *arg)
{
	struct cell STM **area = arg;

	*area = stm_zalloc(5 * REGION);
	return *area ? 0 : -ENOMEM;
}

static void *prepare(void *arg)
{
	thread_attach();
	if (stm_atomic(allocate, arg))
		die("stm_zalloc of %zu bytes: %m", 5 * REGION);
	stm_thread_detach();
	return NULL;
}

/* One round in a heap of its own: the walker's view must not know the regions of the way before. */
static double time_once(enum scale_time what)
{
	static struct duel d;
	struct cell STM *area;
	pthread_t thread;
	uintptr_t first;
	double ns;

	library_start(64 * MIB);
	start_thread(&thread, prepare, &area);
	pthread_join(thread, NULL);
	first = ((uintptr_t)area + REGION - 1) & ~(REGION - 1);
	d = (struct duel){
		.committed = (struct cell STM *)first,
		.used = (struct cell STM *)(first + 2 * REGION),
		.touched = (struct cell STM *)(first + 2 * REGION),
		.own = { (struct cell STM *)first, (struct cell STM *)(first + 2 * REGION) },
	};
	if (what == BEGIN_LOOKED || what == COMMIT_LOOKED)
		d.touched = (struct cell STM *)(first + MIB);
	if (what == BEGIN_APPLIED || what == COMMIT_APPLIED)
		d.touched = d.committed + COMMITS_AT_ONCE;      /* of the page, but not written */
	d.late = what >= COMMIT_SKIPPED && what <= COMMIT_APPLIED;
	if (what == ALONE || what == TAIL) {
		ns = race_ns(&d, what == TAIL ? 2 : 1);
	} else {
		ns = duel_ns(&d, COMMITS_AT_ONCE);
		ns = (ns - duel_ns(&d, 0)) / COMMITS_AT_ONCE;
	}
	stm_fini();
	return ns;
}

void scale_time(struct scale_timed *times, unsigned int rounds)
{
	double *ns = calloc((size_t)SCALE_TIMES * rounds, sizeof(*ns));

	if (!ns)
		die("no memory");
	for (unsigned int round = 0; round < rounds; round++)
		for (unsigned int what = 0; what < SCALE_TIMES; what++)
			ns[what * rounds + round] = time_once(what);
	for (unsigned int what = 0; what < SCALE_TIMES; what++) {
		times[what].ns = median(&ns[what * rounds], rounds);
		times[what].min = ns[what * rounds];
		times[what].max = ns[what * rounds + rounds - 1];
	}
	free(ns);
}
