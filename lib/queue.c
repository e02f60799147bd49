// SPDX-License-Identifier: MIT
/*
 * queue.c - a queue of transactions: making it, adding tasks, figures. See queue.h for the rest.
 *
 *  1. Tasks are linked nodes, in lists under a lock each: one list of the queue, where outsiders
 *     add, and one of each worker, where its own tasks add.
 *  2. Additions in a transaction wait in a list of that transaction, made by stm_malloc(): an abort
 *     gives it back, a commit hook puts it into the queue, which needs no memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"
#include "task_site.h"

/* ---- adding ---- */

/* Of one priority, not yet counted. */
static inline void append(struct stm_queue *q, struct stm_chain chain, uint32_t n)
{
	struct stm_worker *self = stm_worker_self;

	/* A hint: a worker that does not know yet looks at the lists in another order. */
	if (unlikely(chain.first->priority))
		atomic_store_explicit(&q->special, true, memory_order_relaxed);
	atomic_fetch_add(&q->left, n);
	atomic_fetch_add(&q->listed, n);
	if (unlikely(q->ordered))
		stm_list_push_numbered(&q->list, chain, n, &q->sequence);
	else
		stm_list_push(self && self->queue == q ? &self->list : &q->list, chain, n);
	stm_queue_wake(q, n > 1);
}

/* What one transaction adds. */
struct additions {
	struct stm_task *first, *last;
	uint32_t transaction;           /* its first version, which no other attempt has */
};

/* Of the thread's transaction, or of one before it. */
static __thread struct additions *latest;

static void additions_committed(void *arg)
{
	struct additions *additions = arg;
	struct stm_task *task = additions->first;

	if (latest == additions)
		latest = NULL;
	free(additions);
	while (task) { /* those of one priority that follow one another into the same queue, together */
		struct stm_task *first = task, *last = task;
		uint32_t n = 1;

		for (task = task->next; task && task->queue == first->queue && task->priority == first->priority;
		     task = task->next) {
			last = task;
			n++;
		}
		append(first->queue, (struct stm_chain){ first, last }, n);
	}
}

static void addition_undone(void *arg)
{
	const struct stm_task *task = arg;

	task->queue->task_gone(task->fn, task->arg);
}

static void additions_aborted(void *arg)
{
	(void)arg;
	latest = NULL;
}

/* The list of the running transaction. NULL: no memory. */
static struct additions *additions_of(struct stm_seg *seg)
{
	struct additions *additions = latest;
	size_t actions;

	if (additions && additions->transaction == seg->version)
		return additions;
	if (stm_on_abort(additions_aborted, NULL))
		return NULL;
	actions = seg->actions_n;
	additions = stm_malloc(sizeof(*additions));
	if (!additions)
		return NULL;
	additions->first = additions->last = NULL;
	additions->transaction = seg->version;
	if (stm_on_commit(additions_committed, additions)) {
		stm_actions_roll_back(seg, actions); /* stm_mfree() would need memory */
		return NULL;
	}
	latest = additions;
	return additions;
}

static __attribute__((__noinline__)) int add_at_commit(struct stm_queue *q, stm_fn *fn, void *arg, int8_t priority,
							uint16_t kind)
{
	struct stm_seg *seg = stm__self;
	struct additions *additions = additions_of(seg);
	size_t actions = seg->actions_n;
	struct stm_task *task = additions ? stm_malloc(sizeof(*task)) : NULL;

	if (!task)
		return -ENOMEM;
	*task = (struct stm_task){ .fn = fn, .arg = arg, .queue = q, .priority = priority, .kind = kind };
	if (q->task_gone && stm_on_abort(addition_undone, task)) { /* behind stm_malloc(): called before that is freed */
		stm_actions_roll_back(seg, actions);
		return -ENOMEM;
	}
	if (additions->first)
		additions->last->next = task;
	else
		additions->first = task;
	additions->last = task;
	return 0;
}

static inline int add(struct stm_queue *q, stm_fn *fn, void *arg, int8_t priority, uint16_t kind)
{
	struct stm_task *task;

	if (stm_in_transaction())
		return add_at_commit(q, fn, arg, priority, kind);
	task = malloc(sizeof(*task));
	if (!task)
		return -ENOMEM;
	task->fn = fn;
	task->arg = arg;
	task->priority = priority;
	task->kind = kind;
	append(q, (struct stm_chain){ task, task }, 1);
	return 0;
}

