/* SPDX-License-Identifier: MIT */
/*
 * measure.c - run one copy of a workload with some pinned threads
 *
 * Each thread attaches, runs the warm-up, waits for the others, runs the
 * measured span and waits again. Then thread 0 checks the structure against
 * what all threads say that they did to it, warm-up included.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <uffdstm.h>

#include "bench.h"

struct worker {
	pthread_t thread;
	unsigned int id;
	struct team *team;
	struct tally tally;
	uint64_t random;
	uint64_t start, end;
	uint64_t measured;
} __attribute__((__aligned__(128))); /* a thread's counts stay off the lines, and pairs of lines, of others */

struct team {
	struct copy *copy;
	const struct measurement *m;
	struct gate gate;
	struct worker *workers;
};

void library_start(size_t heap_size)
{
	struct stm_options options = STM_OPTIONS_INIT;
	int ret;

	options.heap_size = heap_size;
	ret = stm_init(&options);
	if (ret)
		die("stm_init: %s", stm_strerror(ret));
}

void thread_attach(void)
{
	int ret = stm_thread_attach();

	if (ret)
		die("stm_thread_attach: %s", stm_strerror(ret));
}

static void attempts_add(struct attempts *attempts, uint64_t sign)
{
	struct stm_stats stats;

	if (stm_stats(&stats, sizeof(stats)))
		return;
	attempts->commits += (stats.commits + stats.commits_read_only) * sign;
	for (int i = 0; i < STM_ABORT_REASONS; i++)
		attempts->aborts += stats.aborts[i] * sign;
}

void attempts_start(void *arg)
{
	attempts_add(arg, UINT64_MAX);
}

void attempts_end(void *arg)
{
	attempts_add(arg, 1);
}

double attempts_lost(const struct attempts *attempts)
{
	const uint64_t all = attempts->commits + attempts->aborts;

	return all ? (double)attempts->aborts / (double)all : 0;
}

static void run_span(struct worker *worker, const struct span *span)
{
	struct copy *copy = worker->team->copy;
	const struct workload *w = copy->workload;
	const uint64_t share = span->ops / worker->team->m->threads;
	const uint64_t limit = span->ops ? share : UINT64_MAX;
	uint64_t done = 0, end;

	worker->start = now();
	end = span->ms ? worker->start + span->ms * (uint64_t)1000000 : UINT64_MAX;
	do {
		const uint64_t left = limit - done;
		const unsigned int n = left < w->batch ? (unsigned int)left : w->batch;

		copy->impl->run(w, copy->data, &worker->random, n, &worker->tally);
		done += n;
		worker->end = now();
	} while (done < limit && worker->end < end);
	worker->measured = done;
}

/* The structure must be whole, and hold what the threads of this measurement left in it. */
static void check(struct team *team)
{
	struct copy *copy = team->copy;
	const char *wrong;
	uint64_t size = 0, found = 0, ops = 0;

	for (unsigned int i = 0; i < team->m->threads; i++) {
		const struct tally *tally = &team->workers[i].tally;

		copy->size += tally->inserted - tally->removed;
		found += tally->found;
		ops += tally->ops;
		if (tally->wrong)
			die("%s, %s: a read-all saw a wrong sum", copy->workload->name,
			    copy->impl->name);
	}
	if (found > ops)
		die("%s, %s: more found than looked for", copy->workload->name, copy->impl->name);
	wrong = copy->impl->check(copy->workload, copy->data, &size);
	if (wrong)
		die("%s, %s: %s", copy->workload->name, copy->impl->name, wrong);
	if (size != copy->size)
		die("%s, %s: %llu nodes, but inserts and removes add up to %llu",
		    copy->workload->name, copy->impl->name, (unsigned long long)size,
		    (unsigned long long)copy->size);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct team *team = worker->team;
	const struct measurement *m = team->m;
	int ret;

	pin(worker->id);
	ret = team->copy->impl->attach();
	if (ret)
		die("attach: %s", stm_strerror(ret));
	run_span(worker, &m->warm_up);
	gate_wait(&team->gate);
	if (worker->id == 0 && m->at_start)
		m->at_start(m->arg);
	gate_wait(&team->gate);
	run_span(worker, &m->run);
	gate_wait(&team->gate);
	if (worker->id == 0) {
		if (m->at_end)
			m->at_end(m->arg);
		check(team);
	}
	gate_wait(&team->gate);
	team->copy->impl->detach();
	return NULL;
}

double measure(struct copy *copy, const struct measurement *m)
{
	struct worker *workers = aligned_alloc(_Alignof(struct worker), m->threads * sizeof(*workers));
	struct team team = {
		.copy = copy, .m = m, .gate.threads = m->threads, .workers = workers
	};
	uint64_t start = UINT64_MAX, end = 0, ops = 0;

	if (!workers)
		die("no memory for %u threads", m->threads);
	memset(workers, 0, m->threads * sizeof(*workers));
	cpus_read();
	for (unsigned int i = 0; i < m->threads; i++) {
		struct worker *worker = &workers[i];
		int ret;

		worker->id = i;
		worker->team = &team;
		worker->random = random_seed(m->seed * 64 + i);
		ret = pthread_create(&worker->thread, NULL, worker_main, worker);
		if (ret)
			die("pthread_create: %s", strerror(ret));
	}
	for (unsigned int i = 0; i < m->threads; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].start < start)
			start = workers[i].start;
		if (workers[i].end > end)
			end = workers[i].end;
		ops += workers[i].measured;
	}
	free(workers);
	return (double)(end - start) / (double)ops;
}

static void *prepare_main(void *arg)
{
	struct copy *copy = arg;
	const char *wrong;
	int ret;

	pin(0);
	ret = copy->impl->attach();
	if (ret)
		die("attach: %s", stm_strerror(ret));
	copy->data = copy->impl->prepare(copy->workload);
	wrong = copy->impl->check(copy->workload, copy->data, &copy->size);
	if (wrong)
		die("%s, %s, new: %s", copy->workload->name, copy->impl->name, wrong);
	copy->impl->detach();
	return NULL;
}

/* In a thread of its own, so that all measuring threads come to it alike. */
void copy_make(struct copy *copy, const struct impl *impl, const struct workload *w)
{
	pthread_t thread;
	int ret;

	*copy = (struct copy){ .impl = impl, .workload = w };
	cpus_read();
	ret = pthread_create(&thread, NULL, prepare_main, copy);
	if (ret)
		die("pthread_create: %s", strerror(ret));
	pthread_join(thread, NULL);
	if (copy->size != w->size)
		die("%s, %s: %llu nodes at the start instead of %u", w->name, impl->name,
		    (unsigned long long)copy->size, w->size);
}
