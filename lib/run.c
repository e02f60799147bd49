// SPDX-License-Identifier: MIT
/*
 * run.c - one run of a queue: workers are started, waited for, and told to stop.
 *
 * The thread that runs the queue sleeps; it wakes up for progress and deadline. Who stops the run first, under the
 * state lock, decides what it returns.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "queue.h"

#define PROGRESS_MS 100u
#define NS_PER_MS 1000000u
#define NS_PER_S 1000000000u

/* ---- stopping ---- */

void stm_queue_wake(struct stm_queue *q, bool all)
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

bool stm_queue_stop(struct stm_queue *q, int code)
{
	bool first;

	pthread_mutex_lock(&q->state_lock);
	first = q->running && !q->stopped;
	if (first) {
		q->stopped = true;
		q->code = code;
		atomic_store(&q->stop, true);
		pthread_cond_broadcast(&q->state_changed);
		/* Those in stm_retry(): nothing may come that would wake them. */
		for (unsigned int i = 0; code && i < q->threads; i++)
			if (q->workers[i].seg)
				stm_wake_waiter(q->workers[i].seg);
	}
	pthread_mutex_unlock(&q->state_lock);
	if (first) {
		stm_queue_wake(q, true);
		if (q->ordered)
			stm_turns_stop(&q->order);
	}
	return first;
}

/* ---- workers ---- */

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

/* *@threads 0: as many as there are CPUs. NULL: no memory. */
static struct stm_worker *make_workers(struct stm_queue *q, unsigned int *threads)
{
	struct stm_worker *workers;
	unsigned int n = 0;
	int *cpus = q->pin || !*threads ? process_cpus(&n) : NULL;

	if (!*threads)
		*threads = n < 1 ? 1 : n < STM_SEGMENTS_LIMIT ? n : STM_SEGMENTS_LIMIT;
	workers = aligned_alloc(64, *threads * sizeof(*workers));
	if (workers) {
		memset(workers, 0, *threads * sizeof(*workers));
		for (unsigned int i = 0; i < *threads; i++) {
			stm_list_open(&workers[i].list);
			workers[i].queue = q;
			workers[i].id = i;
			workers[i].cpu = q->pin && n ? cpus[i % n] : -1;
		}
	}
	free(cpus);
	return workers;
}

/*
 * Start them, and let them go once all are ready; @any: once those are ready that can be had. 0 or -EAGAIN. *@started
 * are to be joined.
 */
static int start(struct stm_queue *q, bool any, unsigned int *started)
{
	unsigned int n = 0;

	while (n < q->threads && !pthread_create(&q->workers[n].thread, NULL, stm_work, &q->workers[n]))
		n++;
	pthread_mutex_lock(&q->state_lock);
	while (q->ready + q->failed < n)
		pthread_cond_wait(&q->state_changed, &q->state_lock);
	q->go = any ? q->ready > 0 : q->ready == q->threads;
	q->gone = !q->go;
	pthread_cond_broadcast(&q->state_changed);
	pthread_mutex_unlock(&q->state_lock);
	*started = n;
	return q->go ? 0 : -EAGAIN;
}

/* ---- while it runs ---- */

/* What the workers have done so far. By the thread that runs the queue: nobody else ends or frees them. */
static void sum_up(const struct stm_queue *q, struct stm_progress *progress)
{
	*progress = (struct stm_progress){ .left = atomic_load_explicit(&q->left, memory_order_relaxed) };
	for (unsigned int i = 0; i < q->threads; i++) {
		struct stm_tally *tally = atomic_load_explicit(&q->workers[i].tallies.first, memory_order_acquire);

		for (; tally; tally = tally->next) {
			progress->executed += atomic_load_explicit(&tally->executed, memory_order_relaxed);
			progress->restarts += atomic_load_explicit(&tally->restarts, memory_order_relaxed);
		}
	}
}

