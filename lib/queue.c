// SPDX-License-Identifier: MIT
/*
 * queue.c - a queue of transactions, and the workers that run them.
 *
 *  1. Tasks are linked nodes, in lists under a lock each: one list of the queue, where outsiders
 *     add, and one of each worker, where its own tasks add. All are first in, first out.
 *  2. A worker takes from its own list, else some from the queue's list, else some from another
 *     worker's (work stealing), else it sleeps.
 *  3. `left` counts the tasks in all lists and those that run. A task's own additions are counted
 *     when it commits, before it is itself done; so once `left` is 0, nothing can come any more.
 *  4. Additions in a transaction wait in a list of that transaction, made by stm_malloc(): an abort
 *     gives it back, a commit hook puts it into the queue, which needs no memory.
 *
 * Locks: none is held when another is taken, or while a task runs. A sleeper checks for work under
 * the sleep lock after it has counted itself; who adds looks for sleepers after adding.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

struct task {
	struct task *next;
	stm_fn *fn;
	void *arg;
	struct stm_queue *queue;        /* while its transaction runs that adds it */
};

struct list {
	pthread_mutex_t lock;
	struct task *first, *last;
	_Atomic size_t n;               /* changed under the lock, read without */
} __attribute__((__aligned__(64)));

struct worker {
	struct list list;
	struct stm_queue *queue;
	pthread_t thread;
	unsigned int id;
	int cpu;                        /* to pin to, or -1 */
	int error;                      /* of attach */
	_Atomic uint64_t executed, restarts; /* written by the worker */
	uint64_t attempts;              /* of the task that runs */
} __attribute__((__aligned__(64)));

struct stm_queue {
	struct list list;
	bool pin;

	_Atomic size_t left;            /* tasks listed or running */
	_Atomic size_t listed;
	_Atomic bool stop;              /* workers: finish your task, and end */
	_Atomic unsigned int sleepers;
	pthread_mutex_t sleep_lock;
	pthread_cond_t wake;

	/* Under the state lock. */
	pthread_mutex_t state_lock;
	pthread_cond_t state_changed;
	bool running;
	int code;                       /* of the first task that failed */
	struct worker *workers;         /* while it runs */
	unsigned int threads, ready, failed;
	bool go, gone;                  /* all are attached; or they cannot be */
	uint64_t executed, restarts;    /* of earlier runs */
};

#define GRAB_MAX ((size_t)16)           /* tasks taken at once from a list that is not one's own */
#define SPINS 200u                      /* pauses before a worker sleeps: a few microseconds */

static __thread struct worker *self;    /* the calling thread's, if it is one */

/* ---- lists ---- */

static void list_open(struct list *list)
{
	pthread_mutex_init(&list->lock, NULL);
}

static void list_close(struct list *list)
{
	pthread_mutex_destroy(&list->lock);
}

/* Without the lock: a hint. */
static size_t list_length(const struct list *list)
{
	return atomic_load_explicit(&list->n, memory_order_relaxed);
}

static void list_set_length(struct list *list, size_t n)
{
	atomic_store_explicit(&list->n, n, memory_order_relaxed);
}

static void list_push(struct list *list, struct task *first, struct task *last, size_t n)
{
	pthread_mutex_lock(&list->lock);
	last->next = NULL;
	if (list->first)
		list->last->next = first;
	else
		list->first = first;
	list->last = last;
	list_set_length(list, list_length(list) + n);
	pthread_mutex_unlock(&list->lock);
}

/* In front of all that is there. */
static void list_return(struct list *list, struct task *first, struct task *last, size_t n)
{
	pthread_mutex_lock(&list->lock);
	last->next = list->first;
	if (!list->first)
		list->last = last;
	list->first = first;
	list_set_length(list, list_length(list) + n);
	pthread_mutex_unlock(&list->lock);
}

/*
 * Take the first tasks: one in @among of those that are there, but at most @max, and one at least.
 * A chain of *@n tasks up to *@last, or NULL.
 */
static struct task *list_take(struct list *list, size_t max, size_t among, struct task **last,
			      size_t *n)
{
	struct task *first, *task;
	size_t wanted;

	if (!list_length(list))
		return NULL;
	pthread_mutex_lock(&list->lock);
	first = task = list->first;
	if (task) {
		wanted = list_length(list) / among;
		wanted = wanted > max ? max : wanted ? wanted : 1;
		for (size_t i = 1; i < wanted; i++)
			task = task->next;
		list->first = task->next;
		list_set_length(list, list_length(list) - wanted);
		task->next = NULL;
		*last = task;
		*n = wanted;
	}
	pthread_mutex_unlock(&list->lock);
	return first;
}