int stm_queue_add(struct stm_queue *q, stm_fn *fn, void *arg)
{
	stm_stop_if_forked("stm_queue_add");
	if (!q || !fn)
		return -EINVAL;
	return add(q, fn, arg, 0, 0);
}

int stm_queue_add_with(struct stm_queue *q, stm_fn *fn, void *arg, const struct stm_task_options *options)
{
	struct stm_task_options o = { .priority = 0 };
	uint16_t kind = 0;

	stm_stop_if_forked("stm_queue_add_with");
	if (!q || !fn || stm_copy_options(&o, sizeof(o), options) || o.priority < STM_PRIORITY_MIN ||
	    o.priority > STM_PRIORITY_MAX || (o.priority && q->ordered))
		return -EINVAL;
	if (o.name) {
		kind = stm_task_kind(fn, o.name);
		if (!kind)
			return -ENOMEM;
	}
	return add(q, fn, arg, (int8_t)o.priority, kind);
}

/* ---- running ---- */

int stm_queue_run(struct stm_queue *q, unsigned int threads)
{
	stm_stop_if_forked("stm_queue_run");
	if (!q)
		return -EINVAL;
	return stm_queue_work(q, &(struct stm_run_options){ .threads = threads });
}

int stm_copy_run_options(struct stm_run_options *o, const struct stm_run_options *given)
{
	int error = stm_copy_options(o, sizeof(*o), given);

	if (!error && o->deadline && (o->deadline->tv_nsec < 0 || o->deadline->tv_nsec > 999999999))
		error = -EINVAL;
	return error;
}

int stm_queue_run_with(struct stm_queue *q, const struct stm_run_options *options)
{
	struct stm_run_options o = { .threads = 0 };

	stm_stop_if_forked("stm_queue_run_with");
	if (!q || stm_copy_run_options(&o, options))
		return -EINVAL;
	return stm_queue_work(q, &o);
}

int stm_queue_cancel(struct stm_queue *q)
{
	stm_stop_if_forked("stm_queue_cancel");
	if (!q)
		return -EINVAL;
	return stm_queue_stop(q, -ECANCELED) ? 0 : -EALREADY;
}

bool stm_queue_stopping(const struct stm_queue *q)
{
	return q && atomic_load_explicit(&q->stop, memory_order_relaxed);
}

/* ---- making, freeing ---- */

void stm_queue_open(struct stm_queue *q, const struct stm_queue_options *options)
{
	pthread_condattr_t attributes;

	memset(q, 0, sizeof(*q));
	q->pin = options->pin;
	q->ordered = options->ordered;
	q->task_gone = options->gone;
	atomic_store(&q->special, options->ordered);
	q->order.stop = &q->stop;
	atomic_store(&q->stop, true);
	stm_list_open(&q->list);
	pthread_mutex_init(&q->sleep_lock, NULL);
	pthread_cond_init(&q->wake, NULL);
	pthread_mutex_init(&q->state_lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&q->state_changed, &attributes);
	pthread_condattr_destroy(&attributes);
}

void stm_queue_close(struct stm_queue *q)
{
	stm_tallies_free(&q->tallies);
	stm_list_close(&q->list);
	pthread_mutex_destroy(&q->sleep_lock);
	pthread_cond_destroy(&q->wake);
	pthread_mutex_destroy(&q->state_lock);
	pthread_cond_destroy(&q->state_changed);
}

struct stm_queue *stm_queue_new(const struct stm_queue_options *options)
{
	struct stm_queue_options o = { .pin = false };
	struct stm_queue *q;

	stm_stop_if_forked("stm_queue_new");
	if (!stm_global.ready) {
		errno = ENXIO;
		return NULL;
	}
	if (stm_copy_options(&o, sizeof(o), options)) {
		errno = EINVAL;
		return NULL;
	}
	q = aligned_alloc(64, sizeof(*q));
	if (q)
		stm_queue_open(q, &o);
	return q;
}

void stm_queue_drop(struct stm_queue *q, struct stm_task *task)
{
	if (q->task_gone)
		q->task_gone(task->fn, task->arg);
	free(task);
}

int stm_queue_free(struct stm_queue *q)
{
	struct stm_task *task;

	stm_stop_if_forked("stm_queue_free");
	if (!q)
		return 0;
	if (stm_in_transaction() || stm_queue_claim(q))
		return -EBUSY;
	while ((task = stm_list_take_one(&q->list)))
		stm_queue_drop(q, task);
	stm_queue_close(q);
	free(q);
	return 0;
}

