/* SPDX-License-Identifier: MIT */
/*
 * uffdstm/queue.h - many pieces of work, each run as one transaction, in parallel: queues of tasks, and loops.
 *
 * Included by uffdstm.h. Structures of options begin with their size, and 0 in a field asks for the default.
 */
#ifndef UFFDSTM_QUEUE_H
#define UFFDSTM_QUEUE_H

#include <time.h>

#include <uffdstm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- queues ---- */

struct stm_queue;

struct stm_queue_options {
	size_t size;            /* sizeof(struct stm_queue_options) */
	bool pin;               /* pin worker i to the i-th CPU that the process may use, round and round */
	bool ordered;           /* tasks commit in the order in which they were added: see stm_queue(3) */
	/*
	 * Called once for each task that was added, by any thread, when it is gone: it has committed or failed, its
	 * addition was undone, or the queue is freed. The place to free @arg. May use nothing of the library.
	 */
	void (*gone)(stm_fn *fn, void *arg);
};

/* stm_queue_new - an empty queue; @options may be NULL. NULL with errno ENXIO, EINVAL, ENOMEM. */
struct stm_queue *stm_queue_new(const struct stm_queue_options *options);

/*
 * stm_queue_add - have stm_queue_run() run @fn(@arg) as one transaction.
 *
 * In a transaction the task appears when it commits, and vanishes if it aborts. Any thread, any time.
 * 0; -EINVAL: @q or @fn is NULL. -ENOMEM.
 */
int stm_queue_add(struct stm_queue *q, stm_fn *fn, void *arg);

/*
 * What a task's function returns to be run once more: this step commits, and the task comes behind all that are
 * there. stm_cancel() with it undoes the step, and puts the task off likewise.
 */
#define STM_QUEUE_AGAIN (-2147483647 - 1)

#define STM_PRIORITY_MIN (-8)
#define STM_PRIORITY_MAX 7

struct stm_task_options {
	size_t size;            /* sizeof(struct stm_task_options) */
	int priority;           /* STM_PRIORITY_MIN .. STM_PRIORITY_MAX; higher ones first; stm_queue_add(): 0 */
	const char *name;       /* of its transaction, as STM_ATOMIC_NAMED's; NULL: it has none. It is copied */
};

/*
 * stm_queue_add_with - stm_queue_add() with options, which may be NULL.
 *
 * Also -EINVAL: a bad option, or a priority other than 0 in an ordered queue. -ENOMEM: more than 10,000 pairs of
 * function and name.
 */
int stm_queue_add_with(struct stm_queue *q, stm_fn *fn, void *arg, const struct stm_task_options *options);

/*
 * stm_queue_run - run all tasks, and those that they add, in @threads worker threads of its own; 0: as many as
 * the process may use CPUs, or fewer if no more can be had.
 *
 * Returns when nothing is left, or when a task failed: 0, or the first failed task's code. The tasks that did
 * not run stay in the queue. Also -ECANCELED: stm_queue_cancel(). -EINVAL: no queue. -ENXIO. -EBUSY: in a
 * transaction, or the queue runs already. -EAGAIN: fewer segments or threads than @threads can be had.
 */
int stm_queue_run(struct stm_queue *q, unsigned int threads);

/* How far a run is. */
struct stm_progress {
	uint64_t executed;      /* tasks that committed, in this run; steps count each */
	uint64_t restarts;      /* attempts that were undone and run again */
	uint64_t left;          /* tasks that wait or run */
};

struct stm_run_options {
	size_t size;            /* sizeof(struct stm_run_options) */
	unsigned int threads;   /* as for stm_queue_run() */
	unsigned int progress_ms; /* milliseconds between two calls of @progress; default 100 */
	const struct timespec *deadline; /* stop at this time of CLOCK_MONOTONIC; NULL: never */
	/* Called by the thread that called, outside of a transaction; once more at the end. Not 0: stop the run. */
	int (*progress)(const struct stm_progress *progress, void *arg);
	void *progress_arg;
	uint64_t progress_tasks; /* and call @progress when so many tasks more have committed; 0: by time alone */
};

/*
 * stm_queue_run_with - stm_queue_run() with options, which may be NULL.
 *
 * Also -ETIMEDOUT: the deadline. -EINVAL: a bad option. What @progress returned to stop it.
 */
int stm_queue_run_with(struct stm_queue *q, const struct stm_run_options *options);

/*
 * stm_queue_cancel - have the run that goes on stop: tasks that run end as they do, the others stay in the queue.
 * One that is restarted, or waits in stm_retry(), is undone and stays, too.
 *
 * Any thread, any time, a task as well. 0; -EINVAL: @q is NULL. -EALREADY: it does not run, or stops already.
 */