static uint64_t ns_of(const struct timespec *t)
{
	if (t->tv_sec < 0)
		return 0;
	if ((uint64_t)t->tv_sec >= UINT64_MAX / NS_PER_S)
		return UINT64_MAX;
	return (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_nsec;
}

/* Or until the run stops. True: it woke up because as many tasks more have committed as are to be told of. */
static bool sleep_until(struct stm_queue *q, uint64_t ns)
{
	struct timespec until = { .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };
	bool due;

	pthread_mutex_lock(&q->state_lock);
	while (!q->stopped && !q->due)
		if (pthread_cond_timedwait(&q->state_changed, &q->state_lock, &until))
			break;
	due = q->due;
	q->due = false;
	pthread_mutex_unlock(&q->state_lock);
	return due;
}

/* Until the run stops. */
static void look_after(struct stm_queue *q, const struct stm_run_options *options)
{
	uint64_t interval = (uint64_t)(options->progress_ms ? options->progress_ms : PROGRESS_MS) * NS_PER_MS;
	uint64_t deadline = options->deadline ? ns_of(options->deadline) : UINT64_MAX;
	uint64_t next = options->progress ? stm_clock_ns(CLOCK_MONOTONIC) + interval : UINT64_MAX;

	while (!atomic_load(&q->stop)) {
		struct stm_progress progress;
		uint64_t now;
		bool due;
		int code;

		due = sleep_until(q, next < deadline ? next : deadline);
		now = stm_clock_ns(CLOCK_MONOTONIC);
		if (atomic_load(&q->stop))
			break;
		if (now >= deadline) {
			stm_queue_stop(q, -ETIMEDOUT);
			break;
		}
		if (!due && now < next)
			continue;
		sum_up(q, &progress);
		code = options->progress(&progress, options->progress_arg);
		if (code)
			stm_queue_stop(q, code);
		next = stm_clock_ns(CLOCK_MONOTONIC) + interval;
	}
}

/* ---- a run ---- */

/* Become the one who runs the queue. */
int stm_queue_claim(struct stm_queue *q)
{
	int error = 0;

	pthread_mutex_lock(&q->state_lock);
	if (q->running)
		error = -EBUSY;
	else
		q->running = q->stopped = true;
	pthread_mutex_unlock(&q->state_lock);
	return error;
}

static void release(struct stm_queue *q, struct stm_worker *workers, unsigned int threads)
{
	pthread_mutex_lock(&q->state_lock);
	for (unsigned int i = 0; i < threads; i++) {
		stm_tallies_merge(&q->tallies, &workers[i].tallies);
		stm_list_close(&workers[i].list);
	}
	q->workers = NULL;
	q->running = false;
	pthread_mutex_unlock(&q->state_lock);
	free(workers);
}

/* The turn is that of the first task: after a failure it did not pass. */
static void reset_turn(struct stm_queue *q)
{
	struct stm_task *first;

	pthread_mutex_lock(&q->list.lock);
	first = q->list.chains[0].first;
	atomic_store(&q->order.turn, first ? first->sequence : q->sequence);
	pthread_mutex_unlock(&q->list.lock);
}

static void get_ready(struct stm_queue *q, struct stm_worker *workers, unsigned int threads,
		      const struct stm_run_options *options)
{
	pthread_mutex_lock(&q->state_lock);
	q->workers = workers;
	q->threads = threads;
	q->ready = q->failed = 0;
	q->go = q->gone = q->stopped = false;
	q->code = 0;
	q->due = false;
	q->progress_tasks = options->progress ? options->progress_tasks : 0;
	atomic_store(&q->committed, 0);
	atomic_store(&q->stop, false);
	pthread_mutex_unlock(&q->state_lock);
	if (q->ordered)
		reset_turn(q);
}

static void end(struct stm_queue *q, const struct stm_run_options *options, unsigned int started)
{
	struct stm_progress progress;

	for (unsigned int i = 0; i < started; i++)
		pthread_join(q->workers[i].thread, NULL);
	for (unsigned int i = started; i--;)
		stm_list_return_all(&q->list, &q->workers[i].list);
	if (q->go && options->progress) {
		sum_up(q, &progress);
		options->progress(&progress, options->progress_arg);
	}
}

int stm_queue_work(struct stm_queue *q, const struct stm_run_options *options)
{
	unsigned int threads = options->threads, started = 0;
	bool is_watched = options->progress || options->deadline;
	struct stm_worker *workers;
	int error;

	if (!stm_global.ready)
		return -ENXIO;
	if (stm_in_transaction())
		return -EBUSY;
	error = stm_queue_claim(q);
	if (error)
		return error;
	workers = threads <= STM_SEGMENTS_LIMIT ? make_workers(q, &threads) : NULL;
	if (!workers) {
		release(q, NULL, 0);
		return -EAGAIN;
	}
	get_ready(q, workers, threads, options);
	/* An addition that comes between the two is run, or found by the next run. */
	if (!atomic_load(&q->left))
		stm_queue_stop(q, 0);
	else if (options->deadline && stm_clock_ns(CLOCK_MONOTONIC) >= ns_of(options->deadline))
		stm_queue_stop(q, -ETIMEDOUT);

	if (!atomic_load(&q->stop))
		error = start(q, !options->threads, &started);
	if (!error && is_watched)
		look_after(q, options);
	end(q, options, started);
	if (!error)
		error = q->code;
	release(q, workers, threads);
	return error;
}
