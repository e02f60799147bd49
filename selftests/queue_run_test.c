// SPDX-License-Identifier: MIT
/*
 * queue_run_test.c - how queues run: priorities, steps, cancel, deadline, queues in queues, figures by function.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include <uffdstm.h>

#include "queue_support.h"

#include "kselftest_harness.h"

#define PATIENCE_MS 10000               /* a liveness that is missing counts as missing after so long */

static int count_one(void *arg)
{
	count((unsigned int)(uintptr_t)arg);
	return 0;
}

static bool reaches(_Atomic int *flag, int value)
{
	for (int ms = 0; ms < PATIENCE_MS; ms++) {
		if (atomic_load(flag) >= value)
			return true;
		usleep(1000);
	}
	return false;
}

/* ---- priorities ---- */

#define TASKS 400u

static unsigned int order[TASKS * 4], ordered;

static void note(void *arg)
{
	order[ordered++] = (unsigned int)(uintptr_t)arg;
}

static int note_task(void *arg)
{
	return stm_on_commit(note, arg);
}

static int add_noted(unsigned int i, int priority)
{
	struct stm_task_options options = { .size = sizeof(options), .priority = priority };

	return stm_queue_add_with(queue, note_task, (void *)(uintptr_t)i, &options);
}

static int priority_of(unsigned int i)
{
	uint64_t random = i;

	return (int)random_below(&random, 16) - 8;
}

/* One worker: by priority, and first in, first out within one. */
static unsigned int misplaced(void)
{
	unsigned int wrong = 0;

	for (unsigned int i = 1; i < ordered; i++) {
		int a = priority_of(order[i - 1]), b = priority_of(order[i]);

		wrong += a < b || (a == b && order[i - 1] > order[i]);
	}
	return wrong;
}

static int add_from_task(void *arg)
{
	for (unsigned int i = 0; i < TASKS; i++)
		if (add_noted(i, priority_of(i)))
			return ENOMEM;
	return 0;
}

TEST(higher_priorities_run_first)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	for (unsigned int i = 0; i < TASKS; i++)
		ASSERT_EQ(0, add_noted(i, priority_of(i)));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ(TASKS, ordered);
	EXPECT_EQ(0, misplaced());
	/* added by a task */
	ordered = 0;
	ASSERT_EQ(0, stm_queue_add(queue, add_from_task, NULL));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ(TASKS, ordered);
	EXPECT_EQ(0, misplaced());
	/* added in one transaction, partly to be undone */
	ordered = 0;
	STM_ATOMIC {
		for (unsigned int i = 0; i < TASKS; i++)
			if (add_noted(i, priority_of(i)))
				abort();
	}
	STM_ATOMIC {
		add_noted(0, 7);
		stm_cancel(1);
	}
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ(TASKS, ordered);
	EXPECT_EQ(0, misplaced());
	EXPECT_EQ(0, stm_queue_free(queue));
}

/* A task of high priority that a worker has in its own list goes before all others that wait elsewhere. */
static int add_urgent(void *arg)
{
	return add_noted(1000, 5);
}

TEST(a_worker_looks_at_all_lists)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	ASSERT_EQ(0, stm_queue_add(queue, add_urgent, NULL));
	for (unsigned int i = 0; i < TASKS; i++)
		ASSERT_EQ(0, add_noted(i, 0));
	ASSERT_EQ(0, add_noted(2000, -1));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	ASSERT_EQ(TASKS + 2, ordered);
	EXPECT_EQ(1000, order[0]);
	EXPECT_EQ(2000, order[TASKS + 1]);
}

TEST(all_priorities_run_in_several_workers)
{
	ASSERT_EQ(0, open_queue(8, NULL));
	for (unsigned int i = 0; i < TASKS * 5; i++) {
		struct stm_task_options options = { .size = sizeof(options), .priority = priority_of(i) };

		ASSERT_EQ(0, stm_queue_add_with(queue, count_one, (void *)(uintptr_t)(i % 4), &options));
	}
	ASSERT_EQ(0, stm_queue_run(queue, 3));
	EXPECT_EQ(TASKS * 5, counted(0) + counted(1) + counted(2) + counted(3));
}

