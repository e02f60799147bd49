// SPDX-License-Identifier: MIT
/*
 * worker.c - the workers of a queue, and what becomes of a task.
 *
 *  1. A worker takes from its own list, else some from the queue's list, else some from another
 *     worker's (work stealing), else it sleeps. Once a task has had a priority, it looks at all lists before.
 *  2. In an ordered queue all take from the queue's list, one by one: who has the task whose turn it is never waits for
 *     one that nobody has taken.
 *  3. `left` counts the tasks in all lists and those that run. A task's own additions are counted
 *     when it commits, before it is itself done; so once `left` is 0, nothing can come any more.
 *  4. A task that has committed is gone, or comes again. One that was undone for good has failed, if it is the first
 *     that stops the run; else it goes back to where the next run finds it first.
 *
 * Locks: none is held when another is taken, or while a task runs. A sleeper checks for work under
 * the sleep lock after it has counted itself; who adds looks for sleepers after adding.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "queue.h"
#include "clock.h"
#include "define.h"
#include "recorder.h"
#include "task_site.h"

#define GRAB_MAX 16u                    /* tasks taken at once from a list that is not one's own */
#define SPINS 200u                      /* pauses before a worker sleeps: a few microseconds */
#define TIMED_TASKS 1024u               /* tasks of a function that are timed after one of them was restarted */

__thread struct stm_worker *stm_worker_self;

/* ---- finding work ---- */

/* Take some tasks from @list: the first to run, the others for the worker's own list. */
static struct stm_task *grab(struct stm_worker *w, struct stm_task_list *list, uint32_t among)
{
	struct stm_chain chain;
	uint32_t n;
	struct stm_task *first = stm_list_take(list, GRAB_MAX, among, &chain, &n);

	if (first && n > 1)
		stm_list_push(&w->list, (struct stm_chain){ first->next, chain.last }, n - 1);
	return first;
}

/* From the list that has a task of the highest priority: one's own if several have. */
static struct stm_task *find_highest(struct stm_worker *w)
{
	struct stm_queue *q = w->queue;
	struct stm_task_list *best = &w->list;
	int highest = stm_list_highest(best);

	if (stm_list_highest(&q->list) > highest) {
		best = &q->list;
		highest = stm_list_highest(best);
	}
	for (unsigned int i = 1; i < q->threads; i++) {
		struct stm_task_list *list = &q->workers[(w->id + i) % q->threads].list;

		if (stm_list_highest(list) > highest) {
			best = list;
			highest = stm_list_highest(best);
		}
	}
	return stm_list_take_one(best);
}

/* The next piece of a loop is a task of the worker's own. */
static struct stm_task *next_piece(struct stm_worker *w)
{
	struct stm_loop *loop = w->queue->loop;
	uint64_t piece;

	/* Relaxed: its number is all that there is to know. */
	if (atomic_load_explicit(&loop->next, memory_order_relaxed) >= loop->pieces)
		return NULL;
	piece = atomic_fetch_add_explicit(&loop->next, 1, memory_order_relaxed);
	if (piece >= loop->pieces)
		return NULL;
	w->piece = (struct stm_task){ .fn = loop->fn, .arg = w, .sequence = piece, .kind = loop->kind };
	return &w->piece;
}

static __attribute__((__noinline__)) struct stm_task *find_special(struct stm_worker *w)
{
	struct stm_queue *q = w->queue;
	struct stm_task *task;

	if (q->loop)
		return next_piece(w);
	task = q->ordered ? stm_list_take_one(&q->list) : find_highest(w);
	if (task)
		atomic_fetch_sub(&q->listed, 1);
	return task;
}

static struct stm_task *find_task(struct stm_worker *w)
{
	struct stm_queue *q = w->queue;
	struct stm_task *task;

	if (unlikely(atomic_load_explicit(&q->special, memory_order_relaxed)))
		return find_special(w);
	task = stm_list_take_one(&w->list);
	if (!task)
		task = grab(w, &q->list, 2 * q->threads);
	for (unsigned int i = 1; !task && i < q->threads; i++)
		task = grab(w, &q->workers[(w->id + i) % q->threads].list, 2);
	if (task)
		atomic_fetch_sub(&q->listed, 1);
	return task;
}

/* No more pieces come: wait until the others are done, too. */
static bool has_work(struct stm_queue *q)
{
	return !q->loop && atomic_load(&q->listed);
}

static void sleep_until_work(struct stm_queue *q)
{
	for (unsigned int i = 0; i < SPINS; i++) {
		if (has_work(q) || atomic_load(&q->stop))
			return;
		__builtin_ia32_pause();
	}
	pthread_mutex_lock(&q->sleep_lock);
	atomic_fetch_add(&q->sleepers, 1);
	while (!has_work(q) && !atomic_load(&q->stop))
		pthread_cond_wait(&q->wake, &q->sleep_lock);
	atomic_fetch_sub(&q->sleepers, 1);
	pthread_mutex_unlock(&q->sleep_lock);
}

