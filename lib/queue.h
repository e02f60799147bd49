/* SPDX-License-Identifier: MIT */
/*
 * queue.h - what queues of tasks are made of: struct stm_queue, its workers and their tasks.
 *
 *   task_list.c  lists of tasks, by priority
 *   order.c      turns: the order of commits in an ordered queue
 *   task_site.c  kinds of tasks, by function and name
 *   tally.c      figures by kind
 *   worker.c     the workers: what they do with a task
 *   run.c        a run: workers are started, watched, stopped
 *   queue.c      making queues and adding tasks; the public calls
 *   parallel.c   loops: their tasks are made when they are taken
 */
#ifndef STM_QUEUE_H
#define STM_QUEUE_H

#include <limits.h>

#include "internal.h"

struct stm_task {
	struct stm_task *next;
	stm_fn *fn;
	void *arg;
	union {
		struct stm_queue *queue; /* while the transaction that adds it runs */
		uint64_t sequence;      /* listed in an ordered queue */
	};
	int8_t priority;
	uint16_t kind;                  /* stm_task_kind(); 0: it has no name */
};

/* ---- task_list.c ---- */

#define STM_PRIORITIES 16u

struct stm_chain {
	struct stm_task *first, *last;
};

/* First in, first out, those of higher priority first. The first line has all that tasks of priority 0 need. */
struct stm_task_list {
	pthread_mutex_t lock;
	_Atomic uint32_t ranks;         /* bit r: there are some of priority r + STM_PRIORITY_MIN; set under the lock */
	uint32_t n;                     /* all tasks, under the lock */
	struct stm_chain chains[STM_PRIORITIES]; /* by priority, modulo 16; under the lock */
} __attribute__((__aligned__(64)));

void stm_list_open(struct stm_task_list *list);
void stm_list_close(struct stm_task_list *list);
void stm_list_push(struct stm_task_list *list, struct stm_chain chain, uint32_t n); /* of one priority */
void stm_list_push_numbered(struct stm_task_list *list, struct stm_chain chain, uint32_t n, uint64_t *sequence);
void stm_list_return(struct stm_task_list *list, struct stm_task *task); /* in front of its priority */
void stm_list_return_numbered(struct stm_task_list *list, struct stm_task *task); /* where its number belongs */
void stm_list_return_all(struct stm_task_list *list, struct stm_task_list *from); /* in front; nobody else uses @from */

struct stm_task *stm_list_take_one(struct stm_task_list *list); /* the first one of the highest priority, or NULL */

/*
 * Take the first tasks of the highest priority: one in @among of those in the list, but at most @max, and one at
 * least. The first one of a *@chain of *@n, or NULL.
 */
struct stm_task *stm_list_take(struct stm_task_list *list, uint32_t max, uint32_t among, struct stm_chain *chain,
			       uint32_t *n);

/* Without the lock, a hint: the highest priority that there is; INT_MIN: none. */
static inline int stm_list_highest(struct stm_task_list *list)
{
	uint32_t ranks = atomic_load_explicit(&list->ranks, memory_order_relaxed);

	return ranks ? 31 - __builtin_clz(ranks) + STM_PRIORITY_MIN : INT_MIN;
}

/* ---- order.c ---- */

#define STM_TURNS 64u                   /* tasks that may wait for their turn: one a worker */

/* Of an ordered queue. */
struct stm_order {
	_Atomic uint64_t turn;          /* the sequence number of the task that may commit */
	const _Atomic bool *stop;       /* the queue's */
	_Atomic uint32_t sleeping[STM_TURNS]; /* futexes, by sequence number modulo 64: 1 while a worker sleeps */
};

/* Of a task that runs, in its segment: stm_seg.turn. */
struct stm_turn {
	struct stm_order *order;
	uint64_t sequence;
	bool given_up;                  /* the queue stops: the task was undone before its turn came */
};

void stm_turn_begin(struct stm_seg *seg);       /* an attempt begins: after too many, wait first */
void stm_turn_end(struct stm_seg *seg);         /* it ends: its turn has come */
void stm_turn_pass(struct stm_order *order);    /* to the next task: all that this one did is done */
void stm_turns_stop(struct stm_order *order);   /* wake all: the queue stops */

/* ---- tally.c ---- */

/* Of one function and name, and one worker: written by it alone. Never freed before the worker is. */
struct stm_tally {
	struct stm_tally *next;         /* older ones; constant */
	stm_fn *fn;
	uint16_t kind;                  /* of its tasks: as they have it */
	_Atomic uint64_t executed, restarts, lost_ns;
	unsigned int timed;             /* so many tasks more are timed from the beginning */
};