/* ---- figures ---- */

/* The next tallies after @at, NULL: the first ones; the state lock is held. NULL: that was all. */
static struct stm_tallies *next_tallies(struct stm_queue *q, struct stm_tallies *at)
{
	unsigned int next = 0;

	if (!at)
		return &q->tallies;
	if (at != &q->tallies) {
		struct stm_worker *w = (struct stm_worker *)((char *)at - offsetof(struct stm_worker, tallies));

		next = w->id + 1;
	}
	return q->workers && next < q->threads ? &q->workers[next].tallies : NULL;
}

/* Its worker may add to them meanwhile. */
static void add_figures(struct stm_function_counts *sum, const struct stm_tally *tally)
{
	sum->executed += atomic_load_explicit(&tally->executed, memory_order_relaxed);
	sum->restarts += atomic_load_explicit(&tally->restarts, memory_order_relaxed);
	sum->lost_ns += atomic_load_explicit(&tally->lost_ns, memory_order_relaxed);
}

/* Pairs with the release of who prepends. */
static struct stm_tally *first_tally(struct stm_tallies *tallies)
{
	return atomic_load_explicit(&tallies->first, memory_order_acquire);
}

int stm_queue_counts(const struct stm_queue *queue, struct stm_queue_counts *counts)
{
	struct stm_queue *q = (struct stm_queue *)queue; /* for the lock */
	struct stm_function_counts sum = { .fn = NULL };

	stm_stop_if_forked("stm_queue_counts");
	if (!q || !counts)
		return -EINVAL;
	pthread_mutex_lock(&q->state_lock);
	for (struct stm_tallies *at = next_tallies(q, NULL); at; at = next_tallies(q, at))
		for (struct stm_tally *tally = first_tally(at); tally; tally = tally->next)
			add_figures(&sum, tally);
	pthread_mutex_unlock(&q->state_lock);
	counts->executed = sum.executed;
	counts->restarts = sum.restarts;
	return 0;
}

/* Of the same function and name. */
static bool same_kind(const struct stm_tally *a, const struct stm_tally *b)
{
	return a->fn == b->fn && a->kind == b->kind;
}

/* Is there one like @tally of @tallies before it, in the order in which they are looked at? */
static bool was_before(struct stm_queue *q, const struct stm_tallies *tallies, const struct stm_tally *tally)
{
	for (struct stm_tallies *at = next_tallies(q, NULL); at; at = next_tallies(q, at))
		for (struct stm_tally *other = first_tally(at); other; other = other->next) {
			if (at == tallies && other == tally)
				return false;
			if (same_kind(other, tally))
				return true;
		}
	return false;
}

/* All like @one. */
static struct stm_function_counts sum_of(struct stm_queue *q, const struct stm_tally *one)
{
	struct stm_function_counts sum = { .fn = one->fn, .name = one->kind ? stm_task_site(one->kind)->name : NULL };

	for (struct stm_tallies *at = next_tallies(q, NULL); at; at = next_tallies(q, at))
		for (struct stm_tally *tally = first_tally(at); tally; tally = tally->next)
			if (same_kind(tally, one))
				add_figures(&sum, tally);
	return sum;
}

int stm_queue_function_counts(const struct stm_queue *queue, struct stm_function_counts *counts, size_t size, size_t n)
{
	struct stm_queue *q = (struct stm_queue *)queue;
	size_t found = 0;

	stm_stop_if_forked("stm_queue_function_counts");
	if (!q || !size || (n && !counts))
		return -EINVAL;
	pthread_mutex_lock(&q->state_lock);
	for (struct stm_tallies *at = next_tallies(q, NULL); at; at = next_tallies(q, at))
		for (struct stm_tally *tally = first_tally(at); tally; tally = tally->next) {
			struct stm_function_counts sum;
			unsigned char *to;

			if (was_before(q, at, tally) || found++ >= n)
				continue;
			to = (unsigned char *)counts + (found - 1) * size;
			sum = sum_of(q, tally);
			memset(to, 0, size);
			memcpy(to, &sum, size < sizeof(sum) ? size : sizeof(sum));
		}
	pthread_mutex_unlock(&q->state_lock);
	return (int)found;
}
