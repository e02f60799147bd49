/* SPDX-License-Identifier: MIT */
/*
 * collect_history.h - random transactions over collections, recorded for the checker: what tests of their
 * serialisability share.
 *
 * A test has a plan: how to make and free its collections, one random operation on them, which records its results,
 * and a model. Threads do such operations in transactions that restart, cancel and undo parts at random; a checker
 * that knows nothing of the library executes these one by one on the model (checker.h). What is left in the
 * collections is compared with what is left in the model; then all is freed, and no block of the heap may be missing.
 */
#ifndef COLLECT_HISTORY_H
#define COLLECT_HISTORY_H

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "checker.h"
#include "heap_support.h"
#include "schedule.h"

struct collect_thread {
	struct history history;
	pthread_t thread;
	const struct collect_plan *plan;
	uint64_t random, written;
	unsigned int id;                /* from 0 on */
	bool shrinks;                   /* for a while: to take out more than it puts in */
};

/* What goes wrong is told by schedule_fail(). @restart to @churn: one in so many, 0 for never. */
struct collect_plan {
	stm_fn *make, *free;            /* transactions; 0, or there is no memory */
	void (*op)(struct collect_thread *t);
	void (*compare)(struct checker_model *model); /* in a transaction, which is undone then */
	struct checker_model *model;    /* as after @make; what it points to is the caller's */
	uint64_t seed;
	size_t heap;                    /* bytes */
	unsigned int threads;
	unsigned int transactions;      /* of all threads, as many of each */
	unsigned int ops;               /* of a transaction, at most */
	unsigned int restart, cancel, validate, yield; /* after an operation */
	unsigned int part;              /* operations are a part of their own, half of which are undone alone */
	unsigned int churn;             /* transactions after which the thread detaches, and attaches again */
	unsigned int torture;           /* one in so many schedule points is delayed; 0: no hook */
};

/* The transactions of a plan, longer with STM_LONG, and fewer in strict mode. */
#define COLLECT_TRANSACTIONS(n) ((n) * long_factor(20) / (strict_divisor() > 1 ? 10 : 1))

#define COLLECT_NO_POSITION UINT64_MAX

static _Atomic int collect_go;
static __thread uint64_t collect_position;

static void collect_remember(uint64_t at)
{
	collect_position = at;
}

UNUSED static uint64_t collect_below(struct collect_thread *t, uint64_t n)
{
	return random_below(&t->random, n);
}

/* Unique, and never 0. */
UNUSED static uint64_t collect_new(struct collect_thread *t)
{
	return (uint64_t)(t->id + 1) << 40 | ++t->written;
}

UNUSED static void collect_event(struct collect_thread *t, enum history_what what, uint64_t index, uint64_t value)
{
	history_event(&t->history, what, index, value);
}

static bool collect_happens(struct collect_thread *t, unsigned int one_in)
{
	return one_in && !collect_below(t, one_in);
}

/* ---- threads ---- */

static int collect_part(void *arg)
{
	struct collect_thread *t = arg;

	t->plan->op(t);
	return (int)collect_below(t, 2);
}

static int collect_transaction(void *arg)
{
	struct collect_thread *t = arg;
	const struct collect_plan *plan = t->plan;
	const uint64_t ops = 1 + collect_below(t, plan->ops);

	history_begin(&t->history, stm__self->snapshot);
	for (uint64_t i = 0; i < ops; i++) {
		if (collect_happens(t, plan->part)) {
			collect_event(t, HISTORY_MARK, 0, 0);
			if (stm_atomic_nested(collect_part, t))
				collect_event(t, HISTORY_BACK, 0, 0);
		} else {
			plan->op(t);
		}
		if (collect_happens(t, plan->yield))
			sched_yield(); /* others are to commit meanwhile */
		if (collect_happens(t, plan->restart))
			stm_restart();
		if (collect_happens(t, plan->cancel))
			stm_cancel(1);
		if (collect_happens(t, plan->validate))
			stm_validate();
	}
	return 0;
}