/* ---- adding ---- */

static void wake(struct stm_queue *q, bool all)
{
	/* After the addition, or the order to stop: pairs with sleep_until_work(). */
	if (!atomic_load(&q->sleepers))
		return;
	pthread_mutex_lock(&q->sleep_lock);
	if (all)
		pthread_cond_broadcast(&q->wake);
	else
		pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->sleep_lock);
}

static void add(struct stm_queue *q, struct task *first, struct task *last, size_t n)
{
	atomic_fetch_add(&q->left, n);
	atomic_fetch_add(&q->listed, n);
	list_push(self && self->queue == q ? &self->list : &q->list, first, last, n);
	wake(q, n > 1);
}

/* What one transaction adds. */
struct additions {
	struct task *first, *last;
	uint32_t transaction;           /* its first version, which no other attempt has */
};

/* Of the thread's transaction, or of one before it. */
static __thread struct additions *latest;

static void additions_committed(void *arg)
{
	struct additions *additions = arg;
	struct task *task = additions->first;

	if (latest == additions)
		latest = NULL;
	free(additions);
	while (task) { /* those that follow one another into the same queue, together */
		struct task *first = task, *last = task;
		size_t n = 1;

		for (task = task->next; task && task->queue == first->queue; task = task->next) {
			last = task;
			n++;
		}
		add(first->queue, first, last, n);
	}
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

	if (additions && additions->transaction == seg->version)
		return additions;
	if (stm_on_abort(additions_aborted, NULL))
		return NULL;
	additions = stm_malloc(sizeof(*additions));
	if (!additions)
		return NULL;
	additions->first = additions->last = NULL;
	additions->transaction = seg->version;
	if (stm_on_commit(additions_committed, additions)) {
		stm_mfree(additions);
		return NULL;
	}
	latest = additions;
	return additions;
}

static int add_at_commit(struct stm_queue *q, stm_fn *fn, void *arg)
{
	struct additions *additions = additions_of(stm__self);
	struct task *task = additions ? stm_malloc(sizeof(*task)) : NULL;

	if (!task)
		return -ENOMEM;
	*task = (struct task){ .fn = fn, .arg = arg, .queue = q };
	if (additions->first)
		additions->last->next = task;
	else
		additions->first = task;
	additions->last = task;
	return 0;
}

int stm_queue_add(struct stm_queue *q, stm_fn *fn, void *arg)
{
	struct task *task;

	stm_stop_if_forked("stm_queue_add");
	if (!q || !fn)
		return -EINVAL;
	if (stm_in_transaction())
		return add_at_commit(q, fn, arg);
	task = malloc(sizeof(*task));
	if (!task)
		return -ENOMEM;
	*task = (struct task){ .fn = fn, .arg = arg };
	add(q, task, task, 1);
	return 0;
}

/* ---- workers ---- */

/* Take some tasks from @list: the first to run, the others for the worker's own list. */
static struct task *grab(struct worker *w, struct list *list, size_t among)
{
	struct task *last;
	size_t n;
	struct task *first = list_take(list, GRAB_MAX, among, &last, &n);

	if (first && n > 1)
		list_push(&w->list, first->next, last, n - 1);
	return first;
}

static struct task *find_task(struct worker *w)
{
	struct stm_queue *q = w->queue;
	struct task *task, *last;
	size_t n;

	task = list_take(&w->list, 1, 1, &last, &n);
	if (!task)
		task = grab(w, &q->list, 2 * q->threads);
	for (unsigned int i = 1; !task && i < q->threads; i++)
		task = grab(w, &q->workers[(w->id + i) % q->threads].list, 2);
	if (task)
		atomic_fetch_sub(&q->listed, 1);
	return task;
}

static void order_stop(struct stm_queue *q)
{
	atomic_store(&q->stop, true);
	wake(q, true);
}

static void fail(struct stm_queue *q, int code)
{
	pthread_mutex_lock(&q->state_lock);
	if (!q->code)
		q->code = code;
	pthread_mutex_unlock(&q->state_lock);
	order_stop(q);
}

static void sleep_until_work(struct stm_queue *q)
{
	for (unsigned int i = 0; i < SPINS; i++) {
		if (atomic_load_explicit(&q->listed, memory_order_relaxed) || atomic_load(&q->stop))
			return;
		__builtin_ia32_pause();
	}
	pthread_mutex_lock(&q->sleep_lock);
	atomic_fetch_add(&q->sleepers, 1);
	while (!atomic_load(&q->listed) && !atomic_load(&q->stop))
		pthread_cond_wait(&q->wake, &q->sleep_lock);
	atomic_fetch_sub(&q->sleepers, 1);
	pthread_mutex_unlock(&q->sleep_lock);
}