/* ---- steps ---- */

struct walk {
	unsigned int steps, counter;
};

static int walk(void *arg)
{
	struct walk *walk = arg;

	count(walk->counter);
	return STM_GET(*counter(walk->counter)) < walk->steps ? STM_QUEUE_AGAIN : 0;
}

TEST(each_step_is_a_transaction)
{
	struct walk walks[4];

	ASSERT_EQ(0, open_queue(8, NULL));
	for (unsigned int threads = 1; threads <= 4; threads++)
		for (unsigned int i = 0; i < 4; i++) {
			walks[i] = (struct walk){ threads * 500, i };
			ASSERT_EQ(0, stm_queue_add(queue, walk, &walks[i]));
			if (i < 3)
				continue;
			ASSERT_EQ(0, stm_queue_run(queue, threads));
			EXPECT_EQ(threads * 2000, counts_of(queue).executed);
			for (unsigned int k = 0; k < 4; k++)
				EXPECT_EQ(threads * 500, counted(k));
		}
}

static int note_steps(void *arg)
{
	static unsigned int steps[3];
	unsigned int i = (unsigned int)(uintptr_t)arg;

	if (stm_on_commit(note, arg))
		return ENOMEM;
	return ++steps[i] < 3 ? STM_QUEUE_AGAIN : 0;
}

TEST(steps_take_turns)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	for (uintptr_t i = 0; i < 3; i++)
		ASSERT_EQ(0, stm_queue_add(queue, note_steps, (void *)i));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	ASSERT_EQ(9, ordered);
	for (unsigned int i = 0; i < 9; i++)
		EXPECT_EQ(i % 3, order[i]);
}

static _Atomic int attempts;

static int put_off(void *arg)
{
	if (++attempts < 5) {
		count(0);
		stm_cancel(STM_QUEUE_AGAIN);
	}
	count(1);
	return 0;
}

TEST(a_task_may_put_itself_off)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	ASSERT_EQ(0, stm_queue_add(queue, put_off, NULL));
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(0, counted(0));
	EXPECT_EQ(1, counted(1));
	EXPECT_EQ(1, counts_of(queue).executed);
	EXPECT_EQ(4, counts_of(queue).restarts);
}

static int step_inevitably(void *arg)
{
	count(0);
	stm_become_inevitable("a test");
	return ++attempts < 5 ? STM_QUEUE_AGAIN : 0;
}

TEST(inevitable_steps)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	ASSERT_EQ(0, stm_queue_add(queue, step_inevitably, NULL));
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(5, counted(0));
}

/* ---- parts of transactions ---- */

static int add_some(void *arg)
{
	int *code = arg;

	for (unsigned int i = 0; i < 3; i++)
		if (stm_queue_add(queue, count_one, (void *)(uintptr_t)(*code ? 1 : 2)))
			abort();
	return *code;
}

/* What a part adds vanishes with it, and what was added before and is added later stays. */
TEST(additions_of_parts_that_are_undone_vanish)
{
	static const int codes[][3] = { { 0, 0, 0 }, { 5, 0, 5 }, { 0, 5, 0 }, { 5, 5, 5 } };

	ASSERT_EQ(0, open_queue(4, NULL));
	for (unsigned int i = 0; i < 8; i++) {
		uint64_t before[3] = { counted(0), counted(1), counted(2) }, kept = 0;
		bool first = i / 4;

		STM_ATOMIC {
			if (first && stm_queue_add(queue, count_one, NULL))
				abort();
			for (unsigned int k = 0; k < 3; k++) {
				int code = codes[i % 4][k];

				if (stm_atomic_nested(add_some, &code) != code || (k == 1 && stm_queue_add(queue, count_one, NULL)))
					abort();
			}
		}
		for (unsigned int k = 0; k < 3; k++)
			kept += codes[i % 4][k] ? 0 : 3;
		ASSERT_EQ(0, stm_queue_run(queue, 2));
		EXPECT_EQ(before[0] + 1 + first, counted(0));
		EXPECT_EQ(before[1], counted(1));
		EXPECT_EQ(before[2] + kept, counted(2));
	}
}