int stm_queue_cancel(struct stm_queue *q);

/*
 * stm_queue_stopping - whether the queue's run has been told to stop: cancelled, a deadline, a task that failed.
 *
 * For long tasks: one that fails from then on was undone, and stays in the queue. Any thread, any time.
 */
bool stm_queue_stopping(const struct stm_queue *q);

struct stm_queue_counts {
	uint64_t executed;      /* tasks that committed; steps count each */
	uint64_t restarts;      /* attempts of tasks that were undone and run again */
};

/* stm_queue_counts - totals since stm_queue_new(); exact while it does not run. 0 or -EINVAL. */
int stm_queue_counts(const struct stm_queue *q, struct stm_queue_counts *counts);

/* The same of the tasks of one function; of each name, if they have names. */
struct stm_function_counts {
	stm_fn *fn;   /* NULL: there was no memory to tell them apart */
	uint64_t executed;
	uint64_t restarts;
	uint64_t lost_ns;       /* time that the undone attempts took: nanoseconds, about */
	const char *name;       /* of struct stm_task_options; NULL: none. Valid until the process ends */
};

/*
 * stm_queue_function_counts - fill in up to @n, of @size bytes each: sizeof(struct stm_function_counts).
 *
 * How many there are, which may be more than @n. -EINVAL: @q is NULL, @size is 0, or @counts is NULL and @n
 * is not 0.
 */
int stm_queue_function_counts(const struct stm_queue *q, struct stm_function_counts *counts, size_t size, size_t n);

/* stm_queue_free - drop the queue with all tasks in it. 0; -EBUSY: it runs, or in a transaction. NULL is fine. */
int stm_queue_free(struct stm_queue *q);

/* ---- loops ---- */

/*
 * A piece of a loop: the indices @begin to @end - 1. It runs as one transaction. 0, or a code that stops the loop;
 * a piece has no steps, so STM_QUEUE_AGAIN counts as -EINVAL.
 */
typedef int stm_range_fn(size_t begin, size_t end, void *arg);

/*
 * stm_parallel_for - run @fn for all indices from @begin to @end - 1, in pieces of @grain, in as many threads as the
 * process may use CPUs. @grain 0: the library chooses, by the number of indices alone.
 *
 * 0; the code of the first piece that failed: the others may have committed or not. -EINVAL: @fn is NULL, or
 * @end is less than @begin. -ENXIO. -EBUSY: in a transaction. -EAGAIN: no segment or thread can be had.
 */
int stm_parallel_for(size_t begin, size_t end, size_t grain, stm_range_fn *fn, void *arg);

/*
 * stm_parallel_for_ordered - the same, and pieces commit in order: the outcome is that of the sequential loop, and when
 * a piece fails, all before it have committed, and none behind it has. See "ORDER" in stm_queue(3).
 */
int stm_parallel_for_ordered(size_t begin, size_t end, size_t grain, stm_range_fn *fn, void *arg);

struct stm_loop_options {
	size_t size;            /* sizeof(struct stm_loop_options) */
	size_t grain;
	bool ordered;
	bool pin;               /* as in struct stm_queue_options */
	const struct stm_run_options *run; /* threads, deadline, progress by pieces; or NULL */
	const char *name;       /* of the pieces' transactions: as in struct stm_task_options */
};

/*
 * stm_parallel_for_with - the same with options, which may be NULL.
 *
 * Also -EINVAL: a bad option. -ENOMEM: as stm_queue_add_with(). -ETIMEDOUT, and what progress returned: as
 * stm_queue_run_with().
 */
int stm_parallel_for_with(size_t begin, size_t end, stm_range_fn *fn, void *arg,
			  const struct stm_loop_options *options);

/* How a loop makes one value of many. */
struct stm_reduction {
	size_t size;            /* sizeof(struct stm_reduction) */
	size_t bytes;           /* of a value */
	const void *identity;   /* that with which nothing is combined yet */
	/* Combine indices @begin to @end - 1 with *@value, the identity at first: one transaction. 0 or a code. */
	int (*piece)(size_t begin, size_t end, void *value, void *arg);
	void (*combine)(void *value, const void *next, void *arg); /* *@next into *@value; by the thread that called */
};

/*
 * stm_parallel_reduce - combine the values of all pieces in the order of their indices, into *@result.
 *
 * So it is the same for any number of threads, if @combine is associative or not. @options may be NULL. As
 * stm_parallel_for_with(); after an error *@result is untouched. Also -EINVAL: a bad @reduction. -ENOMEM.
 */
int stm_parallel_reduce(size_t begin, size_t end, const struct stm_reduction *reduction, void *result, void *arg,
			const struct stm_loop_options *options);

#ifdef __cplusplus
}
#endif

#endif