/* ---- one task ---- */

static uint64_t now(void)
{
	return stm_clock_ns(CLOCK_MONOTONIC);
}

/* The attempt before this one was undone. If the queue stops, that was the last one. */
static __attribute__((__noinline__)) void note_restart(struct stm_worker *w)
{
	uint64_t at = now();

	if (w->attempts == 2) { /* the first restart */
		w->lost = 0;
		w->guessed = !w->begun;
	}
	if (w->begun)
		w->lost += at - w->begun;
	w->begun = at;
	if (atomic_load_explicit(&w->queue->stop, memory_order_relaxed)) {
		w->given_up = true;
		stm_tx_leave(stm__self, STM_QUEUE_AGAIN);
	}
}

/* The task has ended. The first attempt, if it was not timed, took as long as the last one, about. */
static void note_lost(struct stm_worker *w, struct stm_tally *tally, uint64_t restarts)
{
	uint64_t lost = w->attempts > 1 ? w->lost : 0;

	if (w->begun && ((w->attempts > 1 && w->guessed) || restarts == w->attempts))
		lost += now() - w->begun;
	stm_tally_add(&tally->restarts, restarts);
	stm_tally_add(&tally->lost_ns, lost);
	tally->timed = TIMED_TASKS;
}

/* Runs once more after each restart. */
static int attempt(void *arg)
{
	struct stm_worker *w = arg;
	int code;

	if (unlikely(w->attempts++))
		note_restart(w);
	w->again = false;
	code = w->task->fn(w->task->arg);
	if (unlikely(code == STM_QUEUE_AGAIN)) {
		w->again = true;
		code = 0;
	}
	return code;
}

static int attempt_in_order(void *arg)
{
	struct stm_seg *seg = stm__self;
	int code;

	stm_turn_begin(seg);
	code = attempt(arg);
	stm_turn_end(seg);
	return code;
}

/* The task, which counts as running, comes behind all others: in its worker's own list it would keep that. */
static void list_again(struct stm_queue *q, struct stm_task *task)
{
	struct stm_chain chain = { task, task };

	atomic_fetch_add(&q->listed, 1);
	if (q->ordered)
		stm_list_push_numbered(&q->list, chain, 1, &q->sequence);
	else
		stm_list_push(&q->list, chain, 1);
	stm_queue_wake(q, false);
}

/* Where the next run finds it first. */
static void return_to_list(struct stm_worker *w, struct stm_task *task)
{
	struct stm_queue *q = w->queue;

	if (q->loop) /* it is over, and nobody runs it again */
		return;
	atomic_fetch_add(&q->listed, 1);
	if (q->ordered)
		stm_list_return_numbered(&q->list, task);
	else
		stm_list_return(&w->list, task);
}

static void be_done(struct stm_queue *q, struct stm_task *task)
{
	if (!q->loop)
		stm_queue_drop(q, task); /* before it is counted: the run's end is behind it */
	if (atomic_fetch_sub(&q->left, 1) == 1)
		stm_queue_stop(q, 0);
}

/* For who watches the run: one task more has committed. Its figures, and those before it, are to be seen. */
static __attribute__((__noinline__)) void count_committed(struct stm_queue *q)
{
	if ((atomic_fetch_add_explicit(&q->committed, 1, memory_order_acq_rel) + 1) % q->progress_tasks)
		return;
	pthread_mutex_lock(&q->state_lock);
	q->due = true;
	pthread_cond_broadcast(&q->state_changed);
	pthread_mutex_unlock(&q->state_lock);
}

/* The task has ended, not as usual. Whether the turn is to pass: after a failure nobody else commits. */
static __attribute__((__noinline__)) bool settle(struct stm_worker *w, struct stm_tally *tally, int code, bool given_up)
{
	struct stm_queue *q = w->queue;
	struct stm_task *task = w->task;
	/* An inevitable transaction commits, whatever code it returns. */
	bool committed = !code || !stm_outcome();
	bool failed = code && !given_up && (code != STM_QUEUE_AGAIN || q->loop);
	bool first = failed && stm_queue_stop(q, code == STM_QUEUE_AGAIN ? -EINVAL : code);
	bool returns = given_up || (failed && !first && !committed);
	bool again = !failed && !given_up && (!committed || w->again);
	uint64_t restarts = w->attempts - !(returns || (again && !committed));

	if (committed)
		stm_tally_add(&tally->executed, 1);
	if (restarts)
		note_lost(w, tally, restarts);
	else if (tally->timed)
		tally->timed--;
	if (returns)
		return_to_list(w, task);
	else if (again)
		list_again(q, task);
	else
		be_done(q, task);
	if (committed && unlikely(q->progress_tasks))
		count_committed(q);
	return !failed && !given_up;
}