static void *collect_run_thread(void *arg)
{
	struct collect_thread *t = arg;
	const struct collect_plan *plan = t->plan;
	const unsigned int transactions = plan->transactions / plan->threads;

	if (stm_thread_attach()) {
		schedule_fail("stm_thread_attach failed");
		return NULL;
	}
	await(&collect_go);
	for (unsigned int i = 0; i < transactions && !schedule_failures(); i++) {
		t->shrinks = i * 6 / transactions % 2;
		collect_position = COLLECT_NO_POSITION;
		if (stm_atomic(collect_transaction, t))
			history_undone(&t->history);
		else if (collect_position != COLLECT_NO_POSITION)
			history_end(&t->history, HISTORY_WROTE, collect_position);
		else
			history_end(&t->history, HISTORY_READ_ONLY, history_last(&t->history)->position);
		if (!collect_happens(t, plan->churn))
			continue;
		stm_thread_detach();
		if (stm_thread_attach()) {
			schedule_fail("stm_thread_attach failed the second time");
			return NULL;
		}
	}
	stm_thread_detach();
	return NULL;
}

/* ---- one run ---- */

static int collect_compare(void *arg)
{
	const struct collect_plan *plan = arg;

	plan->compare(plan->model);
	return 1;
}

static void collect_check(const struct collect_plan *plan, const struct collect_thread *threads, uint64_t first)
{
	struct history *histories = calloc(plan->threads, sizeof(*histories));
	struct checker_counts counts = { 0 };
	struct stm_stats stats;

	for (unsigned int i = 0; i < plan->threads; i++)
		histories[i] = threads[i].history;
	stm_stats(&stats, sizeof(stats));
	if (!checker_run(plan->model, histories, plan->threads, first, stats.committed, &counts))
		schedule_fail("no serial execution explains the history");
	else
		stm_atomic(collect_compare, (void *)plan);
	printf("# %llu commits, %llu read-only, %llu undone, %llu events checked; %llu conflicts\n",
	       (unsigned long long)counts.wrote, (unsigned long long)counts.read_only,
	       (unsigned long long)counts.undone, (unsigned long long)counts.events,
	       (unsigned long long)(stats.aborts[STM_ABORT_CONFLICT] + stats.aborts[STM_ABORT_VALIDATE]));
	free(histories);
}

/* True if all is well. */
UNUSED static bool collect_history_run(const struct collect_plan *plan)
{
	struct collect_thread *threads = calloc(plan->threads, sizeof(*threads));
	struct stm_stats stats;

	printf("# STM_SEED=%llu: %u threads, torture %u\n", (unsigned long long)plan->seed, plan->threads, plan->torture);
	fflush(stdout);
	if (open_heap(plan->heap) || stm_atomic(plan->make, NULL)) {
		schedule_fail("no heap");
		return false;
	}
	stm_stats(&stats, sizeof(stats));
	stm_commit_hook = collect_remember;
	if (plan->torture)
		torture_start(plan->seed, plan->torture);
	atomic_store(&collect_go, 0);
	for (unsigned int i = 0; i < plan->threads; i++) {
		threads[i].plan = plan;
		threads[i].id = i;
		threads[i].random = plan->seed * 100 + i;
		if (pthread_create(&threads[i].thread, NULL, collect_run_thread, &threads[i])) {
			schedule_fail("pthread_create failed");
			exit(1);
		}
	}
	atomic_store(&collect_go, 1);
	for (unsigned int i = 0; i < plan->threads; i++)
		pthread_join(threads[i].thread, NULL);
	torture_stop();
	stm_commit_hook = NULL;
	if (!schedule_failures())
		collect_check(plan, threads, stats.committed);
	for (unsigned int i = 0; i < plan->threads; i++)
		history_free(&threads[i].history);
	free(threads);
	if (!schedule_failures() && (stm_atomic(plan->free, NULL) || missing(plan->heap)))
		schedule_fail("memory is missing");
	if (stm_fini())
		schedule_fail("stm_fini() failed");
	return !schedule_failures();
}

#endif