/* ---- stopping ---- */

static _Atomic bool shall_cancel;

/* Once in a run: a conflict may undo the task that cancelled, and the next run has it again. */
static int cancel_at(void *arg)
{
	count(0);
	if ((uintptr_t)arg == 100 && atomic_exchange(&shall_cancel, false)) {
		int error = stm_queue_cancel(queue);

		usleep(1000); /* others commit meanwhile */
		return -error;
	}
	return 0;
}

TEST(a_task_cancels)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	EXPECT_EQ(-EALREADY, stm_queue_cancel(queue));
	EXPECT_TRUE(stm_queue_stopping(queue)); /* it does not run */
	for (unsigned int threads = 1; threads <= 3; threads++) {
		uint64_t before = counted(0);

		for (uintptr_t i = 0; i < 500; i++)
			ASSERT_EQ(0, stm_queue_add(queue, cancel_at, (void *)i));
		shall_cancel = true;
		EXPECT_EQ(-ECANCELED, stm_queue_run(queue, threads));
		if (threads == 1) {
			EXPECT_EQ(before + 101, counted(0));
		}
		EXPECT_EQ(0, stm_queue_run(queue, threads));
		EXPECT_EQ(before + 500, counted(0));
		EXPECT_EQ(-EALREADY, stm_queue_cancel(queue));
	}
}

static _Atomic int entered;

/* A long task looks, and fails; it was undone, and runs once more. */
static int run_until_stopped(void *arg)
{
	count(0);
	entered = 1;
	for (int ms = 0; attempts == 0 && ms < PATIENCE_MS; ms++) {
		if (stm_queue_stopping(queue)) {
			attempts = 1;
			return 9;
		}
		usleep(1000);
	}
	return 0;
}

static void *cancel_soon(void *arg)
{
	if (!reaches(&entered, 1))
		return arg;
	return (void *)(intptr_t)stm_queue_cancel(queue);
}

TEST(another_thread_cancels)
{
	pthread_t other;
	void *result;

	ASSERT_EQ(0, open_queue(4, NULL));
	ASSERT_EQ(0, stm_queue_add(queue, run_until_stopped, NULL));
	ASSERT_EQ(0, pthread_create(&other, NULL, cancel_soon, (void *)1));
	EXPECT_EQ(-ECANCELED, stm_queue_run(queue, 2));
	ASSERT_EQ(0, pthread_join(other, &result));
	EXPECT_EQ(NULL, result);
	EXPECT_EQ(1, atomic_load(&attempts));
	EXPECT_EQ(0, counted(0));
	EXPECT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(1, counted(0));
	EXPECT_EQ(1, counts_of(queue).executed);
	EXPECT_EQ(1, counts_of(queue).restarts);
}

/* Two fail at once: the first one's code comes back, the other one runs again, and then its code comes back. */
static pthread_barrier_t both;

static int fail_together(void *arg)
{
	if (attempts < 2) {
		attempts++;
		pthread_barrier_wait(&both);
	}
	return (int)(uintptr_t)arg;
}

TEST(no_failure_is_lost)
{
	int first, second;

	ASSERT_EQ(0, open_queue(4, NULL));
	pthread_barrier_init(&both, NULL, 2);
	for (uintptr_t i = 5; i <= 6; i++)
		ASSERT_EQ(0, stm_queue_add(queue, fail_together, (void *)i));
	first = stm_queue_run(queue, 2);
	second = stm_queue_run(queue, 2);
	EXPECT_EQ(11, first + second);
	EXPECT_NE(0, first);
	EXPECT_NE(0, second);
	EXPECT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(0, counts_of(queue).executed);
}