static bool end_task(struct stm_worker *w, struct stm_tally *tally, int code, bool given_up)
{
	if (unlikely(code || w->again || w->attempts != 1 || tally->timed))
		return settle(w, tally, code, given_up);
	stm_tally_add(&tally->executed, 1);
	be_done(w->queue, w->task);
	if (unlikely(w->queue->progress_tasks))
		count_committed(w->queue);
	return true;
}

static __attribute__((__noinline__)) int run_in_order(struct stm_worker *w, const struct stm_site *site,
						       struct stm_turn *turn)
{
	struct stm_seg *seg = stm__self;
	int code;

	*turn = (struct stm_turn){ .order = &w->queue->order, .sequence = w->task->sequence };
	seg->turn = turn;
	code = stm__atomic(site, attempt_in_order, w);
	seg->turn = NULL;
	return code;
}

static inline int run_attempts(struct stm_worker *w, const struct stm_site *site, struct stm_turn *turn)
{
	return unlikely(w->queue->ordered) ? run_in_order(w, site, turn) : stm__atomic(site, attempt, w);
}

/* Of the event log. Not of the task's transaction, but it has the same site. */
static void record_task(enum stm_event_kind kind, uint64_t since, const struct stm_site *site, stm_fn *fn)
{
	struct stm_seg *seg = stm__self;

	if (stm_recording(seg))
		stm_record(seg->recorder, kind, since, stm_define_site(site), (uintptr_t)fn);
}

/* For the event log, or who counts by name: with the site of the task's kind. @site: there is no memory for it. */
static __attribute__((__noinline__)) int run_recorded(struct stm_worker *w, const struct stm_site *site,
						       struct stm_turn *turn)
{
	struct stm_loop *loop = w->queue->loop;
	stm_fn *fn = loop ? (stm_fn *)loop->shown : w->task->fn;
	uint16_t kind = w->task->kind ? w->task->kind : stm_task_kind(fn, NULL);
	uint64_t since = stm_record_start(stm__self);
	int code;

	if (kind)
		site = stm_task_site(kind);
	record_task(STM_EVENT_TASK_BEGIN, 0, site, fn);
	code = run_attempts(w, site->name ? stm__named(site) : site, turn);
	record_task(STM_EVENT_TASK_END, since, site, fn);
	return code;
}

static void run_task(struct stm_worker *w, struct stm_task *task)
{
	static const struct stm_site here = { .file = __FILE__, .function = "stm_queue_run", .line = __LINE__ };
	struct stm_tally *tally = stm_tally_of(&w->tallies, task);
	struct stm_seg *seg = stm__self;
	struct stm_turn turn;
	int code;

	w->task = task;
	w->attempts = 0;
	w->given_up = false;
	w->begun = unlikely(tally->timed) ? now() : 0;
	if (unlikely(task->kind || stm_recording(seg) || seg->heed & STM_HEED_NAMES))
		code = run_recorded(w, &here, &turn);
	else
		code = run_attempts(w, &here, &turn);
	if (likely(!w->queue->ordered))
		end_task(w, tally, code, w->given_up);
	else if (end_task(w, tally, code, w->given_up || turn.given_up) && !STM_MUTATED(TURN_EARLY))
		stm_turn_pass(&w->queue->order);
}

/* ---- the thread ---- */

static void pin(const struct stm_worker *w)
{
	cpu_set_t *set;
	size_t size;

	if (w->cpu < 0)
		return;
	set = CPU_ALLOC((size_t)w->cpu + 1);
	if (!set)
		return;
	size = CPU_ALLOC_SIZE((size_t)w->cpu + 1);
	CPU_ZERO_S(size, set);
	CPU_SET_S((size_t)w->cpu, size, set);
	pthread_setaffinity_np(pthread_self(), size, set);
	CPU_FREE(set);
}

/* As many as are wanted are attached, or none runs. */
static bool wait_for_others(struct stm_worker *w, int error)
{
	struct stm_queue *q = w->queue;
	bool go;

	pthread_mutex_lock(&q->state_lock);
	w->seg = stm__self;
	if (error)
		q->failed++;
	else
		q->ready++;
	pthread_cond_broadcast(&q->state_changed);
	while (!q->go && !q->gone)
		pthread_cond_wait(&q->state_changed, &q->state_lock);
	go = q->go && !error;
	pthread_mutex_unlock(&q->state_lock);
	return go;
}

void *stm_work(void *arg)
{
	struct stm_worker *w = arg;
	struct stm_queue *q = w->queue;
	int error;

	pin(w);
	error = stm_thread_attach();
	stm_worker_self = w;
	if (wait_for_others(w, error)) {
		stm__self->stop = &q->stop;
		while (!atomic_load(&q->stop)) {
			struct stm_task *task = find_task(w);

			if (task)
				run_task(w, task);
			else
				sleep_until_work(q);
		}
		stm__self->stop = NULL;
	}
	pthread_mutex_lock(&q->state_lock);
	w->seg = NULL;
	pthread_mutex_unlock(&q->state_lock);
	stm_worker_self = NULL;
	if (!error)
		stm_thread_detach();
	return NULL;
}