struct stm_tallies {
	_Atomic(struct stm_tally *) first; /* the worker prepends */
	struct stm_tally *latest;       /* found */
	struct stm_tally other;         /* of all for which there was no memory */
};

struct stm_tally *stm_tally_find(struct stm_tallies *tallies, stm_fn *fn, uint16_t kind);
void stm_tallies_merge(struct stm_tallies *to, struct stm_tallies *from);
void stm_tallies_free(struct stm_tallies *tallies);

static inline struct stm_tally *stm_tally_of(struct stm_tallies *tallies, const struct stm_task *task)
{
	struct stm_tally *tally = tallies->latest;

	return likely(tally && tally->fn == task->fn && tally->kind == task->kind) ?
		       tally : stm_tally_find(tallies, task->fn, task->kind);
}

/* Its owner's only: others may read at the same time. */
static inline void stm_tally_add(_Atomic uint64_t *figure, uint64_t n)
{
	atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + n, memory_order_relaxed);
}

/* ---- workers and runs ---- */

struct stm_worker {
	struct stm_task_list list;
	struct stm_queue *queue;
	pthread_t thread;
	unsigned int id;
	int cpu;                        /* to pin to, or -1 */
	struct stm_seg *seg;            /* while it may run tasks: under the state lock */
	struct stm_tallies tallies;
	/* The task that runs, and its attempts. */
	struct stm_task *task;
	uint64_t attempts;
	uint64_t begun;                 /* the last one: ns; 0: not timed */
	uint64_t lost;                  /* ns that those before it took; from the second one on */
	bool guessed;                   /* the first one was not timed: likewise */
	bool again;                     /* the last one that came to its end returned STM_QUEUE_AGAIN */
	bool given_up;                  /* undone, since the queue stops */
	struct stm_task piece;          /* of a loop: not in any list */
} __attribute__((__aligned__(64)));

/* A loop, run by a queue of its own: piece i is sequence number i. */
struct stm_loop {
	stm_fn *fn;
	uintptr_t shown;                /* the program's function, whatever its type: for the event log and figures */
	uint16_t kind;                  /* of the pieces: as tasks have it */
	uint64_t pieces;
	_Atomic uint64_t next;          /* to be taken */
};

struct stm_queue {
	struct stm_task_list list;      /* where outsiders add; an ordered queue has no other */
	bool pin, ordered;
	void (*task_gone)(stm_fn *fn, void *arg); /* the program's, or NULL */
	struct stm_loop *loop;          /* or NULL */
	_Atomic bool special;           /* ordered, a loop, or some task had a priority: there is more to look at */

	uint64_t progress_tasks;        /* who watches the run is told of each so many; 0: of none */
	_Atomic size_t left;            /* tasks listed or running */
	_Atomic size_t listed;
	_Atomic bool stop;              /* workers: finish your task, and end */
	_Atomic unsigned int sleepers;
	pthread_mutex_t sleep_lock;
	pthread_cond_t wake;

	/* Under the state lock. */
	pthread_mutex_t state_lock;
	pthread_cond_t state_changed;   /* by CLOCK_MONOTONIC */
	bool running, stopped;          /* somebody has told the run to stop, first with: */
	int code;
	bool due;                       /* progress_tasks more have committed */
	struct stm_worker *workers;     /* while it runs */
	unsigned int threads, ready, failed;
	bool go, gone;                  /* all are attached; or they cannot be */
	struct stm_tallies tallies;     /* of earlier runs */

	_Atomic uint64_t committed;     /* tasks of this run, if progress_tasks is not 0 */
	uint64_t sequence;              /* the next task's: under the list's lock */
	struct stm_order order;
};

extern __thread struct stm_worker *stm_worker_self; /* the calling thread's, if it is one */

void *stm_work(void *worker);           /* a worker's thread */
void stm_queue_wake(struct stm_queue *q, bool all); /* workers that sleep: there is work, or they are to stop */
bool stm_queue_stop(struct stm_queue *q, int code); /* the run is to return @code: whether nobody was quicker */

void stm_queue_drop(struct stm_queue *q, struct stm_task *task); /* it is gone */
int stm_queue_claim(struct stm_queue *q); /* nobody else runs it, or frees it: 0 or -EBUSY */
void stm_queue_open(struct stm_queue *q, const struct stm_queue_options *options);
void stm_queue_close(struct stm_queue *q); /* no task is left */
int stm_queue_work(struct stm_queue *q, const struct stm_run_options *options); /* stm_queue_run_with() */

int stm_copy_run_options(struct stm_run_options *o, const struct stm_run_options *given); /* stm_copy_options() and bounds */

#endif