struct call {
	struct worker *worker;
	struct task *task;
};

/* Counts attempts: it runs once more after each restart. */
static int attempt(void *arg)
{
	struct call *call = arg;

	call->worker->attempts++;
	return call->task->fn(call->task->arg);
}

/* Only the worker itself adds to its figures. */
static void count(_Atomic uint64_t *figure, uint64_t n)
{
	atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static void run_task(struct worker *w, struct task *task)
{
	static const struct stm_site site = { __FILE__, "stm_queue_run", __LINE__ };
	struct stm_queue *q = w->queue;
	struct call call = { w, task };
	int code;

	w->attempts = 0;
	code = stm__atomic(&site, attempt, &call);
	if (w->attempts > 1)
		count(&w->restarts, w->attempts - 1);
	/* An inevitable transaction commits, whatever code it returns. */
	if (!code || !stm_outcome())
		count(&w->executed, 1);
	free(task);
	if (code)
		fail(q, code);
	if (atomic_fetch_sub(&q->left, 1) == 1)
		order_stop(q);
}

/* What the worker has not run goes back to where the next run finds it first. */
static void leave_rest(struct worker *w)
{
	struct task *first, *last;
	size_t n;

	first = list_take(&w->list, SIZE_MAX, 1, &last, &n);
	if (first)
		list_return(&w->queue->list, first, last, n);
}

static void pin(const struct worker *w)
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

/* All workers are attached, or none runs. */
static bool wait_for_others(struct stm_queue *q, int error)
{
	bool go;

	pthread_mutex_lock(&q->state_lock);
	if (error)
		q->failed++;
	else
		q->ready++;
	pthread_cond_broadcast(&q->state_changed);
	while (!q->go && !q->gone)
		pthread_cond_wait(&q->state_changed, &q->state_lock);
	go = q->go;
	pthread_mutex_unlock(&q->state_lock);
	return go;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct stm_queue *q = w->queue;
	int error;

	pin(w);
	error = stm_thread_attach();
	self = w;
	if (wait_for_others(q, error)) {
		while (!atomic_load(&q->stop)) {
			struct task *task = find_task(w);

			if (task)
				run_task(w, task);
			else
				sleep_until_work(q);
		}
	}
	self = NULL;
	if (!error)
		stm_thread_detach();
	return NULL;
}

/* ---- running ---- */

/* The CPUs that the process may use, ascending. NULL: not known, or no memory. */
static int *process_cpus(unsigned int *n)
{
	long limit = sysconf(_SC_NPROCESSORS_CONF);

	*n = 0;
	for (size_t bits = limit > 1024 ? (size_t)limit : 1024; bits <= 1 << 20; bits *= 2) {
		cpu_set_t *set = CPU_ALLOC(bits);
		size_t size = CPU_ALLOC_SIZE(bits);
		int *cpus = NULL;

		if (!set)
			return NULL;
		if (sched_getaffinity(getpid(), size, set)) {
			CPU_FREE(set);
			if (errno == EINVAL) /* the kernel's masks are longer */
				continue;
			return NULL;
		}
		cpus = malloc((size_t)CPU_COUNT_S(size, set) * sizeof(*cpus));
		for (size_t i = 0; cpus && i < size * 8; i++)
			if (CPU_ISSET_S(i, size, set))
				cpus[(*n)++] = (int)i;
		CPU_FREE(set);
		return cpus;
	}
	return NULL;
}

static struct worker *make_workers(struct stm_queue *q, unsigned int threads)
{
	struct worker *workers = aligned_alloc(64, threads * sizeof(*workers));
	unsigned int n = 0;
	int *cpus;

	if (!workers)
		return NULL;
	memset(workers, 0, threads * sizeof(*workers));
	cpus = q->pin ? process_cpus(&n) : NULL;
	for (unsigned int i = 0; i < threads; i++) {
		list_open(&workers[i].list);
		workers[i].queue = q;
		workers[i].id = i;
		workers[i].cpu = n ? cpus[i % n] : -1;
	}
	free(cpus);
	return workers;
}

/* Start them, and let them go once all are ready. 0 or -EAGAIN. *@started are to be joined. */
static int start(struct stm_queue *q, unsigned int *started)
{
	unsigned int n = 0;

	while (n < q->threads && !pthread_create(&q->workers[n].thread, NULL, work, &q->workers[n]))
		n++;
	pthread_mutex_lock(&q->state_lock);
	while (q->ready + q->failed < n)
		pthread_cond_wait(&q->state_changed, &q->state_lock);
	q->go = q->ready == q->threads;
	q->gone = !q->go;
	pthread_cond_broadcast(&q->state_changed);
	pthread_mutex_unlock(&q->state_lock);
	*started = n;
	return q->go ? 0 : -EAGAIN;
}

/* Become the one who runs the queue. */
static int claim(struct stm_queue *q)
{
	int error = 0;

	pthread_mutex_lock(&q->state_lock);
	if (q->running)
		error = -EBUSY;
	else
		q->running = true;
	pthread_mutex_unlock(&q->state_lock);
	return error;
}

static void release(struct stm_queue *q, struct worker *workers, unsigned int threads)
{
	pthread_mutex_lock(&q->state_lock);
	for (unsigned int i = 0; i < threads; i++) {
		q->executed += workers[i].executed;
		q->restarts += workers[i].restarts;
		list_close(&workers[i].list);
	}
	q->workers = NULL;
	q->running = false;
	pthread_mutex_unlock(&q->state_lock);
	free(workers);
}

int stm_queue_run(struct stm_queue *q, unsigned int threads)
{
	struct worker *workers;
	unsigned int started;
	int error;

	stm_stop_if_forked("stm_queue_run");
	if (!q || !threads)
		return -EINVAL;
	if (!stm_global.ready)
		return -ENXIO;
	if (stm_in_transaction())
		return -EBUSY;
	error = claim(q);
	if (error)
		return error;
	workers = threads <= STM_SEGMENTS_LIMIT ? make_workers(q, threads) : NULL;
	if (!workers) {
		release(q, NULL, 0);
		return -EAGAIN;
	}
	pthread_mutex_lock(&q->state_lock);
	q->workers = workers;
	q->threads = threads;
	q->ready = q->failed = 0;
	q->go = q->gone = false;
	q->code = 0;
	pthread_mutex_unlock(&q->state_lock);
	/* An addition that comes between these two is run, or found by the next run. */
	atomic_store(&q->stop, false);
	if (!atomic_load(&q->left))
		atomic_store(&q->stop, true);

	error = start(q, &started);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	for (unsigned int i = threads; i-- && !error;)
		leave_rest(&workers[i]);
	if (!error)
		error = q->code;
	release(q, workers, threads);
	return error;
}

/* ---- making, counting, freeing ---- */

struct stm_queue *stm_queue_new(const struct stm_queue_options *options)
{
	struct stm_queue_options o = { .size = 0 };
	struct stm_queue *q;

	stm_stop_if_forked("stm_queue_new");
	if (!stm_global.ready) {
		errno = ENXIO;
		return NULL;
	}
	if (options) {
		const unsigned char *bytes = (const unsigned char *)options;
		bool bad = options->size < sizeof(options->size);

		/* Fields that this version does not know may only ask for the default. */
		for (size_t i = sizeof(o); !bad && i < options->size; i++)
			bad = bytes[i];
		if (bad) {
			errno = EINVAL;
			return NULL;
		}
		memcpy(&o, options, options->size < sizeof(o) ? options->size : sizeof(o));
	}
	q = aligned_alloc(64, sizeof(*q));
	if (!q)
		return NULL;
	memset(q, 0, sizeof(*q));
	q->pin = o.pin;
	list_open(&q->list);
	pthread_mutex_init(&q->sleep_lock, NULL);
	pthread_cond_init(&q->wake, NULL);
	pthread_mutex_init(&q->state_lock, NULL);
	pthread_cond_init(&q->state_changed, NULL);
	return q;
}

int stm_queue_counts(const struct stm_queue *queue, struct stm_queue_counts *counts)
{
	struct stm_queue *q = (struct stm_queue *)queue; /* for the lock */

	stm_stop_if_forked("stm_queue_counts");
	if (!q || !counts)
		return -EINVAL;
	pthread_mutex_lock(&q->state_lock);
	counts->executed = q->executed;
	counts->restarts = q->restarts;
	for (unsigned int i = 0; q->workers && i < q->threads; i++) {
		counts->executed += q->workers[i].executed;
		counts->restarts += q->workers[i].restarts;
	}
	pthread_mutex_unlock(&q->state_lock);
	return 0;
}

int stm_queue_free(struct stm_queue *q)
{
	struct task *task;

	stm_stop_if_forked("stm_queue_free");
	if (!q)
		return 0;
	if (stm_in_transaction() || claim(q))
		return -EBUSY;
	while ((task = q->list.first)) {
		q->list.first = task->next;
		free(task);
	}
	list_close(&q->list);
	pthread_mutex_destroy(&q->sleep_lock);
	pthread_cond_destroy(&q->wake);
	pthread_mutex_destroy(&q->state_lock);
	pthread_cond_destroy(&q->state_changed);
	free(q);
	return 0;
}