static struct timespec in_ms(int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static int go_on(void *arg)
{
	usleep(1000);
	return stm_queue_stopping(queue) ? 0 : STM_QUEUE_AGAIN;
}

TEST(a_deadline_stops_it)
{
	struct timespec deadline = in_ms(30);
	struct stm_run_options options = { .size = sizeof(options), .threads = 2, .deadline = &deadline };

	ASSERT_EQ(0, open_queue(4, NULL));
	EXPECT_EQ(0, stm_queue_run_with(queue, &options)); /* there is nothing to do */
	ASSERT_EQ(0, stm_queue_add(queue, go_on, NULL));
	EXPECT_EQ(-ETIMEDOUT, stm_queue_run_with(queue, &options));
	/* It is past. */
	attempts = 1;
	ASSERT_EQ(0, stm_queue_add(queue, count_one, NULL));
	EXPECT_EQ(-ETIMEDOUT, stm_queue_run_with(queue, &options));
	EXPECT_EQ(0, counted(0));
	/* It is far away. */
	ASSERT_EQ(0, stm_queue_free(queue));
	queue = stm_queue_new(NULL);
	ASSERT_EQ(0, stm_queue_add(queue, count_one, NULL));
	deadline = (struct timespec){ .tv_sec = INT64_MAX, .tv_nsec = 5 };
	EXPECT_EQ(0, stm_queue_run_with(queue, &options));
	deadline = (struct timespec){ .tv_nsec = 1000000000 };
	EXPECT_EQ(-EINVAL, stm_queue_run_with(queue, &options));
}

/* ---- the number of workers ---- */

static int wait_for_all(void *arg)
{
	(void)arg;
	attempts++;
	return reaches(&attempts, entered) ? 0 : 1;
}

TEST(as_many_workers_as_cpus)
{
	cpu_set_t set;
	int cpus;

	ASSERT_EQ(0, sched_getaffinity(getpid(), sizeof(set), &set));
	cpus = CPU_COUNT(&set);
	if (cpus > 60)
		SKIP(return, "more CPUs than segments");
	ASSERT_EQ(0, open_queue(64, NULL));
	entered = cpus;
	for (int i = 0; i < cpus; i++)
		ASSERT_EQ(0, stm_queue_add(queue, wait_for_all, NULL));
	EXPECT_EQ(0, stm_queue_run(queue, 0));
	EXPECT_EQ(cpus, atomic_load(&attempts));
}

TEST(fewer_if_no_more_can_be_had)
{
	ASSERT_EQ(0, open_queue(2, NULL)); /* one is ours */
	for (unsigned int i = 0; i < 100; i++)
		ASSERT_EQ(0, stm_queue_add(queue, count_one, NULL));
	EXPECT_EQ(0, stm_queue_run(queue, 0));
	EXPECT_EQ(100, counted(0));
	ASSERT_EQ(0, stm_queue_free(queue));
	ASSERT_EQ(0, stm_fini());
	ASSERT_EQ(0, open_queue(1, NULL));
	ASSERT_EQ(0, stm_queue_add(queue, count_one, NULL));
	EXPECT_EQ(-EAGAIN, stm_queue_run(queue, 0));
	EXPECT_EQ(0, counted(0));
}

/* ---- queues in queues ---- */

static int inner_result[8];

static void run_inner(void *arg)
{
	struct stm_queue *inner = stm_queue_new(NULL);
	uintptr_t i = (uintptr_t)arg;

	for (unsigned int k = 0; k < 50; k++)
		stm_queue_add(inner, count_one, (void *)i);
	inner_result[i] = stm_queue_run(inner, 2);
	stm_queue_free(inner);
}

/* In its transaction a queue cannot run; in its commit hook it can. */
static int nest(void *arg)
{
	uintptr_t i = (uintptr_t)arg;

	if (stm_queue_run(queue, 1) != -EBUSY)
		return 99;
	if (stm_queue_add(queue, count_one, (void *)(i + 8)))
		return ENOMEM;
	return stm_on_commit(run_inner, arg);
}

TEST(a_commit_hook_runs_a_queue)
{
	struct stm_queue_options ordered_queue = { .size = sizeof(ordered_queue), .ordered = true };

	ASSERT_EQ(0, open_queue(32, NULL));
	for (unsigned int round = 1; round <= 2; round++) {
		for (uintptr_t i = 0; i < 8; i++)
			ASSERT_EQ(0, stm_queue_add(queue, nest, (void *)i));
		ASSERT_EQ(0, stm_queue_run(queue, 3));
		for (unsigned int i = 0; i < 8; i++) {
			EXPECT_EQ(0, inner_result[i]);
			EXPECT_EQ(50 * round, counted(i));
			EXPECT_EQ(round, counted(i + 8));
		}
		EXPECT_EQ(16, counts_of(queue).executed);
		ASSERT_EQ(0, stm_queue_free(queue));
		queue = stm_queue_new(&ordered_queue);
	}
}

static void run_itself(void *arg)
{
	inner_result[0] = stm_queue_run(queue, 1);
	inner_result[1] = stm_queue_free(queue);
}

static int nest_itself(void *arg)
{
	return stm_on_commit(run_itself, arg);
}

TEST(a_queue_runs_once_at_a_time)
{
	ASSERT_EQ(0, open_queue(8, NULL));
	ASSERT_EQ(0, stm_queue_add(queue, nest_itself, NULL));
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(-EBUSY, inner_result[0]);
	EXPECT_EQ(-EBUSY, inner_result[1]);
}

TEST(too_few_segments_for_an_inner_queue)
{
	ASSERT_EQ(0, open_queue(3, NULL)); /* ours, the worker's, one more */
	ASSERT_EQ(0, stm_queue_add(queue, nest, (void *)0));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ(-EAGAIN, inner_result[0]);
	EXPECT_EQ(0, counted(0));
	EXPECT_EQ(1, counted(8));
}

/* ---- figures by function ---- */

static int restart_twice(void *arg)
{
	count((unsigned int)(uintptr_t)arg);
	if (++attempts % 3) {
		usleep(2000);
		stm_restart();
	}
	return 0;
}

static const struct stm_function_counts *find(const struct stm_function_counts *counts, int n, stm_fn *fn)
{
	for (int i = 0; i < n; i++)
		if (counts[i].fn == fn)
			return &counts[i];
	return NULL;
}

TEST(figures_by_function)
{
	struct stm_function_counts c[8];
	const struct stm_function_counts *one;
	int n = 0;

	ASSERT_EQ(0, open_queue(8, NULL));
	EXPECT_EQ(0, stm_queue_function_counts(queue, c, sizeof(c[0]), 8));
	for (unsigned int round = 1; round <= 2; round++) {
		for (uintptr_t i = 0; i < 200; i++) {
			ASSERT_EQ(0, stm_queue_add(queue, count_one, (void *)(i % 4)));
			ASSERT_EQ(0, stm_queue_add(queue, note_task, NULL));
			if (i % 20 == 0)
				ASSERT_EQ(0, stm_queue_add(queue, restart_twice, (void *)(i % 4)));
		}
		ordered = 0;
		ASSERT_EQ(0, stm_queue_run(queue, 1));
		n = stm_queue_function_counts(queue, c, sizeof(c[0]), 8);
		ASSERT_EQ(3, n);
		one = find(c, n, count_one);
		ASSERT_NE(NULL, one);
		EXPECT_EQ(200 * round, one->executed);
		EXPECT_EQ(0, one->restarts);
		EXPECT_EQ(0, one->lost_ns);
		one = find(c, n, restart_twice);
		ASSERT_NE(NULL, one);
		EXPECT_EQ(10 * round, one->executed);
		EXPECT_EQ(20 * round, one->restarts);
		/* 2 ms each, or longer; the first one of each run is guessed from an attempt that did not sleep. */
		EXPECT_LE(2000000 * 19 * round, one->lost_ns);
	}
	EXPECT_EQ(420 + 400, counts_of(queue).executed);
	EXPECT_EQ(40, counts_of(queue).restarts);
	/* fewer than there are, and smaller ones */
	memset(c, 0xff, sizeof(c));
	EXPECT_EQ(3, stm_queue_function_counts(queue, c, sizeof(c[0]), 1));
	EXPECT_NE(NULL, find(c, 1, c[0].fn));
	EXPECT_EQ(UINT64_MAX, c[1].executed);
	EXPECT_EQ(3, stm_queue_function_counts(queue, NULL, sizeof(c[0]), 0));
	EXPECT_EQ(3, stm_queue_function_counts(queue, c, sizeof(c[0].fn), 8));
	EXPECT_EQ(-EINVAL, stm_queue_function_counts(queue, NULL, sizeof(c[0]), 1));
	EXPECT_EQ(-EINVAL, stm_queue_function_counts(queue, c, 0, 1));
	EXPECT_EQ(-EINVAL, stm_queue_function_counts(NULL, c, sizeof(c[0]), 1));
}

/* While it runs, too. */
static int look(const struct stm_progress *progress, void *arg)
{
	struct stm_function_counts c[4];

	(void)progress;
	*(int *)arg += stm_queue_function_counts(queue, c, sizeof(c[0]), 4) > 1; /* there is one function */
	return 0;
}

TEST(figures_while_it_runs)
{
	int wrong = 0;
	struct stm_run_options options = {
		.size = sizeof(options), .progress = look, .progress_arg = &wrong, .progress_ms = 1, .threads = 3
	};

	ASSERT_EQ(0, open_queue(8, NULL));
	for (uintptr_t i = 0; i < 20000 / strict_divisor(); i++)
		ASSERT_EQ(0, stm_queue_add(queue, count_one, (void *)(i % 4)));
	EXPECT_EQ(0, stm_queue_run_with(queue, &options));
	EXPECT_EQ(0, wrong);
}

/* ---- errors ---- */

TEST(errors)
{
	struct { struct stm_run_options known; uint64_t unknown; } longer = { .known = { .size = sizeof(longer) } };
	struct stm_task_options task = { .size = sizeof(task), .priority = STM_PRIORITY_MAX + 1 };
	struct stm_run_options run = { .size = 1 };

	ASSERT_EQ(0, open_queue(4, NULL));
	EXPECT_EQ(-EINVAL, stm_queue_add_with(queue, count_one, NULL, &task));
	task.priority = STM_PRIORITY_MIN - 1;
	EXPECT_EQ(-EINVAL, stm_queue_add_with(queue, count_one, NULL, &task));
	task.size = 0;
	EXPECT_EQ(-EINVAL, stm_queue_add_with(queue, count_one, NULL, &task));
	EXPECT_EQ(-EINVAL, stm_queue_add_with(queue, NULL, NULL, NULL));
	EXPECT_EQ(-EINVAL, stm_queue_add_with(NULL, count_one, NULL, NULL));
	EXPECT_EQ(0, stm_queue_add_with(queue, count_one, NULL, NULL));
	EXPECT_EQ(-EINVAL, stm_queue_run_with(queue, &run));
	EXPECT_EQ(-EINVAL, stm_queue_run_with(NULL, NULL));
	EXPECT_EQ(0, stm_queue_run_with(queue, &longer.known));
	EXPECT_EQ(1, counted(0));
	longer.unknown = 1;
	EXPECT_EQ(-EINVAL, stm_queue_run_with(queue, &longer.known));
	EXPECT_EQ(-EINVAL, stm_queue_cancel(NULL));
	EXPECT_FALSE(stm_queue_stopping(NULL));
}

TEST_HARNESS_MAIN
